"""Who a run is in W&B: what the command line, the environment and a resumed run's folder say, in this order."""

import os
import shutil
from types import SimpleNamespace

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from PIL import Image

from gan.data.folder import Folder
from gan.errors import InputError
from gan.run.cell import name_cell
from gan.run.config import prepare_config
from gan.run.identity import identify_run, prepare_logger
from tests.helpers import NARROW

ENVIRONMENT = {
    "WANDB_PROJECT": "theirs",
    "WANDB_ENTITY": "team",
    "WANDB_RUN_GROUP": "ablation/lr, day 2",
    "WANDB_NAME": "first try",
    "WANDB_TAGS": "a, b c,",
    "WANDB_RUN_ID": "mnist-hinge-0",
    "WANDB_DIR": "/tmp/elsewhere",
    "WANDB_MODE": "disabled",
}
DATA = SimpleNamespace(fingerprint=lambda: "a" * 64)


@pytest.fixture
def named(configure, offline):
    """A run's whole config as it is filed."""

    def config(*overrides, data=DATA):
        cfg = configure("model=mlp", *NARROW["mlp"], "logger=wandb", *overrides)
        return identify_run(prepare_logger(prepare_config(cfg)), data, {})

    return config


def leave(folder, run_id):
    """Write what an earlier run left."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"logger": {"id": run_id}}))
    return folder / "checkpoints" / "last.ckpt"


def test_by_default_a_run_is_called_by_its_cell(named):
    config = named("seed=3")
    cell = name_cell(config)
    assert config.choices.cell == cell
    logger = config.logger
    assert (logger.project, logger.group, logger.name) == ("gan-sweeps", cell, f"{cell}-seed3")
    assert (list(logger.tags), logger.mode, logger.resume) == (["mnist_5k", "mlp", "bce"], "offline", "allow")
    assert logger.id != named("seed=3").logger.id
    assert logger.save_dir == config.run_dir


def test_variables_of_the_environment_come_before_defaults(named, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    logger = named().logger
    assert (logger.project, logger.entity) == ("theirs", "team")
    assert (logger.group, logger.name) == ("ablation/lr, day 2", "first try")
    assert (list(logger.tags), logger.id) == (["a", "b c"], "mnist-hinge-0")
    assert (logger.save_dir, logger.mode) == ("/tmp/elsewhere", "disabled")


def test_the_command_line_comes_before_the_environment(named, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    typed = {"project": "mine", "entity": "me", "group": "g", "name": 12, "id": "x-y", "save_dir": "/tmp/a"}
    logger = named(*(f"logger.{key}={value}" for key, value in typed.items()), "logger.tags=[c]").logger
    assert {key: logger[key] for key in typed} == typed | {"name": "12"}
    assert list(logger.tags) == ["c"]


def test_empty_variables_are_none(named, monkeypatch):
    for name in ENVIRONMENT.keys() - {"WANDB_TAGS", "WANDB_MODE", "WANDB_RUN_ID"}:  # which W&B refuses itself
        monkeypatch.setenv(name, "")
    config = named()
    assert (config.logger.group, config.logger.mode) == (config.choices.cell, "offline")
    assert config.logger.id
    assert config.logger.save_dir == config.run_dir


@pytest.mark.parametrize(("key", "value"), [("PROJECT", "a/b"), ("RUN_GROUP", "x" * 130), ("TAGS", "x" * 65)])
def test_names_that_wandb_does_not_take_are_refused_before_the_data_are_read(
    configure, offline, monkeypatch, key, value
):
    monkeypatch.setenv(f"WANDB_{key}", value)
    with pytest.raises(InputError, match=r"^logger\."):
        prepare_logger(prepare_config(configure("logger=wandb")))


def test_one_id_is_never_that_of_several_runs(named, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "abc123")
    assert named().logger.id == "abc123"
    with pytest.raises(InputError, match="WANDB_RUN_ID=abc123: a multirun starts several runs"):
        named("hydra.mode=MULTIRUN", "+hydra.job.num=0")
    with pytest.raises(InputError, match="a multirun starts several"):
        named("hydra.mode=MULTIRUN", "+hydra.job.num=0", "logger.id=other")
    HydraConfig.instance().cfg = None


def test_an_id_that_is_asked_for_must_be_new_unless_the_run_is_known(named, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_RUN_ID", "abc")
    assert named().logger.resume == "never"
    assert named("ckpt_path=last").logger.resume == "allow"
    monkeypatch.setenv("WANDB_RESUME", "must")
    assert named().logger.resume == "must"
    monkeypatch.delenv("WANDB_RESUME")
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    assert named().logger.resume == "allow"


def test_an_id_is_refused_where_a_run_of_another_cell_has_it(named, monkeypatch, tmp_path):
    """Offline too, where no server knows of it."""
    leave(tmp_path / "outputs" / "mnist-mlp-bce" / "abc-1", "abc-1")
    monkeypatch.setenv("WANDB_RUN_ID", "abc-1")
    own = f"run_dir={tmp_path}/outputs/mnist-mlp-hinge/abc-1"
    with pytest.raises(InputError, match=r"WANDB_RUN_ID=abc-1: the run in .*mnist-mlp-bce"):
        named(own)
    assert named(own, "ckpt_path=last").logger.id == "abc-1"
    assert named(f"run_dir={tmp_path}/outputs/mnist-mlp-bce/abc-1").logger.id == "abc-1"


@pytest.mark.parametrize("run_id", ["abc123", "mnist-hinge-0", "a-b-c"])
def test_a_resumed_run_is_the_run_that_left_the_checkpoint(named, tmp_path, run_id, monkeypatch):
    last = leave(tmp_path / "run", run_id)
    assert named("ckpt_path=last").logger.id == run_id
    assert named(f"ckpt_path={last}", "run_dir=/elsewhere").logger.id != run_id  # which starts another run from it
    assert named().logger.id != run_id
    monkeypatch.setenv("WANDB_RUN_ID", "given")
    assert named("ckpt_path=last").logger.id == "given"


def test_a_tag_has_no_more_letters_than_wandb_takes(configure, offline):
    cfg = prepare_logger(prepare_config(configure("model=mlp", "logger=wandb")))
    cfg.choices.model = "x" * 70
    assert list(identify_run(cfg, DATA, {}).logger.tags) == ["mnist_5k", "x" * 64, "bce"]


def test_several_runs_that_go_on_from_one_checkpoint_are_several(named, tmp_path):
    last = leave(tmp_path / "other", "abc")
    several = ["hydra.mode=MULTIRUN", "+hydra.job.num=0"]
    assert named(f"ckpt_path={last}", *several).logger.id != "abc"
    own = leave(tmp_path / "run", "own")
    assert named(f"ckpt_path={own}", *several).logger.id == "own"
    HydraConfig.instance().cfg = None


def test_two_image_folders_are_two_groups_and_a_copy_is_none(named, tmp_path):
    for name, value in (("cats", 0), ("dogs", 200)):
        for i in range(4):
            path = tmp_path / "images" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (value, 10 * i, 0)).save(path)
    shutil.copytree(tmp_path / "images", tmp_path / "copy")
    groups = {}
    for name in ("images/cats", "images/dogs", "copy/cats"):
        data = Folder(root=str(tmp_path / name), channels=3, image_size=8, batch_size=1)
        data.setup()
        groups[name] = named("data=folder", f"data.root={tmp_path / name}", data=data).logger.group
    assert groups["images/cats"] == groups["copy/cats"] != groups["images/dogs"]
    assert all(group.startswith("folder-mlp-bce-") for group in groups.values())


def test_another_logger_or_none_is_left_alone(configure, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "nonsense")  # which is not looked at
    config = identify_run(prepare_logger(prepare_config(configure("logger=none"))), DATA, {})
    assert not config.logger
    assert config.choices.cell == name_cell(config)


def test_only_the_first_process_asks_the_server(named, monkeypatch):
    monkeypatch.setattr("gan.run.identity.rank_zero_only", SimpleNamespace(rank=1))
    monkeypatch.setattr("gan.system.wandb_server.choose_mode", lambda mode: pytest.fail("asked"))
    assert named().logger.mode == "disabled"
    assert "WANDB_MODE" not in os.environ
