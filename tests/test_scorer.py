"""A scorer's protocol and floor, what it keeps on disk, and what it makes of several processes."""

import json
import math

import pytest
import torch
import torch.distributed as processes

from gan.data.datamodule import Images
from gan.data.latents import Latents
from gan.data.pixels import to_float
from gan.errors import InputError
from gan.metrics import real_statistics
from gan.metrics.extractors.classifier import SHA256, Classifier
from gan.metrics.scorer import Scorer
from gan.priors import normal
from tests.helpers import RealDigits, load_digits
from tests.processes import CONTEXT


class Pixels:
    """An extractor whose features are some pixels themselves; counts the images it has seen."""

    def __init__(self, num_features: int = 8, sha256: str = "0") -> None:
        self.num_features, self.knows_classes, self.seen = num_features, False, 0
        self.name, self.sha256, self.resize = "pixels", sha256, "none"

    def __call__(self, images):
        self.seen += len(images)
        return images.flatten(1)[:, 300 : 300 + self.num_features].float(), torch.zeros(len(images), 10)


def latents(n: int = 200) -> Latents:
    return Latents(normal, z_dim=2, n=n, labels=load_digits().splits["train"].labels)


def scored(scorer: Scorer, images: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    scorer.measure_reals()
    scorer.reset()
    scorer.update(to_float(images), labels)
    return scorer.compute()


def test_fid_of_the_reals_themselves_is_zero_and_the_floor_is_not():
    digits = load_digits()
    scorer = Scorer(Classifier(weights_path="mnist"), digits, n_fakes=1000)
    test = digits.splits["test"]
    scores = scored(scorer, test.images, test.labels)
    assert scores["fid_1k"] == pytest.approx(0, abs=1e-3)
    assert 0 < scorer.floor["fid_1k"] < 0.05 * scored(scorer, 255 - test.images, test.labels)["fid_1k"]
    assert scores["conditional_accuracy"] > 0.99
    assert 9.5 < scores["inception_score"] <= 10
    assert set(scorer.floor) == set(scores)
    assert scorer.floor["conditional_accuracy"] > 0.99


def test_the_protocol_says_what_was_measured():
    scorers = [
        Scorer(Classifier(weights_path="mnist"), load_digits(), n_fakes=200, reference=split)
        for split in ("test", "train")
    ]
    protocol, other = (scorer.protocol for scorer in scorers)
    assert protocol["extractor_sha256"] == SHA256["mnist"]
    assert (protocol["n_fakes"], protocol["n_reals"], protocol["reference"]) == (200, 1000, "test")
    assert (protocol["generator"], protocol["z_seed"], protocol["kid"]) == ("ema", 0, "100 subsets of 200")
    assert other["reals_sha256"] != protocol["reals_sha256"]
    assert json.loads(json.dumps(protocol)) == protocol


@pytest.mark.parametrize(
    ("n_fakes", "options", "message"),
    [
        (200, {"reference": "validation"}, "reference=validation.*train, test"),
        (9, {}, "n_fakes=9: must be at least 10"),
    ],
)
def test_what_cannot_be_scored_is_refused(n_fakes, options, message):
    with pytest.raises(InputError, match=message):
        Scorer(Pixels(), load_digits(), n_fakes=n_fakes, **options)


def test_too_few_images_for_a_covariance_are_warned_of(caplog):
    Scorer(Pixels(200), load_digits(), n_fakes=200)
    assert "metrics.n_fakes: 200 images are too few for a covariance of 200 features: fid_200 is biased" in caplog.text


@pytest.mark.parametrize("value", [1.01, -1.5, math.nan])
def test_images_outside_their_range_are_an_error(value):
    scorer = Scorer(Pixels(), load_digits(), n_fakes=200)
    images = torch.zeros(20, 1, 28, 28)
    images[3, 0, 2, 1] = value
    with pytest.raises(ValueError, match=r"must be in \[-1, 1\]"):
        scorer.update(images, torch.zeros(20))


def test_an_unconditional_generator_is_not_asked_for_classes():
    scorer = Scorer(Classifier(weights_path="mnist"), load_digits(), n_fakes=200, conditional=False)
    scores = scorer.score(RealDigits(), latents().build_loader())
    assert not {"conditional_accuracy", "intra_fid_200"} & {*scores, *scorer.floor}
    assert scores["class_distance"] < 0.1


def test_a_generator_that_ignores_its_labels_has_the_same_fid_and_a_high_intra_fid():
    """Real digits with shuffled labels: all of them are as good, but of other classes than those asked for."""
    digits = load_digits()
    scorer = Scorer(Classifier(weights_path="mnist"), digits, n_fakes=4000)
    train = digits.splits["train"]
    faithful = scored(scorer, train.images, train.labels)
    ignoring = scored(scorer, train.images, train.labels[torch.randperm(4000)])
    assert ignoring["fid_4k"] == pytest.approx(faithful["fid_4k"], rel=0.1)
    assert ignoring["intra_fid_4k"] > 3 * faithful["intra_fid_4k"]
    assert faithful["intra_fid_4k"] == pytest.approx(scorer.floor["intra_fid_4k"])


@pytest.mark.parametrize(
    ("num_features", "n_fakes", "per_class", "is_measured"),
    [(8, 200, 100, True), (8, 90, 100, False), (8, 200, 9, False), (300, 200, 100, False)],
)
def test_intra_fid_needs_some_images_of_each_class_and_few_features(num_features, n_fakes, per_class, is_measured):
    digits = load_digits()
    test = digits.splits["test"]
    digits.splits["test"] = test.select(torch.cat([(test.labels == c).nonzero()[:per_class, 0] for c in range(10)]))
    scorer = Scorer(Pixels(num_features), digits, n_fakes=n_fakes)
    scores = scored(scorer, test.images[::5], test.labels[::5])
    assert (scorer.intra_fid_name in scores) == (scorer.intra_fid_name in scorer.floor) == is_measured


COLLAPSED = {"one image": [5], "two images": [5, 995], "one image of each class": [100 * c for c in range(10)]}


@pytest.mark.parametrize("name", COLLAPSED)
def test_a_generator_of_few_images_is_collapsed(name):
    scorer = Scorer(Classifier(weights_path="mnist"), load_digits(), n_fakes=1000)
    images, chosen = scorer.reals.images, COLLAPSED[name]
    copies = images[chosen].repeat(1000 // len(chosen), 1, 1, 1)
    scores = scored(scorer, copies, torch.zeros(1000, dtype=torch.long))
    assert scorer.find_collapse(scores, {}).startswith("diversity 0, real images ")
    scores = scored(scorer, images, torch.zeros(1000, dtype=torch.long))
    assert scorer.find_collapse(scores, {}) is None


class TestCache:
    def scorer(self, folder, extractor=None, images=None, **options):
        return Scorer(
            extractor or Pixels(), images or load_digits(), cache_dir=str(folder), **{"n_fakes": 200} | options
        )

    def test_a_second_run_extracts_no_reals_and_finds_the_same(self, tmp_path):
        first, second = self.scorer(tmp_path), self.scorer(tmp_path)
        for scorer in (first, second):
            scorer.measure_reals()
        assert (first.extractor.seen, second.extractor.seen) == (1200, 0)
        assert first.floor == second.floor
        for name, value in vars(first.real_statistics).items():
            kept = getattr(second.real_statistics, name)
            assert torch.equal(kept, value) if isinstance(value, torch.Tensor) else kept == value
        fakes, labels = load_digits().splits["train"].images[:300], torch.zeros(300, dtype=torch.long)
        assert scored(first, fakes, labels) == scored(second, fakes, labels)

    def test_nothing_else_hits_the_entry(self, tmp_path):
        """Another extractor, number of fakes or reference, one pixel or one label changed: each is its own entry."""
        self.scorer(tmp_path).measure_reals()
        pixel, label = load_digits(), load_digits()
        pixel.splits["test"].images[0, 0, 0, 0] += 1
        label.splits["train"].labels[0] += 1
        others = [
            self.scorer(tmp_path, Pixels(sha256="1")),
            self.scorer(tmp_path, n_fakes=300),
            Scorer(Pixels(), load_digits(), n_fakes=200, reference="train", cache_dir=str(tmp_path)),
            self.scorer(tmp_path, images=pixel),
            self.scorer(tmp_path, images=label),
        ]
        for scorer in others:
            scorer.measure_reals()
            assert scorer.extractor.seen > 0
        assert len(list(tmp_path.iterdir())) == 1 + len(others)

    def test_the_seed_of_z_shares_it(self, tmp_path):
        for seed in (0, 1):
            scorer = self.scorer(tmp_path, z_seed=seed)
            scorer.measure_reals()
        assert scorer.extractor.seen == 0

    def test_a_file_of_an_earlier_layout_is_not_read(self, tmp_path, monkeypatch):
        monkeypatch.setattr("gan.metrics.scorer.LAYOUT", 1)
        self.scorer(tmp_path).measure_reals()
        monkeypatch.undo()
        scorer = self.scorer(tmp_path)
        scorer.measure_reals()
        assert scorer.extractor.seen > 0
        assert len(list(tmp_path.iterdir())) == 2

    @pytest.mark.parametrize("left", [0, 7, 400, -1])
    def test_a_truncated_file_is_made_again(self, tmp_path, left):
        self.scorer(tmp_path).measure_reals()
        (path,) = tmp_path.iterdir()
        whole = path.read_bytes()
        path.write_bytes(whole[:left])
        scorer = self.scorer(tmp_path)
        scorer.measure_reals()
        assert scorer.extractor.seen > 0
        assert real_statistics.load_statistics(path) is not None
        assert len(path.read_bytes()) == len(whole)

    def test_two_processes_may_fill_it_at_once(self, tmp_path):
        with CONTEXT.Pool(3) as pool:
            floors = pool.map(fill, [tmp_path] * 3)
        assert floors[0] == floors[1] == floors[2]
        (path,) = tmp_path.iterdir()
        assert real_statistics.load_statistics(path) is not None

    def test_a_folder_that_cannot_be_written_costs_only_time(self, tmp_path, caplog):
        (tmp_path / "file").write_text("no folder")
        scorer = self.scorer(tmp_path / "file")
        scorer.measure_reals()
        assert scorer.floor
        assert "statistics of the real images are not cached" in caplog.text


def fill(folder):
    torch.set_num_threads(1)
    scorer = TestCache().scorer(folder)
    scorer.measure_reals()
    return scorer.floor


def test_reals_whose_features_are_not_finite_are_an_error():
    class Broken(Pixels):
        def __call__(self, images):
            features, logits = super().__call__(images)
            return features / 0, logits

    with pytest.raises(ValueError, match="not finite"):
        Scorer(Broken(), load_digits(), n_fakes=200).measure_reals()


def test_a_fingerprint_is_of_shape_pixels_and_labels():
    images = Images(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.zeros(4, dtype=torch.long))
    same = Images(images.images.clone(), images.labels.clone())
    flat = Images(images.images.view(4, 1, 1, 4), images.labels)
    assert images.fingerprint() == same.fingerprint() != flat.fingerprint()


def share(rank, world, address, folder, results):
    """Score one process's share of the samples."""
    torch.set_num_threads(1)
    if world > 1:
        processes.init_process_group("gloo", init_method=address, rank=rank, world_size=world)
    scorer = Scorer(Classifier(weights_path="mnist"), load_digits(), n_fakes=2300, cache_dir=folder)
    scores = scorer.score(RealDigits(), latents(2300).build_loader(rank=rank, world=world))
    results.put((world, rank, scores))
    if world > 1:
        processes.destroy_process_group()


@pytest.mark.slow
def test_two_processes_score_as_one_does(tmp_path):
    """Each makes half of the batches; all scores are the same to the last digit, on both."""
    results = CONTEXT.Queue()
    places = [(0, 1), (0, 2), (1, 2)]
    started = [
        CONTEXT.Process(target=share, args=(rank, world, f"file://{tmp_path}/rendezvous", str(tmp_path), results))
        for rank, world in places
    ]
    for process in started:
        process.start()
    found = {(world, rank): scores for world, rank, scores in (results.get(timeout=120) for _ in started)}
    for process in started:
        process.join(timeout=60)
        assert process.exitcode == 0
    assert found[1, 0] == found[2, 0] == found[2, 1]
    assert found[1, 0]["conditional_accuracy"] > 0.99


@pytest.mark.parametrize(("n", "world"), [(2300, 1), (2300, 2), (2300, 3), (30, 4), (500, 2)])
def test_processes_share_out_all_samples_and_none_goes_without(n, world):
    shares = [list(latents(n).build_loader(rank=rank, world=world)) for rank in range(world)]
    assert all(shares)
    every = torch.cat([z for share in shares for z, _ in share])
    whole = torch.cat([z for z, _ in latents(n).build_loader()])
    assert torch.equal(every.sort(0).values, whole.sort(0).values)


class Noise(Pixels):
    """An extractor that takes any image for a new draw from one distribution: every generator is perfect."""

    def __call__(self, images):
        return torch.randn(len(images), self.num_features), torch.zeros(len(images), 10)


def test_fewer_real_images_than_samples_are_compared_with_as_many_samples():
    """1,000 held-out images against 4,000 samples of a perfect generator: the bias of few is the floor's alone."""
    many = load_digits()
    scorer = Scorer(Noise(64), many, n_fakes=4000, reference="train")
    fakes = many.splits["train"].images
    scores = scored(scorer, fakes, torch.zeros(4000, dtype=torch.long))
    found = scorer.describe()
    assert (found["n_floor"], set(found["at_n_floor"])) == (1000, set(scores))
    assert scores["fid_4k"] < 0.6 * found["floor"]["fid_4k"]
    assert found["at_n_floor"]["fid_4k"] == pytest.approx(found["floor"]["fid_4k"], rel=0.1)


def test_a_few_samples_are_scored_in_parts_and_as_many_as_the_floor_has_not_again():
    scorer = Scorer(Noise(8), load_digits(), n_fakes=200)
    test = scorer.reals
    scored(scorer, test.images[:200], test.labels[:200])
    assert (scorer.n_floor, scorer.compute_at_floor()) == (200, {})
    scorer.n_floor, parts, of_part = 60, [], scorer.compute_scores
    scorer.compute_scores = lambda part: (parts.append(part.features), of_part(part))[1]
    scorer.compute_at_floor()
    assert [len(part) for part in parts] == [60] * 3
    assert len(torch.cat(parts).unique(dim=0)) == 180


def test_an_unconditional_run_shares_the_floor_and_refuses_a_classifier_of_other_images(tmp_path):
    """Without labels for G there is no accuracy to report; whether the extractor knows these images still shows."""
    for conditional in (False, True):
        scorer = Scorer(
            Classifier(weights_path="mnist"),
            load_digits(),
            n_fakes=200,
            conditional=conditional,
            cache_dir=str(tmp_path),
        )
        scorer.measure_reals()
        assert ("conditional_accuracy" in scorer.floor) == conditional
    other = load_digits()
    for images in other.splits.values():
        images.images = 255 - images.images.flip(2)
    with pytest.raises(InputError, match=r"classifier mnist finds the class of .* it was trained on other images"):
        Scorer(Classifier(weights_path="mnist"), other, n_fakes=200, conditional=False).measure_reals()
