"""Every option of every config group composes, and all that the resulting config names can be built."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from gan.errors import InputError
from gan.run.build import build_lightning_trainer
from gan.run.config import prepare_config
from tests.helpers import ROOT

CONF = ROOT / "conf"
OPTIONS = sorted(
    str(path.relative_to(CONF).with_suffix(""))
    for path in CONF.glob("*/*.yaml")
    if path.parent.name != "hparams_search" and path.stem != "search"  # tests/test_search.py
)
SHAPE = {"channels": 1, "image_size": 28, "num_classes": 10}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_can_be_built(configure, option, monkeypatch, tmp_path):
    group, name = option.split("/")
    needed = ["data.root=pictures"] if option in ("data/folder", "experiment/my_images") else []
    cfg = configure(f"{group}={name}", *needed)
    cfg = prepare_config(cfg)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(
        torch.hub, "download_url_to_file", lambda *_, **__: (_ for _ in ()).throw(OSError("no network"))
    )
    for part in ("data", "loss", "penalty", "augment", "prior", "optimizer", "schedule", "callbacks"):
        instantiate(cfg[part])
    for network in cfg.model.values():
        instantiate(network, **SHAPE)
    if cfg.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        with pytest.raises(MisconfigurationException, match="gpu"):
            build_lightning_trainer(cfg)
    else:
        build_lightning_trainer(cfg)
    missing = {"Inception": "could not be downloaded", "TimmModel": "weights_path=None: must be a file"}
    kind = cfg.metrics.extractor and cfg.metrics.extractor._target_.split(".")[-1]
    if kind in missing:
        with pytest.raises(InputError, match=missing[kind]):
            instantiate(cfg.metrics.extractor)
    elif cfg.metrics.extractor:
        instantiate(cfg.metrics.extractor)


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_each_file_begins_with_a_comment_that_says_what_it_is(path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    assert lines[0].startswith("# ")
    assert len(lines[0].split()) > 2


def test_there_is_something_of_every_group():
    assert {option.split("/")[0] for option in OPTIONS} | {"hydra", "hparams_search"} == {
        path.name for path in CONF.iterdir() if path.is_dir()
    }


@pytest.mark.parametrize(
    ("overrides", "penalty", "norm"),
    [
        ([], [], "batch"),
        (["loss=wgan_gp"], ["gradient_penalty"], "layer"),
        (["loss=wgan_gp", "penalty=none"], [], "batch"),
        (["loss=rpgan_r1_r2"], ["r1", "r2"], "layer"),
        (["penalty=[r1,r2]"], ["r1", "r2"], "layer"),
        (["loss=wgan_gp", "penalty=[gradient_penalty,r1]"], ["gradient_penalty", "r1"], "layer"),
        (["loss=hinge", "penalty=gradient_penalty"], ["gradient_penalty"], "layer"),
        (["penalty=gradient_penalty", "discriminator_norm=none"], ["gradient_penalty"], "none"),
        (["penalty=approx_r1"], ["approx_r1"], "layer"),
        (["penalty=[consistency,lecam]"], ["consistency", "lecam"], "batch"),
        (["penalty=balanced_consistency"], ["balanced_consistency"], "batch"),
        (["penalty=[lecam,r1]"], ["lecam", "r1"], "layer"),
    ],
)
def test_a_loss_brings_its_penalty_and_a_penalty_its_norm(configure, overrides, penalty, norm):
    cfg = configure("model=dcgan", *overrides)
    assert list(cfg.penalty) == penalty
    assert cfg.model.discriminator.norm == norm


def test_a_penalty_of_ones_own_gets_layer_norm_too(configure):
    """`discriminator_norm` follows from there being a penalty, not from a line in each penalty's file."""
    cfg = configure("model=dcgan", "+penalty.mine={_target_: gan.penalties.R1}")
    assert cfg.model.discriminator.norm == "layer"


def test_choices_are_plain_strings_and_make_the_group(configure):
    cfg = configure("model=mlp", "loss=hinge", "seed=3", "logger=wandb")
    assert OmegaConf.to_container(cfg.choices, resolve=True) == {
        "data": "mnist_5k",
        "model": "mlp",
        "loss": "hinge",
        "group": "mnist_5k-mlp-hinge",
    }
