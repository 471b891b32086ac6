"""Signals that end a run before its time, sent for real."""

import json
import multiprocessing
import os
import signal

import pytest
import torch
from pytorch_lightning import Callback
from safetensors.torch import load_file

import train
from gan.data.datamodule import ImageData
from gan.errors import Preempted, find_reason
from gan.gan import GAN
from gan.run import build
from gan.system.signals import SIGNALS, catch_signals
from tests.helpers import NARROW

RUN = ["model=mlp", *NARROW["mlp"], "trainer.val_check_interval=10", "ckpt_path=last"]


class Signalled(Callback):
    """Sends a signal to its own process in the middle of a run."""

    def __init__(self, number: int, step: int) -> None:
        self.number, self.step = number, step

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


class SignalledIn(Signalled):
    """Sends it as a hook is called: of an evaluation, or of the save that an earlier signal has brought about."""

    def __init__(self, number: int, hook: str, step: int) -> None:
        super().__init__(number, step)
        setattr(self, hook, self.send)

    def send(self, trainer, *_):
        if trainer.global_step >= self.step:
            os.kill(os.getpid(), self.number)


def run(configure, *overrides, number=0, step=-1, hook=None):
    """Train with a signal on its way, and return the generator's weights."""
    before = [signal.getsignal(n) for n in SIGNALS]
    built = build.instantiate

    def with_signal(cfg, **given):
        if "callbacks" in given:
            given["callbacks"].append(SignalledIn(number, hook, step) if hook else Signalled(number, step))
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
    with pytest.raises(Preempted, match=r"preempted at step 14; ckpt_path=.*last.ckpt resumes there") as caught:
        run(configure, number=number, step=13)
    assert find_reason(caught.value) == str(caught.value)
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 14
    resumed = run(configure)
    alone = run(configure, f"run_dir={tmp_path}/alone")
    assert all(torch.equal(resumed[name], alone[name]) for name in alone)
    steps = [json.loads(line)["step"] for line in (tmp_path / "run/history.jsonl").read_text().splitlines()]
    assert steps == [10, 20]


@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_validation_start", "on_validation_end"])
def test_an_evaluation_that_is_due_or_has_begun_comes_first(configure, hook, tmp_path):
    """A state saved before it would skip it."""
    step = 9 if hook == "on_train_batch_start" else 10
    with pytest.raises(Preempted, match=r"preempted at step 1[01];"):
        run(configure, number=signal.SIGUSR1, step=step, hook=hook)
    resumed = run(configure)
    alone = run(configure, f"run_dir={tmp_path}/alone")
    assert all(torch.equal(resumed[name], alone[name]) for name in alone)
    lines = [(tmp_path / name / "history.jsonl").read_text().splitlines() for name in ("run", "alone")]
    ours, theirs = ([json.loads(line) | {"seconds": 0} for line in each] for each in lines)
    assert ours == theirs


@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_validation_start"])
def test_data_workers_end_with_a_run_that_is_cut_short(configure, hook):
    with pytest.raises(Preempted):
        run(configure, "+data.num_workers=1", number=signal.SIGUSR1, step=10, hook=hook)
    left = multiprocessing.active_children()
    for worker in left:
        worker.kill()  # otherwise Python waits for them at its end
    assert not left


def test_a_second_ctrl_c_waits_for_a_file_that_is_being_written(configure, tmp_path):
    class Save(SignalledIn):
        def on_save_checkpoint(self, trainer, *_):
            os.kill(os.getpid(), self.number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.test_interruption.SignalledIn", Save)
        with pytest.raises(Preempted, match="preempted at step 4"):
            run(configure, number=signal.SIGINT, step=3, hook="on_train_batch_start")
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 4


@pytest.fixture
def caught():
    """Signals are caught as train.py catches them."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    catch_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    catch_signals.__globals__["early"].clear()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_while_the_run_does_not_train_ends_it_in_one_line(configure, caught, number, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "build_data", lambda _: os.kill(os.getpid(), number))
        with pytest.raises(SystemExit, match=rf"^stopped: {signal.Signals(number).name} came while the run did not"):
            run(configure)


def test_lightning_takes_no_signals(configure, monkeypatch):
    """Its handler would exchange with other processes from wherever this one is."""
    before, seen = [signal.getsignal(number) for number in SIGNALS], []
    for name in ("train_dataloader", "val_dataloader"):
        own = getattr(ImageData, name)
        look = lambda data, own=own: seen.append([signal.getsignal(n) for n in SIGNALS]) or own(data)  # noqa: E731
        monkeypatch.setattr(ImageData, name, look)
    run(configure, "trainer.max_steps=1")
    assert seen == [before] * len(seen)
    assert len(seen) >= 2


def test_one_of_several_processes_lets_training_decide(configure, caught, monkeypatch):
    """The others would wait for it for ever."""
    monkeypatch.setenv("LOCAL_RANK", "0")
    os.kill(os.getpid(), signal.SIGUSR1)
    with pytest.raises(Preempted, match="preempted at step 1;"):
        run(configure)


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
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["scores"]["generator_steps"] == 14
    assert metrics["scores"]["fid_200"] > 0
    assert (tmp_path / "run/checkpoints/best.ckpt").is_file()
    assert metrics["best"] == {}  # it has to hurry


def test_the_last_save_holds_the_random_state_of_trainings_end(configure, monkeypatch, tmp_path):
    """The GPU's is out of reach by then: the networks have left it."""

    def read(gan):
        gpu = torch.tensor([gan.global_step], dtype=torch.uint8) if gan.trainer.training else None
        return {"cpu": torch.get_rng_state(), "cuda": gpu}

    monkeypatch.setattr(GAN, "read_random_state", read)
    run(configure)
    (states,) = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["random_states"]
    assert states["cuda"].tolist() == [20]
