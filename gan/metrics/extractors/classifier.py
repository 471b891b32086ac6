"""A small classifier of the images' own domain as extractor: it works offline, is fast, and knows the classes."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.transforms.v2.functional import resize

from gan.data.pixels import convert_channels, to_float
from gan.errors import InputError
from gan.metrics.extractors.extractor import Extractor

WEIGHTS = Path(__file__).parent / "weights"
SHA256 = json.loads((WEIGHTS / "sha256.json").read_text(encoding="utf-8"))


class Network(nn.Module):
    """Maps images (N, channels, 28, 28) in [-1, 1] to features (N, num_features) and logits (N, num_classes).

    Three convolutions, then a dense layer whose outputs, after a ReLU, are the features.
    """

    def __init__(self, num_classes: int = 10, channels: int = 1, num_features: int = 128) -> None:
        super().__init__()
        self.num_classes, self.channels, self.num_features = num_classes, channels, num_features
        self.features = nn.Sequential(
            *(nn.Conv2d(channels, 32, 3, padding=1), nn.BatchNorm2d(32), nn.MaxPool2d(2), nn.ReLU()),  # (N, 32, 14, 14)
            *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.MaxPool2d(2), nn.ReLU()),  # (N, 64, 7, 7)
            *(nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.AdaptiveMaxPool2d(4), nn.ReLU()),  # (N, 64, 4, 4)
            *(nn.Flatten(), nn.Linear(1024, num_features), nn.ReLU()),  # (N, num_features)
        )
        self.head = nn.Linear(num_features, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(images)
        return features, self.head(features)


class Classifier(Extractor):
    """Features and logits of a classifier with shipped weights or those of a file.

    `weights_path` is the name of shipped weights (mnist, fashion_mnist) or a .safetensors file that
    scripts/train_classifier.py wrote. Images of any size are resized to 28 px, and turned to gray for weights with one
    channel. Raises InputError for no or unknown weights, and for shipped ones whose sha256 is not the recorded one.
    """

    def __init__(self, *, weights_path: str | None, name: str | None = None, knows_classes: bool = True) -> None:
        path = WEIGHTS / f"{weights_path}.safetensors" if weights_path in SHA256 else Path(weights_path or "")
        if not path.is_file():
            raise InputError(
                f"metrics.weights_path={weights_path}: must be one of {', '.join(SHA256)} or a .safetensors file; "
                f"for other images use metrics=own, metrics=inception or metrics=none"
            )
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        if self.sha256 != SHA256.get(weights_path, self.sha256):
            raise InputError(f"{path}: damaged, its sha256 is {self.sha256} instead of {SHA256[weights_path]}")
        try:
            weights = {name: tensor.float() for name, tensor in load_file(path).items()}
            (num_classes, num_features), channels = weights["head.weight"].shape, weights["features.0.weight"].shape[1]
            self.network = Network(num_classes, channels, num_features).eval().requires_grad_(False)
            self.network.load_state_dict(weights)
            self.network.features = fuse_batch_norms(self.network.features)
        except (SafetensorError, KeyError, RuntimeError) as error:
            raise InputError(f"metrics.weights_path={weights_path}: not a classifier of this suite: {error}") from error
        self.num_features, self.knows_classes = num_features, knows_classes
        self.name = name or f"classifier {path.stem}"
        # "grey" is spelled so in saved protocols, whose ids it enters
        self.resize = f"28 px {'grey' if self.network.channels == 1 else 'RGB'}, bilinear antialiased"

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(images.device.type, enabled=False):
            return self.network.to(images.device)(to_float(prepare_images(images, self.network.channels)))


def fuse_batch_norms(layers: nn.Sequential) -> nn.Sequential:
    """Return layers with each batch norm folded into the convolution before it: the same function, much faster."""
    result: list[nn.Module] = []
    for layer in layers:
        result.append(layer if not isinstance(layer, nn.BatchNorm2d) else fuse_conv_bn_eval(result.pop(), layer))
    return nn.Sequential(*result).to(memory_format=torch.channels_last)


def prepare_images(images: Tensor, channels: int) -> Tensor:
    """Return uint8 images (N, C, H, W) of any size and 1 or 3 channels as (N, channels, 28, 28)."""
    images = convert_channels(images, channels)
    return resize(images, [28, 28], antialias=True) if images.shape[2:] != (28, 28) else images
