"""What is printed is what was meant: brackets, codes of emoji, and letters that a terminal does not have."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from hydra.core.utils import JobReturn, JobStatus

from gan.run.display import print_files, print_result, print_scores
from gan.run.outputs import print_notes
from gan.search import summary
from tests.helpers import ROOT

ODD = "penalty=[r1,r2] [/x] [bold]b[/bold] :dog: [link=a"


def job(value: object, status: JobStatus = JobStatus.COMPLETED) -> JobReturn:
    ended = JobReturn(status=status)
    ended.return_value = value
    return ended


def print_study(folder: Path) -> None:
    study = optuna.create_study(study_name=ODD)
    study.add_trial(
        optuna.create_trial(params={ODD: 1}, distributions={ODD: optuna.distributions.IntDistribution(1, 1)}, value=1.0)
    )
    summary.show_study(study, 1)
    summary.show_trial(study, 0, f"failed: {ODD}")
    summary.show_results(study, folder, SimpleNamespace(list_overrides=lambda params: [ODD]), ["fid"])


@pytest.mark.parametrize(
    ("printed", "times"),
    [
        (lambda folder: print_result(1, ODD, job(RuntimeError(ODD), JobStatus.FAILED)), 2),
        (lambda folder: print_result(1, ODD, job(1.0)), 1),
        (lambda folder: print_files({"samples": [Path(ODD)]}), 1),
        (lambda folder: print_notes([ODD]), 1),
        (lambda folder: print_scores({"scores": {ODD: 1.0}}), 1),
        (print_study, 4),
    ],
)
def test_values_paths_and_errors_are_printed_as_they_are(tmp_path, capsys, monkeypatch, printed, times):
    monkeypatch.setattr(summary, "draw_plots", lambda *_: [])
    monkeypatch.setattr("gan.run.display.score_label", str)
    printed(tmp_path)
    assert capsys.readouterr().out.count(ODD) == times


def test_everything_is_printed_by_the_plain_console():
    """Another one would take `[...]` for markup."""
    files = [*(ROOT / "gan").rglob("*.py"), *(ROOT / "scripts").rglob("*.py"), ROOT / "train.py"]
    assert [path.name for path in files if "Console(" in path.read_text(encoding="utf-8")] == ["console.py"]


def test_letters_that_a_terminal_lacks_are_shown_by_their_codes():
    ascii_only = os.environ | {"PYTHONUTF8": "0", "LC_ALL": "C"}
    code = "from gan.run.display import plain_console as p; print(chr(0x732b)); p().print(chr(0x2503), chr(0xb1))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=ascii_only, capture_output=True, text=True)
    assert done.stdout == "\\u732b\n\\u2503 \\xb1\n", done.stderr


@pytest.mark.parametrize(("z_seed", "columns"), [(0, ["last"]), (1, ["last", "best, step 20,"])])
def test_a_best_checkpoint_has_a_column_if_it_was_scored_on_samples_of_its_own(capsys, z_seed, columns):
    protocol = {"extractor": "classifier", "extractor_sha256": "0" * 8, "n_fakes": 200, "generator": "ema"}
    protocol |= {"n_reals": 100, "reference": "test", "z_seed": 0}
    best = {"step": 20, "scores": {"fid": 2.0}, "protocol": protocol | {"z_seed": z_seed}}
    print_scores({"scores": {"fid": 2.0}, "best": best, "protocol": protocol})
    printed = capsys.readouterr().out
    assert [name for name in ("last", "best, step 20,") if name in printed] == columns
