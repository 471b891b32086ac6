"""What a W&B agent starts for each run of a sweep: train.py with the run's parameters as Hydra overrides.

A sweep file ends its command with this script, overrides of its own, and "${args_json}":

command: ["${env}", "${interpreter}", "${program}", experiment=quickstart, "${args_json}"]

Any value reaches Hydra as what it is: null, true, lists, strings with commas. A run that was preempted and is started
again, by any agent that sees its folder, goes on from its last checkpoint with its first overrides.
"""

import os
import sys
from pathlib import Path

from gan.errors import exit_in_one_line
from gan.sweeps import overrides

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    if len(sys.argv) < 2 or not sys.argv[-1].startswith("{"):
        sys.exit(f"{__doc__}\nerror: the last argument must be the parameters as JSON")
    with exit_in_one_line():
        chosen = overrides(sys.argv[1:], os.environ.get("WANDB_RUN_ID"), Path("outputs"))
    os.execv(sys.executable, [sys.executable, str(ROOT / "train.py"), *chosen])  # so that the agent's signals reach it


if __name__ == "__main__":
    main()
