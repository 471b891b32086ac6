"""Parameters and operations against a count by hand."""

import shutil

import pytest
import torch
from torch import nn

import train
from gan.callbacks.cost import Cost, FlopCounter, count_parameters
from gan.gan import GAN
from gan.penalties import compute_gradients


def test_operations_of_a_dense_layer_forward_and_backward():
    layer = nn.Linear(30, 20)
    with FlopCounter() as counter:
        layer(torch.randn(8, 30)).sum().backward()
    product = 2 * 8 * 30 * 20
    assert counter.total == 2 * product  # forward, and the weights' gradient; the input needs none


def test_operations_of_a_convolution():
    layer = nn.Conv2d(3, 5, 3, padding=1)
    with FlopCounter() as counter, torch.no_grad():
        layer(torch.randn(2, 3, 8, 8))
    assert counter.total == 2 * (2 * 5 * 8 * 8) * (3 * 3 * 3)


def test_gradients_of_gradients_count():
    critic = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Tanh(), nn.Linear(4, 1))
    images = torch.randn(2, 1, 4, 4)
    with FlopCounter() as counter:
        rows = compute_gradients(lambda x, labels: critic(x).squeeze(1), images, None)
        once = counter.total
        rows.square().sum().backward()
    assert 0 < once < counter.total


def test_counting_does_not_change_the_result():
    layer, images = nn.Conv2d(3, 5, 3), torch.randn(2, 3, 8, 8)
    expected = layer(images)
    with FlopCounter():
        assert torch.equal(layer(images), expected)


def test_parameters_counts_trainable_ones():
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    network[0].bias.requires_grad_(False)
    assert count_parameters(network) == 3 * 2 + 2 + 2


def measured(configure, monkeypatch, *overrides) -> dict[str, int]:
    costs = []
    monkeypatch.setattr(Cost, "__init__", lambda self: (setattr(self, "measured", {}), costs.append(self))[0])
    small = ["model.generator.hidden=[8]", "model.discriminator.hidden=[8]", "data.batch_size=16"]
    cfg = configure("model=mlp", "metrics=none", "trainer.max_steps=4", *small, *overrides)
    shutil.rmtree(cfg.run_dir, ignore_errors=True)
    train.train(cfg)
    return costs[-1].run.cost


def test_a_step_of_an_mlp_gan_by_hand(configure, monkeypatch, capsys):
    """G 110-8-784, D 794-8-1, batch 16: D's step on fakes and reals, then G's step through D."""
    n, g, d = 2 * 16, 110 * 8 + 8 * 784, 794 * 8 + 8 * 1
    # D: G forward; D forward on both, weights' gradients on both, gradient to the hidden layer on both
    discriminator = g + 2 * d + 2 * d + 2 * 8
    # G, on the same fakes: D forward, D's gradient down to the images, G's weights and its hidden layer's gradient
    generator = d + d + g + 8 * 784
    cost = measured(configure, monkeypatch)
    assert cost["generator_parameters"] == 110 * 8 + 8 + 16 + 8 * 784 + 784
    assert cost["discriminator_parameters"] == 794 * 8 + 8 + 8 + 1
    assert cost["flops_per_step"] == n * (discriminator + generator)
    assert "generator 7,960 parameters, discriminator 6,369; 0.00188 GFLOP a step" in capsys.readouterr().out


def test_n_critic_and_lazy_penalties_count_in_the_mean(configure, monkeypatch):
    once = measured(configure, monkeypatch)["flops_per_step"]
    twice = measured(configure, monkeypatch, "n_critic=2")["flops_per_step"]
    always = measured(configure, monkeypatch, "penalty=r1")["flops_per_step"]
    lazy = measured(configure, monkeypatch, "penalty=r1", "penalty.r1.interval=4")["flops_per_step"]
    assert once < lazy < always
    assert (lazy - once) * 4 == always - once
    assert once < twice < 2 * once


def test_a_run_that_raises_in_its_first_step_leaves_no_counter_behind(configure, monkeypatch):
    """A counter that stays would look at every operation of the runs that follow in this process."""
    counters = []

    def fail(self, *_):
        torch.ones(2, 2) @ torch.ones(2, 2)
        counters.append(next(c for c in self.trainer.callbacks if isinstance(c, Cost)).counter)
        raise RuntimeError("of the step")

    monkeypatch.setattr(GAN, "training_step", fail)
    with pytest.raises(RuntimeError, match="of the step"):
        measured(configure, monkeypatch)
    counted = counters[0].total
    torch.ones(2, 2) @ torch.ones(2, 2)
    assert counted == counters[0].total > 0
