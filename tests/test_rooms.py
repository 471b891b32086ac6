"""The house: imports point down only, from the rooms that use to those that are used."""

import ast

import pytest

from tests.helpers import ROOT

# from the lowest to the highest; a room may import from its own line's left, and from lines above
ORDER = (
    ("errors",),
    ("system", "distributed"),
    ("tracking", "priors", "schedules", "losses", "ema", "augment"),
    ("data", "models"),
    ("penalties",),
    ("regularizers", "annealing"),
    ("gan", "metrics"),
    ("callbacks",),
    ("run",),
    ("launch", "report"),
    ("search",),
    ("scripts", "train"),
)
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
SOURCES = [*sorted((ROOT / "gan").rglob("*.py")), *sorted((ROOT / "scripts").rglob("*.py")), ROOT / "train.py"]


def room_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "gan" else parts[0]


def list_imports(source):
    """Return the modules that a file imports, at its top and in functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def find_upward_imports(path, source):
    room = room_of(path)
    imported = {name.split(".")[1] for name in list_imports(source) if name.startswith("gan.")}
    return sorted(other for other in imported - {room} if LEVEL[other] >= LEVEL[room])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    if path != ROOT / "gan" / "__init__.py":
        assert find_upward_imports(path, path.read_text(encoding="utf-8")) == []


def test_an_import_that_points_up_is_found():
    path = ROOT / "gan" / "metrics" / "scorer.py"
    assert find_upward_imports(path, "def score():\n    from gan.run.build import build") == ["run"]
    assert find_upward_imports(path, "from gan import tracking, search") == ["search"]


def test_the_top_holds_what_a_gan_is():
    parts = {"gan", "losses", "penalties", "regularizers", "augment", "annealing", "schedules", "priors", "ema"}
    assert {path.stem for path in (ROOT / "gan").glob("*.py")} - {"__init__"} == parts | {
        "tracking",
        "distributed",
        "errors",
    }


@pytest.mark.parametrize("path", sorted((ROOT / "tests").glob("*.py")), ids=lambda path: path.name)
def test_tests_import_from_helpers_only(path):
    """No file imports from a test file or from conftest.py."""
    imported = [name for name in list_imports(path.read_text(encoding="utf-8")) if name.startswith("tests.")]
    assert [name for name in imported if name.startswith(("tests.test_", "tests.conftest"))] == []
