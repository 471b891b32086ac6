"""Names that W&B accepts."""

import re

LONGEST = 128  # characters of a name, for W&B and its artifacts


def make_safe_name(name: str) -> str:
    """Return a name in the letters that W&B allows for an artifact's."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
