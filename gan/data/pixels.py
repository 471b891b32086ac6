"""Pixels: uint8 in memory and in files, floats in [-1, 1] in networks; and pictures of many images."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.v2.functional import pad, pil_to_tensor
from torchvision.utils import make_grid, save_image

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as in Pillow
PADDING = 2  # px between the images of a grid
LONGEST_NAME = 24  # characters of a row's name


def to_float(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in [-1, 1]."""
    return images.float().div_(127.5).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Return images in [-1, 1] as uint8, round(127.5 (x + 1)); raise ValueError for NaN and values out of range."""
    if not bool(((images >= -1) & (images <= 1)).all()):
        low, high = images.min().item(), images.max().item()
        raise ValueError(f"images must be in [-1, 1], these span {low:.4g} to {high:.4g}")
    return images.float().add(1).mul(127.5).round().to(torch.uint8)


def convert_channels(images: Tensor, channels: int) -> Tensor:
    """Return uint8 images (N, C, H, W) with 1 or 3 channels: gray is repeated, colors become luma (ITU-R 601)."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1).contiguous()
    luma = torch.tensor(LUMA, device=images.device)[:, None, None]
    return (images * luma).sum(1, keepdim=True).round().to(torch.uint8)


def draw_grid(images: Tensor, columns: int, names: Sequence[str] = ()) -> Tensor:
    """Return images (N, C, H, W) in [-1, 1] as one picture (3, H', W') in [0, 1], with `columns` images per row.

    Small images are enlarged to 56 px or more; `names` are written to the left of the rows.
    """
    scale = -(-56 // images.shape[-1])
    images = images.float().repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    framed = len(images) > 1  # make_grid gives a single image no frame
    picture = make_grid(to_uint8(images).float().div(255), nrow=columns, padding=PADDING, pad_value=1.0)
    picture = picture if framed else pad(picture, [PADDING], fill=1.0)
    return torch.cat([write_names(names, images.shape[-2], picture.shape[-2]), picture], dim=2) if names else picture


def write_names(names: Sequence[str], row_height: int, height: int) -> Tensor:
    """Return a white column (3, height, W) in [0, 1] with a name beside each row of a grid."""
    font = ImageFont.load_default(size=14)
    short = [name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…" for name in names]
    width = 8 + max(int(font.getlength(name)) for name in short)
    column = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(column)
    for i, name in enumerate(short):
        y = PADDING + i * (row_height + PADDING) + row_height // 2
        draw.text((width - 4, y), name, fill="black", font=font, anchor="rm")
    return pil_to_tensor(column).float().div(255)


def save_grid(images: Tensor, path: Path, columns: int, names: Sequence[str] = ()) -> None:
    """Write images (N, C, H, W) in [-1, 1] as one PNG, see `draw_grid`; folders are created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(draw_grid(images, columns, names), path)
