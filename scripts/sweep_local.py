"""Translate a W&B sweep file to a Hydra multirun of the same search space, which needs no server.

python scripts/sweep_local.py sweeps/loss.yaml          prints the command
python scripts/sweep_local.py sweeps/loss.yaml --run    starts it

The method grid becomes Hydra's own sweep. random and bayes become an Optuna study with the random and TPE samplers, and
early termination becomes Optuna's Hyperband with the same eta. The same command resumes its study. The metric becomes
the objective, such as fid or kid: W&B minimizes the best value of a run, Optuna the last one, which train.py returns.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path

import yaml

from gan.errors import InputError
from gan.launch.wandb_agent import translate_sweep
from gan.run.command_line import get_key, list_replaced_keys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="the sweep file")
    parser.add_argument("--run", action="store_true", help="start the multirun")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides to add or replace, such as seed=0")
    arguments = parser.parse_intermixed_args()
    if not arguments.sweep.is_file():
        parser.error(f"{arguments.sweep}: no such file")
    try:
        words = translate_sweep(arguments.sweep.stem, yaml.safe_load(arguments.sweep.read_text(encoding="utf-8")))
    except (InputError, UnicodeDecodeError, yaml.YAMLError) as error:
        sys.exit(f"error: {arguments.sweep}: {' '.join(str(error).split())}")
    replaced = list_replaced_keys(arguments.overrides)
    words = [word for word in words if get_key(word) not in replaced] + arguments.overrides
    print(shlex.join(["python", "train.py", *words]), flush=True)
    if arguments.run:
        train = Path(__file__).resolve().parents[1] / "train.py"
        os.execv(sys.executable, [sys.executable, str(train), *words])


if __name__ == "__main__":
    main()
