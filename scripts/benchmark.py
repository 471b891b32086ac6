"""Measure time and cost on this machine, and the intervals of compare.py.

python scripts/benchmark.py train               train.py compared with a bare loop; --before DIR: with another checkout
python scripts/benchmark.py cost                a run's cost against steps, batch size, classes and images; a plot
python scripts/benchmark.py metrics             the parts of one evaluation of a run's samples
python scripts/benchmark.py startup             from a command to the end of the first step, against importing torch
python scripts/benchmark.py threads --turns 3   training next to other work, also if it comes later, by threads
python scripts/benchmark.py workers             idle time of the workers of a study, and of the stock sweeper
python scripts/benchmark.py confirmation        how often a search names the best setting, by one seed and confirmed
python scripts/benchmark.py pruning --turns 3   images that a search with pruning uses, and the settings that it finds
python scripts/benchmark.py coverage            how often the 95% intervals of compare.py hold the true value
"""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from gan.system.console import quiet

NAMES = sorted(path.stem for path in (Path(__file__).parent / "benchmarks").glob("[a-z]*.py"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=NAMES, help="what to measure")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as for train.py: data=mnist model=dcgan")
    parser.add_argument("--turns", type=int, default=5, help="number of repetitions (default: %(default)s)")
    parser.add_argument("--before", metavar="DIR", help="train: another checkout to compare with")
    parser.add_argument("--json", dest="to_json", metavar="FILE", help="train: write all measurements to a file")
    arguments = parser.parse_intermixed_args()
    options = {name: value for name in ("before", "to_json") if (value := getattr(arguments, name))}
    quiet()
    sys.path.insert(0, str(Path(__file__).parent))
    import_module(f"benchmarks.{arguments.what}").measure(arguments.overrides, arguments.turns, **options)


if __name__ == "__main__":
    main()
