"""Any vision model of timm as extractor, for example DINOv2."""

import hashlib
from pathlib import Path
from pickle import UnpicklingError

import timm
import torch
from safetensors import SafetensorError
from torch import Tensor
from torchvision.transforms.v2.functional import InterpolationMode, normalize, resize

from gan.errors import InputError
from gan.metrics.extractors.extractor import Extractor


class TimmModel(Extractor):
    """Pooled features (N, d), without logits; gray images are repeated to RGB.

    `architecture` is timm's name of the model, `weights_path` a file of its weights. Images are resized to `image_size`
    px (bicubic, antialiased) and normalized as in the model's training. Raises InputError for an unknown architecture,
    and for weights that are missing or of another one.
    """

    def __init__(self, *, architecture: str, image_size: int, weights_path: str | None) -> None:
        if not timm.is_model(architecture):
            raise InputError(f"metrics.extractor.architecture={architecture}: must be the name of a timm model")
        path = Path(weights_path or "")
        if not path.is_file():
            raise InputError(f"metrics.weights_path={weights_path}: must be a file with the weights of {architecture}")
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
