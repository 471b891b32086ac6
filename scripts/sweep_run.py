"""Start one run of a W&B sweep: train.py with the run's parameters as Hydra overrides. W&B agents call this script.

The command of a sweep file consists of this script, fixed overrides, and "${args_json}":

command: ["${env}", "${interpreter}", "${program}", experiment=quickstart, "${args_json}"]

All values keep their type: null, true, lists, strings with commas. A parameter that exists only for other choices
(penalty.r1.gamma with penalty=none) is left out. One that changes nothing in what is built is refused. A preempted run
that any agent with access to its folder starts again resumes from its last checkpoint, with its first overrides.
"""

import os
import sys
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import gan  # noqa: F401, the configs use its resolver
from gan.errors import exit_in_one_line
from gan.launch.swept_run import select_overrides
from gan.launch.wandb_agent import translate_parameters

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    if {"-h", "--help"} & {*sys.argv[1:]}:
        print(__doc__)
        return
    if len(sys.argv) < 2 or not sys.argv[-1].startswith("{"):
        sys.exit(f"{__doc__}\nerror: the last argument must be the parameters as JSON")
    with exit_in_one_line():
        chosen = translate_parameters(sys.argv[1:], os.environ.get("WANDB_RUN_ID"), Path("outputs"), check_overrides)
    os.execv(sys.executable, [sys.executable, str(ROOT / "train.py"), *chosen])  # so that the agent's signals reach it


def check_overrides(fixed: list[str], given: dict[str, Any]) -> list[str]:
    """Return a run's parameters as overrides; raise InputError for those that can't be searched."""
    with initialize_config_dir(str(ROOT / "conf")):
        loader = GlobalHydra.instance().config_loader()
        places = [word for word in fixed if word.startswith("hydra.searchpath=")]
        return select_overrides(
            fixed,
            given,
            lambda words: compose("train", words, return_hydra_config=True),
            lambda name: loader.get_group_options(name, config_name="train", overrides=places),
        )


if __name__ == "__main__":
    main()
