"""Parts that the runs of one process share where they are equal."""

from collections.abc import Callable
from typing import Any


class Last:
    """The last part that was built; it is reused while its key, all that it is built from, stays the same."""

    def __init__(self) -> None:
        self.key: Any = None
        self.part: Any = None

    def get(self, key: Any, build: Callable[[], Any]) -> Any:
        """Return the last part if it has this key (anything but None), otherwise a new one from `build`."""
        if key is None or key != self.key:
            self.key = self.part = None  # its memory is free before the next one needs some
            self.part = build()
            self.key = key
        return self.part
