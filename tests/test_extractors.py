"""Extractors against their weights: shipped, given, damaged, missing."""

import hashlib
import os

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchvision.datasets import MNIST, FashionMNIST

from gan.data.datasets import Torchvision
from gan.errors import InputError
from gan.metrics.extractors import inception
from gan.metrics.extractors.classifier import SHA256, WEIGHTS, Classifier
from gan.metrics.extractors.inception import Inception
from gan.metrics.extractors.timm_model import TimmModel


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_shipped_weights_are_those_recorded_and_small(name):
    content = (WEIGHTS / f"{name}.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHA256[name]
    assert len(content) < 1_000_000


@pytest.mark.skipif("DATA_DIR" not in os.environ, reason="needs MNIST and Fashion-MNIST under DATA_DIR")
@pytest.mark.parametrize(("name", "dataset", "least"), [("mnist", MNIST, 0.99), ("fashion_mnist", FashionMNIST, 0.91)])
def test_shipped_classifiers_are_right_on_the_official_test_set(name, dataset, least):
    sets = Torchvision(dataset=dataset, root=os.environ["DATA_DIR"], channels=1, image_size=28, batch_size=64)
    test = sets.load()["test"]
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


def test_classifier_sees_color_and_other_sizes():
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
    with pytest.raises(InputError, match=r"metrics\.weights_path=.*6726825d"):
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


SMALL_DINO = {"architecture": "vit_small_patch14_dinov2", "image_size": 224}


@pytest.fixture(scope="module")
def random_dino(tmp_path_factory):
    """DINOv2's smallest model with random weights, at its training resolution of 518 px."""
    path = tmp_path_factory.mktemp("dino") / "weights.pth"
    torch.manual_seed(0)
    torch.save(timm.create_model(SMALL_DINO["architecture"], num_classes=0).state_dict(), path)
    return path


def test_dinov2_gives_features_without_logits(random_dino):
    """The class token of 224 px, normalized as ImageNet is; what timm itself makes of the same pixels."""
    extractor = TimmModel(**SMALL_DINO, weights_path=str(random_dino))
    images = torch.randint(0, 256, (2, 1, 224, 224), dtype=torch.uint8)
    features, logits = extractor(images)
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = extractor.network((images.expand(-1, 3, -1, -1) / 255 - mean) / std)
    assert logits is None
    assert features.shape == (2, extractor.num_features)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "vit_of_nobody"}, "architecture=vit_of_nobody: must be .* timm model"),
        ({"weights_path": None}, "weights_path=None: must be a file"),
        ({"weights_path": "text"}, "not weights of vit_small"),
        ({"architecture": "vit_tiny_patch16_224"}, "not weights of vit_tiny"),
    ],
)
def test_what_is_no_weights_of_the_model_is_refused(random_dino, tmp_path, options, message):
    if options.get("weights_path") == "text":
        (tmp_path / "text.pth").write_text("no weights")
        options = {"weights_path": str(tmp_path / "text.pth")}
    with pytest.raises(InputError, match=message):
        TimmModel(**({"weights_path": str(random_dino)} | SMALL_DINO | options))
