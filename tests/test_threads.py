"""The number of threads follows the load, before torch is imported and during training, and is printed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from gan.callbacks.threads import MOST_READINGS, READINGS, SHORT_READINGS, Threads
from gan.system import threads
from tests.helpers import NARROW, ROOT

NAMES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.fixture
def machine(monkeypatch):
    """A machine of 4 cores, of which some are busy, for a process that has not imported torch."""
    monkeypatch.setattr("joblib.cpu_count", lambda **_: 4)
    monkeypatch.setattr(threads, "count_visible_cores", lambda: 4)
    monkeypatch.setattr(threads, "count_most_threads", lambda: 4)
    monkeypatch.setattr(threads, "variables_set", set())
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for name in NAMES:
        monkeypatch.setenv(name, "1")  # whatever a test sets is undone
        monkeypatch.delenv(name)
    return lambda n_busy: monkeypatch.setattr(threads, "count_busy_cores", lambda *_: n_busy)


@pytest.fixture
def number(monkeypatch):
    """The number of threads of torch, which these tests do not change: 4 at first."""
    number = [4]
    monkeypatch.setattr(torch, "get_num_threads", lambda: number[-1])
    monkeypatch.setattr(torch, "set_num_threads", number.append)
    return number


def start_training(device="cpu", world_size=1, is_global_zero=True):
    """Return the callback at the start of training, and a function that ends a step."""
    strategy = SimpleNamespace(root_device=torch.device(device))
    trainer = SimpleNamespace(
        strategy=strategy, world_size=world_size, is_global_zero=is_global_zero, global_step=7, log_every_n_steps=50
    )
    callback = Threads()
    callback.on_train_start(trainer, None)

    def end_step(n_own: float, n_others: float) -> None:
        callback.meter = SimpleNamespace(read=lambda: (n_own, n_others))
        if callback.next_reading < float("inf"):
            callback.next_reading = 0.0
        callback.on_train_batch_end(trainer, None)

    return callback, end_step


@pytest.mark.parametrize(
    ("n_busy", "n_threads"), [(0.0, 4), (0.4, 4), (0.8, 3), (1.0, 3), (2.2, 2), (3.0, 1), (4.0, 1), (7.5, 1)]
)
def test_there_is_a_thread_for_each_free_core(machine, n_busy, n_threads):
    machine(n_busy)
    line = threads.choose_threads()
    assert os.environ.get("OMP_NUM_THREADS") == (None if n_threads == 4 else str(n_threads))
    assert line == f"{n_threads} thread{'s' * (n_threads > 1)} on 4 cores, {n_busy:.1f} of them busy"


@pytest.mark.parametrize("name", NAMES)
def test_what_the_user_has_chosen_stays(machine, name):
    machine(4.0)
    os.environ[name] = "3"
    assert threads.choose_threads() is None
    assert [variable for variable in NAMES if variable in os.environ] == [name]


def test_a_later_run_of_a_process_chooses_again(machine, monkeypatch, number):
    machine(3.0)
    assert threads.choose_threads().startswith("1 thread ")
    monkeypatch.setitem(sys.modules, "torch", torch)
    machine(2.0)
    assert threads.choose_threads().startswith("2 threads ")
    assert number == [4, 2]
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_a_container_that_sees_more_cores_than_it_may_use_has_no_more_threads(machine, monkeypatch):
    monkeypatch.setattr(threads, "count_visible_cores", lambda: 64)
    machine(30.0)
    assert threads.choose_threads() == "4 threads on 4 cores, 0.0 of them busy"
    assert os.environ["OMP_NUM_THREADS"] == "4"


@pytest.mark.parametrize(("chosen", "n_busy", "expected"), [("3", 4.0, "3"), (None, 0.0, "2"), (None, 3.0, "1")])
def test_jobs_divide_the_cores_unless_the_user_has_chosen(machine, monkeypatch, number, chosen, n_busy, expected):
    machine(n_busy)
    if chosen:
        os.environ["OMP_NUM_THREADS"] = chosen
    threads.choose_threads()
    monkeypatch.setitem(sys.modules, "torch", torch)
    number.append(int(os.environ.get("OMP_NUM_THREADS", "4")))  # what torch reads when it is imported
    assert threads.divide_threads(2) == expected


def test_busy_cores_are_counted(monkeypatch):
    own = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    shares = [50.0 if i in own else 100.0 for i in range(psutil.cpu_count())]
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval, percpu: shares)
    assert threads.count_busy_cores() == pytest.approx(0.5 * len(own))


def test_own_work_is_not_that_of_others(monkeypatch):
    spent, now = iter([1.0, 8.5]), iter([100.0, 105.0])
    monkeypatch.setattr(threads.time, "process_time", lambda: next(spent))
    monkeypatch.setattr(threads.time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(threads, "count_busy_cores", lambda _: 3.5)
    assert threads.CoreMeter().read() == pytest.approx((1.5, 2.0))


def test_threads_follow_a_load_that_comes_and_goes(machine, number, capsys):
    _, end_step = start_training()
    end_step(4.0, 0.1)
    assert number == [4]
    end_step(2.0, 2.0)
    assert number == [4, 2]
    assert "step 7: 2 threads on 4 cores, 2.0 of them busy\n" in capsys.readouterr().out
    for _ in range(2 * READINGS - 1):
        end_step(2.0, 0.0)
    end_step(2.0, 2.0)  # the wait for free cores begins again
    for _ in range(2 * READINGS - 1):
        end_step(2.0, 0.0)
    assert number == [4, 2]
    end_step(2.0, 0.0)
    assert number == [4, 2, 4]
    assert capsys.readouterr().out == "step 7: 4 threads on 4 cores, 0.0 of them busy\n"


def test_a_load_that_comes_and_goes_all_the_time_changes_the_threads_ever_less_often(machine, number, capsys):
    _, end_step = start_training()
    for i in range(2000):
        end_step(1.0, 3.0 * (i % 25 == 0))
    assert len(number) < 10
    for _ in range(MOST_READINGS):
        end_step(1.0, 0.0)
    assert number[-1] == 4


def test_a_little_more_room_is_not_worth_a_change(machine, number):
    number.append(3)
    _, end_step = start_training()
    for n_others in (1.4, 1.0, 0.6, 0.3):
        for _ in range(MOST_READINGS):
            end_step(3.0, n_others)
    assert number == [4, 3]
    assert [threads.fit_threads(60, n_free, 64) for n_free in (59.6, 62.0, 64.0)] == [60, 60, 60]


@pytest.mark.parametrize("name", NAMES)
def test_training_leaves_a_number_that_the_user_has_chosen(machine, number, name):
    os.environ[name] = "3"
    _, end_step = start_training()
    end_step(2.0, 2.0)
    assert number == [4]


def test_a_number_that_this_process_has_chosen_by_the_variable_follows_the_load(machine, monkeypatch, number):
    machine(3.0)
    threads.choose_threads()
    monkeypatch.setitem(sys.modules, "torch", torch)
    number.append(1)
    _, end_step = start_training()
    for _ in range(READINGS):
        end_step(1.0, 0.0)
    assert number == [4, 1, 4]


@pytest.mark.parametrize("options", [{"world_size": 2}, {"device": "cuda"}, {"is_global_zero": False}], ids=str)
def test_several_processes_and_other_devices_follow_nothing(machine, number, options):
    _, end_step = start_training(**options)
    end_step(0.5, 3.5)
    assert number == [4]


def test_a_run_that_gets_less_than_half_of_its_cores_says_so_once(machine, number, capsys):
    os.environ["OMP_NUM_THREADS"] = "4"
    _, end_step = start_training()
    end_step(1.5, 2.5)
    for _ in range(SHORT_READINGS):
        end_step(2.0, 2.0)  # half
        end_step(1.0, 0.5)  # uses few, but not because of others
    assert capsys.readouterr().out == ""
    for _ in range(2 * SHORT_READINGS):
        end_step(1.5, 2.5)
    assert capsys.readouterr().out == "step 7: this run gets 1.5 of 4 cores: other processes use the rest\n"


@pytest.mark.parametrize(("n_chosen", "lines"), [("1", 0), ("4", 1)])
def test_its_cores_are_those_that_it_has_threads_for(machine, number, capsys, n_chosen, lines):
    os.environ["OMP_NUM_THREADS"] = n_chosen
    number.append(int(n_chosen))
    _, end_step = start_training(world_size=2)
    for _ in range(SHORT_READINGS):
        end_step(0.7, 3.3)
    assert capsys.readouterr().out.count("\n") == lines


def test_no_step_but_the_one_in_some_seconds_reads_the_load(machine, number):
    callback, _ = start_training()
    callback.meter = None  # reading it would fail
    for _ in range(100):
        callback.on_train_batch_end(None, None)


@pytest.mark.parametrize("loss", ["bce", "wgan_gp"])
def test_training_goes_through_changes_of_the_number(configure, monkeypatch, machine, loss, capsys):
    """Backward passes, also through gradients, with another number of threads after each step."""
    import train

    busy = iter(range(1000))
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr("gan.callbacks.threads.EVERY_S", 0.0)
    monkeypatch.setattr("gan.callbacks.threads.READINGS", 1)
    monkeypatch.setattr("gan.callbacks.threads.MOST_READINGS", 1)
    monkeypatch.setattr(threads, "count_busy_cores", lambda *_: 3.0 * (next(busy) % 2))
    monkeypatch.setattr(threads.time, "process_time", lambda: 0.0)
    before = torch.get_num_threads()
    try:
        cfg = configure("model=dcgan", *NARROW["dcgan"], f"loss={loss}", "trainer.max_steps=8")
        train.train(cfg)
    finally:
        torch.set_num_threads(before)
    out = capsys.readouterr().out
    assert out.count(": 1 thread on 4 cores, 3.0 of them busy") >= 3
    assert out.count(": 4 threads on 4 cores, 0.0 of them busy") >= 3
    assert not json.loads(Path(cfg.run_dir, "metrics.json").read_text(encoding="utf-8"))["scores"]["diverged"]


def test_the_command_line_imports_no_torch_before_the_choice():
    code = "import sys, train; assert 'torch' not in sys.modules; assert 'wandb' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
