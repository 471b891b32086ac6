"""What the pages name exists: files behind links, modules of the map, tests of the fault table."""

import re

import pytest

from tests.helpers import ROOT

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/**/*.md")]
MAP = (ROOT / "gan" / "README.md").read_text(encoding="utf-8")
ROWS = [row.split(" | ") for row in re.findall(r"^\| (`.*) \|$", MAP, re.M)]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


def test_each_picture_is_on_a_page():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    unused = [path.name for path in (ROOT / "docs" / "images").iterdir() if f"images/{path.name}" not in text]
    assert unused == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_map_names_what_exists(row):
    paths, text = row
    for name in re.findall(r"`([^`]+)`", paths):
        assert (ROOT / "gan" / name).exists(), name
    room = ROOT / "gan" / re.match(r"`([^`]+)`", paths)[1]
    for name in re.findall(r"`([\w/]+\.(?:py|yaml))`", text):
        assert (room / name).exists() or (ROOT / name).exists(), name


def test_each_room_is_on_the_map():
    rooms = {f"{path.parent.relative_to(ROOT / 'gan')}/" for path in (ROOT / "gan").glob("**/__init__.py")} - {"./"}
    top = {path.name for path in (ROOT / "gan").glob("*.py")} - {"__init__.py"}
    assert rooms | top <= {name for paths, _ in ROWS for name in re.findall(r"`([^`]+)`", paths)}


def test_the_paths_of_a_batch_and_of_a_config_name_what_exists():
    paths = MAP[MAP.index("## The path of a config") : MAP.index("## Add a loss or a model")]
    for name in re.findall(r"`((?:\w+/)*\w+\.py)\b", paths):
        assert (ROOT / "gan" / name).exists() or (ROOT / name).exists(), name
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "gan").glob("*.py"))
    for name in re.findall(r"`(?:gan\.py: )?(\w+_step|sample)`", paths):
        assert f"def {name}(" in source, name


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("gan/metrics/scores.py", "FrechetInceptionDistance"),
        ("gan/search/pruning.py", "should_prune"),
        ("conf/hydra/launcher/slurm.yaml", "scontrol requeue"),
        ("gan/gan.py", "self.prior("),
        ("gan/run/identity.py", '"group"'),
    ],
)
def test_the_map_leads_to_where_things_are_done(module, text):
    """FID, pruning, requeueing, the z of a batch, W&B's group."""
    name = module.rsplit("/", 1)[1]
    assert text in (ROOT / module).read_text(encoding="utf-8")
    assert any(name in part for row in ROWS for part in row)


def test_the_fault_table_names_tests_that_exist():
    faults = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    missing = [name for name in re.findall(r"`(test_\w+\.py)`", faults) if not (ROOT / "tests" / name).is_file()]
    assert missing == []
