"""ImageNet Inception of 2015 as feature extractor: the network behind the field's published FID."""

import hashlib
from pathlib import Path
from pickle import UnpicklingError
from urllib.error import URLError

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

from gan.errors import InputError

SHA256_PREFIX = "6726825d"


class Inception:
    """Pool features (N, 2048) and unbiased logits (N, 1008) of images (N, C, H, W) uint8, grey ones tiled to RGB.

    The network of torchmetrics and torch-fidelity, with the resize to 299 px of the original TensorFlow graph, so that
    values compare with published ones. `weights_path` is the file named by WEIGHTS; None takes it from torch.hub's
    cache, downloading it once. Raises InputError where the file is missing, cannot be downloaded or is another one.
    """

    def __init__(self, *, weights_path: str | None) -> None:
        path = Path(weights_path) if weights_path else download_weights()
        if not path.is_file():
            raise InputError(
                f"metrics.weights_path={weights_path}: no such file; expected {Path(URL_INCEPTION_V3).name}"
            )
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        if not self.sha256.startswith(SHA256_PREFIX):
            raise InputError(
                f"metrics.weights_path={path}: its sha256 starts with {self.sha256[:8]}, not {SHA256_PREFIX}; "
                f"expected {Path(URL_INCEPTION_V3).name}"
            )
        try:
            torch.load(path, map_location="cpu", weights_only=True)  # torch-fidelity would run what a pickle says
        except (RuntimeError, UnpicklingError) as error:
            raise InputError(f"metrics.weights_path={path}: holds more than weights") from error
        self.network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"], str(path)).eval()
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
    """Return the weights in torch.hub's cache, fetched where they are missing; raise InputError without a network."""
    path = Path(torch.hub.get_dir(), "checkpoints", Path(URL_INCEPTION_V3).name)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(URL_INCEPTION_V3, str(path), hash_prefix=SHA256_PREFIX)
        except (URLError, OSError, RuntimeError) as error:
            raise InputError(
                f"metrics=inception: {path.name} could not be downloaded ({error}); give a copy of it as "
                f"metrics.weights_path=FILE, or use metrics=classifier (MNIST-like images) or metrics=none"
            ) from error
    return path
