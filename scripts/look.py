"""Check your images before training: their number per class, warnings, and a picture.

python scripts/look.py my_images
python scripts/look.py my_images data.image_size=64 data.channels=1 --out look.png
python scripts/look.py data=mnist_5k

The picture shows training images as the discriminator gets them, one row per class.
"""

import argparse
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from gan.callbacks.scatter import draw_over_modes
from gan.data.datamodule import ImageData
from gan.data.folder import Folder
from gan.data.pixels import save_grid, to_float
from gan.data.points import Points
from gan.errors import InputError, exit_in_one_line
from gan.metrics.real_statistics import choose_evenly
from gan.metrics.scorer import FEWEST_IMAGES
from gan.run.build import build_data
from gan.system.console import plain_console, quiet

CONF = Path(__file__).resolve().parents[1] / "conf"
COLUMNS, MOST_CLASSES, MOST_POINTS = 10, 20, 2500  # of the picture
FEW_IMAGES, FEW_OF_A_CLASS, UNEVEN = (
    1000,
    50,
    10,
)  # below these, and above this ratio of two classes, a warning is printed


def compose_data(words: list[str]) -> DictConfig:
    """Return the config for a folder, or for overrides that choose another data set; raise InputError for neither."""
    overrides = [word if "=" in word else f"data.root={word}" for word in words]
    if any(word.startswith("data.root=") for word in overrides) and not any(w.startswith("data=") for w in overrides):
        overrides.insert(0, "data=folder")
    with initialize_config_dir(str(CONF)):
        cfg = compose("train", ["metrics=none", "data.batch_size=1", *overrides])
    if OmegaConf.is_missing(cfg.data, "root"):
        raise InputError("data.root: must be given, as a folder or data.root=FOLDER")
    return cfg


def find_warnings(data: ImageData) -> list[str]:
    """Return warnings about images that make training hard or scores unreliable."""
    n = {split: len(images) for split, images in data.splits.items()}
    counts = [int(count) for count in data.splits["train"].labels.bincount(minlength=max(1, len(data.classes)))]
    found = []
    if n["train"] < FEW_IMAGES:
        found.append(
            f"{n['train']:,} training images are few: use augment=diffaugment, and look for copies of them in samples"
        )
    if n["test"] < FEWEST_IMAGES:
        found.append(
            f"{n['test']} test images are too few for scores, which need {FEWEST_IMAGES}; only metrics=none will run"
        )
    if len(counts) > 1 and min(counts) < FEW_OF_A_CLASS:
        found.append(f"the class {data.classes[counts.index(min(counts))]} has only {min(counts)} training images")
    if min(counts) and max(counts) > UNEVEN * min(counts):
        found.append(f"classes are imbalanced: {min(counts):,} to {max(counts):,} training images")
    if isinstance(data, Folder):
        if data.facts["upscaled"]:
            found.append(f"{data.facts['upscaled']:,} images are smaller than {data.image_size} px and were enlarged")
        if data.facts["elongated"]:
            found.append(
                f"{data.facts['elongated']:,} images are more than twice as long as wide: more than half is cropped"
            )
        alike = count_duplicates(data)
        if alike:
            found.append(f"{alike:,} images are identical to another one after resizing")
    return found


def count_duplicates(data: ImageData) -> int:
    """Return the number of images in both splits that equal an earlier one."""
    digests = [hash(image.numpy().tobytes()) for images in data.splits.values() for image in images.images]
    return len(digests) - len(set(digests))


def draw_picture(data: ImageData, path: Path) -> None:
    """Write a picture of training images, one row per class."""
    train = data.splits["train"]
    if isinstance(data, Points):
        draw_over_modes(data, train.images[:MOST_POINTS], "training data").save(path)
        return
    names = list(data.classes) if len(data.classes) > 1 else []
    rows = []
    for label in choose_evenly(len(names), MOST_CLASSES).tolist() if names else []:
        chosen = (train.labels == label).nonzero().flatten()
        if len(chosen):
            rows.append((names[label], chosen[choose_evenly(len(chosen), COLUMNS)]))
    if not rows:
        save_grid(to_float(train.images[choose_evenly(len(train), COLUMNS**2)]), path, COLUMNS)
        return
    height = train.images.shape[1:]
    blank = torch.full((COLUMNS, *height), 255, dtype=torch.uint8)
    images = torch.cat([torch.cat([train.images[chosen], blank])[:COLUMNS] for _, chosen in rows])
    save_grid(to_float(images), path, COLUMNS, [name for name, _ in rows])


def describe_images(words: list[str], out: Path) -> None:
    """Print the number of images per class and the warnings; write a picture."""
    cfg = compose_data(words)
    data, console = build_data(cfg), plain_console()
    console.print(data.summary or f"{cfg.data._target_.split('.')[-1]}", soft_wrap=True)
    shape = data.shape
    table = Table("class", *data.splits, title=f"{shape['channels']} x {shape['image_size']} x {shape['image_size']}")
    labels = {split: images.labels for split, images in data.splits.items()}
    for i, name in enumerate(data.classes):
        table.add_row(name, *(f"{int((labels[split] == i).sum()):,}" for split in labels))
    table.add_section()
    table.add_row("all", *(f"{len(labels[split]):,}" for split in labels))
    console.print(table)
    for warning in find_warnings(data):
        console.print(f"warning: {warning}", soft_wrap=True)
    draw_picture(data, out)
    console.print(f"picture: {out}", soft_wrap=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", metavar="FOLDER or key=value", help="a folder of images, or overrides")
    parser.add_argument("--out", type=Path, default=Path("look.png"), help="file of the picture (default: %(default)s)")
    arguments = parser.parse_intermixed_args()
    quiet()
    with exit_in_one_line():
        describe_images(arguments.words, arguments.out)


if __name__ == "__main__":
    main()
