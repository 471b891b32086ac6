"""Scores against closed forms, extractors against their weights, and what must never become a number."""

import hashlib
import math
import os

import numpy as np
import pytest
import scipy.linalg
import torch
from safetensors.torch import save_file
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchvision.datasets import MNIST, FashionMNIST

from gan.datasets import MNIST5k, Torchvision
from gan.errors import InputError
from gan.images import to_float
from gan.metrics import inception
from gan.metrics.classifier import SHA256, WEIGHTS, Classifier
from gan.metrics.inception import Inception
from gan.metrics.scorer import Scorer


class Pixels:
    """An extractor whose features are the first pixels themselves and whose logits are given."""

    def __init__(self, num_features: int = 8, logits: torch.Tensor | None = None) -> None:
        self.num_features, self.knows_classes, self.logits = num_features, True, logits
        self.name, self.sha256, self.resize = "pixels", "0" * 64, "none"

    def __call__(self, images):
        logits = self.logits if self.logits is not None else torch.zeros(len(images), 10)
        return images.flatten(1)[:, 300 : 300 + self.num_features].float(), logits[: len(images)]


def data(n_fakes: int = 200, **options) -> MNIST5k:
    made = MNIST5k(channels=1, image_size=28, batch_size=64, n_fakes=n_fakes, z_dim=2, **options)
    made.setup()
    return made


def scored(scorer: Scorer, images: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    scorer.measure_reals()
    scorer.reset()
    scorer.update(to_float(images), labels)
    return scorer.compute()


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """The definition (Heusel et al. 2017, eq. 6) with scipy's matrix square root."""
    root = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)


def test_fid_equals_an_independent_implementation():
    digits = data()
    scorer = Scorer(Pixels(), digits)
    reals, fakes = digits.splits["test"].images, digits.splits["train"].images[:700]
    features = [images.flatten(1)[:, 300:308].double().numpy() for images in (reals, fakes)]
    scores = scored(scorer, fakes, torch.zeros(700, dtype=torch.long))
    assert scores["fid_200"] == pytest.approx(frechet(*features), rel=1e-6)


@pytest.mark.parametrize("d", [8, 64])
def test_fid_equals_the_closed_form_for_gaussians(d):
    """Of N(0, diag a) and N(m, diag b), whose moments the samples have exactly: |m|^2 + sum (sqrt a - sqrt b)^2."""
    random = torch.Generator().manual_seed(0)
    scorer = Scorer(Pixels(d), data())
    a, b, m = (torch.rand(d, generator=random, dtype=torch.float64) + 0.1 for _ in range(3))
    features = []
    for variance, mean in ((a, torch.zeros(d)), (b, m)):
        x = torch.randn(4 * d, d, generator=random, dtype=torch.float64)
        x = torch.linalg.qr(x - x.mean(0)).Q * math.sqrt(4 * d - 1)  # mean 0, covariance the identity
        features.append((x - x.mean(0)) * variance.sqrt() + mean)
    scorer.fid.reset_real_features = True
    scorer.fid.reset()
    scorer.fid.update(features[0], real=True)
    scorer.fid.update(features[1], real=False)
    expected = m.square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    assert scorer.fid.compute().item() == pytest.approx(expected.item(), rel=1e-4)


def test_fid_of_the_reals_themselves_is_zero_and_the_floor_is_not():
    digits = data(n_fakes=1000)
    scorer = Scorer(Classifier(weights_path="mnist"), digits)
    test = digits.splits["test"]
    scores = scored(scorer, test.images, test.labels)
    assert scores["fid_1k"] == pytest.approx(0, abs=1e-3)
    assert 0 < scores["fid_1k_floor"] < 0.05 * scored(scorer, 255 - test.images, test.labels)["fid_1k"]
    assert scores["conditional_accuracy"] > 0.99
    assert 9.5 < scores["inception_score"] <= 10


def test_inception_score_is_the_exponential_of_the_mean_divergence():
    """Certain, balanced classes give their number; a certain single class gives 1; a huge gap between logits no NaN."""
    labels = torch.arange(200) % 10
    pixels = torch.zeros(200, 1, 28, 28, dtype=torch.uint8)
    certain = 200.0 * torch.nn.functional.one_hot(labels, 10).float()
    extractor = Pixels()
    scorer = Scorer(extractor, data())
    extractor.logits = certain
    scorer.inception_score.splits = 1
    assert scored(scorer, pixels, labels)["inception_score"] == pytest.approx(10)
    extractor.logits = certain[:1].expand(200, 10)
    assert scored(scorer, pixels, labels)["inception_score"] == pytest.approx(1)
    p = torch.tensor([0.7, 0.3])
    extractor.logits = torch.stack([p, p.flip(0)]).log().repeat(100, 1)
    expected = math.exp(0.7 * math.log(1.4) + 0.3 * math.log(0.6))
    assert scored(scorer, pixels, labels)["inception_score"] == pytest.approx(expected)


def test_conditional_accuracy_counts_the_classes_asked_for():
    extractor = Pixels()
    scorer = Scorer(extractor, data())
    extractor.logits = torch.nn.functional.one_hot(torch.arange(200) % 10, 10).float()
    labels = torch.where(torch.arange(200) < 50, 9 - torch.arange(200) % 10, torch.arange(200) % 10)
    pixels = torch.zeros(200, 1, 28, 28, dtype=torch.uint8)
    assert scored(scorer, pixels, labels)["conditional_accuracy"] == pytest.approx(0.75)


def test_scoring_leaves_the_global_generator_alone():
    digits = data()
    scorer = Scorer(Classifier(weights_path="mnist"), digits)
    state = torch.get_rng_state()
    first, second = (scored(scorer, digits.splits["test"].images, digits.splits["test"].labels) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert first == second


@pytest.mark.parametrize(("n_fakes", "name"), [(200, "fid_200"), (2000, "fid_2k"), (9999, "fid_9999"), (10_000, "fid")])
def test_a_score_of_few_fakes_says_so(n_fakes, name):
    assert Scorer(Pixels(), data(n_fakes)).fid_name == name


def test_the_protocol_says_what_was_measured():
    scorers = [Scorer(Classifier(weights_path="mnist"), data(), reference=split) for split in ("test", "train")]
    for scorer in scorers:
        scorer.measure_reals()
    protocol, other = (scorer.protocol for scorer in scorers)
    assert protocol["extractor_sha256"] == SHA256["mnist"]
    assert (protocol["n_fakes"], protocol["n_reals"], protocol["reference"]) == (200, 1000, "test")
    assert other["reals_sha256"] != protocol["reals_sha256"]


@pytest.mark.parametrize(("options", "message"), [({"reference": "validation"}, "train, test"), ({}, "n_fakes=1")])
def test_what_cannot_be_scored_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        Scorer(Pixels(), data(n_fakes=200 if options else 1), **options)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_shipped_weights_are_those_recorded_and_small(name):
    content = (WEIGHTS / f"{name}.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHA256[name]
    assert len(content) < 1_000_000


@pytest.mark.skipif("DATA_DIR" not in os.environ, reason="needs MNIST and Fashion-MNIST under DATA_DIR")
@pytest.mark.parametrize(("name", "dataset", "least"), [("mnist", MNIST, 0.99), ("fashion_mnist", FashionMNIST, 0.91)])
def test_shipped_classifiers_are_right_on_the_official_test_set(name, dataset, least):
    sets = Torchvision(dataset=dataset, root=os.environ["DATA_DIR"], channels=1, image_size=28, batch_size=64)
    test = sets.load("test")
    logits = Classifier(weights_path=name)(test.images)[1]
    assert (logits.argmax(1) == test.labels).float().mean() >= least


def test_damaged_shipped_weights_are_refused(monkeypatch):
    monkeypatch.setitem(SHA256, "mnist", "0" * 64)
    with pytest.raises(InputError, match="damaged"):
        Classifier(weights_path="mnist")


@pytest.mark.parametrize("path", [None, "emnist", "nowhere.safetensors"])
def test_unknown_classifier_weights_are_named_with_what_exists(path):
    with pytest.raises(InputError, match=rf"weights_path={path}.*fashion_mnist, mnist"):
        Classifier(weights_path=path)


def test_a_file_that_is_no_classifier_is_refused(tmp_path):
    save_file({"other": torch.zeros(2)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    for name in ("other", "text"):
        with pytest.raises(InputError, match="not a classifier"):
            Classifier(weights_path=str(tmp_path / f"{name}.safetensors"))


def test_classifier_sees_colour_and_other_sizes():
    features, logits = Classifier(weights_path="mnist")(torch.zeros(3, 3, 32, 32, dtype=torch.uint8))
    assert features.shape == (3, 128)
    assert logits.shape == (3, 10)


@pytest.fixture(scope="module")
def random_inception(tmp_path_factory):
    """Inception with random weights: the whole path but the download."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", lambda *_, **__: {})
        patch.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(path))
    torch.save(network.state_dict(), path)
    return path


def test_inception_gives_pool_features_and_logits(random_inception, monkeypatch):
    digest = hashlib.sha256(random_inception.read_bytes()).hexdigest()
    monkeypatch.setattr(inception, "SHA256_PREFIX", digest[:8])
    features, logits = Inception(weights_path=str(random_inception))(torch.zeros(2, 1, 28, 28, dtype=torch.uint8))
    assert features.shape == (2, 2048)
    assert logits.shape == (2, 1008)


def test_other_weights_than_the_published_ones_are_refused(random_inception):
    with pytest.raises(InputError, match=r"sha256 starts with .*, not 6726825d"):
        Inception(weights_path=str(random_inception))


def test_without_weights_or_network_the_way_out_is_named(monkeypatch, tmp_path):
    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(InputError, match=r"weights-inception.*no network.*metrics\.weights_path=FILE.*metrics=none"):
        Inception(weights_path=None)
    with pytest.raises(InputError, match=r"weights_path=nowhere\.pth: no such file"):
        Inception(weights_path="nowhere.pth")
