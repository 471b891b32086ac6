"""Signals that end a run before its time, sent for real."""

import json
import os
import signal

import pytest
import torch
from pytorch_lightning import Callback
from safetensors.torch import load_file

import train
from gan.errors import Preempted, reason
from tests.conftest import NARROW

RUN = ["model=mlp", *NARROW["mlp"], "trainer.val_check_interval=10", "ckpt_path=last"]


class Signalled(Callback):
    """Sends a signal to its own process in the middle of a run."""

    def __init__(self, number: int, step: int) -> None:
        self.number, self.step = number, step

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


def run(configure, monkeypatch, *overrides, number=0, step=-1):
    """Train with a signal on its way, and return the generator's weights."""
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)]
    built = train.instantiate

    def with_signal(cfg, **given):
        if "callbacks" in given:
            given["callbacks"].append(Signalled(number, step))
        return built(cfg, **given)

    monkeypatch.setattr("train.instantiate", with_signal)
    cfg = configure(*RUN, *overrides)
    try:
        train.train(cfg)
    finally:
        monkeypatch.undo()
        assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)] == before
    return load_file(f"{cfg.run_dir}/generator.safetensors")


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_preempted_run_saves_its_last_step_and_ends_as_if_left_alone(configure, monkeypatch, tmp_path, number):
    with pytest.raises(Preempted, match=r"preempted at step 14; ckpt_path=.*last.ckpt goes on") as caught:
        run(configure, monkeypatch, number=number, step=13)
    assert reason(caught.value) == str(caught.value)
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 14
    resumed = run(configure, monkeypatch)
    alone = run(configure, monkeypatch, f"run_dir={tmp_path}/alone")
    assert all(torch.equal(resumed[name], alone[name]) for name in alone)
    steps = [json.loads(line)["step"] for line in (tmp_path / "run/history.jsonl").read_text().splitlines()]
    assert steps == [10, 20]


def test_slurms_sigterm_preempts_but_that_of_a_wandb_agent_stops_early(configure, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    with pytest.raises(Preempted):
        run(configure, monkeypatch, number=signal.SIGTERM, step=13)
    monkeypatch.setenv("WANDB_SWEEP_ID", "1")
    run(configure, monkeypatch, number=signal.SIGTERM, step=17)


def test_a_run_that_is_stopped_is_scored_and_saved(configure, monkeypatch, tmp_path):
    run(configure, monkeypatch, number=signal.SIGTERM, step=13)
    scores = json.loads((tmp_path / "run/metrics.json").read_text())["scores"]
    assert scores["generator_steps"] == 14
    assert scores["fid_200"] > 0
