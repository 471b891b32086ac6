"""Any vision model of timm as feature extractor, DINOv2 among them."""

import hashlib
from pathlib import Path
from pickle import UnpicklingError

import timm
import torch
from safetensors import SafetensorError
from torch import Tensor
from torchvision.transforms.v2.functional import InterpolationMode, normalize, resize

from gan.errors import InputError


class TimmModel:
    """Pooled features (N, d), no logits, of images (N, C, H, W) uint8, grey ones tiled to RGB, by a given weights file.

    `architecture` is timm's name of the model; images are resized to `image_size` (bicubic, antialiased) and normalised
    as the model was trained. Raises InputError for an unknown architecture and for missing or other weights.
    """

    def __init__(self, *, architecture: str, image_size: int, weights_path: str | None) -> None:
        if not timm.is_model(architecture):
            raise InputError(f"metrics.extractor.architecture={architecture}: not a model of timm")
        path = Path(weights_path or "")
        if not path.is_file():
            raise InputError(f"metrics.weights_path={weights_path}: give a file with the weights of {architecture}")
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        source = {"file": str(path), "num_classes": 0}
        try:
            self.network = timm.create_model(
                architecture, pretrained=True, num_classes=0, img_size=image_size, pretrained_cfg_overlay=source
            )
        except (RuntimeError, ValueError, LookupError, SafetensorError, UnpicklingError) as error:
            raise InputError(f"metrics.weights_path={path}: not weights of {architecture}: {error}") from error
        self.network.eval().requires_grad_(False)
        self.mean, self.std = (list(self.network.pretrained_cfg[name]) for name in ("mean", "std"))
        self.image_size, self.num_features, self.knows_classes = image_size, self.network.num_features, False
        self.name = f"timm {architecture}"
        self.resize = f"{image_size} px, bicubic antialiased"

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, None]:
        images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        size = [self.image_size, self.image_size]
        images = resize(images.float(), size, InterpolationMode.BICUBIC, antialias=True).clamp(0, 255).div(255)
        with torch.autocast(images.device.type, enabled=False):
            return self.network.to(images.device)(normalize(images, self.mean, self.std)), None
