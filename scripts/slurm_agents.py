"""Start W&B agents as an array of Slurm jobs with one GPU each. They run until the sweep is finished.

python scripts/slurm_agents.py ENTITY/gan-sweeps/ID --agents 8
python scripts/slurm_agents.py ENTITY/gan-sweeps/ID --agents 8 partition=gpu timeout_min=600

Partition, account, time and memory come from conf/hydra/launcher/slurm.yaml, or from key=value. Before its time limit,
or when it is preempted, an agent lets its run save its state, and is requeued. W&B then gives the run to the next free
agent, which resumes it.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """#!/bin/bash
cd {cwd} || exit
export PATH={bin}:$PATH
wandb agent --forward-signals {sweep} &
agent=$!
save_and_requeue() {{ # the run saves its state, and the agent starts no other
    kill -USR2 $agent; kill -TERM $agent; wait $agent
    scontrol requeue $SLURM_JOB_ID
    exit
}}
trap save_and_requeue USR2
wait $agent
"""
FLAGS = {
    "partition": "--partition={}",
    "account": "--account={}",
    "timeout_min": "--time={}",
    "mem_gb": "--mem={}G",
    "cpus_per_task": "--cpus-per-task={}",
    "gpus_per_node": "--gpus-per-node={}",
    "signal_delay_s": "--signal=B:USR2@{}",
}


def read_launcher_options(overrides: list[str]) -> dict[str, object]:
    """Return the options of conf/hydra/launcher/slurm.yaml with overrides."""
    words = ["hydra/launcher=slurm", *(f"hydra.launcher.{override}" for override in overrides)]
    with initialize_config_dir(str(ROOT / "conf")):
        return compose("train", words, return_hydra_config=True).hydra.launcher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", help="the sweep as `wandb sweep` prints it: ENTITY/PROJECT/ID")
    parser.add_argument("--agents", type=int, default=1, metavar="N", help="number of agents (default: %(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of conf/hydra/launcher/slurm.yaml")
    arguments = parser.parse_intermixed_args()
    if arguments.agents < 1:
        parser.error(f"--agents {arguments.agents}: must be at least 1")
    try:
        options = read_launcher_options(arguments.overrides)
    except HydraException as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    folder = Path("multirun", "agents-" + arguments.sweep.rpartition("/")[2]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"cwd": Path.cwd(), "bin": Path(sys.executable).parent, "sweep": arguments.sweep}
    script = SCRIPT.format(**{name: shlex.quote(str(part)) for name, part in parts.items()})
    words = ["sbatch", "--parsable", f"--job-name={folder.name}", f"--array=0-{arguments.agents - 1}", "--requeue"]
    words += [f"--output={folder}/%a.log", "--open-mode=append"]
    words += [flag.format(options[name]) for name, flag in FLAGS.items() if options[name]]
    try:
        done = subprocess.run(words, input=script, capture_output=True, text=True)
    except FileNotFoundError:
        sys.exit("error: sbatch: not found; start agents on a machine with Slurm")
    if done.returncode:
        sys.exit(f"error: {done.stderr.strip()}")
    print(f"Slurm job {done.stdout.strip()}: {arguments.agents} agents; logs in {folder}")


if __name__ == "__main__":
    main()
