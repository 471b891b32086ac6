"""The user's own images: a folder of image files."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from gan.data.datamodule import ImageData, Images
from gan.data.decode import decode_image, read_color
from gan.data.pixel_cache import PixelCache
from gan.data.tree import Tree, find_images
from gan.system.files import digest

MOST_CLASSES_SHOWN = 12


class Folder(ImageData):
    """The images below `root`, with subfolders, or a table of labels, as classes.

    Images are uint8 (N, channels, image_size, image_size): the center square of each file, resized; transparent pixels
    show `background`, a CSS color. `gan.data.tree.find_images` says which layouts of folders are understood,
    `gan.data.decode.decode_image` which files. Decoded pixels are cached in `cache_dir` and memory-mapped from there;
    without one they are decoded again in each run. After `load`, `tree` holds what was found and `facts` the sizes.
    Raises InputError for a color, a folder or a file that can't be used.
    """

    def __init__(self, *, root: str, background: str = "white", cache_dir: str | None = None, **options) -> None:
        super().__init__(**options)
        self.root, self.background = Path(os.path.expanduser(root)), read_color(background)
        self.cache = PixelCache(cache_dir)

    def load(self) -> dict[str, Images]:
        tree = find_images(self.root)
        options = {"image_size": self.image_size, "channels": self.channels, "background": self.background}
        paths = [path for images in tree.splits.values() for path, _ in images]
        pixels, facts = self.cache.load(paths, partial(decode_image, **options), options)
        splits, first = {}, 0
        for split, images in tree.splits.items():
            labels = [label for _, label in images]
            fingerprint = digest([facts["content"], split, labels])
            part = pixels[first : first + len(images)]
            splits[split] = Images(part, torch.tensor(labels, dtype=torch.long), fingerprint=fingerprint)
            first += len(images)
        self.classes, self.tree, self.facts = tree.classes, tree, facts
        self.summary = summarize(tree, facts["smallest"], facts["largest"])
        return splits


def summarize(tree: Tree, smallest: Sequence[int], largest: Sequence[int]) -> str:
    """Return one line on a folder: images, classes with their counts, sizes in pixels, splits, and ignored entries."""
    n = {split: len(images) for split, images in tree.splits.items()}
    parts = [f"{tree.root}: {sum(n.values()):,} images"]
    counts = tree.count_classes()
    if counts:
        shown = ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[:MOST_CLASSES_SHOWN])
        more = f", and {len(counts) - MOST_CLASSES_SHOWN} more" if len(counts) > MOST_CLASSES_SHOWN else ""
        parts.append(f"{len(counts)} classes ({shown}{more})")
    else:
        parts.append("no classes")
    sizes = sorted({f"{width} x {height}" for width, height in (smallest, largest)}, reverse=True)
    parts.append(f"{' to '.join(f'{w} x {h}' for w, h in (smallest, largest)) if len(sizes) > 1 else sizes[0]} px")
    how = "the folder's own splits" if tree.official else "every tenth held out for testing"
    parts.append(f"{n['train']:,} for training, {n['test']:,} for testing ({how})")
    if tree.ignored.total():
        ignored = ", ".join(f"{kind} ({count:,})" for kind, count in tree.ignored.items() if count)
        parts.append(f"ignored: {ignored}")
    untrained = [name for name, count in tree.count_classes("train").items() if count == 0]
    if untrained:
        parts.append(f"no training images of {', '.join(untrained)}")
    return "; ".join(parts)
