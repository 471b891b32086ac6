"""Decoding of an image file to pixels, for any format, depth, orientation and transparency."""

from contextlib import nullcontext, suppress
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from PIL import ExifTags, Image, ImageColor
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from gan.errors import InputError

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit refuses large scans; MOST_PIXELS is checked instead
MOST_PIXELS = 2**29
LARGE_PIXELS = 2**24  # decoded in reduced size, one at a time
LARGE = Lock()
REDUCIBLE = {"L", "RGB", "RGBA", "CMYK", "YCbCr", "F", "I"}  # modes in which the mean of pixels is a color
TURNS = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Unreadable(ValueError):
    """A file that is not an image, or not a complete one."""


def read_color(name: str) -> tuple[int, int, int]:
    """Return the RGB values (0 to 255) of a CSS color name or #rrggbb; raise InputError for any other text."""
    try:
        return ImageColor.getrgb(str(name))[:3]
    except ValueError as error:
        raise InputError(f"data.background={name}: must be a color such as white, black or #ff8800") from error


def decode_image(
    path: Path, *, image_size: int, channels: int, background: tuple[int, int, int]
) -> tuple[Tensor, tuple[int, int]]:
    """Return an image's center square as uint8 (channels, image_size, image_size), and its (width, height) in pixels.

    The EXIF orientation is applied; the first frame of an animation is used; transparent pixels show `background`;
    16-bit and float values are scaled to 0..255; with one channel, colors become luma (ITU-R 601).
    Raises Unreadable for a file that is not an image, is truncated, or has more than 2^29 pixels.
    """
    try:
        with Image.open(path) as image:
            size = image.size
            n_pixels = size[0] * size[1]
            if n_pixels > MOST_PIXELS:
                raise Unreadable(f"{size[0]} x {size[1]} pixels are more than {MOST_PIXELS:,}")
            is_large = n_pixels > LARGE_PIXELS
            with LARGE if is_large else nullcontext():
                reduced = reduce_image(image, image_size) if is_large else image
                pixels = np.asarray(flatten_image(crop_center(orient_image(reduced)), channels, background))
    except Unreadable:
        raise
    except MemoryError as error:
        raise Unreadable(f"{size[0]} x {size[1]} pixels do not fit into memory") from error
    except Exception as error:  # damaged files make Pillow's decoders raise anything
        raise Unreadable(" ".join(str(error).split()) or type(error).__name__) from error
    square = torch.from_numpy(pixels.copy()).view(*pixels.shape[:2], channels).permute(2, 0, 1)
    if square.shape[1:] != (image_size, image_size):
        square = resize(square, [image_size, image_size], antialias=True)
    return square, size


def reduce_image(image: Image.Image, image_size: int) -> Image.Image:
    """Return a large image at a reduced size, 4 times `image_size` or more."""
    image.draft(None, (4 * image_size, 4 * image_size))  # JPEG decodes to 1/2, 1/4 or 1/8 at once
    factor = min(image.size) // (4 * image_size)
    return image.reduce(factor) if factor > 1 and image.mode in REDUCIBLE else image


def orient_image(image: Image.Image) -> Image.Image:
    """Return the image turned as its EXIF orientation says; damaged EXIF data are ignored."""
    image.load()
    turn = None
    with suppress(Exception):  # `ImageOps.exif_transpose` fails where any other tag is damaged
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    return image if turn is None else image.transpose(turn)


def crop_center(image: Image.Image) -> Image.Image:
    """Return the largest square about the center of the image."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image if width == height else image.crop((left, top, left + side, top + side))


def flatten_image(image: Image.Image, channels: int, background: tuple[int, int, int]) -> Image.Image:
    """Return the image with 8 bits per channel, opaque, in gray ("L") or RGB."""
    mode = "L" if channels == 1 else "RGB"
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(scale_depth(image)).convert(mode)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image)
    return image.convert("RGB").convert(mode) if image.mode == "P" else image.convert(mode)


def scale_depth(image: Image.Image) -> np.ndarray:
    """Return the values of a 16-bit, 32-bit or float image as uint8.

    16-bit values have the range 0..65535. Files of other integers and of floats do not say their range: it is taken as
    the smallest of 0..1 (floats), 0..255, 0..65535 and 0..2^31-1 (integers) that holds all values, and as -1..1 for
    floats of which some are negative. Raises Unreadable for values outside these ranges.
    """
    values = np.asarray(image, dtype=np.float64)
    low, high = values.min(), values.max()
    limits = {"F": [1, 255, 65535], "I": [255, 65535, 2**31 - 1]}.get(image.mode, [65535])
    if image.mode == "F" and -1 <= low < 0 and high <= 1:
        values, low, high = (values + 1) / 2, 0, 1
    if not (low >= 0 and high <= limits[-1]):  # NaN too
        raise Unreadable(f"its values span {low:.4g} to {high:.4g}; floats must be in 0..1, -1..1, 0..255 or 0..65535")
    full = next(limit for limit in limits if high <= limit)
    return (values * (255 / full)).round().astype(np.uint8)
