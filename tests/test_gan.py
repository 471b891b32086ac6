"""The game: who is updated when, on what, and that a run is a function of its seed."""

import functools
import sys
from collections import Counter

import pytest
import torch
from torch import nn

from gan.augment import DiffAugment
from gan.errors import InputError
from gan.gan import GAN
from gan.losses import BCE
from gan.models.dcgan import Discriminator, Generator
from gan.penalties import R1, R2
from tests.helpers import interrupted, trained


def flat(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in network.parameters()])


def equal(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(torch.equal(states[0][k], states[1][k]) for k in states[0])


@pytest.mark.parametrize(("n_critic", "fresh_fakes"), [(1, False), (1, True), (2, False), (3, True), (5, False)])
def test_truth_table_of_updates(configure, monkeypatch, n_critic, fresh_fakes):
    """Each step: n_critic times D, each on new reals and fakes, then G once; the other player never moves."""
    events, reals, fakes, shown, stepped = [], [], [], [], Counter()
    optimizer_step = torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda self, *a, **k: (stepped.update([id(self)]), optimizer_step(self, *a, **k))[1]
    )

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
    for name in ("discriminator_step", "generator_step"):
        method = getattr(GAN, name)
        used = lambda self, real, fake, *args, method=method: (  # noqa: E731
            shown.append(fake.sum().item()) or method(self, real, fake, *args)
        )
        monkeypatch.setattr(GAN, name, functools.wraps(method)(used))
    monkeypatch.setattr(GAN, "discriminator_step", recorded(GAN.discriminator_step))
    monkeypatch.setattr(GAN, "generator_step", recorded(GAN.generator_step))
    monkeypatch.setattr(GAN, "sample", lambda self, labels: fakes.append(sample(self, labels)) or fakes[-1])
    step = GAN.training_step
    monkeypatch.setattr(GAN, "training_step", lambda self, b, i: (reals.extend(b[0].split(64)), step(self, b, i))[1])
    options = [f"n_critic={n_critic}", f"fresh_fakes={fresh_fakes}", "trainer.max_steps=4", "metrics=none"]
    gan = trained(configure, monkeypatch, *options)
    one_step = [("discriminator_step", "discriminator")] * n_critic + [("generator_step", "generator")]
    assert events == one_step * 4
    assert sorted(stepped.values()) == sorted([4 * n_critic, 4])  # one optimizer step an update, none besides
    assert gan.global_step == 4
    assert gan.images_seen == 4 * n_critic * 64
    assert len({real.sum().item() for real in reals}) == 4 * n_critic  # no reals are used twice
    sampled = [fake.sum().item() for fake in fakes]
    assert len(set(sampled)) == len(sampled) == 4 * (n_critic + fresh_fakes)
    of_generator = shown[n_critic :: n_critic + 1]
    of_discriminator = [fake for i, fake in enumerate(shown) if i % (n_critic + 1) < n_critic]
    assert len(set(of_discriminator)) == 4 * n_critic  # no fakes are used twice by one player
    last = of_discriminator[n_critic - 1 :: n_critic]
    assert of_generator == (sampled[n_critic :: n_critic + 1] if fresh_fakes else last)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_penalties_at_the_batch_use_the_logits_of_the_loss(configure, monkeypatch, precision):
    """They equal those of a forward pass of their own, which is taken only where the first one was in bfloat16."""
    forwards, compared = [], []
    forward, step = Discriminator.forward, GAN.discriminator_step
    monkeypatch.setattr(Discriminator, "forward", lambda self, *a: forwards.append(0) or forward(self, *a))
    for kind in (R1, R2):
        penalty = kind.__call__

        def both(self, discriminate, real, fake, labels, penalty=penalty):
            value = penalty(self, discriminate, real, fake, labels)
            n = len(forwards)
            compared.append((value, penalty(self, gans[0].discriminator, real.detach(), fake.detach(), labels)))
            del forwards[n:]
            return value

        monkeypatch.setattr(kind, "__call__", both)
    gans, counts = [], []

    def counted(self, *args):
        gans[:], forwards[:] = [self], []
        step(self, *args)
        counts.append(len(forwards))

    monkeypatch.setattr(GAN, "discriminator_step", counted)
    options = ["penalty=[r1,r2]", f"trainer.precision={precision}", "trainer.max_steps=3", "metrics=none"]
    trained(configure, monkeypatch, *options)
    assert counts == [2 if precision == "32-true" else 4] * 3
    assert len(compared) == 6
    for reused, anew in compared:
        torch.testing.assert_close(reused, anew, rtol=1e-5, atol=1e-9)


def test_an_update_computes_gradients_of_its_player_only(configure, monkeypatch):
    found, update = [], GAN.update

    def watched(self, optimizer, loss):
        for network in (self.generator, self.discriminator):
            network.zero_grad()
        update(self, optimizer, loss)
        networks = {"generator": self.generator, "discriminator": self.discriminator}
        found.append([k for k, v in networks.items() if any(p.grad is not None for p in v.parameters())])

    monkeypatch.setattr(GAN, "update", watched)
    trained(configure, monkeypatch, "trainer.max_steps=2", "metrics=none", "penalty=r1")
    assert found == [["discriminator"], ["generator"]] * 2


def test_frozen_parameters_stay_and_the_others_train(configure, monkeypatch):
    """As of a network of one's own whose first layers are pretrained."""
    initialize, before = Discriminator.__init__, []

    def freeze_first_layer(self, **options):
        initialize(self, **options)
        self.body[0].requires_grad_(False)
        before.append([layer.weight.clone() for layer in (self.body[0], self.body[2])])

    monkeypatch.setattr(Discriminator, "__init__", freeze_first_layer)
    gan = trained(configure, monkeypatch, "trainer.max_steps=2", "metrics=none", "penalty=r1")
    unchanged = [torch.equal(gan.discriminator.body[i].weight, old) for i, old in zip((0, 2), before[-1], strict=True)]
    assert unchanged == [True, False]


@pytest.mark.parametrize("prior", ["normal", "uniform"])
def test_a_step_calls_nothing_of_hydra(configure, monkeypatch, prior):
    called = []
    step = GAN.training_step

    def traced(self, *args):
        sys.setprofile(lambda frame, *_: called.append(frame.f_code.co_filename))
        try:
            step(self, *args)
        finally:
            sys.setprofile(None)

    monkeypatch.setattr(GAN, "training_step", traced)
    options = ["schedule=linear", f"prior={prior}", "penalty=r1", "augment=diffaugment"]
    trained(configure, monkeypatch, *options, "trainer.max_steps=3", "metrics=none")
    assert any(name.endswith("priors.py") for name in called)
    assert any(name.endswith("schedules.py") for name in called)
    assert not [name for name in called if "hydra" in name or "omegaconf" in name]


def test_losses_are_logged_where_loggers_and_evaluations_read_them(configure, monkeypatch):
    logged, log = [], GAN.log_dict
    monkeypatch.setattr(GAN, "log_dict", lambda self, logs: logged.append(self.global_step) or log(self, logs))
    options = ["trainer.max_steps=10", "trainer.log_every_n_steps=4", "trainer.val_check_interval=5", "metrics=none"]
    trained(configure, monkeypatch, *options, "~callbacks.throughput")
    assert logged == [4, 5, 8, 10]


def test_fakes_carry_no_gradient_to_the_generator_in_the_discriminators_step(configure, monkeypatch):
    seen = Counter()
    step = GAN.discriminator_step

    def checked(self, *args):
        self.generator.zero_grad()
        logs = step(self, *args)
        seen[any(p.grad is not None for p in self.generator.parameters())] += 1
        return logs

    monkeypatch.setattr(GAN, "discriminator_step", checked)
    trained(configure, monkeypatch, "trainer.max_steps=2", "metrics=none", "loss=wgan_gp", "n_critic=1")
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
    interrupted(configure, monkeypatch, *options, "trainer.max_steps=23", at=12)
    resumed = trained(
        configure, monkeypatch, *options, "trainer.max_steps=23", f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt"
    )
    assert resumed.global_step == alone.global_step == 23
    assert equal(resumed, alone)


@pytest.mark.slow
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

    def compared(self, real, fake, labels, update):
        self.eval()  # no dropout, no moving statistics
        inside = self.discriminator(real, labels)
        torch.clear_autocast_cache()
        stale.append(not torch.equal(inside, self.discriminator(real, labels)))
        self.train()
        return step(self, real, fake, labels, update)

    monkeypatch.setattr(GAN, "discriminator_step", compared)
    options = ["n_critic=3", "trainer.precision=bf16-mixed", "optimizer.discriminator.lr=0.01", "metrics=none"]
    trained(configure, monkeypatch, *options, "trainer.max_steps=2")
    assert stale == [False] * 6


def test_weights_are_clipped_after_the_step_and_buffers_never(configure, monkeypatch):
    """Clipping before the step would leave weights one step beyond the bound."""
    bound, largest = 0.01, []
    step = GAN.discriminator_step

    def stepped(self, *args):
        logs = step(self, *args)
        largest.append(max(p.abs().max().item() for p in self.discriminator.parameters()))
        return logs

    monkeypatch.setattr(GAN, "discriminator_step", stepped)
    gan = trained(configure, monkeypatch, "loss=wgan", "trainer.max_steps=5", "metrics=none", "n_critic=2")
    assert gan.weight_clip == bound
    assert len(largest) == 10
    assert max(largest) == pytest.approx(bound)
    assert max(b.abs().max().item() for b in gan.discriminator.buffers()) > bound  # running variances near 1
    assert max(p.abs().max().item() for p in gan.generator.parameters()) > bound


def test_a_relativistic_generator_sees_the_reals_of_the_same_labels(configure, monkeypatch):
    calls = []
    step = GAN.generator_step

    def watched(self, real, fake, labels):
        forward, loss = self.discriminator.forward, self.loss.generator
        self.discriminator.forward = lambda x, y: calls.append((x.requires_grad, x, y)) or forward(x, y)
        self.loss.generator = lambda fake, real: calls.append((fake, real)) or loss(fake, real)
        logs = step(self, real, fake, labels)
        del self.discriminator.forward, self.loss.generator
        (on_fake, _, fake_labels), (on_real, seen, real_labels), (fake_logits, real_logits) = calls[-3:]
        assert (on_fake, on_real) == (True, False)
        assert torch.equal(seen, real)
        assert torch.equal(fake_labels, real_labels)
        assert fake_logits.shape == real_logits.shape == labels.shape
        assert not real_logits.requires_grad
        return logs

    monkeypatch.setattr(GAN, "generator_step", watched)
    trained(configure, monkeypatch, "loss=rpgan", "trainer.max_steps=2", "metrics=none")
    assert len(calls) == 6


def test_augmentation_meets_reals_and_fakes_in_both_players_steps(configure, monkeypatch):
    seen = []
    forward = DiffAugment.forward
    monkeypatch.setattr(
        DiffAugment, "forward", lambda self, x: seen.append((x.requires_grad, x.detach().clone())) or forward(self, x)
    )
    options = ["augment=diffaugment", "trainer.max_steps=2", "metrics=none", "n_critic=2"]
    trained(configure, monkeypatch, *options)
    assert [of_generator for of_generator, _ in seen] == [False, False, False, False, True] * 2
    assert all(torch.equal(seen[i][1], seen[i + 1][1]) for i in (3, 8))  # D's last fakes and G's
    assert len({images.sum().item() for _, images in seen}) == 8


def test_a_lazy_penalty_is_taken_in_every_kth_update_and_counts_k_times(configure, monkeypatch):
    taken, updates = [], []
    penalty, update = R1.__call__, GAN.update

    def counted(self, *args):
        taken.append((len(updates), penalty(self, *args)))
        return taken[-1][1]

    monkeypatch.setattr(R1, "__call__", counted)
    monkeypatch.setattr(
        GAN, "update", lambda self, optimizer, loss: updates.append(loss) or update(self, optimizer, loss)
    )
    logged = []
    log = GAN.log_dict
    monkeypatch.setattr(GAN, "log_dict", lambda self, logs: logged.append({**logs}) or log(self, logs))
    options = ["penalty=r1", "penalty.r1.interval=3", "n_critic=2", "trainer.max_steps=6", "metrics=none"]
    trained(configure, monkeypatch, *options, "trainer.log_every_n_steps=1", "~callbacks.throughput")
    # D's updates are numbered 0, 1, (G,) 2, 3, (G,) ...: 0, 3, 6, 9 of 12
    assert [after for after, _ in taken] == [0, 4, 9, 13]
    values = [logs["penalty"].item() for logs in logged]
    latest = [taken[i][1].item() for i in (0, 1, 1, 2, 3, 3)]  # at the end of each step
    assert values == pytest.approx([3 * value for value in latest])


def test_gradients_are_clipped_for_each_player(configure, monkeypatch):
    norms = []
    step = torch.optim.Adam.step

    def measured(self, *args, **kwargs):
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(torch.nn.utils.get_total_norm(gradients).item())
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", measured)
    options = ["trainer.max_steps=3", "metrics=none"]
    trained(configure, monkeypatch, *options)
    free, norms[:] = list(norms), []
    trained(configure, monkeypatch, *options, "gradient_clip_val=0.01")
    assert len(free) == len(norms) == 6
    assert min(free) > 0.02
    assert norms == pytest.approx([0.01] * 6, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_adas_p_is_saved_and_a_resumed_run_ends_with_the_weights_of_one_left_alone(
    configure, monkeypatch, tmp_path, precision
):
    options = [
        f"trainer.precision={precision}",
        "augment=ada",
        "augment.ramp_images=1000",
        "augment.target=-0.9",
        "trainer.val_check_interval=5",
    ]
    alone = trained(configure, monkeypatch, *options, "trainer.max_steps=12")
    assert 0 < alone.augment.p < 1
    trained(configure, monkeypatch, *options, "trainer.max_steps=7")
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]["augment.p"]
    assert 0 < saved < alone.augment.p
    last = f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt"
    assert equal(trained(configure, monkeypatch, *options, "trainer.max_steps=12", last), alone)


def test_regularizers_and_top_k_resume_bit_for_bit(configure, monkeypatch, tmp_path):
    """LeCam's anchors are saved; the other draws are from the random state; the share of top-k follows the step."""
    options = ["penalty=[lecam,balanced_consistency,approx_r1]", "top_k=0.5", "trainer.val_check_interval=5"]
    alone = trained(configure, monkeypatch, *options, "trainer.max_steps=12")
    interrupted(configure, monkeypatch, *options, "trainer.max_steps=12", at=7)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    saved = torch.load(last, weights_only=True)["state_dict"]
    assert saved["stateful_penalties.0.updates"] == 5
    assert not torch.equal(saved["stateful_penalties.0.anchors"], alone.stateful_penalties[0].anchors)
    resumed = trained(configure, monkeypatch, *options, "trainer.max_steps=12", f"ckpt_path={last}")
    assert equal(resumed, alone)
    assert resumed.stateful_penalties[0].updates == 12


@pytest.mark.parametrize(("precision", "extra"), [("32-true", [0, 1, 2, 1]), ("bf16-mixed", [0, 1, 2, 1])])
def test_regularizers_use_the_logits_of_the_loss_in_its_precision(configure, monkeypatch, precision, extra):
    """The forward passes that each adds to a discriminator update, and their precision."""
    forwards, counts = [], []
    forward, step = Discriminator.forward, GAN.discriminator_step
    monkeypatch.setattr(
        Discriminator,
        "forward",
        lambda self, *a: forwards.append(torch.is_autocast_enabled("cpu")) or forward(self, *a),
    )

    def counted(self, *args):
        forwards[:] = []
        step(self, *args)
        counts.append((len(forwards), [*forwards[2:]]))

    monkeypatch.setattr(GAN, "discriminator_step", counted)
    for penalty, more in zip(("lecam", "consistency", "balanced_consistency", "approx_r1"), extra, strict=True):
        counts[:] = []
        options = [f"penalty={penalty}", f"trainer.precision={precision}", "trainer.max_steps=1", "metrics=none"]
        trained(configure, monkeypatch, *options)
        mixed = precision == "bf16-mixed" and penalty != "approx_r1"
        assert counts == [(2 + more, [mixed] * more)]


def test_images_carry_no_gradient_unless_a_penalty_differentiates(configure, monkeypatch):
    asked, forward = [], Discriminator.forward
    monkeypatch.setattr(
        Discriminator, "forward", lambda self, x, y: asked.append(x.requires_grad) or forward(self, x, y)
    )
    trained(configure, monkeypatch, "penalty=lecam", "trainer.max_steps=1", "metrics=none")
    assert asked[-3:] == [False, False, True]  # D's reals and fakes, G's fakes


@pytest.mark.parametrize("loss", ["bce", "lsgan", "wgan", "hinge", "rpgan"])
def test_top_k_updates_the_generator_on_its_highest_logits_and_their_reals(configure, monkeypatch, loss):
    """Of 64 fakes, all at first and half of them from the middle of the run on; in between 2^(-2 t) of them."""
    calls = []
    select = GAN.select_top

    def watched(self, fake_logits, real_logits):
        chosen = select(self, fake_logits, real_logits)
        calls.append((fake_logits.detach(), real_logits, *chosen))
        return chosen

    monkeypatch.setattr(GAN, "select_top", watched)
    trained(configure, monkeypatch, f"loss={loss}", "n_critic=1", "top_k=0.5", "trainer.max_steps=8", "metrics=none")
    assert [len(fakes) for _, _, fakes, _ in calls] == [64, 54, 46, 39, 32, 32, 32, 32]  # ceil(64 * 2^(-i / 4))
    for fake_logits, real_logits, fakes, reals in calls:
        order = fake_logits.argsort(descending=True)[: len(fakes)]
        assert torch.equal(fakes, fake_logits[order])
        assert (reals is None) == (real_logits is None) == (loss != "rpgan")
        if reals is not None:
            assert torch.equal(reals, real_logits[order])


@pytest.mark.parametrize("share", [0, -0.5, 1.5])
def test_a_top_k_that_is_no_share_is_refused(share):
    optimizer = {"generator": torch.optim.SGD, "discriminator": torch.optim.SGD}
    with pytest.raises(InputError, match=r"top_k=.*: must be a share of the fakes, above 0 and at most 1"):
        GAN(nn.Linear(1, 1), nn.Linear(1, 1), loss=BCE(), optimizer=optimizer, top_k=share)


def test_top_k_needs_the_length_of_the_run(configure, monkeypatch):
    options = ["trainer.max_steps=-1", "+trainer.max_time=00:00:00:30", "top_k=0.5", "metrics=none"]
    with pytest.raises(InputError, match=r"top_k=0.5: .*needs the run's length; set trainer.max_steps"):
        trained(configure, monkeypatch, *options)


def test_z_is_drawn_from_the_prior_in_training_and_for_the_scores(configure, monkeypatch):
    seen = []
    forward = Generator.forward
    monkeypatch.setattr(
        Generator, "forward", lambda self, z, labels: seen.append(z.detach()) or forward(self, z, labels)
    )
    trained(configure, monkeypatch, "prior=uniform", "trainer.max_steps=3", "trainer.val_check_interval=2")
    assert len(seen) > 6
    assert all(z.abs().max() <= 1 for z in seen)
    assert torch.cat(seen).std().item() == pytest.approx(3**-0.5, abs=0.01)


def test_two_learning_rates(configure, monkeypatch):
    """Heusel et al. 2017, TTUR."""
    rates = ["optimizer.generator.lr=1e-4", "optimizer.discriminator.lr=4e-4"]
    gan = trained(configure, monkeypatch, *rates, "trainer.max_steps=2", "metrics=none")
    assert [optimizer.param_groups[0]["lr"] for optimizer in gan.optimizers()] == [1e-4, 4e-4]


def test_the_averaged_generator_is_the_average_of_its_steps(configure, monkeypatch):
    """Its closed form over a real run: a sum of all the weights that there were, by powers of the decay."""
    history = []
    step = GAN.generator_step

    def recorded(self, *args):
        logs = step(self, *args)
        history.append(flat(self.generator))
        return logs

    monkeypatch.setattr(GAN, "generator_step", recorded)
    options = ["ema_half_life_steps=3", "ema_ramp_up=null", "trainer.max_steps=8", "metrics=none"]
    gan = trained(configure, monkeypatch, *options)
    decay = 0.5 ** (1 / 3)
    expected = history[0] * decay**7 + sum((1 - decay) * decay ** (7 - i) * history[i] for i in range(1, 8))
    torch.testing.assert_close(flat(gan.ema.module), expected, rtol=1e-4, atol=1e-6)
