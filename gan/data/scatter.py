"""Pictures of points over the modes of their data, and animations of such pictures."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gan.system.files import replace_whole

SIZE, HEADING = 560, 28  # px of the plane [-1, 1]^2 and of the line above it
SCALE = 3  # of the drawing, which is reduced to its size for smooth dots
DOT = 1.6  # px, radius of a point
MODE, GOOD, OTHER, INK = "#d7dbe2", "#0072b2", "#d55e00", "#333333"
FRAME_S, LAST_FRAME_S, COLORS = 0.35, 2.5, 32  # of an animation


def draw_scatter(points: Tensor, is_good: Tensor, centers: Tensor, radius: float, title: str) -> Image.Image:
    """Return a picture of points (N, 2) in [-1, 1] over discs of a radius around centers (M, 2), below a title.

    Points are blue where `is_good` (N,), and orange otherwise.
    """
    picture = Image.new("RGB", (SCALE * SIZE, SCALE * SIZE), "white")
    draw = ImageDraw.Draw(picture)
    pixels = (torch.stack([points[:, 0], -points[:, 1]], 1) + 1) * SCALE * SIZE / 2
    for x, y in ((torch.stack([centers[:, 0], -centers[:, 1]], 1) + 1) * SCALE * SIZE / 2).tolist():
        draw.circle((x, y), radius * SCALE * SIZE / 2, fill=MODE)
    for (x, y), good in zip(pixels.tolist(), is_good.tolist(), strict=True):
        draw.circle((x, y), DOT * SCALE, fill=GOOD if good else OTHER)
    draw.rectangle((0, 0, SCALE * SIZE - 1, SCALE * SIZE - 1), outline=MODE, width=SCALE)
    framed = Image.new("RGB", (SIZE, SIZE + HEADING), "white")
    framed.paste(picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS), (0, HEADING))
    font = ImageFont.load_default(size=15)
    ImageDraw.Draw(framed).text((SIZE / 2, HEADING / 2), title, fill=INK, font=font, anchor="mm")
    return framed


def write_animation(pictures: Sequence[Path], path: Path) -> None:
    """Write pictures, in their order, as one animated GIF; the last one stays longer."""
    frames = []
    for file in pictures:
        with Image.open(file) as picture:
            frames.append(picture.quantize(COLORS))
    seconds = [FRAME_S] * (len(frames) - 1) + [LAST_FRAME_S]
    durations = [int(1000 * each) for each in seconds]
    with replace_whole(path) as part:
        frames[0].save(part, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
