"""Files that are written as a whole or not at all, and hashes of what they depend on."""

import hashlib
import json
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


@contextmanager
def replace_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; the file written to it replaces `path`, unless an error is raised."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield part
        part.replace(path)
    except BaseException as error:
        if isinstance(error, OSError):
            error.filename = str(path)  # which writing does not say
        part.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes | memoryview | str) -> None:
    """Write a file, text as UTF-8; a reader finds either all of it or the file before."""
    with replace_whole(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def write_to_cache(path: Path, content: bytes | memoryview, what: str) -> None:
    """Write a file below `cache_dir` as a whole; warn that `what` is not cached if its folder can't be written to."""
    try:
        write_whole(path, content)
    except OSError as error:
        log.warning("cache_dir=%s: %s are not cached: %s", path.parent, what, error)


def read_json(path: Path) -> dict[str, Any]:
    """Return a file's content, an empty dict where it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def digest(parts: Any) -> str:
    """Return a hash of anything that JSON can write, whatever the order of keys."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
