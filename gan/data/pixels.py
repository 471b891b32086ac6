"""Pixels: uint8 in memory and in files, floats in [-1, 1] in networks, and grids for people to look at."""

from pathlib import Path

import torch
from torch import Tensor
from torchvision.utils import make_grid, save_image


def to_float(images: Tensor) -> Tensor:
    """Map bytes 0..255 to floats in [-1, 1]."""
    return images.float().div_(127.5).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Map floats in [-1, 1] to bytes, round(127.5 (x + 1)); raise ValueError outside the range or at NaN."""
    if not bool(((images >= -1) & (images <= 1)).all()):
        low, high = images.min().item(), images.max().item()
        raise ValueError(f"images must lie in [-1, 1], these span {low:.4g} to {high:.4g}")
    return images.float().add(1).mul(127.5).round().to(torch.uint8)


def grid(images: Tensor, columns: int) -> Tensor:
    """Return images (N, C, H, W) in [-1, 1] as one (3, H', W') in [0, 1], `columns` to a row, of 56 px or more."""
    scale = -(-56 // images.shape[-1])
    images = images.float().repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    return make_grid(to_uint8(images).float().div(255), nrow=columns, padding=2, pad_value=1.0)


def save_grid(images: Tensor, path: Path, columns: int) -> None:
    """Write images (N, C, H, W) in [-1, 1] as one PNG, `columns` to a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(grid(images, columns), path)
