"""What W&B gets: read back from the offline folder, and from a server where WANDB_BASE_URL names one."""

import json
import math
import re
import subprocess
import sys
import uuid
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import wandb
from wandb.proto import wandb_internal_pb2

import train
from gan import tracking
from gan.metrics.protocol import hash_protocol
from gan.report.page import render_page
from gan.report.statistics import build_table
from gan.run.record import build_run, find_runs, group_by_cell, group_by_protocol, read_history
from gan.system import wandb_server
from scripts.report import create_wandb_report
from tests.helpers import NARROW
from tests.stub import KEY, WANDB, Recorder

CELL = re.compile(r"mnist_5k-mlp-(bce|hinge)-lr_0.0002-n_critic_1-batch_size_64-steps_\d+-[0-9a-f]{8}")
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


def folders(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "run" / "wandb").glob("offline-run-*"))


def test_an_offline_run_holds_config_group_choices_metrics_and_images(configure, offline):
    train.train(configure(*SMALL, "loss=hinge", "seed=3"))
    (folder,) = folders(offline)
    run = read(folder)
    (local,) = find_runs([offline / "run"])
    assert CELL.fullmatch(run["group"])
    assert (run["project"], run["group"]) == ("gan-sweeps", local.cell)
    assert (run["name"], run["tags"]) == (f"{local.cell}-seed3", ["mnist_5k", "mlp", "hinge"])
    assert run["exit_code"] == 0
    choices = run["config"]["choices"]
    assert (choices["data"], choices["model"], choices["loss"]) == ("mnist_5k", "mlp", "hinge")
    assert choices["cell"] == run["group"]
    assert run["config"]["optimizer"]["generator"]["lr"] == 2e-4
    assert run["config"]["logger"]["group"] == run["group"]  # resolved, no ${...}
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
        train.train(configure(*SMALL, f"seed={seed}", f"run_dir={offline}/{seed}", "trainer.max_steps=2"))
        assert wandb.run is None
    first, second = (read(next((offline / str(seed) / "wandb").glob("offline-run-*")))["name"] for seed in (0, 1))
    assert (first[-6:], second[-6:]) == ("-seed0", "-seed1")
    assert first[:-1] == second[:-1]


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


@pytest.mark.server
def test_a_server_gets_the_run_whether_online_or_synced_later(configure, tmp_path, monkeypatch):
    project = f"test-tracking-{uuid.uuid4().hex[:8]}"
    for seed, mode in ((0, "online"), (1, "offline")):
        monkeypatch.setenv("WANDB_MODE", mode)
        train.train(configure(*SMALL, f"seed={seed}", f"run_dir={tmp_path}/{seed}", f"logger.project={project}"))
    (folder,) = (tmp_path / "1" / "wandb").glob("offline-run-*")
    monkeypatch.setenv("WANDB_MODE", "online")
    subprocess.run([Path(sys.executable).with_name("wandb"), "sync", folder], check=True, capture_output=True)
    runs = list(wandb.Api().runs(project))
    assert len({run.group for run in runs}) == 1
    assert sorted(run.name for run in runs) == [f"{runs[0].group}-seed{seed}" for seed in (0, 1)]
    for run in runs:
        choices = run.config["choices"]
        assert (run.state, run.group, choices["loss"]) == ("finished", choices["cell"], "bce")
        assert run.summary["fid_200_best"] > 0
    online, synced = sorted(runs, key=lambda run: run.config["seed"])
    own = {"seed", "logger", "_wandb", "run_dir", "trainer", "callbacks", "overrides"}  # its names, and its folder
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
    (part,) = group_by_protocol(build_run(*found) for found in wandb_server.load_scored_runs(project)).values()
    local = group_by_protocol(find_runs([tmp_path]))
    assert list(local) == list(group_by_protocol(part))
    rows = build_table(part, "fid_200").set_index("cell")
    assert rows.loc["mnist_5k-mlp-bce", "n"] == 2
    for local_run in next(iter(local.values())):
        same = next(run for run in part if run.config["seed"] == local_run.config["seed"])
        assert (same.scores["fid_200"], same.best) == (local_run.scores["fid_200"], local_run.best)
        assert same.cell == local_run.cell


def test_a_disabled_run_leaves_nothing_and_ends_well(configure, offline):
    train.train(configure(*SMALL, "logger.mode=disabled", "trainer.max_steps=2"))
    assert (offline / "run" / "metrics.json").is_file()
    assert not folders(offline)


def end_service():
    """Kill the process of W&B, as Slurm does."""
    commands = {child: " ".join(child.cmdline()) for child in psutil.Process().children()}
    (service,) = (child for child, words in commands.items() if "wandb" in words and "wandb_stub" not in words)
    service.kill()
    service.wait(60)


def test_a_new_run_goes_on_as_itself_after_slurm_has_ended_the_process_of_wandb(stub, tmp_path):
    logger = tracking.wandb_logger(save_dir=str(tmp_path), project="test", id="abc", resume="never")
    with tracking.track_run(logger, {"seed": 0}):
        end_service()
        logger.log_metrics({"loss": 2.0}, step=2)
    (run,) = stub.dump()["runs"]
    assert (run["id"], run["state"]) == ("abc", "finished")
    assert [row["loss"] for row in run["history"] if "loss" in row] == [2]


@pytest.mark.parametrize("end", [tracking.Preempted("now"), ValueError("wrong"), None])
def test_a_run_ends_in_good_order_after_slurm_has_ended_the_process_of_wandb(offline, tmp_path, end):
    logger = tracking.wandb_logger(save_dir=str(tmp_path), mode="offline", project="test")
    with suppress(type(end) if end else ZeroDivisionError), tracking.track_run(logger, {"seed": 0}):
        end_service()
        if end:
            raise end
    wandb.teardown()
    *_, last = sorted((tmp_path / "wandb").glob("offline-run-*"), key=lambda path: path.stat().st_mtime_ns)
    codes = {record.exit.exit_code for record in records(next(last.glob("*.wandb"))) if record.HasField("exit")}
    assert codes == {1 if end else 0}


@pytest.mark.parametrize("error", [tracking.Preempted("now"), ValueError("wrong")])
def test_only_a_preempted_run_is_marked_as_one(offline, tmp_path, error):
    logger = tracking.wandb_logger(save_dir=str(tmp_path), mode="offline", project="test")
    with pytest.raises(type(error)), tracking.track_run(logger, {"seed": 0}):
        raise error
    wandb.teardown()
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    kinds = {record.WhichOneof("record_type") for record in records(next(folder.glob("*.wandb")))}
    assert ("preempting" in kinds) == isinstance(error, tracking.Preempted)


def test_numbers_that_json_does_not_have_come_back_as_they_were():
    values = {"fid": math.inf, "best": {"kid": -math.inf, "n": 1}, "speed": math.nan}
    sent = tracking.make_jsonable(values)
    assert sent == {"fid": "Infinity", "best": {"kid": "-Infinity", "n": 1}, "speed": "NaN"}
    assert math.isnan(wandb_server.read_plain(sent)["speed"])
    assert {name: part for name, part in wandb_server.read_plain(sent).items() if name != "speed"} == {
        name: part for name, part in values.items() if name != "speed"
    }


@pytest.mark.parametrize("group", ["R1, day 2", "ablation/größer: [/x]"])
def test_a_group_may_be_called_anything_and_its_generator_is_filed(offline, tmp_path, group):
    """The name of its artifact is what W&B allows."""
    logger = tracking.wandb_logger(save_dir=str(tmp_path), mode="offline", project="test", group=group)
    file = tmp_path / "generator.safetensors"
    file.write_bytes(b"weights")
    with tracking.track_run(logger, {}):
        tracking.log_generator(logger, [file], "fid", {"fid_best": 1.0, "protocol": None})
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    wandb.teardown()
    names = {record.artifact.name for record in records(next(folder.glob("*.wandb"))) if record.HasField("artifact")}
    (name,) = names - {""}
    assert re.fullmatch(r"generator-(R1-day-2|ablation-gr-er-x-)-[0-9a-f]{8}", name)
    assert read(folder)["group"] == group


def test_names_of_artifacts_stay_apart_and_those_of_cells_stay_as_they_are():
    names = ["a b", "a-b", "a/b", "größer", "gr-er", "x" * 130, "x" * 131]
    made = [tracking.format_artifact_name(name) for name in names]
    assert len(set(made)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", name) for name in made)
    cell = "generator-mnist_5k-mlp-bce-lr_0.1-1a2b3c4d"
    assert tracking.format_artifact_name(cell) == cell


def test_a_run_that_is_resumed_with_other_values_goes_on(stub, tmp_path):
    for rate in (1, 2):
        logger = tracking.wandb_logger(save_dir=str(tmp_path), project="test", id="mnist-hinge-0", group=f"lr_{rate}")
        with tracking.track_run(logger, {"optimizer": {"lr": rate}, "ckpt_path": None if rate == 1 else "last"}):
            logger.log_metrics({"loss": float(rate)}, step=rate)
    (run,) = stub.dump()["runs"]
    assert run["config"]["optimizer"] == {"lr": 2}
    assert (run["id"], run["group"], run["config"]["ckpt_path"]) == ("mnist-hinge-0", "lr_2", "last")
    assert [row["loss"] for row in run["history"] if "loss" in row] == [1, 2]


def test_an_id_that_is_taken_is_refused_in_one_line(stub, tmp_path):
    options = {"save_dir": str(tmp_path), "project": "test", "id": "abc"}
    with tracking.track_run(tracking.wandb_logger(**options, resume="never"), {"seed": 0}):
        pass
    with (
        pytest.raises(tracking.InputError, match="abc"),
        tracking.track_run(tracking.wandb_logger(**options, resume="never"), {"seed": 1}),
    ):
        pass
    (run,) = stub.dump()["runs"]
    assert run["config"]["seed"] == 0


def test_the_best_of_a_cell_is_the_best_of_its_protocol(stub, tmp_path):
    file = tmp_path / "generator.safetensors"
    file.write_bytes(b"weights")
    for fid, n_fakes, group in ((3.0, 100, "a"), (2.0, 100, "a"), (2.5, 100, "a"), (9.0, 200, "a"), (5.0, 100, "b")):
        logger = tracking.wandb_logger(save_dir=str(tmp_path), project="test", group=group)
        file.write_text(str(fid))
        facts = {"fid_best": fid, "protocol": {"n_fakes": n_fakes}}
        with tracking.track_run(logger, {}):
            facts["protocol_id"] = hash_protocol(facts["protocol"])
            tracking.log_summary(logger, facts)
            tracking.log_generator(logger, [file], "fid", facts)
    filed = [(found["name"], "best" in found["aliases"]) for found in stub.dump()["artifacts"]]
    assert filed == [(f"generator-{group}", is_best) for group, is_best in zip("aaaab", [1, 1, 0, 1, 1], strict=True)]


@pytest.mark.slow
def test_a_server_that_is_killed_in_mid_run_loses_nothing(stub, configure, tmp_path, monkeypatch, caplog):
    """Killed at the first of two evaluations, and back when the run is over: `wandb sync` uploads the whole history."""
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "2")
    draw = tracking.log_image

    def kill_and_draw(*arguments):
        stub.kill()
        draw(*arguments)

    monkeypatch.setattr(tracking, "log_image", kill_and_draw)
    assert train.train(configure(*SMALL)) > 0
    assert not stub.is_up
    (folder,) = (tmp_path / "run" / "wandb").glob("run-*")
    command = f"wandb sync --include-online {folder}"
    assert command in caplog.text
    wandb.teardown()
    stub.start()
    subprocess.run([WANDB, *command.split()[1:]], check=True, capture_output=True)
    (run,) = stub.dump()["runs"]
    rows = [row for row in run["history"] if "fid_200" in row]
    assert [row["trainer/global_step"] for row in rows] == [10, 20]
    for row, own in zip(rows, read_history(tmp_path / "run"), strict=True):
        assert {key: row[key] for key in own if key != "step"} == pytest.approx(
            {key: value for key, value in own.items() if key != "step"}, rel=1e-5
        )
    assert [row["trainer/global_step"] for row in run["history"] if "generator_loss" in row] == [5, 10, 15, 20]
    scores = json.loads((tmp_path / "run" / "metrics.json").read_text())["scores"]
    assert run["summary"]["fid_200_best"] == pytest.approx(scores["fid_200_best"], rel=1e-5)
    assert [name for name in run["files"] if "samples" in name]


@pytest.mark.parametrize("where", ["environment", "netrc"])
def test_no_api_key_is_in_what_a_run_leaves_or_sends(stub, configure, offline, monkeypatch, where):
    """In no file of the run, of its report or of W&B's, and in nothing that the server gets but the authorization."""
    with Recorder(stub.url) as recorder:
        monkeypatch.setenv("WANDB_BASE_URL", recorder.url)
        if where == "netrc":
            monkeypatch.delenv("WANDB_API_KEY")
            machine = urlsplit(recorder.url).netloc
            (offline / ".netrc").write_text(f"machine {machine}\n  login user\n  password {KEY}\n")
        train.train(configure(*SMALL, "trainer.max_steps=2"))
        (offline / "run" / "report.html").write_text(render_page(find_runs([offline]), "runs"))
        create_wandb_report("gan-sweeps", None)
        wandb.teardown()
    files = [path for path in offline.rglob("*") if path.is_file() and path.name != ".netrc"]
    assert {".ckpt", ".yaml", ".json", ".log", ".wandb", ".html"} <= {path.suffix for path in files}
    secrets = KEY.encode(), b64encode(b"api:" + KEY.encode())
    assert not [path for path in files if any(secret in path.read_bytes() for secret in secrets)]
    assert stub.dump()["runs"][0]["state"] == "finished"
    assert any(secrets[1] in heads for heads, _ in recorder.requests)
    for heads, body in recorder.requests:
        others = b"\n".join(line for line in heads.splitlines() if not line.startswith(b"Authorization:"))
        assert not any(secret in others + body for secret in secrets)


def test_two_rates_are_two_groups_and_two_rows(configure, offline):
    for i, rate in enumerate(("1e-3", "2e-3", "2e-3")):
        train.train(
            configure(*SMALL, f"run_dir={offline}/{i}", f"seed={i}", f"optimizer.lr={rate}", "trainer.max_steps=2")
        )
    groups = [read(next((offline / str(i) / "wandb").glob("offline-run-*")))["group"] for i in range(3)]
    assert groups[0] != groups[1] == groups[2]
    found = group_by_cell(find_runs([offline]))
    assert [len(members) for members in found.values()] == [1, 2]
    assert {run.cell for members in found.values() for run in members} == set(groups)
