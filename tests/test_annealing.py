"""Values that are annealed: by their closed form, in the parts that use them, also after a resume."""

import math
import sys

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from gan.annealing import RANGES, Annealing
from gan.augment import Fixed
from gan.ema import EMA
from gan.errors import InputError
from gan.gan import GAN
from gan.penalties import R1, R2
from gan.run.build import build_annealing
from gan.run.cell import ANNEALED, name_cell
from gan.run.config import prepare_config
from gan.run.effects import READ
from gan.run.resume import compare_settings
from tests.helpers import ROOT, interrupted, trained

FINALS = {"gamma": 0.5, "beta2": 0.99, "ema_half_life_steps": 6.0, "augment_p": 0.8}
STARTS = {"gamma": 10.0, "beta2": 0.9, "ema_half_life_steps": 0.0, "augment_p": 0.0}
GAME = ["penalty=[r1,r2]", "augment=fixed", "augment.p=0.0", "optimizer.beta2=0.9"]
GAME += ["ema_half_life_steps=0", "ema_ramp_up=null", "metrics=none"]
SGD = ["optimizer.generator._target_=torch.optim.SGD", "~optimizer.generator.betas", "~optimizer.generator.fused"]


def annealed(until: float = 1.0) -> list[str]:
    return [f"annealing.{name}={{final: {final}, until: {until}}}" for name, final in FINALS.items()]


def expected(name: str, progress: float) -> float:
    """The formula of R3GAN's code, for a progress up to `until`."""
    decay = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return STARTS[name] + (1 - decay) * (FINALS[name] - STARTS[name])


@pytest.mark.parametrize(("start", "final"), [(0.05, 0.005), (0.9, 0.99), (0.0, 19531.0), (0.7, 0.1)])
@pytest.mark.parametrize("until", [1.0, 0.2, 0.78125])
def test_a_value_moves_along_half_a_cosine_and_stays(start, final, until):
    annealing = Annealing("ema_half_life_steps", final=final, until=until)
    assert annealing.compute(start, 0.0) == start
    assert annealing.compute(start, until / 2) == pytest.approx((start + final) / 2)
    quarter = start + (1 - math.cos(math.pi / 4)) / 2 * (final - start)
    assert annealing.compute(start, until / 4) == pytest.approx(quarter)
    assert {annealing.compute(start, progress) for progress in (until, (1 + until) / 2, 1.0)} == {final}
    values = [annealing.compute(start, i / 100) for i in range(101)]
    assert values == sorted(values, reverse=start > final)


@pytest.fixture
def watch(monkeypatch):
    """Return, by name, the values that the parts use: in each of D's updates, and in each step."""
    seen = {name: [] for name in (*FINALS, "r2", "generator_beta2")}
    update, apply, forward = EMA.update, GAN.update, Fixed.forward

    def watched_update(self, generator, steps):
        seen["ema_half_life_steps"].append(self.half_life_steps)
        update(self, generator, steps)

    def watched_apply(self, optimizer, loss):
        is_generators = optimizer.param_groups[0]["params"][0] is next(self.generator.parameters())
        seen["generator_beta2" if is_generators else "beta2"].append(optimizer.param_groups[0]["betas"][1])
        apply(self, optimizer, loss)

    def watched_forward(self, images):
        seen["augment_p"].append(self.p)
        return forward(self, images)

    for kind, name in ((R1, "gamma"), (R2, "r2")):

        def watched_call(self, *args, name=name, call=kind.__call__):
            seen[name].append(self.gamma)
            return call(self, *args)

        monkeypatch.setattr(kind, "__call__", watched_call)
    monkeypatch.setattr(EMA, "update", watched_update)
    monkeypatch.setattr(GAN, "update", watched_apply)
    monkeypatch.setattr(Fixed, "forward", watched_forward)
    return seen


@pytest.mark.parametrize("until", [1.0, 0.5])
def test_the_parts_of_a_run_use_the_values_of_their_step(configure, monkeypatch, watch, until):
    """R2 is lazy: of the 16 updates of D, it sees every fourth, and the gamma of its step."""
    options = [*GAME, "n_critic=2", "penalty.r2.interval=4", "trainer.max_steps=8"]
    trained(configure, monkeypatch, *options, *annealed(until))
    values = {name: [expected(name, step / (8 * until)) for step in range(8)] for name in FINALS}
    assert watch["gamma"] == pytest.approx([value for value in values["gamma"] for _ in range(2)])
    assert watch["r2"] == pytest.approx(values["gamma"][::2])
    assert watch["beta2"] == pytest.approx([value for value in values["beta2"] for _ in range(2)])
    assert watch["generator_beta2"] == pytest.approx(values["beta2"])
    assert watch["ema_half_life_steps"] == pytest.approx(values["ema_half_life_steps"])
    shown = watch["augment_p"]  # per step: two updates of D with reals and fakes, one of G with fakes
    assert shown == pytest.approx([value for value in values["augment_p"] for _ in range(5)])
    assert watch["gamma"][0] == 10.0


def test_a_lazy_penalty_is_as_strong_as_its_annealed_gamma_times_its_interval(configure, monkeypatch):
    """The penalty that is logged, against the one of a constant gamma on the same first step."""
    options = ["penalty=r1", "penalty.r1.interval=2", "trainer.max_steps=1", "metrics=none"]
    plain = trained(configure, monkeypatch, *options)
    gan = trained(configure, monkeypatch, *options, "penalty.r1.gamma=30", "annealing.gamma.final=1")
    torch.testing.assert_close(gan.logs["penalty"], 3 * plain.logs["penalty"])


def test_each_penalty_starts_at_its_own_gamma(configure, monkeypatch, watch):
    options = ["penalty.r2.gamma=4.0", "trainer.max_steps=4", "annealing.gamma.final=2.0"]
    trained(configure, monkeypatch, *GAME, *options)
    assert watch["gamma"] == pytest.approx([2 + 8 * (1 + math.cos(math.pi * i / 4)) / 2 for i in range(4)])
    assert watch["r2"] == pytest.approx([2 + 2 * (1 + math.cos(math.pi * i / 4)) / 2 for i in range(4)])


def test_the_ema_of_a_half_life_from_zero_begins_as_the_generator(configure, monkeypatch):
    """Then it is the average of the half-lives' recursion."""
    history, step = [], GAN.generator_step

    def recorded(self, *args):
        step(self, *args)
        history.append(torch.cat([p.detach().reshape(-1) for p in self.generator.parameters()]))

    monkeypatch.setattr(GAN, "generator_step", recorded)
    gan = trained(configure, monkeypatch, *GAME, "trainer.max_steps=6", "annealing.ema_half_life_steps.final=6")
    average = history[0]
    for i, weights in enumerate(history[1:], start=1):
        average = torch.lerp(weights, average, 0.5 ** (1 / expected("ema_half_life_steps", i / 6)))
    found = torch.cat([p.detach().reshape(-1) for p in gan.ema.module.parameters()])
    torch.testing.assert_close(found, average, rtol=1e-4, atol=1e-6)
    first = trained(configure, monkeypatch, *GAME, "trainer.max_steps=1", "annealing.ema_half_life_steps.final=6")
    for average, current in zip(first.ema.module.parameters(), first.generator.parameters(), strict=True):
        assert torch.equal(average, current)


def test_ramp_up_still_bounds_an_annealed_half_life(configure, monkeypatch):
    options = ["ema_half_life_steps=0", "ema_ramp_up=0.5", "metrics=none", "trainer.max_steps=4"]
    gan = trained(configure, monkeypatch, *options, "annealing.ema_half_life_steps={final: 100, until: 0.25}")
    assert gan.ema.half_life_steps == 100
    assert gan.ema.compute_decay(3) == 0.5 ** (1 / 1.5)


def equal(one: GAN, other: GAN) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_a_final_value_like_the_first_changes_no_bit(configure, monkeypatch):
    options = ["penalty=r1", "ema_half_life_steps=3", "augment=fixed", "metrics=none", "trainer.max_steps=6"]
    same = {"gamma": 10.0, "beta2": 0.999, "ema_half_life_steps": 3, "augment_p": 0.5}
    kept = trained(configure, monkeypatch, *options)
    moved = trained(configure, monkeypatch, *options, *(f"annealing.{name}.final={same[name]}" for name in same))
    assert equal(kept, moved)
    other = trained(configure, monkeypatch, *options, "annealing.beta2.final=0.9")
    assert not equal(kept, other)


def test_a_run_that_is_resumed_while_values_move_ends_with_the_same_bits(configure, monkeypatch, tmp_path, watch):
    options = [*GAME, *annealed(0.75), "trainer.val_check_interval=5", "trainer.max_steps=12"]
    alone = trained(configure, monkeypatch, *options)
    interrupted(configure, monkeypatch, *options, at=7)
    for values in watch.values():
        values.clear()
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    resumed = trained(configure, monkeypatch, *options, f"ckpt_path={last}")
    assert watch["gamma"] == pytest.approx([expected("gamma", step / 9) for step in range(5, 12)])
    assert watch["beta2"] == pytest.approx([expected("beta2", step / 9) for step in range(5, 12)])
    assert equal(resumed, alone)


def test_a_longer_run_stretches_what_is_left(configure, monkeypatch, tmp_path, watch):
    """As learning rates do: the share of the run counts, of the new length."""
    options = [*GAME, *annealed(), "trainer.val_check_interval=4"]
    trained(configure, monkeypatch, *options, "trainer.max_steps=4")
    for values in watch.values():
        values.clear()
    last = f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt"
    trained(configure, monkeypatch, *options, "trainer.max_steps=8", last)
    assert watch["generator_beta2"] == pytest.approx([expected("beta2", step / 8) for step in range(4, 8)])


def test_a_resumed_run_may_change_its_annealing():
    before, now = ({"annealing": {"gamma": {"final": final, "until": 1.0}}} for final in (None, 2.0))
    assert compare_settings({}, now, "x.ckpt") == {"annealing.gamma.final": (None, 2.0)}
    assert compare_settings({}, before, "x.ckpt") == {}
    assert compare_settings(now, before, "x.ckpt") == {"annealing.gamma.final": (2.0, None)}


def test_a_step_calls_nothing_of_hydra_and_without_annealing_nothing_more(configure, monkeypatch):
    called, step = [], GAN.training_step

    def traced(self, *args):
        sys.setprofile(lambda frame, *_: called.append((frame.f_code.co_filename, frame.f_code.co_name)))
        try:
            step(self, *args)
        finally:
            sys.setprofile(None)

    monkeypatch.setattr(GAN, "training_step", traced)
    trained(configure, monkeypatch, *GAME, *annealed(), "trainer.max_steps=2")
    assert {"anneal", "advance", "compute"} <= {name for _, name in called}
    assert not [path for path, _ in called if "hydra" in path or "omegaconf" in path]
    called.clear()
    trained(configure, monkeypatch, *GAME, "trainer.max_steps=2")
    assert not {"anneal", "advance", "compute"} & {name for path, name in called if "/gan/" in path}


def test_names_are_the_same_everywhere():
    options = yaml.safe_load((ROOT / "conf" / "train.yaml").read_text())["annealing"]
    assert tuple(options) == tuple(RANGES) == ANNEALED
    assert {f"annealing.{name}.{key}" for name in options for key in options[name]} <= {*READ}
    assert build_annealing(OmegaConf.create(options)) == {}


def test_a_run_without_annealing_is_of_the_cell_of_earlier_runs(configure):
    def config(*overrides):
        return OmegaConf.to_container(prepare_config(configure("penalty=r1", "schedule=cosine", *overrides)))

    earlier = config()
    del earlier["annealing"], earlier["schedule"]["until"]
    assert name_cell(config()) == name_cell(earlier)
    changed = ["annealing.gamma.final=1", "annealing.gamma={final: 1, until: 0.5}", "annealing.beta2.final=0.99"]
    assert len({name_cell(config(*words)) for words in ([], *([word] for word in changed))}) == 4


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["annealing.gamma.final=1"], "annealing.gamma.final=1: no penalty of this run has a gamma; use penalty=r1"),
        (["penalty=approx_r1", "annealing.gamma.final=1"], "annealing.gamma.final=1: no penalty of this run has"),
        (["penalty=r1", "annealing.gamma.final=0"], "annealing.gamma.final=0: must be above 0, or null"),
        (["penalty=r1", "annealing.gamma.final=-1"], "annealing.gamma.final=-1: must be above 0"),
        (["penalty=r1", "annealing.gamma.final=much"], "annealing.gamma.final=much: must be a number, or null"),
        (["annealing.beta2.final=1"], "annealing.beta2.final=1: must be at least 0 and below 1, or null"),
        (["annealing.beta2.final=-0.1"], "annealing.beta2.final=-0.1: must be at least 0 and below 1"),
        (["annealing.ema_half_life_steps.final=-5"], "annealing.ema_half_life_steps.final=-5: must be at least 0"),
        (["augment=fixed", "annealing.augment_p.final=1.5"], "annealing.augment_p.final=1.5: must be from 0 to 1"),
        (["augment=fixed", "annealing.augment_p.final=-1"], "annealing.augment_p.final=-1: must be from 0 to 1"),
        (["annealing.augment_p.final=1"], "annealing.augment_p.final=1: this augmentation has no probability; use"),
        (["augment=diffaugment", "annealing.augment_p.final=1"], "annealing.augment_p.final=1: this augmentation has"),
        (
            ["augment=ada", "annealing.augment_p.final=0.5"],
            "annealing.augment_p.final=0.5: this augmentation adapts its probability itself; use augment=fixed",
        ),
        (["annealing.beta2={final: 0.9, until: 0}"], "annealing.beta2.until=0: must be a share of the run, above 0"),
        (["annealing.beta2={final: 0.9, until: 1.5}"], "annealing.beta2.until=1.5: must be a share of the run"),
        (["annealing.beta2={final: 0.9, until: -1}"], "annealing.beta2.until=-1: must be a share of the run"),
        (["annealing.beta2.until=0.5"], "annealing.beta2.until=0.5: has no final value; add annealing.beta2.final="),
        (["annealing.beta2=0.5"], "annealing.beta2=0.5: must be given as annealing.NAME.final=VALUE"),
        (["annealing=null"], "annealing=null: must be given as annealing.NAME.final=VALUE"),
        (["+annealing.beta2.from=0.5"], "annealing.beta2={"),
        (["+annealing.lr.final=0.5"], "annealing.lr: must be one of gamma, beta2, ema_half_life_steps, augment_p"),
        (
            [*SGD, "annealing.beta2.final=0.9"],
            "annealing.beta2: SGD has no beta2; use optimizer=adam",
        ),
        (
            ["annealing.beta2.final=0.9", "trainer.max_steps=-1", "+trainer.max_time=00:00:00:30"],
            "annealing.beta2: a value that changes over the run needs the run's length; set trainer.max_steps",
        ),
    ],
)
def test_what_cannot_be_annealed_is_refused_in_one_line(configure, monkeypatch, overrides, line):
    with pytest.raises(InputError) as caught:
        trained(configure, monkeypatch, "metrics=none", *overrides)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
