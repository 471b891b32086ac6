"""Raw .gz files of a data set, unpacked once beside the data: their folder may be read-only."""

import gzip
import hashlib
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from gan.errors import InputError
from gan.system.files import digest, write_whole

log = logging.getLogger(__name__)


@contextmanager
def unpack_files(root: Path, raw: Path, cache_dir: str | None) -> Iterator[Path]:
    """Yield root or, if root/raw has .gz files that are not unpacked there, a folder with `raw` unpacked.

    The folder is in `cache_dir`, under the hash of the .gz files. Files in it are checked by their checksums. Without a
    `cache_dir`, or with one that can't be written to, it is temporary. Raises InputError for a damaged .gz file.
    """
    packed = sorted((root / raw).glob("*.gz"))
    if all(path.with_suffix("").is_file() for path in packed):
        yield root
        return
    contents = {path: path.read_bytes() for path in packed}
    with TemporaryDirectory() as scratch:
        folder = cache_unpacked(raw, contents, cache_dir) if cache_dir else None
        if not folder:
            folder = Path(scratch)
            write_unpacked(folder / raw, contents)
        yield folder


def cache_unpacked(raw: Path, contents: dict[Path, bytes], cache_dir: str) -> Path | None:
    """Return a folder in `cache_dir` with `raw` unpacked; None, with a warning, if it can't be written to."""
    key = digest({path.name: hashlib.sha256(content).hexdigest() for path, content in contents.items()})
    folder = Path(cache_dir, "unpacked", key).expanduser()
    try:
        write_unpacked(folder / raw, contents)
    except OSError as error:
        log.warning("cache_dir=%s: unpacked files are not cached: %s", cache_dir, error)
        return None
    return folder


def write_unpacked(folder: Path, contents: dict[Path, bytes]) -> None:
    """Write what the .gz files with these contents unpack to, but for files that are in the folder and undamaged.

    Raises InputError for a .gz file that is damaged.
    """
    for path, content in contents.items():
        if is_unpacked(folder / path.stem, content):
            continue
        try:
            unpacked = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"data.root: {path} is damaged: {error}; remove it, or copy it again") from error
        write_whole(folder / path.stem, unpacked)


def is_unpacked(path: Path, content: bytes) -> bool:
    """Return whether a file is what a .gz file's content unpacks to, by the checksum at its end (RFC 1952)."""
    return path.is_file() and zlib.crc32(path.read_bytes()) == int.from_bytes(content[-8:-4], "little")
