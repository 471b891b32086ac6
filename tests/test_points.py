"""Points: where their modes are, how samples are scored by them, their pictures, and what refuses them."""

import json
import math

import pytest
import torch
from PIL import Image
from torch import nn

import train
from gan.callbacks.scatter import draw_over_modes
from gan.data.latents import Latents
from gan.data.points import Grid25, Points, Ring8
from gan.data.scatter import HEADING, SIZE, write_animation
from gan.errors import InputError
from gan.metrics.extractors.nearest_mode import NearestMode
from gan.metrics.mode_scorer import ModeScorer
from gan.metrics.protocol import PROTOCOL
from gan.priors import normal
from gan.run.build import build_data, build_scorer
from gan.run.config import prepare_config
from tests.helpers import NARROW, load_digits

KINDS = {"ring8": (Ring8, 8, 0.01, 1.25), "grid25": (Grid25, 25, 0.05, 5.0)}  # modes, std and scale
POINTS = ["model=mlp", *NARROW["mlp"], "metrics=modes", "metrics.n_fakes=300"]


def load(name: str) -> Points:
    data = KINDS[name][0](batch_size=64)
    data.setup()
    return data


def find_exact_modes(data: Points, images: torch.Tensor) -> torch.Tensor:
    return (images.flatten(1)[:, None] - data.centers).norm(dim=2).argmin(1)


@pytest.mark.parametrize("name", KINDS)
class TestData:
    def test_modes_are_equally_likely_gaussians_of_the_papers_scale(self, name):
        data, (_, n_modes, std, scale) = load(name), KINDS[name]
        for split, n in {"train": 100_000, "test": 10_000}.items():
            images = data.splits[split].images
            assert images.shape == (n, 2, 1, 1)
            assert images.dtype == torch.float32
            assert images.abs().max() < 1
            modes = find_exact_modes(data, images)
            counts = torch.bincount(modes, minlength=n_modes)
            assert ((counts - n / n_modes).abs() < 5 * (n / n_modes) ** 0.5).all()
            noise = scale * (images.flatten(1) - data.centers[modes])
            torch.testing.assert_close(noise.std(0), torch.full((2,), std), rtol=0.03, atol=0)
            assert noise.mean(0).abs().max() < 5 * std / n**0.5

    def test_points_are_the_same_in_all_runs_and_draw_nothing_from_training(self, name):
        before = torch.get_rng_state()
        prints = {KINDS[name][0](batch_size=64, seed=seed, n_critic=2) for seed in (0, 1)}
        for data in prints:
            data.setup()
        assert len({data.fingerprint() for data in prints}) == 1
        assert torch.equal(before, torch.get_rng_state())
        assert not torch.equal(*(data.splits[s].images[:10] for data in list(prints)[:1] for s in ("train", "test")))

    def test_networks_get_two_channels_of_one_pixel_and_no_labels(self, name):
        assert load(name).shape == {"channels": 2, "image_size": 1, "num_classes": 0}


def test_the_centers_are_those_of_the_papers():
    ring, grid = 1.25 * Ring8(batch_size=1).centers, 5 * Grid25(batch_size=1).centers
    torch.testing.assert_close(ring.norm(dim=1), torch.ones(8))
    turns = torch.atan2(ring[:, 1], ring[:, 0]).sort().values.diff()
    torch.testing.assert_close(turns, torch.full((7,), math.pi / 4))
    assert {tuple(center) for center in grid.round().int().tolist()} == {
        (x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)
    }


class TestNearestMode:
    @pytest.mark.parametrize("name", KINDS)
    def test_a_sample_is_of_high_quality_within_three_standard_deviations(self, name):
        data = load(name)
        extractor, directions = NearestMode(data), torch.tensor([[1.0, 0.0], [0.0, -1.0], [0.6, 0.8]])
        for distance, expected in {0: True, 2.99: True, 3.01: False, 20: False}.items():
            for direction in directions:
                points = data.centers + distance * data.std * direction
                modes = extractor(points.view(-1, 2, 1, 1))
                assert torch.equal(modes, torch.arange(len(points)) if expected else torch.full((len(points),), -1))

    def test_reals_are_of_high_quality_as_often_as_a_gaussian_is(self):
        """The distance of a 2-D Gaussian from its mean is below 3 standard deviations with 1 - exp(-9 / 2)."""
        modes = NearestMode(load("grid25"))(load("grid25").splits["train"].images)
        assert (modes >= 0).double().mean().item() == pytest.approx(1 - math.exp(-4.5), abs=0.001)

    def test_points_that_are_not_finite_are_refused(self):
        with pytest.raises(ValueError, match="finite"):
            NearestMode(load("ring8"))(torch.full((3, 2, 1, 1), torch.nan))

    def test_images_whose_modes_are_unknown_are_refused(self):
        with pytest.raises(InputError, match=r"metrics=modes: .*use data=ring8 or data=grid25"):
            NearestMode(load_digits())


class Choosing(nn.Module):
    """A generator of points at the centers of the first modes, or between modes for those it is told to miss."""

    z_dim = 2

    def __init__(self, data: Points, n_modes: int, missed: float = 0.0) -> None:
        super().__init__()
        self.centers, self.n_modes, self.missed = data.centers, n_modes, missed

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        points = self.centers[torch.arange(len(z)) % self.n_modes].clone()
        points[: round(self.missed * len(z))] += 0.1
        return points.view(-1, 2, 1, 1)


def score(data: Points, generator: nn.Module, n: int = 1000) -> tuple[ModeScorer, dict[str, float]]:
    scorer = ModeScorer(NearestMode(data), data, n_fakes=n, conditional=False)
    latents = Latents(normal, z_dim=2, n=n, labels=data.splits["train"].labels)
    return scorer, scorer.score(generator, latents.build_loader())


class TestScorer:
    @pytest.mark.parametrize("found", [1, 5, 25])
    def test_scores_of_some_modes_alone(self, found):
        scorer, scores = score(load("grid25"), Choosing(load("grid25"), found))
        assert list(scores) == scorer.list_scores()
        assert (scores["modes"], scores["high_quality"]) == (found, 1.0)
        shares = scorer.real_shares[:-1] / scorer.real_shares[:-1].sum()
        expected = math.log(1 / found) - shares[:found].log().mean().item()
        assert scores["reverse_kl"] == pytest.approx(expected, abs=1e-9)
        assert scores["mode_kl"] == pytest.approx(
            math.log(1 / found) - scorer.real_shares[:found].log().mean().item(), abs=1e-9
        )

    def test_low_quality_leaves_reverse_kl_and_raises_mode_kl(self):
        """Of samples with a share r of low quality: (1 - r) log((1 - r) / (1 - s)) + r log(r / s), s of the reals."""
        data = load("grid25")
        scorer, scores = score(data, Choosing(data, 25, missed=0.8))
        s = scorer.real_shares[-1].item()
        assert scores["high_quality"] == pytest.approx(0.2)
        assert scores["reverse_kl"] < 0.01
        assert scores["mode_kl"] == pytest.approx(0.2 * math.log(0.2 / (1 - s)) + 0.8 * math.log(0.8 / s), abs=0.01)

    def test_the_floor_is_that_of_as_many_reals(self):
        scorer, _ = score(load("grid25"), Choosing(load("grid25"), 1))
        assert (scorer.n_floor, scorer.floor["modes"]) == (1000, 25)
        assert scorer.floor["high_quality"] == pytest.approx(1 - math.exp(-4.5), abs=0.01)
        assert 0 < scorer.floor["reverse_kl"] < 0.03  # about 24 / (2 * 1000)
        assert scorer.describe()["at_n_floor"] == {}

    def test_the_protocol_says_how_modes_are_found_and_depends_on_the_modes(self):
        (grid, _), (ring, _) = (score(load(name), Choosing(load(name), 1)) for name in ("grid25", "ring8"))
        assert PROTOCOL.format(**grid.protocol) == (
            "nearest of 25 modes, within 3 standard deviations, 1,000 samples of the ema generator, z seed 0, against "
            "10,000 test images"
        )
        assert "kid" not in grid.protocol
        assert grid.protocol["extractor_sha256"] != ring.protocol["extractor_sha256"]

    @pytest.mark.parametrize(("found", "missed", "collapsed"), [(6, 0.0, True), (7, 0.0, False), (1, 0.6, False)])
    def test_good_samples_in_few_modes_are_a_collapse(self, found, missed, collapsed):
        scorer, scores = score(load("grid25"), Choosing(load("grid25"), found, missed))
        assert scorer.find_collapse(scores, {}) == (f"{found} of 25 modes" if collapsed else None)


class TestRuns:
    @pytest.mark.parametrize("words", [[], ["pack=2", "penalty=[r1,r2]"], ["loss=wgan_gp"]])
    @pytest.mark.parametrize("name", KINDS)
    def test_a_run_trains_scores_and_draws(self, configure, tmp_path, name, words):
        steps = ["trainer.max_steps=6", "trainer.val_check_interval=2"]
        objective = train.train(configure(f"data={name}", *POINTS, *steps, *words))
        run = json.loads((tmp_path / "run" / "metrics.json").read_text())
        assert objective == run["scores"]["mode_kl"]
        assert run["floor"]["modes"] == KINDS[name][1]
        assert {"modes", "high_quality", "reverse_kl"} <= run["best"]["scores"].keys()
        folder = tmp_path / "run" / "samples"
        names = sorted(path.name for path in folder.iterdir())
        assert names == ["step_000002.png", "step_000004.png", "step_000006.png", "training.gif"]
        with Image.open(folder / "training.gif") as animation:
            assert animation.n_frames == 3

    def test_a_plain_run_brings_what_points_need(self, configure):
        cfg = prepare_config(configure("data=grid25", "metrics=modes"))
        assert (cfg.objective, cfg.trainer.precision) == ("mode_kl", "32-true")
        assert cfg.model.generator._target_ == "gan.models.mlp.Generator"

    def test_without_scores_it_draws_all_the_same(self, configure, tmp_path):
        train.train(configure("data=ring8", *NARROW["mlp"], "metrics=none", "trainer.max_steps=2"))
        assert (tmp_path / "run" / "samples" / "step_000002.png").is_file()

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["metrics=inception"], "metrics: needs images, .*use metrics=modes or metrics=none"),
            (["metrics=own"], "metrics: needs images, .*use metrics=modes or metrics=none"),
            (["metrics=modes", "augment=ada"], "augment: .* for points use augment=none"),
            (["metrics=modes", "model=dcgan"], "model=mlp takes any size, and points"),
            (["metrics=modes", "model=infogan"], "model=mlp takes any size, and points"),
        ],
    )
    def test_what_needs_images_is_refused(self, configure, words, message):
        with pytest.raises(Exception, match=message) as caught:
            train.train(configure("data=grid25", *words))
        assert isinstance(caught.value, InputError) or isinstance(caught.value.__cause__, InputError)

    def test_modes_of_images_are_refused(self, configure):
        cfg = configure("data=mnist_5k", "metrics=modes")
        with pytest.raises(InputError, match=r"metrics=modes: the modes of these images are unknown"):
            build_scorer(cfg, build_data(cfg))


class TestPictures:
    def test_points_are_drawn_where_they_are_in_the_color_of_their_quality(self):
        data = load("grid25")
        points = torch.tensor([[0.4, 0.8], [-0.6, -0.2]]).view(-1, 2, 1, 1)  # a mode at the top right, none at the left
        picture = draw_over_modes(data, points, "step 7")

        def color_at(x, y):
            return picture.getpixel((round((x + 1) * SIZE / 2), HEADING + round((1 - y) * SIZE / 2)))

        assert picture.size == (SIZE, SIZE + HEADING)
        red, _, blue = color_at(0.4, 0.8)
        assert blue > red + 50
        red, _, blue = color_at(-0.6, -0.2)
        assert red > blue + 50
        assert len(set(color_at(-0.8, -0.8))) > 1  # an empty mode, gray with a tint of blue
        assert color_at(-0.6, 0.6) == (255, 255, 255)

    def test_an_animation_shows_all_pictures_in_order_and_the_last_one_longest(self, tmp_path):
        paths = [tmp_path / f"{i}.png" for i in range(3)]
        for level, path in zip((0, 100, 200), paths, strict=True):
            Image.new("RGB", (20, 20), (level, level, level)).save(path)
        write_animation(paths, tmp_path / "all.gif")
        shown = []
        with Image.open(tmp_path / "all.gif") as animation:
            for i in range(animation.n_frames):
                animation.seek(i)
                shown.append((animation.convert("RGB").getpixel((5, 5))[0], animation.info["duration"]))
        assert [level for level, _ in shown] == pytest.approx([0, 100, 200], abs=4)
        assert shown[2][1] > shown[0][1] == shown[1][1]

    def test_a_resumed_run_animates_the_pictures_from_before_too(self, configure, tmp_path):
        words = ["data=ring8", *POINTS, "trainer.val_check_interval=2"]
        train.train(configure(*words, "trainer.max_steps=2"))
        last = f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt"
        train.train(configure(*words, "trainer.max_steps=5", last))  # its last evaluation follows training
        with Image.open(tmp_path / "run" / "samples" / "training.gif") as animation:
            assert animation.n_frames == 3
