"""Faults injected for real: what docs/faults.md says of each. Nothing is lost but the steps since the last save."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gan.errors import InputError
from gan.run.resume import prepare_start
from tests.helpers import wait_until
from tests.processes import CONTEXT, start_training
from tests.signalled import train_through_signals

STEPS = ["trainer.max_steps=30", "trainer.val_check_interval=10"]


def finish(process, log: Path, status: int = 0) -> str:
    """Wait for a process to end with a status, and return its output."""
    process.join(120)
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    assert process.exitcode == status, text
    return text


def require_one_line(text: str, beginning: str) -> None:
    """Fail unless an output ends in one line with this beginning, and holds no traceback."""
    assert "Traceback" not in text, text
    assert text.splitlines()[-1].startswith(beginning), text


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "generator.safetensors")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The weights of a run that nothing disturbed, and how long it took."""
    folder = tmp_path_factory.mktemp("alone")
    finish(
        start_training(folder / "warm.log", "trainer.max_steps=1", f"hydra.run.dir={folder}/warm"), folder / "warm.log"
    )
    since = time.monotonic()
    finish(start_training(folder / "log", *STEPS, f"hydra.run.dir={folder}/run"), folder / "log")
    return weights(folder / "run"), time.monotonic() - since


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own; its options can be changed by mounting it again."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    if os.getuid() or not shutil.which("mount") or subprocess.run([*mount, "size=64k", "tmpfs", place]).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield place, lambda options: subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)
    subprocess.run(["umount", "-l", place], check=True)


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_killed_at_any_moment_a_run_ends_as_if_left_alone(alone, tmp_path):
    expected, lasts = alone
    moments, turns = random.Random(0), int(os.environ.get("TURNS", 2))
    for turn in range(turns):
        words = [*STEPS, "callbacks.last.every_n_steps=4", f"hydra.run.dir={tmp_path}/{turn}", "ckpt_path=last"]
        log, moment = tmp_path / f"{turn}.log", lasts * moments.random()
        process = start_training(log, *words)
        process.join(moment)
        process.kill()
        process.join(60)
        finish(start_training(log, *words), log)
        assert same(weights(tmp_path / str(turn)), expected), f"killed after {moment} s"
        lines = (tmp_path / str(turn) / "history.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [10, 20, 30]
        json.loads((tmp_path / str(turn) / "metrics.json").read_text())


@pytest.mark.slow
def test_a_full_disk_costs_the_steps_since_the_last_save(alone, disk, tmp_path):
    expected, _ = alone
    place, remount = disk
    remount("size=2m")
    run, log = place / "run", tmp_path / "log"
    (place / "ballast").write_bytes(bytes(250_000))
    text = finish(start_training(log, *STEPS, f"hydra.run.dir={run}"), log, status=1)
    require_one_line(text, "error: the disk is full; make room, then resume=FOLDER continues the run")
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert saved in (10, 20)
    assert not [path for path in run.rglob(".*") if path.is_file()], "a part of a file is left"
    remount("size=16m")
    text = finish(start_training(log, f"resume={run}", *STEPS), log)
    assert f"at step {saved}" in text
    assert same(weights(run), expected)


@pytest.mark.slow
def test_a_disk_without_any_room_is_one_line(disk, tmp_path):
    place, remount = disk
    for size in ("4k", "16k"):
        remount(f"size={size}")
        log = tmp_path / size
        text = finish(start_training(log, *STEPS, f"hydra.run.dir={place}/run"), log, status=1)
        require_one_line(text, "error: the disk is full")
        shutil.rmtree(place / "run")


@pytest.mark.slow
def test_a_read_only_folder_is_one_line(disk, tmp_path):
    place, remount = disk
    remount("ro")
    text = finish(start_training(tmp_path / "log", f"hydra.run.dir={place}/run"), tmp_path / "log", status=1)
    require_one_line(text, f"error: the file system is read-only; choose another folder by hydra.run.dir ({place}")
    (tmp_path / "file").touch()
    text = finish(start_training(tmp_path / "log", f"hydra.run.dir={tmp_path}/file/run"), tmp_path / "log", status=1)
    require_one_line(text, "error: a file is where a folder must be")


@pytest.mark.slow
def test_too_little_memory_is_one_line_with_the_remedy(tmp_path):
    words = ["model.generator.hidden=[100000,100000]", f"hydra.run.dir={tmp_path}/run"]
    text = finish(start_training(tmp_path / "log", *words, memory=16 * 2**30), tmp_path / "log", status=1)
    require_one_line(text, "error: out of memory; use a smaller data.batch_size or narrower networks (")


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_wait_for_the_step(tmp_path):
    run, log = tmp_path / "run", tmp_path / "log"
    slow = [
        "model.generator.hidden=[2048,2048,2048,2048]",
        "data.batch_size=1000",
        "metrics.n_fakes=64",
        "objective=fid_64",
    ]
    process = start_training(log, *slow, "callbacks.last.every_n_steps=1", f"hydra.run.dir={run}")

    def saved() -> bool:
        assert process.exitcode is None, log.read_text()
        return (run / "checkpoints" / "last.ckpt").exists()

    wait_until(saved, "a first checkpoint")
    for _ in range(2):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.05)
    text = finish(process, log, status=1)
    require_one_line(text, "stopped")
    torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.parametrize("damage", ["cut", "zeros", "empty", "text"])
def test_a_damaged_last_checkpoint_is_one_line_with_the_remedy(alone, configure, damage, tmp_path):
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    torch.save({"state_dict": {"a": torch.zeros(1000)}, "global_step": 3}, path)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:2000], "zeros": bytes(len(whole)), "empty": b"", "text": b"not this"}[damage])
    with pytest.raises(
        InputError, match=rf"^{path}: not a checkpoint, or a damaged one .*ckpt_path=FILE, such as .*best"
    ):
        prepare_start(configure("ckpt_path=last"))


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_ends_both_and_they_go_on(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rest = port, tmp_path, os.environ["XDG_CACHE_HOME"], int(os.environ.get("TURNS", 3)), 2
    gang = [CONTEXT.Process(target=train_through_signals, args=(rank, *rest)) for rank in range(2)]
    for process in gang:
        process.start()
    until = time.monotonic() + 600
    while any(process.exitcode is None for process in gang) and time.monotonic() < until:
        time.sleep(0.1)
        if any(process.exitcode for process in gang):  # the other one waits for it
            break
    codes = [process.exitcode for process in gang]
    for process in gang:
        process.kill()
    assert codes == [0, 0]
