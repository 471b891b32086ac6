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
from gan.run import build
from gan.signals import SIGNALS
from tests.conftest import NARROW

RUN = ["model=mlp", *NARROW["mlp"], "trainer.val_check_interval=10", "ckpt_path=last"]


class Signalled(Callback):
    """Sends a signal to its own process in the middle of a run."""

    def __init__(self, number: int, step: int) -> None:
        self.number, self.step = number, step

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


def run(configure, *overrides, number=0, step=-1):
    """Train with a signal on its way, and return the generator's weights."""
    before = [signal.getsignal(n) for n in SIGNALS]
    built = build.instantiate

    def with_signal(cfg, **given):
        if "callbacks" in given:
            given["callbacks"].append(Signalled(number, step))
        return built(cfg, **given)

    cfg = configure(*RUN, *overrides)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(build, "instantiate", with_signal)
            train.train(cfg)
    finally:
        assert [signal.getsignal(n) for n in SIGNALS] == before
    return load_file(f"{cfg.run_dir}/generator.safetensors")


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_preempted_run_saves_its_last_step_and_ends_as_if_left_alone(configure, tmp_path, number):
    with pytest.raises(Preempted, match=r"preempted at step 14; ckpt_path=.*last.ckpt goes on") as caught:
        run(configure, number=number, step=13)
    assert reason(caught.value) == str(caught.value)
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 14
    resumed = run(configure)
    alone = run(configure, f"run_dir={tmp_path}/alone")
    assert all(torch.equal(resumed[name], alone[name]) for name in alone)
    steps = [json.loads(line)["step"] for line in (tmp_path / "run/history.jsonl").read_text().splitlines()]
    assert steps == [10, 20]


def test_slurms_sigterm_preempts_but_that_of_a_wandb_agent_stops_early(configure, monkeypatch, tmp_path):
    """An agent's within a job, too, unless Slurm says that it takes the machine away."""
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    with pytest.raises(Preempted):
        run(configure, number=signal.SIGTERM, step=3)
    monkeypatch.setenv("WANDB_SWEEP_ID", "1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for step, state in {5: "JobState=COMPLETING", 7: "JobState=RUNNING PreemptTime=2026-01-31T12:00:00"}.items():
        answers(tmp_path / "scontrol", state)
        with pytest.raises(Preempted):
            run(configure, number=signal.SIGTERM, step=step)
    answers(tmp_path / "scontrol", "JobState=RUNNING PreemptTime=None")
    run(configure, number=signal.SIGTERM, step=17)


def answers(path, text):
    path.write_text(f"#!/bin/sh\necho '{text}'\n")
    path.chmod(0o755)


def test_ctrl_c_saves_the_step_and_a_second_one_ends_the_run_at_once(configure, monkeypatch, tmp_path):
    with pytest.raises(Preempted, match="preempted at step 14"):
        run(configure, number=signal.SIGINT, step=13)

    class Twice(Signalled):
        def on_train_batch_start(self, trainer, *_):
            super().on_train_batch_start(trainer)
            super().on_train_batch_start(trainer)

    monkeypatch.setattr("tests.test_interruption.Signalled", Twice)
    with pytest.raises(SystemExit):  # as Lightning ends on KeyboardInterrupt
        run(configure, number=signal.SIGINT, step=17)
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 14


def test_a_run_that_is_stopped_is_scored_and_saved(configure, tmp_path):
    run(configure, number=signal.SIGTERM, step=13)
    scores = json.loads((tmp_path / "run/metrics.json").read_text())["scores"]
    assert scores["generator_steps"] == 14
    assert scores["fid_200"] > 0
