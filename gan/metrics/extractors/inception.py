"""The Inception network of 2015, trained on ImageNet, as extractor: published values of FID are by its features."""

import hashlib
from pathlib import Path
from pickle import UnpicklingError
from urllib.error import URLError

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

from gan.errors import InputError
from gan.metrics.extractors.extractor import Extractor

SHA256_PREFIX = "6726825d"


class Inception(Extractor):
    """Pool features (N, 2048) and unbiased logits (N, 1008); gray images are repeated to RGB.

    It is the network of torchmetrics and torch-fidelity, with the resize to 299 px of the original TensorFlow graph, so
    that values compare with published ones. `weights_path` is the file at torch-fidelity's URL_INCEPTION_V3; None
    means the one in torch.hub's cache, downloaded once. Raises InputError for a file that is missing, can't be
    downloaded or has another sha256.
    """

    def __init__(self, *, weights_path: str | None) -> None:
        path = Path(weights_path) if weights_path else download_weights()
        if not path.is_file():
            raise InputError(
                f"metrics.weights_path={weights_path}: no such file; it must be {Path(URL_INCEPTION_V3).name}"
            )
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        if not self.sha256.startswith(SHA256_PREFIX):
            raise InputError(
                f"metrics.weights_path={path}: its sha256 starts with {self.sha256[:8]}, not with {SHA256_PREFIX}; "
                f"it must be {Path(URL_INCEPTION_V3).name}"
            )
        try:
            torch.load(path, map_location="cpu", weights_only=True)  # torch-fidelity would run what a pickle says
        except (RuntimeError, UnpicklingError) as error:
            raise InputError(f"metrics.weights_path={path}: holds other objects than weights") from error
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"], str(path)).eval()
        self.network = network.to(memory_format=torch.channels_last)
        self.num_features, self.knows_classes = 2048, False
        self.name = "inception"
        self.resize = "299 px, bilinear as in TensorFlow 1"

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        with torch.autocast(images.device.type, enabled=False):
            features, logits = self.network.to(images.device)(images)
        return features, logits


def download_weights() -> Path:
    """Return the path of the weights in torch.hub's cache, downloaded if missing; raise InputError if that fails."""
    path = Path(torch.hub.get_dir(), "checkpoints", Path(URL_INCEPTION_V3).name)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(URL_INCEPTION_V3, str(path), hash_prefix=SHA256_PREFIX)
        except (URLError, OSError, RuntimeError) as error:
            raise InputError(
                f"metrics=inception: {path.name} could not be downloaded ({error}); use a copy of it, "
                "metrics.weights_path=FILE, or metrics=classifier (MNIST-like images), or metrics=none"
            ) from error
    return path
