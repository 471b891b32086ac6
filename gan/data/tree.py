"""The layout of an image folder: its splits, its classes, and what is ignored in it."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gan.data.label_table import TABLES, read_label_table
from gan.errors import InputError

SUFFIXES = {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
TRAIN, HELD_OUT = ("train", "training"), ("test", "testing", "val", "valid", "validation")  # in order of preference
SYSTEM_NAMES = {"__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found", "thumbs.db", "desktop.ini"}
HOLD_OUT_EVERY = 10  # every so many-th image of a class is for testing
UNUSED_TABLES = "label tables that are not used"


@dataclass
class Tree:
    """The images of a folder, by split and class.

    `splits` maps "train" and "test" to pairs of a path and an index into `classes`, which is empty without labels.
    `official` says whether the folder has splits of its own; `ignored` counts what is ignored in it, by kind.
    """

    root: Path
    splits: dict[str, list[tuple[Path, int]]]
    classes: list[str]
    official: bool
    ignored: Counter[str] = field(default_factory=Counter)

    def count_classes(self, *splits: str) -> dict[str, int]:
        """Return the number of images of each class in the named splits; in all of them by default."""
        labels = Counter(label for split in splits or self.splits for _, label in self.splits[split])
        return {name: labels[i] for i, name in enumerate(self.classes)}


@dataclass
class Directory:
    """A folder's images, and its subfolders that hold images at any depth."""

    path: Path
    images: list[Path]
    folders: list["Directory"]

    def all_images(self) -> Iterator[Path]:
        """Yield the images of the folder and of all folders below it, sorted by name."""
        yield from self.images
        for folder in self.folders:
            yield from folder.all_images()


def find_images(root: Path) -> Tree:
    """Return the images below a folder, sorted by name, each with its class.

    Subfolders are classes, or splits (train or training; test, testing, val, valid or validation; in any case) with
    classes below. A single folder around all others is skipped. Without subfolders, a labels.csv or metadata.csv beside
    the images gives their classes; without that, they are unlabeled. Classes have the same numbers in all splits. If a
    folder has no splits, every tenth image of each class is held out as "test". Symbolic links are followed.
    Raises InputError for a folder that is missing, holds no images, has images beside class folders, or has classes in
    only one of its splits.
    """
    if not root.is_dir():
        raise InputError(f"data.root={root}: no such folder")
    ignored: Counter[str] = Counter()
    top = skip_single_folders(list_directory(root, ignored, ()))
    if not any(top.all_images()):
        raise InputError(f"data.root={root}: holds no images ({', '.join(sorted(SUFFIXES))})")
    found = split_folders(top, ignored)
    named = {split: name_classes(folder, root, ignored) for split, folder in (found or {"train": top}).items()}
    classes = sort_names({name for images in named.values() for _, name in images if name})
    unlabeled = [split for split, images in named.items() if any(not name for _, name in images)]
    if unlabeled and len(classes) > 1:
        raise InputError(
            f"data.root: the images in {found[unlabeled[0]].path} have no classes, but those of the other split do "
            f"({', '.join(classes[:3])}); sort them into class folders, or move them away"
        )
    if len(classes) < 2:
        classes = []
    index = {name: i for i, name in enumerate(classes)}
    splits = {split: [(path, index.get(name, 0)) for path, name in images] for split, images in named.items()}
    if not found:
        splits = hold_out(splits["train"])
    return Tree(root, splits, classes, bool(found), ignored)


def list_directory(path: Path, ignored: Counter[str], above: tuple[str, ...]) -> Directory:
    """Return a folder's images and its subfolders that hold any; count everything else in `ignored`, by kind."""
    directory = Directory(path, [], [])
    above = (*above, os.path.realpath(path))
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"data.root: {path}: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith(".") or entry.name.lower() in SYSTEM_NAMES:
            ignored["hidden or system names"] += 1
        elif os.path.isdir(entry.path):  # unlike entry.is_dir(), False for a link to itself
            if os.path.realpath(entry.path) in above:
                ignored["links to a folder above"] += 1
                continue
            below = list_directory(Path(entry.path), ignored, above)
            if below.images or below.folders:
                directory.folders.append(below)
            else:
                ignored["folders without images"] += 1
        elif Path(entry.name).suffix.lower() in SUFFIXES:
            directory.images.append(Path(entry.path))
        else:
            ignored[UNUSED_TABLES if entry.name in TABLES else "files that are not images"] += 1
    return directory


def skip_single_folders(top: Directory) -> Directory:
    """Return the folder or, if it holds nothing but a single folder, that one, and so on."""
    while not top.images and len(top.folders) == 1:
        below = top.folders[0]
        if below.images and len(below.folders) == 1 and below.path.name.lower() not in (*TRAIN, *HELD_OUT):
            return top  # a single class, with some images deeper down; several folders would be classes
        top = below
    return top


def skip_shared_folders(train: Directory, test: Directory) -> dict[str, Directory]:
    """Return both splits or, if each holds nothing but a folder of the same name around its classes, those folders."""
    while not train.images and not test.images and len(train.folders) == len(test.folders) == 1:
        below = train.folders[0], test.folders[0]
        if below[0].path.name != below[1].path.name or below[0].images or below[1].images:
            break
        train, test = below
    return {"train": train, "test": test}


def split_folders(top: Directory, ignored: Counter[str]) -> dict[str, Directory] | None:
    """Return the folders of the splits "train" and "test", None for a folder without splits."""
    by_name = {folder.path.name.lower(): folder for folder in top.folders}
    train = [by_name[name] for name in TRAIN if name in by_name]
    held_out = [by_name[name] for name in HELD_OUT if name in by_name]
    others = [folder.path.name for folder in top.folders if folder not in (*train, *held_out)]
    if not train or not held_out:
        if held_out and len(held_out) > 1 and not others:
            raise InputError(f"data.root={top.path}: has {held_out[0].path.name} but no train")
        return None
    if others or top.images or len(train) > 1:
        stray = others[0] if others else top.images[0].name if top.images else train[1].path.name
        raise InputError(
            f"data.root={top.path}: {stray} is beside the splits {train[0].path.name} and {held_out[0].path.name}; "
            "move it away, or give the folder of one image set as data.root"
        )
    for unused in held_out[1:]:
        ignored[f"images of {unused.path.name}/, since {held_out[0].path.name}/ is used for testing"] += sum(
            1 for _ in unused.all_images()
        )
    return skip_shared_folders(train[0], held_out[0])


def name_classes(directory: Directory, root: Path, ignored: Counter[str]) -> list[tuple[Path, str]]:
    """Return a split's images, each with the name of its class, or "" if it has none."""
    if not directory.folders:
        labels = read_label_table(directory.path, directory.images, root)
        if labels:
            ignored["images without a label"] += len(directory.images) - len(labels)
            ignored.pop(UNUSED_TABLES, None)
        return [(path, labels.get(path, "")) for path in directory.images if not labels or path in labels]
    if directory.images:
        raise InputError(
            f"data.root: {directory.images[0]} is beside the class folders "
            f"{', '.join(folder.path.name for folder in directory.folders[:3])}; move it into one of them, or elsewhere"
        )
    return [(path, decode_name(folder.path.name)) for folder in directory.folders for path in folder.all_images()]


def decode_name(name: str) -> str:
    """Return a file name as UTF-8 text under any locale, with other bytes as backslash escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def hold_out(images: list[tuple[Path, int]]) -> dict[str, list[tuple[Path, int]]]:
    """Split images into "train" and "test", with every tenth of each class in "test"."""
    seen: Counter[int] = Counter()
    splits: dict[str, list[tuple[Path, int]]] = {"train": [], "test": []}
    for path, label in images:
        seen[label] += 1
        splits["train" if seen[label] % HOLD_OUT_EVERY else "test"].append((path, label))
    return splits


def sort_names(names: set[str]) -> list[str]:
    """Return class names sorted as numbers if all are numbers, else as text."""
    return sorted(sorted(names), key=int if all(name.isdecimal() for name in names) else None)  # 01 always before 1
