"""How far a sweep is, whatever its runs' folders are called."""

import csv
import shlex

import pytest

from scripts import sweep_state
from tests.processes import run_forked

TINY = ["model=mlp", "model.generator.hidden=[8]", "model.discriminator.hidden=[8]", "data.batch_size=32"]


def test_runs_are_found_under_any_pattern_of_folders(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "my sweep"
    words = [
        "-m",
        "penalty=[r1,r2],[r1]",
        *TINY,
        "trainer=cpu",
        "trainer.max_steps=2",
        "metrics=none",
        "objective=null",
    ]
    words += ["logger=none", f"hydra.sweep.dir={shlex.quote(str(folder))}"]
    done = run_forked(*words, "hydra.sweep.subdir=${choices.loss}/${hydra.job.override_dirname}")
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr("sys.argv", ["sweep_state.py", str(folder), "--csv", str(tmp_path / "all.csv")])
    monkeypatch.setenv("COLUMNS", "120")
    sweep_state.main()
    shown = capsys.readouterr().out
    assert "penalty=[r1,r2]" in shown
    (line,) = (line for line in shown.splitlines() if "have ended" in line)
    assert line.startswith("2 of 2 have ended")
    assert shlex.split(line.partition(": ")[2]) == ["python", "scripts/compare.py", str(folder)]
    with (tmp_path / "all.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [shlex.split(row["parameters"]) for row in rows] == [["penalty=[r1,r2]"], ["penalty=[r1]"]]
    assert [row["state"] for row in rows] == ["finished"] * 2
    assert all(row["run"].startswith("bce/") for row in rows)


def test_a_run_that_is_just_writing_its_scores_has_not_ended(tmp_path):
    run = tmp_path / "a b" / "0"
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "overrides.yaml").write_text("[seed=0]", encoding="utf-8")
    (run / "metrics.json").write_text('{"scores": {"fi', encoding="utf-8")
    assert [row["state"] for row in sweep_state.read_runs(tmp_path)] == ["not finished"]


def test_a_folder_without_runs_and_a_table_that_cannot_be_written_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["sweep_state.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="no runs"):
        sweep_state.main()
    (tmp_path / "0" / ".hydra").mkdir(parents=True)
    (tmp_path / "0" / ".hydra" / "overrides.yaml").write_text("[]", encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["sweep_state.py", str(tmp_path), "--csv", str(tmp_path)])
    with pytest.raises(SystemExit, match="Is a directory"):
        sweep_state.main()
