"""A multirun asks W&B once: it ends in one line where no run could start, and its runs are told what was found."""

import os
import socket
from types import SimpleNamespace

import pytest
from hydra import compose

from gan.launch.account import Account
from gan.system import wandb_server
from tests.stub import KEY


@pytest.fixture
def started(configure, offline, monkeypatch):
    """Start a multirun of these words, as far as its first run."""
    monkeypatch.setattr(wandb_server, "unreachable", {})
    monkeypatch.setenv("WANDB_MODE", "")  # so that it is put back
    monkeypatch.delenv("WANDB_MODE")

    def start(*words, launcher="hydra/launcher=basic", folder=offline):
        config = compose("train", [launcher], return_hydra_config=True)
        task, launch = SimpleNamespace(task=list(words)), SimpleNamespace(_target_=config.hydra.launcher._target_)
        hydra = SimpleNamespace(overrides=task, launcher=launch, job=SimpleNamespace(config_name="train"))
        hydra.sweep = SimpleNamespace(dir=str(folder))
        account, made = Account(), SimpleNamespace(hydra=hydra)
        account.on_multirun_start(made)
        return lambda: account.on_multirun_end(made)

    return start


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WANDB_RUN_ID", "abc123", "WANDB_RUN_ID=abc123: a multirun starts"),
        ("WANDB_PROJECT", "a/b", "logger.project=a/b: "),
        ("WANDB_API_KEY", "abc", "W&B refuses the API key: "),
        ("WANDB_MODE", "ofline", "WANDB_MODE=ofline: must be one of"),
    ],
)
def test_what_no_run_could_start_with_ends_the_command_in_one_line(started, monkeypatch, name, value, words):
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        started("seed=0,1", "model=mlp")
    assert ended.value.code.startswith(f"error: {words}")
    assert "\n" not in ended.value.code
    assert started("seed=0,1", "logger=none") is not None  # which needs no account


@pytest.mark.parametrize(("launcher", "mode"), [("basic", "offline"), ("local", "offline"), ("slurm", None)])
def test_runs_on_this_machine_need_not_wait_for_a_server_that_is_silent(
    started, monkeypatch, capsys, launcher, mode, offline
):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    end = started("seed=0,1", launcher=f"hydra/launcher={launcher}")
    assert os.environ.get("WANDB_MODE") == mode
    end()
    assert not capsys.readouterr().out
    (offline / "0" / "wandb" / "offline-run-1-a").mkdir(parents=True)
    end()
    assert capsys.readouterr().out.split(maxsplit=1)[1] == f"wandb sync {offline}/*/wandb/offline-run-*\n"


def test_a_command_that_does_not_compose_is_left_to_its_first_run(started):
    started("seed=0,1", "nonsense=1")
