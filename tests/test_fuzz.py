"""Random command lines train, or end in one line: no traceback, no hang, and the exit status says which."""

import os
import re

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gan.run.cell import flatten
from tests.helpers import ROOT
from tests.processes import run_forked

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", 40))
SECONDS, MEMORY_BYTES = 120, 8 * 2**30
BASE = ["trainer=cpu", "logger=none", "metrics=none", "model=mlp", "trainer.precision=32-true"]
BASE += ["trainer.max_steps=3", "trainer.val_check_interval=3", "data.batch_size=16"]
BASE += ["model.generator.hidden=[16]", "model.discriminator.hidden=[16]"]
GROUPS = {
    name: sorted(path.stem for path in (ROOT / "conf" / name).glob("*.yaml"))
    for name in ("augment", "loss", "model", "penalty", "prior", "schedule", "trainer")
} | {"optimizer": ["adam"], "data": ["mnist_5k", "folder", "mnist"], "metrics": ["none", "own", "nothing"]}
VALUES = (
    *("0", "1", "-1", "2.0", "0.5", "1e-3", "1e4", "-0.0", "1.0e400", "inf", "nan", "null", "true", "", "''", "???"),
    *("[1,2]", "[]", "[0.5,1]", "{}", "{a:1}", "[r1,r2]", "'[/x]'", "'[bold]'", "auto", "none", "ä ö", "日本", "'a=b'"),
    *("${seed}", "${nothing.here}", "${oc.env:HOME}", "a,b", "100000000", "~/x", "'a,b'", "0x10", "1_000", "-1e-9"),
)
ENDLESS = {"trainer.max_steps", "trainer.max_epochs", "trainer.val_check_interval"}  # a right answer may take for ever


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run train.py's command in an empty folder; return status and output."""

    def run_in_folder(words):
        done = run_forked(*words, cwd=tmp_path_factory.mktemp("fuzz"), seconds=SECONDS, memory=MEMORY_BYTES)
        return done.returncode, done.stdout + done.stderr

    return run_in_folder


@pytest.fixture(scope="module")
def keys(run):
    """All keys of the config, as `--cfg job` shows it."""
    status, text = run([*BASE, "penalty=r1", "schedule=linear", "--cfg", "job"])
    assert status == 0
    return sorted(flatten(yaml.safe_load(text)))


def words_from(keys):
    group = st.sampled_from(sorted(GROUPS)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from([*GROUPS[name], "nothing", "[]"]))
    )
    sign = st.sampled_from(["", "", "", "", "+", "++", "~"])
    key = st.builds(str.__add__, sign, st.sampled_from(keys))
    return st.lists(st.one_of(group, st.tuples(key, st.sampled_from(VALUES))), min_size=1, max_size=3)


def check(status, text, words):
    shown = f"{' '.join(words)}\n{text}"
    assert "Traceback (most recent call last)" not in text, shown
    assert status in (0, 1), shown  # -14 is a hang
    if status == 0:
        assert "Training time" in text, shown
        return
    lines = [line for line in text.splitlines() if line.strip()]
    assert any(re.search(r"^(error|stopped): \S", line) for line in lines), shown


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES <= 40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_random_command_lines_train_or_end_in_one_line(run, keys, data):
    chosen = data.draw(words_from(keys))
    words = [f"{key}={value}" for key, value in chosen]
    endless = [f"{key}={value}" for key, value in chosen if key.lstrip("+~") in ENDLESS]
    words = [word for word in words if word not in endless]
    check(*run([*BASE, *words]), words)


@pytest.mark.slow
@pytest.mark.parametrize("key", sorted(ENDLESS))
@pytest.mark.parametrize("value", ["0", "2.0", "0.5", "null", "[1]", "-2", "''", "nan", "a"])
def test_odd_lengths_of_training_train_or_end_in_one_line(run, key, value):
    limits = ["+trainer.max_time=00:00:00:03"] if key != "trainer.max_steps" else []
    check(*run([*BASE, *limits, f"{key}={value}"]), [f"{key}={value}"])


def test_the_check_sees_what_it_looks_for():
    for status, text in [(1, "Traceback (most recent call last)\n"), (-14, "error: x"), (1, "no line"), (0, "nothing")]:
        with pytest.raises(AssertionError):
            check(status, text, [])
