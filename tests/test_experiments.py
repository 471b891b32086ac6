"""Recipes are citations that can be run: each header says what to expect, each recipe takes its steps."""

import re

import pytest

import train
from tests.helpers import NARROW, ROOT

FILES = sorted((ROOT / "conf" / "experiment").glob("*.yaml"))
each_recipe = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@each_recipe
def test_the_header_cites_a_source_or_a_measurement_its_protocol_and_its_cost(path):
    header = "".join(re.findall(r"^# .*\n", path.read_text(), re.M))
    assert re.search(r"FID \d|FID is \d|\d modes", header)
    assert re.search(r"et al\. 20\d\d|Koyama 2018|Measured: ", header)
    assert "# Protocol: " in header
    assert re.search(r"hour|min|2 CPU cores", header)
    assert max(map(len, header.splitlines())) <= 130


@each_recipe
def test_each_recipe_trains(configure, tmp_path, path):
    """Its own networks made narrow, its budget short, its images the digits that come with the suite."""
    model = re.search(r"override /model: (\w+)", path.read_text())[1]
    small = ["data=mnist_5k", "trainer=cpu", "metrics=none", "objective=null"]
    small += ["trainer.max_steps=1", "trainer.max_epochs=-1"]
    train.train(configure(f"experiment={path.stem}", *small, "data.batch_size=16", *NARROW[model]))
    assert (tmp_path / "run" / "generator.safetensors").is_file()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lucic_ns_mnist", (1, [], "batch", 0, False, "uniform")),
        ("lucic_wgan_gp_fashion_mnist", (1, ["gradient_penalty"], "layer", 0, False, "uniform")),
        ("projection_cifar10", (5, [], "batch", 0, True, "normal")),
        ("r3gan_cifar10", (1, ["r1", "r2"], "layer", 0, True, "normal")),
    ],
)
def test_what_a_recipe_amounts_to(configure, name, expected):
    cfg = configure(f"experiment={name}")
    prior = cfg.prior._target_.rsplit(".", 1)[1]
    actual = (cfg.n_critic, list(cfg.penalty), cfg.discriminator_norm, cfg.ema_half_life_steps, cfg.conditional, prior)
    assert actual == expected


def test_r3gan_changes_its_settings_over_the_first_20_million_images(configure):
    """The values at the start and at the end of the preset CIFAR10 of Huang et al. 2024."""
    cfg = configure("experiment=r3gan_cifar10", "~trainer.max_steps", "+trainer.max_steps=100000")
    images = cfg.data.batch_size * cfg.trainer.max_steps * cfg.n_critic
    ends = {name: part.final for name, part in cfg.annealing.items()}
    ends["ema_half_life_steps"] *= cfg.data.batch_size
    assert ends == pytest.approx(
        {"gamma": 0.005, "beta2": 0.99, "ema_half_life_steps": 5e6, "augment_p": 0.55}, rel=1e-4
    )
    starts = [cfg.penalty.r1.gamma, cfg.penalty.r2.gamma, cfg.optimizer.beta2, cfg.ema_half_life_steps, cfg.augment.p]
    assert starts == [0.05, 0.05, 0.9, 0, 0]
    assert cfg.optimizer.lr * cfg.schedule.final == pytest.approx(5e-5)
    assert {part.until * images for part in (cfg.schedule, *cfg.annealing.values())} == {20e6}
