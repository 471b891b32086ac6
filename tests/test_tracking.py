"""What W&B gets: read back from the offline folder, and from a server where WANDB_BASE_URL names one."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
from wandb.proto import wandb_internal_pb2

import train
from gan import tracking
from gan.comparison import table
from gan.errors import InputError
from gan.runs import as_run, by_protocol, local_runs
from tests.test_train import NARROW

SMALL = ["logger=wandb", "trainer.val_check_interval=10", "trainer.log_every_n_steps=5", *NARROW["mlp"], "model=mlp"]


def records(path: Path):
    """Yield the records of a .wandb file: a LevelDB log, 7 bytes of header and then blocks of 32 KiB."""
    content, position, record = path.read_bytes(), 7, b""
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            parsed = wandb_internal_pb2.Record()
            parsed.ParseFromString(record)
            yield parsed
            record = b""


def read(folder: Path) -> dict:
    """Gather a run's identity, config, history, summary and exit code from its offline folder."""
    wandb.teardown()  # its service has written all when it has ended
    run = {"config": {}, "history": [], "summary": {}, "files": [], "exit_code": None}
    for record in records(next(folder.glob("*.wandb"))):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run |= {"project": record.run.project, "group": record.run.run_group, "name": record.run.display_name}
            run["tags"] = list(record.run.tags)
        updates = {"run": record.run.config.update, "config": record.config.update}.get(kind, [])
        run["config"] |= {u.key: json.loads(u.value_json) for u in updates if u.key}
        if kind == "history":
            run["history"].append({i.key or i.nested_key[0]: json.loads(i.value_json) for i in record.history.item})
        if kind == "summary":
            run["summary"] |= {u.key or ".".join(u.nested_key): json.loads(u.value_json) for u in record.summary.update}
        if kind == "exit":
            run["exit_code"] = record.exit.exit_code
    run["files"] = [str(p.relative_to(folder / "files")) for p in (folder / "files").rglob("*.png")]
    return run


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No account: an empty HOME and no WANDB_* variables."""
    wandb.teardown()  # first, since it takes its own variable out, which must not come back
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    yield tmp_path
    wandb.teardown()


def folders(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "run" / "wandb").glob("offline-run-*"))


def test_an_offline_run_holds_config_group_choices_metrics_and_images(configure, offline):
    train.train(configure(*SMALL, "loss=hinge", "seed=3"))
    (folder,) = folders(offline)
    run = read(folder)
    assert (run["project"], run["group"]) == ("gan-sweeps", "mnist_5k-mlp-hinge")
    assert (run["name"], run["tags"]) == ("mnist_5k-mlp-hinge-seed3", ["mnist_5k", "mlp", "hinge"])
    assert run["exit_code"] == 0
    choices = run["config"]["choices"]
    assert (choices["data"], choices["model"], choices["loss"]) == ("mnist_5k", "mlp", "hinge")
    assert run["config"]["optimizer"]["generator"]["lr"] == 2e-4
    assert run["config"]["logger"]["group"] == "mnist_5k-mlp-hinge"  # resolved, no ${...}
    logged = {key for row in run["history"] for key in row}
    curves = {"discriminator_loss", "generator_loss", "real_logits", "fake_logits", "images_seen", "generator_steps"}
    scores = {"fid_200", "fid_200_best", "kid", "precision", "inception_score", "conditional_accuracy"}
    assert curves | scores | {"samples", "images_per_second"} <= logged
    steps = [row["trainer/global_step"] for row in run["history"] if "fid_200" in row]
    assert steps == [10, 20]
    assert run["summary"]["protocol"]["n_fakes"] == 200
    assert run["summary"]["floor"]["fid_200"] > 0
    assert run["summary"]["best"]["protocol"]["z_seed"] == 1
    assert run["summary"]["fid_200_best"] <= run["summary"]["fid_200"]
    assert len([name for name in run["files"] if "samples" in name]) == 2


def test_two_runs_in_one_process_are_two_runs(configure, offline):
    for seed in (0, 1):
        train.train(configure(*SMALL, f"seed={seed}", "trainer.max_steps=2"))
        assert wandb.run is None
    names = sorted(read(folder)["name"] for folder in folders(offline))  # of one second, the folders have no order
    assert names == ["mnist_5k-mlp-bce-seed0", "mnist_5k-mlp-bce-seed1"]


def test_a_run_that_raises_is_closed_as_failed(configure, offline, monkeypatch):
    monkeypatch.setattr("gan.gan.GAN.training_step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train.train(configure(*SMALL))
    assert wandb.run is None
    (folder,) = folders(offline)
    assert read(folder)["exit_code"] == 1


def test_the_command_that_uploads_an_offline_run_is_shown(configure, offline, capsys):
    train.train(configure(*SMALL, "trainer.max_steps=2"))
    (folder,) = folders(offline)
    assert f"wandb sync {folder}" in capsys.readouterr().out


@pytest.mark.parametrize(("environment", "mode"), [({}, "offline"), ({"WANDB_API_KEY": "a" * 40}, "online")])
def test_a_configured_key_means_online(offline, monkeypatch, environment, mode):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    wandb.teardown()
    assert tracking.wandb_logger(save_dir=str(offline))._wandb_init["mode"] == mode
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert tracking.wandb_logger(save_dir=str(offline))._wandb_init["mode"] == "disabled"


@pytest.mark.skipif("WANDB_BASE_URL" not in os.environ, reason="needs a W&B server at WANDB_BASE_URL")
def test_a_server_gets_the_run_whether_online_or_synced_later(configure, tmp_path, monkeypatch):
    project = f"test-tracking-{uuid.uuid4().hex[:8]}"
    for seed, mode in ((0, "online"), (1, "offline")):
        monkeypatch.setenv("WANDB_MODE", mode)
        train.train(configure(*SMALL, f"seed={seed}", f"logger.project={project}"))
    (folder,) = folders(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "online")
    subprocess.run([Path(sys.executable).with_name("wandb"), "sync", folder], check=True, capture_output=True)
    runs = list(wandb.Api().runs(project))
    assert sorted(run.name for run in runs) == ["mnist_5k-mlp-bce-seed0", "mnist_5k-mlp-bce-seed1"]
    for run in runs:
        assert (run.state, run.group, run.config["choices"]["loss"]) == ("finished", "mnist_5k-mlp-bce", "bce")
        assert run.summary["fid_200_best"] > 0
    online, synced = sorted(runs, key=lambda run: run.config["seed"])
    own = {"seed", "logger", "_wandb"}  # a run's own name, and what the client says of itself
    assert {k: v for k, v in online.config.items() if k not in own} == {
        k: v for k, v in synced.config.items() if k not in own
    }
    assert (online.tags, online.job_type) == (synced.tags, synced.job_type)
    assert online.config["choices"] == synced.config["choices"]
    kept = [{name for name in dict(run.summary) if not name.startswith("_")} for run in (online, synced)]
    assert kept[0] == kept[1]
    rows = [
        [(row["trainer/global_step"], row["images_seen"]) for row in run.scan_history() if row.get("fid_200")]
        for run in runs
    ]
    assert rows[0] == rows[1] == [(10, 640), (20, 1280)]
    (part,) = by_protocol(as_run(*found) for found in tracking.scored_runs(project)).values()
    local = by_protocol(local_runs([tmp_path]))  # of two runs in one folder the later is left
    assert list(local) == list(by_protocol(part))
    rows = table(part, "fid_200").set_index("cell")
    assert rows.loc["mnist_5k-mlp-bce", "n"] == 2
    (local_run,) = next(iter(local.values()))
    same = next(run for run in part if run.config["seed"] == local_run.config["seed"])
    assert same.scores["fid_200"] == local_run.scores["fid_200"]
    assert same.best == local_run.best


def test_a_project_without_scores_is_named(monkeypatch):
    monkeypatch.setattr("wandb.Api", lambda: SimpleNamespace(runs=lambda project, filters: []))
    with pytest.raises(InputError, match="--project nowhere: none of its 0 runs has ended with scores"):
        tracking.scored_runs("nowhere")
