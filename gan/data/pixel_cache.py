"""Decoded images of a folder, stored on disk by their content and memory-mapped from there."""

import hashlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from rich.markup import escape
from rich.progress import track
from torch import Tensor

from gan.data.decode import Unreadable
from gan.errors import InputError
from gan.system.files import digest, read_json, write_whole

VERSION = 1  # of the decoding; part of every key
MOST_NAMED = 10  # unreadable files that an error lists
CHUNK = 1024  # files that are queued at a time
ELONGATED = 2  # an image is, if its longer side is more than so many times the shorter

Decode = Callable[[Path], tuple[Tensor, tuple[int, int]]]
log = logging.getLogger(__name__)


class PixelCache:
    """Decodes image files once per set of options, and loads their pixels from disk in later runs.

    A set of files is recognized by paths, sizes and times or, if these are new, by content. Runs that start at the same
    time decode it once. Without a `cache_dir`, or with one that can't be written to, pixels are stored in a temporary
    folder that is removed with this object.
    """

    def __init__(self, cache_dir: str | None) -> None:
        self.folder = Path(cache_dir, "images").expanduser() if cache_dir else None
        try:
            if self.folder:
                self.folder.mkdir(parents=True, exist_ok=True)
                NamedTemporaryFile(dir=self.folder).close()
        except OSError as error:
            log.warning("cache_dir=%s: decoded images are not cached: %s", cache_dir, error)
            self.folder = None
        if self.folder is None:
            self.temporary = TemporaryDirectory(prefix="gan-sweeps-")
            self.folder = Path(self.temporary.name)

    def load(self, paths: list[Path], decode: Decode, options: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """Return the pixels (N, C, S, S) uint8 of files, and facts about them.

        `options` are the arguments of `decode`, part of the key. The facts are `content`, a hash of all files; the
        `smallest` and `largest` (width, height) in pixels; and the numbers of images that are `upscaled`, and that are
        `elongated` and so lose more than half by the crop. Raises InputError with the first ten files that can't be
        decoded.
        """
        index = self.folder / f"{digest([VERSION, options, [describe_file(path) for path in paths]])}.json"
        with FileLock(index.with_suffix(".lock")):
            content = read_json(index).get("content")
            if not content or not self.holds(content, len(paths)):
                content = digest([VERSION, options, list(run_in_threads(hash_file, paths, "reading images"))])
                with FileLock(self.folder / f"{content}.lock"):  # other paths may have the same files
                    if not self.holds(content, len(paths)):
                        self.decode_all(paths, decode, options, content)
                write_whole(index, json.dumps({"content": content}).encode())
        pixels = np.load(self.folder / f"{content}.npy", mmap_mode="c")  # copy on write: torch wants it writable
        return torch.from_numpy(pixels), read_json(self.folder / f"{content}.json")

    def holds(self, content: str, n: int) -> bool:
        """Whether the pixels of n files are cached and undamaged."""
        with suppress(OSError, ValueError):
            pixels = np.load(self.folder / f"{content}.npy", mmap_mode="r")
            return len(pixels) == n and bool(read_json(self.folder / f"{content}.json"))
        return False

    def decode_all(self, paths: list[Path], decode: Decode, options: dict[str, Any], content: str) -> None:
        """Decode files on all cores, and write their pixels and then the facts about them."""

        def attempt(path: Path) -> tuple[Tensor, tuple[int, int]] | str:
            try:
                return decode(path)
            except Unreadable as error:
                return f"{path} ({error})"

        size = options["image_size"]
        target, unreadable, sizes = self.folder / f"{content}.npy", [], []
        part = target.with_suffix(".part")
        pixels = np.lib.format.open_memmap(part, "w+", np.uint8, (len(paths), options["channels"], size, size))
        for i, result in enumerate(run_in_threads(attempt, paths, "decoding images")):
            if isinstance(result, str):
                unreadable.append(result)
            else:
                pixels[i] = result[0].numpy()
                sizes.append(result[1])
        pixels.flush()
        if unreadable:
            part.unlink()
            more = f" and {len(unreadable) - MOST_NAMED} more" if len(unreadable) > MOST_NAMED else ""
            raise InputError(
                f"data.root: {len(unreadable)} of {len(paths)} files can't be read as images; repair or remove "
                f"{', '.join(unreadable[:MOST_NAMED])}{more}"
            )
        part.replace(target)
        facts = {
            "content": content,
            "smallest": min(sizes, key=min),
            "largest": max(sizes, key=max),
            "upscaled": sum(min(pair) < size for pair in sizes),
            "elongated": sum(max(pair) > ELONGATED * min(pair) for pair in sizes),
        }
        write_whole(self.folder / f"{content}.json", json.dumps(facts).encode())


def run_in_threads(task: Callable[[Path], Any], paths: list[Path], title: str) -> Iterator[Any]:
    """Yield the result of a task for each file, in order, with a progress bar."""
    with ThreadPoolExecutor() as pool:
        chunks = (paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK))
        results = (result for chunk in chunks for result in pool.map(task, chunk))
        yield from track(results, escape(title), len(paths), transient=True, disable=not sys.stdout.isatty())


def describe_file(path: Path) -> list[Any]:
    """Return what changes with every change of a file: path, size, inode and times."""
    try:
        about = path.stat()
    except OSError as error:
        raise InputError(f"data.root: {path}: {error.strerror}") from error
    # unlike st_mtime, st_ctime can't be set back
    return [os.path.realpath(path), about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's content."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"data.root: {path}: {error.strerror}") from error
