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
        ("r3gan_cifar10", (1, ["r1", "r2"], "layer", 2000, True, "normal")),
    ],
)
def test_what_a_recipe_amounts_to(configure, name, expected):
    cfg = configure(f"experiment={name}")
    prior = cfg.prior._target_.rsplit(".", 1)[1]
    actual = (cfg.n_critic, list(cfg.penalty), cfg.discriminator_norm, cfg.ema_half_life_steps, cfg.conditional, prior)
    assert actual == expected
