"""A config as people type it becomes one that can be built, or is refused in one line."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from pytorch_lightning import Trainer

import train
from gan.errors import InputError
from gan.run.command_line import expand_home
from gan.run.config import prepare_config
from gan.system import accelerators, precision
from tests.helpers import FEW_FAKES, NARROW, ROOT


def prepared(configure, *overrides: str):
    return prepare_config(configure("model=dcgan", *NARROW["dcgan"], *overrides))


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("optimizer.beta1=0", "optimizer.generator.betas", [0.0, 0.999]),
        ("optimizer.discriminator.betas=[0,1]", "optimizer.discriminator.betas", [0.0, 1.0]),
        ("optimizer.lr=1", "optimizer.generator.lr", 1.0),
        ("metrics.n_fakes=1e4", "metrics.n_fakes", 10_000),
        ("data.batch_size=64.0", "data.batch_size", 64),
        ("data.image_size=28.0", "data.image_size", 28),
        ("n_critic=2.0", "n_critic", 2),
        ("model.generator.width=8.0", "model.generator.width", 8),
        ("model.generator.z_dim=1e2", "model.generator.z_dim", 100),
        ("trainer.max_steps=1e3", "trainer.max_steps", 1000),
        ("trainer.val_check_interval=1e3", "trainer.val_check_interval", 1000),
        ("trainer.val_check_interval=0.5", "trainer.val_check_interval", 0.5),
        ("ema_half_life_steps=300", "ema_half_life_steps", 300.0),
        ("ema_ramp_up=null", "ema_ramp_up", None),
        ("seed=7.0", "seed", 7),
        ("trainer.precision=32", "trainer.precision", "32-true"),
        ("trainer.precision=bf16", "trainer.precision", "bf16-mixed"),
        ("weight_clip=1", "weight_clip", 1.0),
    ],
)
def test_numbers_become_what_their_constructors_want(configure, override, key, value):
    found = OmegaConf.select(prepared(configure, override), key)
    assert found == value
    assert type(found) is type(value) or OmegaConf.is_list(found)
    if OmegaConf.is_list(found):
        assert [type(part) for part in found] == [type(part) for part in value]


def test_hidden_sizes_become_whole_numbers(configure):
    cfg = prepare_config(configure("model=mlp", "model.generator.hidden=[32.0,64]"))
    assert [type(size) for size in cfg.model.generator.hidden] == [int, int]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["seed=-1"], "seed=-1: must be a whole number from 0 to 4294967295, or null for a random one"),
        (["seed=4294967296"], "seed=4294967296: must be a whole number from 0 to 4294967295, or null"),
        (["seed=0.5"], "seed=0.5: must be a whole number"),
        (["seed=one"], "seed=one: must be a whole number"),
        (["n_critic=1.5"], "n_critic=1.5: must be a whole number"),
        (["n_critic=null"], "n_critic=null: must be a whole number"),
        (["data.batch_size=many"], "data.batch_size=many: must be a whole number"),
        (["optimizer.beta1=null"], "optimizer.beta1=null: must be a number"),
        (["metrics.n_fakes=1e3.5"], "metrics.n_fakes=1e3.5: must be a whole number"),
        (["model.generator.width=8.5"], "model.generator.width=8.5: must be a whole number"),
        (["trainer.precision=bf16-true"], "trainer.precision=bf16-true: must be auto, 32-true or bf16-mixed"),
        (["trainer.precision=16-true"], "trainer.precision=16-true: must be"),
        (["trainer.precision=64-true"], "trainer.precision=64-true: must be"),
        (["trainer.precision=16-mixed"], "trainer.precision=16-mixed: must be auto, 32-true or bf16-mixed"),
        (["trainer.max_steps=0"], "trainer.max_steps=0: must be at least 1, or -1 for no limit"),
        (["trainer.max_steps=-2"], "trainer.max_steps=-2: must be"),
        (["trainer.max_steps=-1"], "trainer.max_steps=-1: training would never end"),
        (["trainer.max_epochs=0"], "trainer.max_epochs=0: must be"),
        (["trainer.num_sanity_val_steps=2"], "trainer.num_sanity_val_steps=2: must be 0"),
        (["trainer.val_check_interval=0"], "trainer.val_check_interval=0: must be a number of steps"),
        (["trainer.val_check_interval=-5"], "trainer.val_check_interval=-5: must be"),
        (["+trainer.limit_train_batches=0"], "trainer.limit_train_batches=0: trains nothing"),
        (["+trainer.limit_val_batches=1"], "trainer.limit_val_batches=1: would score only part"),
        (["+trainer.limit_val_batches=0.5"], "trainer.limit_val_batches=0.5: would score only part"),
        (["+trainer.fast_dev_run=true"], "trainer.fast_dev_run=True: would score only part"),
        (["+trainer.overfit_batches=2"], "trainer.overfit_batches=2: would score only part"),
        (["data=folder"], "data.root: must be given, as data.root=VALUE"),
        (["data.fraction=some"], "data.fraction=some: must be a number"),
        (["run_dir=${nowhere}"], "run_dir: Interpolation key 'nowhere' not found"),
    ],
)
def test_what_cannot_be_right_is_one_line(configure, overrides, line):
    with pytest.raises(InputError) as caught:
        prepared(configure, *overrides)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["optimizer.beta1=1"], "optimizer.generator: Invalid beta parameter at index 0: 1.0; "),
        (["optimizer.lr=-1"], "optimizer.generator: Invalid learning rate: -1.0; "),
        (["data.channels=4"], "data.channels=4: must be 1 (gray) or 3 (RGB)"),
        (["data.channels=2"], "data.channels=2: must be 1 (gray) or 3 (RGB)"),
        (["model=mlp", "data.batch_size=1"], "data.batch_size=1: batch norm (model.generator, layer 'body.1') needs"),
        (
            ["schedule=linear", "trainer.max_steps=-1", "+trainer.max_time=00:00:00:05"],
            "schedule: a learning rate",
        ),
        (["penalty=[r1]", "+penalty.r2.gamma=1"], "penalty.r2: has settings, but is not chosen"),
        (["trainer.devices=2", "data.batch_size=2500"], "data.batch_size=2500: a step takes batch_size times n_critic"),
    ],
)
def test_what_a_part_refuses_is_one_line_too(configure, overrides, line):
    narrow = [] if "model=mlp" in overrides else ["model=dcgan", *NARROW["dcgan"]]
    with pytest.raises(InputError) as caught:
        train.train(configure(*narrow, "metrics=none", *overrides))
    assert str(caught.value).startswith(line)


def test_a_seed_that_is_drawn_is_recorded(configure, tmp_path):
    seeds = {prepared(configure, "seed=null").seed for _ in range(4)}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**32 for seed in seeds)
    train.train(configure("model=dcgan", *NARROW["dcgan"], "metrics=none", "trainer.max_steps=1", "seed=null"))
    assert 0 <= OmegaConf.load(tmp_path / "run" / "config.yaml").seed < 2**32


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_precision_fits_the_machine_and_resolved_values_are_filed(configure, tmp_path, monkeypatch, has_bfloat16):
    monkeypatch.setattr(accelerators, "has_gpu", lambda: False)
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: has_bfloat16)
    trained = []
    fit = Trainer.fit
    monkeypatch.setattr(Trainer, "fit", lambda self, *a, **k: (trained.append(self.precision), fit(self, *a, **k)))
    overrides = ["trainer.accelerator=auto", "trainer.precision=auto", "metrics=none", "trainer.max_steps=1"]
    train.train(configure("model=dcgan", *overrides, *NARROW["dcgan"]))
    expected = "bf16-mixed" if has_bfloat16 else "32-true"
    assert trained == [expected]
    recorded = OmegaConf.load(tmp_path / "run" / "config.yaml").trainer
    assert recorded.precision == expected
    assert recorded.accelerator == "cpu"


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_on_a_gpu_its_own_bfloat16_counts(monkeypatch, has_bfloat16):
    def is_bf16_supported(including_emulation: bool = True) -> bool:
        return including_emulation or has_bfloat16

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: not has_bfloat16)
    for accelerator in ("gpu", "cuda"):
        expected = "bf16-mixed" if has_bfloat16 else "32-true"
        assert precision.resolve_precision("auto", accelerator) == expected
    assert precision.resolve_precision("auto", "cpu") == ("32-true" if has_bfloat16 else "bf16-mixed")


def test_a_cpu_that_emulates_bfloat16_trains_in_float32(tmp_path):
    """oneDNN is told to use no more than AVX2, as on a CPU that has no more."""
    code = "from gan.system.precision import resolve_precision; print(resolve_precision('auto', 'cpu'))"
    environment = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "PATH": "/usr/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "32-true\n", done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "trainer").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_trainer_chooses_its_precision_by_the_machine(configure, path):
    assert configure(f"trainer={path.stem}", "trainer.precision=auto").trainer.precision == "auto"
    assert "precision: auto" in (ROOT / "conf" / "trainer" / "auto.yaml").read_text()
    assert path.stem == "auto" or "precision" not in path.read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_epochs_replace_the_steps_of_a_recipe(configure, path):
    needed = ["data.root=pictures"] if "override /data: folder" in path.read_text() else []
    cfg = configure(f"experiment={path.stem}", *needed, "~trainer.max_steps", "trainer.max_epochs=3")
    own = OmegaConf.load(path).get("trainer", {})
    assert cfg.trainer.max_epochs == 3
    assert "max_steps" not in own or "steps_unless" in OmegaConf.to_container(own)["max_steps"]


def test_the_home_folder_is_meant_by_a_tilde(configure, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DATA_DIR", "~/sets")
    cfg = prepared(configure, "data=mnist", "cache_dir='~/cache'", "metrics.weights_path='~/mine'")
    assert (cfg.data_dir, cfg.data.root, cfg.cache_dir) == (f"{tmp_path}/sets", f"{tmp_path}/sets", f"{tmp_path}/cache")
    assert cfg.metrics.weights_path == f"{tmp_path}/mine"
    assert expand_home("hydra.run.dir=~/runs/1") == f"hydra.run.dir={tmp_path}/runs/1"
    assert expand_home("name=a~/b") == "name=a~/b"
    assert expand_home("data.root=~") == f"data.root={tmp_path}"
    assert Path(prepared(configure, "data=folder", "data.root='~'").data.root) == tmp_path


def test_training_for_a_time_ends(configure, tmp_path):
    words = ["trainer.max_steps=-1", "+trainer.max_time=00:00:00:02", *FEW_FAKES]
    assert train.train(configure("model=dcgan", *NARROW["dcgan"], *words)) > 0
