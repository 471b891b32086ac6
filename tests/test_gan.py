"""The game: who is updated when, on what, and that a run is a function of its seed."""

from collections import Counter

import pytest
import torch
from torch import nn

import train
from gan.errors import InputError
from gan.gan import GAN
from gan.losses import BCE


def trained(configure, monkeypatch, *overrides):
    """Train by train.py and return the GAN that it made."""
    made = []
    initialise = GAN.__init__
    monkeypatch.setattr(GAN, "__init__", lambda self, *a, **k: (made.append(self), initialise(self, *a, **k))[1])
    train.train(configure("model.generator.width=8", "model.discriminator.width=8", *overrides))
    return made[0]


def equal(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(torch.equal(states[0][k], states[1][k]) for k in states[0])


@pytest.mark.parametrize("n_critic", [1, 2, 3])
def test_truth_table_of_updates(configure, monkeypatch, n_critic):
    """Each step: n_critic times D on reals of their own and fresh fakes, then G once; the other player never moves."""
    events, reals, fakes = [], [], []

    def recorded(method):
        def record(self, *args):
            before = {
                name: [p.clone() for p in getattr(self, name).parameters()] for name in ("generator", "discriminator")
            }
            logs = method(self, *args)
            moved = {
                name
                for name, old in before.items()
                if any(not torch.equal(a, b) for a, b in zip(old, getattr(self, name).parameters(), strict=True))
            }
            events.append((method.__name__, *moved))
            return logs

        return record

    sample = GAN.sample
    monkeypatch.setattr(GAN, "discriminator_step", recorded(GAN.discriminator_step))
    monkeypatch.setattr(GAN, "generator_step", recorded(GAN.generator_step))
    monkeypatch.setattr(GAN, "sample", lambda self, labels: fakes.append(sample(self, labels)) or fakes[-1])
    step = GAN.training_step
    monkeypatch.setattr(GAN, "training_step", lambda self, b, i: (reals.extend(b[0].split(64)), step(self, b, i))[1])
    gan = trained(configure, monkeypatch, f"n_critic={n_critic}", "trainer.max_steps=4", "metrics=none")
    one_step = [("discriminator_step", "discriminator")] * n_critic + [("generator_step", "generator")]
    assert events == one_step * 4
    assert gan.global_step == 4
    assert gan.images_seen == 4 * n_critic * 64
    assert len({real.sum().item() for real in reals}) == 4 * n_critic  # no reals are used twice
    assert len({fake.sum().item() for fake in fakes}) == 4 * (n_critic + 1)  # nor fakes


def test_fakes_carry_no_gradient_to_the_generator_in_the_discriminators_step(configure, monkeypatch):
    seen = Counter()
    step = GAN.discriminator_step

    def checked(self, real, labels):
        self.generator.zero_grad()
        logs = step(self, real, labels)
        seen[any(p.grad is not None for p in self.generator.parameters())] += 1
        return logs

    monkeypatch.setattr(GAN, "discriminator_step", checked)
    trained(configure, monkeypatch, "trainer.max_steps=2", "metrics=none", "loss=wgan_gp")
    assert seen == {False: 2}


@pytest.mark.parametrize("loss", ["bce", "wgan_gp"])
def test_same_seed_same_weights(configure, monkeypatch, loss):
    options = ["trainer.max_steps=50", "metrics=none", f"loss={loss}"]
    gans = [trained(configure, monkeypatch, *options, f"seed={seed}") for seed in (0, 0, 1)]
    assert equal(gans[0], gans[1])
    assert not equal(gans[0], gans[2])


def test_evaluation_does_not_touch_training(configure, monkeypatch):
    options = ["trainer.max_steps=50"]
    often = trained(configure, monkeypatch, *options, "trainer.val_check_interval=10")
    never = trained(configure, monkeypatch, *options, "metrics=none", "+trainer.limit_val_batches=0")
    assert equal(often, never)


@pytest.mark.parametrize("n_critic", [1, 2])
def test_a_resumed_run_ends_with_the_weights_of_one_left_alone(configure, monkeypatch, tmp_path, n_critic):
    """Stopped in the middle of an epoch, then past its end."""
    options = ["data.batch_size=256", f"n_critic={n_critic}", "trainer.val_check_interval=5", "schedule=linear"]
    alone = trained(configure, monkeypatch, *options, "trainer.max_steps=23")
    interrupted = [*options, "trainer.max_steps=23"]

    class Interrupt(BaseException):
        pass

    end = GAN.on_train_batch_end

    def stop(self, *args):
        if self.global_step == 12:
            raise Interrupt
        return end(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(GAN, "on_train_batch_end", stop)
        with pytest.raises(Interrupt):
            trained(configure, patch, *interrupted)
    resumed = trained(configure, monkeypatch, *interrupted, f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt")
    assert resumed.global_step == alone.global_step == 23
    assert equal(resumed, alone)


def test_a_finished_run_can_be_continued(configure, monkeypatch, tmp_path):
    options = ["data.batch_size=512", "trainer.val_check_interval=5"]
    alone = trained(configure, monkeypatch, *options, "trainer.max_steps=18")
    trained(configure, monkeypatch, *options, "trainer.max_steps=11")
    last = f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt"
    assert equal(trained(configure, monkeypatch, *options, "trainer.max_steps=18", last), alone)


def test_n_critic_below_one_is_refused():
    optimizer = {"generator": torch.optim.SGD, "discriminator": torch.optim.SGD}
    with pytest.raises(InputError, match=r"n_critic=0: must be at least 1"):
        GAN(nn.Linear(1, 1), nn.Linear(1, 1), loss=BCE(), optimizer=optimizer, n_critic=0)


def test_gradient_scaling_is_refused(configure, monkeypatch):
    monkeypatch.setattr("pytorch_lightning.Trainer.precision", "16-mixed")
    with pytest.raises(InputError, match=r"trainer\.precision=16-mixed: .*bf16-mixed"):
        trained(configure, monkeypatch)


def test_the_linear_schedule_falls_to_its_end_over_the_run(configure, monkeypatch):
    rates = []
    step = GAN.training_step
    monkeypatch.setattr(
        GAN,
        "training_step",
        lambda self, b, i: (rates.append(self.optimizers()[0].param_groups[0]["lr"]), step(self, b, i))[1],
    )
    trained(
        configure,
        monkeypatch,
        "trainer.max_steps=11",
        "metrics=none",
        "schedule=linear",
        "schedule.final=0.0",
        "optimizer.generator.lr=1.0",
    )
    assert rates == pytest.approx([1 - i / 11 for i in range(11)])


def test_max_epochs_counts_passes_over_the_data(configure, monkeypatch):
    gan = trained(
        configure,
        monkeypatch,
        "trainer.max_steps=-1",
        "trainer.max_epochs=2",
        "data.batch_size=500",
        "n_critic=2",
        "metrics=none",
    )
    assert gan.global_step == 2 * (4000 // 1000)


def test_every_update_under_autocast_sees_the_weights_of_the_last(configure, monkeypatch):
    """An autocast that lasts a whole step, as Lightning's does, must not keep bfloat16 copies of the weights."""
    stale = []
    step = GAN.discriminator_step

    def compared(self, real, labels):
        self.eval()  # no dropout, no moving statistics
        inside = self.discriminator(real, labels)
        torch.clear_autocast_cache()
        stale.append(not torch.equal(inside, self.discriminator(real, labels)))
        self.train()
        return step(self, real, labels)

    monkeypatch.setattr(GAN, "discriminator_step", compared)
    options = ["n_critic=3", "trainer.precision=bf16-mixed", "optimizer.discriminator.lr=0.01", "metrics=none"]
    trained(configure, monkeypatch, *options, "trainer.max_steps=2")
    assert stale == [False] * 6
