"""What a choice brings with it is said in one line, and nothing is said of what was asked for or is the default."""

import pytest
from hydra.core.global_hydra import GlobalHydra

import train
from gan.run.config import prepare_config
from gan.run.implied_choices import describe_implied_choices
from tests.helpers import NARROW


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["loss=wgan_gp"], "loss=wgan_gp brings penalty=gradient_penalty, n_critic=5, discriminator_norm=layer"),
        (["loss=wgan_gp", "n_critic=2"], "loss=wgan_gp brings penalty=gradient_penalty, discriminator_norm=layer"),
        (["loss=wgan_gp", "penalty=r1"], "loss=wgan_gp brings n_critic=5; penalty=r1 brings discriminator_norm=layer"),
        (["penalty=[r1,r2]"], "penalty=[r1,r2] brings discriminator_norm=layer"),
        (["experiment=quickstart", "loss=wgan"], "loss=wgan brings n_critic=5, weight_clip=0.01"),
        (["data=folder", "data.root=pictures"], "data=folder brings metrics=inception"),
        ([], None),
        (["loss=hinge", "model=mlp", "optimizer.lr=1e-3", "n_critic=5"], None),
        (["loss=wgan_gp", "penalty=none"], "loss=wgan_gp brings n_critic=5"),
        (["data=folder", "data.root=pictures", "metrics=own"], None),
        (["penalty=r1", "discriminator_norm=none"], None),
        (["experiment=lucic_wgan_gp_mnist"], None),
        (["experiment=my_images", "data.root=pictures"], None),
    ],
)
def test_the_line(configure, words, expected):
    own = ["metrics.n_fakes=200", "objective=fid_200"] if any(word.startswith("data=") for word in words) else []
    cfg = prepare_config(configure(*words, *own))
    assert describe_implied_choices(cfg) == expected
    GlobalHydra.instance().clear()  # as in the process of a run that a launcher has started
    assert describe_implied_choices(cfg) == expected
    assert not GlobalHydra.instance().is_initialized()


def test_a_run_says_it_at_its_start(configure, capsys):
    train.train(configure("loss=wgan_gp", "metrics=none", "trainer.max_steps=1", *NARROW["dcgan"]))
    line = "loss=wgan_gp brings penalty=gradient_penalty, n_critic=5, discriminator_norm=layer"
    assert line in capsys.readouterr().out
