"""The version of this code: of its git checkout, or else of the installed package."""

import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGE = "gan-sweeps"
WAIT_S = 10


@cache
def describe_code() -> str:
    """Return `git describe` of the checkout, with -dirty for changes that are not committed, or the package's version.

    The first call of a process counts: later changes of the files are not in the code that it runs.
    """
    words = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty"]
    if (CHECKOUT / ".git").exists():  # else git would describe a repository that this one is installed in
        try:
            return subprocess.run(words, capture_output=True, text=True, check=True, timeout=WAIT_S).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return "unknown"
