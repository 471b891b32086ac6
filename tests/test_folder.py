"""Image folders as people have them: splits and classes, what is ignored, and the cache of decoded pixels."""

import gc
import io
import os
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan.data import folder
from gan.data.decode import decode_image
from gan.data.folder import Folder
from gan.data.tree import SUFFIXES, decode_name
from gan.errors import InputError
from tests.helpers import wait_until
from tests.processes import CONTEXT

SIZE = 16
COLORS = {"cat": (200, 0, 0), "dog": (0, 200, 0), "fox": (0, 0, 200)}
OPTIONS = {"channels": 3, "image_size": SIZE, "batch_size": 1}

Files = dict[str, int | str | bytes | Path]


def encode(color: tuple[int, int, int] = (0, 0, 0), kind: str = "PNG") -> bytes:
    """Return an image file of one color."""
    content = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), color).save(content, kind)
    return content.getvalue()


def write(root: Path, files: Files) -> Path:
    """Write a folder: so many images below a name, or one by this name; text or bytes; a link to a Path."""
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            path.symlink_to(content)
        elif isinstance(content, str | bytes):
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        elif path.suffix.lower() in SUFFIXES:
            path.write_bytes(encode())
        else:
            path.mkdir(exist_ok=True)
            for i in range(content):
                (path / f"{i:03}.png").write_bytes(encode())
    return root


def load(root: Path | str, **options) -> Folder:
    data = Folder(root=str(root), **OPTIONS | options)
    data.setup()
    return data


def count(data: Folder, split: str) -> dict[str, int]:
    """Return the number of images of each class, in the order of the classes; of "" where there are none."""
    labels = data.splits[split].labels
    return {name: int((labels == i).sum()) for i, name in enumerate(data.classes or [""])}


# What a folder holds; the images of each class to train and to test; what else its summary says.
LAYOUTS: dict[str, tuple[Files, dict[str, int], dict[str, int], str]] = {
    "train and val": ({"train/a": 3, "train/b": 2, "val/a": 1}, {"a": 3, "b": 2}, {"a": 1, "b": 0}, ""),
    "train and valid": ({"train/a": 3, "train/b": 2, "valid/b": 1}, {"a": 3, "b": 2}, {"a": 0, "b": 1}, ""),
    "Training and Testing": (
        {"Training/a": 2, "Training/b": 2, "Testing/a": 1},
        {"a": 2, "b": 2},
        {"a": 1, "b": 0},
        "",
    ),
    "splits in odd case": ({"Train/a": 2, "Train/b": 2, "TEST/a": 1}, {"a": 2, "b": 2}, {"a": 1, "b": 0}, ""),
    "train, val and test": (
        {"train/a": 3, "train/b": 2, "test/a": 1, "test/b": 1, "val/a": 4},
        {"a": 3, "b": 2},
        {"a": 1, "b": 1},
        "ignored: images of val/, since test/ is used for testing (4)",
    ),
    "unlabeled splits": ({"train": 3, "test": 2}, {"": 3}, {"": 2}, "no classes"),
    "an empty test": (
        {"train/a": 10, "train/b": 2, "test": 0},
        {"a": 9, "b": 2},
        {"a": 1, "b": 0},
        "ignored: fol",
    ),
    "a lone train": ({"train/a": 10, "train/b": 20}, {"a": 9, "b": 18}, {"a": 1, "b": 2}, "every tenth held out"),
    "a lone unlabeled train": ({"train": 20}, {"": 18}, {"": 2}, "no classes"),
    "one wrapping folder": ({"images/a": 10, "images/b": 10}, {"a": 9, "b": 9}, {"a": 1, "b": 1}, ""),
    "two wrapping folders": ({"data/images/a": 3, "data/images/b": 1}, {"a": 3, "b": 1}, {}, ""),
    "wrapped splits": ({"set/train/a": 3, "set/train/b": 1, "set/test/b": 1}, {"a": 3, "b": 1}, {"a": 0, "b": 1}, ""),
    "splits that wrap": (
        {"train/images/a": 3, "train/images/b": 1, "test/images/a": 1, "test/images/b": 2},
        {"a": 3, "b": 1},
        {"a": 1, "b": 2},
        "",
    ),
    "a class without test images": (
        {"train/cat": 1, "train/dog": 2, "train/fox": 3, "test/cat": 4, "test/fox": 5},
        {"cat": 1, "dog": 2, "fox": 3},
        {"cat": 4, "dog": 0, "fox": 5},
        "the folder's own splits",
    ),
    "a class only in test": (
        {"train/cat": 1, "train/fox": 3, "test/cat": 4, "test/dog": 5},
        {"cat": 1, "dog": 0, "fox": 3},
        {"cat": 4, "dog": 5, "fox": 0},
        "no training images of dog",
    ),
    "a class called train": ({"car": 3, "plane": 2, "train": 1}, {"car": 3, "plane": 2, "train": 1}, {}, ""),
    "classes of all sizes": ({"a": 12, "b": 188}, {"a": 11, "b": 170}, {"a": 1, "b": 18}, "2 classes (a 12, b 188)"),
    "no subfolders": ({".": 30}, {"": 27}, {"": 3}, "no classes"),
    "one class": ({"a": 30}, {"": 27}, {"": 3}, "no classes"),
    "one class with a subfolder": ({"a": 10, "a/more": 10}, {"": 18}, {"": 2}, "no classes"),
    "classes with subfolders": ({"a/x": 2, "a/y/z": 1, "a": 1, "b": 1}, {"a": 4, "b": 1}, {}, ""),
    "classes 1 to 12": (
        {str(i): 1 for i in range(12, 0, -1)},
        {str(i): 1 for i in range(1, 13)},
        {},
        "12 classes (1 1,",
    ),
    "classes equal as numbers": (
        {"1": 1, "01": 2, "001": 3, "0001": 4},
        {"0001": 4, "001": 3, "01": 2, "1": 1},
        {},
        "",
    ),
    "a linked class": ({"a": 2, "../else/b": 3, "b": Path("../else/b")}, {"a": 2, "b": 3}, {}, ""),
    "a linked file": ({"a": 2, "b": 1, "b/x.png": Path("../a/000.png")}, {"a": 2, "b": 2}, {}, ""),
    "a link loop": (
        {"a": 2, "b/up": Path(".."), "b": 1},
        {"a": 2, "b": 1},
        {},
        "ignored: links to a folder above (1)",
    ),
    "a link to itself": (
        {"a": 2, "b/me": Path("me"), "b": 1},
        {"a": 2, "b": 1},
        {},
        "ignored: files that are not",
    ),
    "hidden and system folders": (
        {"a": 2, "b": 1, ".ipynb_checkpoints": 1, ".git/x": 1, "a/@eaDir": 1, "__MACOSX/a": 1, ".empty": 0},
        {"a": 2, "b": 1},
        {},
        "ignored: hidden or system names (5)",
    ),
    "hidden and system files": (
        {"a": 2, "b": 1, "a/._000.png": 1, "a/Thumbs.db": "", "desktop.ini": "", ".DS_Store": ""},
        {"a": 2, "b": 1},
        {},
        "ignored: hidden or system names (4)",
    ),
    "an empty class": ({"a": 0, "b": 2, "c": 1}, {"b": 2, "c": 1}, {}, "ignored: folders without images (1)"),
    "a folder of text": (
        {"a": 2, "b": 1, "c/x.txt": "hello"},
        {"a": 2, "b": 1},
        {},
        "ignored: files that are not images (1), folders without images (1)",
    ),
    "text beside images": (
        {"a": 2, "b": 1, "a/x.txt": "", "x.md": ""},
        {"a": 2, "b": 1},
        {},
        "ignored: files that are not images (2)",
    ),
    "uppercase suffixes": ({"a/x.PNG": 1, "a/y.JPG": encode(kind="JPEG"), "b/z.Png": 1}, {"a": 2, "b": 1}, {}, ""),
    "a name that is not UTF-8": ({"a": 1, "b": 1, os.fsdecode(b"b/caf\xe9.png"): 1}, {"a": 1, "b": 2}, {}, ""),
    "labels.csv without suffixes": (
        {".": 3, "labels.csv": "id,label\n000,10\n001,2\n002,10"},
        {"2": 1, "10": 2},
        {},
        "",
    ),
    "labels.csv with suffixes": (
        {".": 4, "labels.csv": "file,label\n000.png,1\n001.png,2\n002.png,1\n"},
        {"1": 2, "2": 1},
        {},
        "ignored: images without a label (1)",
    ),
    "metadata.csv beside a folder": (
        {"images": 3, "metadata.csv": "\ufefffile_name,age,class\nimages/000.png,3,y\n001.png,4,x\n002.png,3,y\n"},
        {"x": 1, "y": 2},
        {},
        "",
    ),
    "labels.csv beside splits": (
        {"train": 2, "test/a.png": 1, "labels.csv": "id,label\n000,x\n001,y\na,y\n"},
        {"x": 1, "y": 1},
        {"x": 0, "y": 1},
        "",
    ),
    "labels.csv beside classes": (
        {"a": 1, "b": 1, "labels.csv": "id,label\n000,x\n"},
        {"a": 1, "b": 1},
        {},
        "ignored: label tables",
    ),
    "one image": ({".": 1}, {"": 1}, {}, "1 images"),
    "eight images": ({".": 8}, {"": 8}, {}, "8 images"),
    "nine images": ({".": 9}, {"": 9}, {}, "9 for training, 0 for testing"),
    "ten images": ({".": 10}, {"": 9}, {"": 1}, "9 for training, 1 for testing"),
}


@pytest.mark.parametrize(("files", "train", "test", "said"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_folder_holds_the_images_that_a_person_would_count(tmp_path, files, train, test, said):
    data = load(write(tmp_path / "mine", files))
    assert list(count(data, "train").items()) == list(train.items())
    assert list(count(data, "test").items()) == list((test or dict.fromkeys(train, 0)).items())
    assert said in data.summary
    assert ("ignored" in said) == ("ignored" in data.summary)
    assert "\n" not in data.summary


STRAY = r"stray\.png is beside the class folders a, b; move it"
# What a folder holds, and what the error says.
REFUSED: dict[str, tuple[Files, str]] = {
    "no files": ({}, "holds no images"),
    "empty folders": ({"a/b": 0}, "holds no images"),
    "text only": ({"a/x.txt": "hello", "b/y.pdf": ""}, "holds no images"),
    "hidden images only": ({".thumbnails": 3}, "holds no images"),
    "an image beside classes": ({"a": 2, "b": 2, "stray.png": 1}, STRAY),
    "an image beside wrapped classes": ({"images/a": 2, "images/b": 2, "images/stray.png": 1}, STRAY),
    "an image beside the classes of a lone train": ({"train/a": 2, "train/b": 2, "train/stray.png": 1}, STRAY),
    "an image beside the classes of a split": ({"train/a": 2, "train/b": 2, "train/stray.png": 1, "test/a": 1}, STRAY),
    "an image beside splits": (
        {"train": 2, "test": 2, "stray.png": 1},
        r"stray\.png is beside the splits train and test",
    ),
    "a folder beside splits": ({"train": 2, "test": 2, "more": 1}, "more is beside the splits train and test"),
    "two folders to train": ({"train": 2, "Training": 2, "val": 1}, "Training is beside the splits train and val"),
    "nothing to train": ({"val/a": 2, "test/a": 2}, "has test but no train"),
    "classes in one split only": ({"train/a": 2, "train/b": 2, "test": 2}, "images in .*mine/test have no classes"),
    "a dangling link": ({"a": 2, "b": 1, "b/x.png": Path("gone.png")}, r"b/x\.png: No such file"),
    "a linked image that is itself": ({"a": 2, "b": 1, "b/x.png": Path("x.png")}, r"b/x\.png: Too many levels"),
    "a table without rows": ({".": 2, "labels.csv": ""}, r"labels\.csv needs a column .* no rows"),
    "a table without labels": (
        {".": 2, "labels.csv": "id,age\n000,1\n"},
        r"labels\.csv needs a column .* it has id, age",
    ),
    "a table of other images": ({".": 2, "labels.csv": "id,label\nx,1\n"}, r"labels\.csv lists none of the 2 images"),
    "a table that is no text": ({".": 2, "labels.csv": b"\xff\xfe\x00"}, r"labels\.csv can't be read as a table"),
}


@pytest.mark.parametrize(("files", "said"), REFUSED.values(), ids=REFUSED)
def test_a_folder_that_can_not_be_meant_is_refused_in_one_line(tmp_path, files, said):
    with pytest.raises(InputError, match=rf"^data\.root.*{said}") as error:
        load(write(tmp_path / "mine", files))
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["nowhere", "file.png"])
def test_a_root_that_is_no_folder_is_refused(tmp_path, name):
    write(tmp_path, {"file.png": 1})
    with pytest.raises(InputError, match=rf"data\.root=.*{name}: no such folder"):
        load(tmp_path / name)


def test_a_tilde_in_the_root_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(write(tmp_path, {"mine/a": 2, "mine/b": 1})))
    assert count(load("~/mine"), "train") == {"a": 2, "b": 1}


@pytest.mark.parametrize(("batch_size", "n_critic"), [(4, 1), (2, 2)])
def test_too_few_images_for_a_batch_are_refused_with_the_number_needed(tmp_path, batch_size, n_critic):
    write(tmp_path, {"a": 2, "b": 1})
    with pytest.raises(InputError, match=r"at least 4 training images are needed; there are 3"):
        load(tmp_path, batch_size=batch_size, n_critic=n_critic)


def test_every_image_keeps_its_label(tmp_path):
    for name, color in COLORS.items():
        write(tmp_path, {f"{name}/{i}.png": encode(color) for i in range(25)})
    data = load(tmp_path)
    for split, each in (("train", 23), ("test", 2)):
        images, labels = data.splits[split].images, data.splits[split].labels
        assert labels.bincount().tolist() == [each] * 3
        assert torch.equal(images[:, :, 5, 5], torch.tensor(list(COLORS.values()), dtype=torch.uint8)[labels])


@pytest.fixture
def decoded(monkeypatch) -> list[Path]:
    """The files that are decoded from here on."""
    paths = []

    def note(path: Path, **options):
        paths.append(path)
        return decode_image(path, **options)

    monkeypatch.setattr(folder, "decode_image", note)
    return paths


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder of three images; files of this kind and size all have the same length."""
    return write(tmp_path / "mine", {f"{name}/x.ppm": encode(color, "PPM") for name, color in COLORS.items()})


@pytest.fixture
def cache(tmp_path) -> str:
    return str(tmp_path / "cache")


def pixels(data: Folder) -> torch.Tensor:
    return data.splits["train"].images


def test_a_second_run_decodes_nothing(root, cache, decoded):
    first = load(root, cache_dir=cache)
    assert len(decoded) == 3
    again = load(root, cache_dir=cache)
    assert len(decoded) == 3
    assert torch.equal(pixels(first), pixels(again))
    assert first.summary == again.summary
    assert first.splits["train"].fingerprint() == again.splits["train"].fingerprint()


def test_a_replaced_file_is_noticed_although_its_size_and_time_stay(root, cache):
    path = root / "dog" / "x.ppm"
    before, about = load(root, cache_dir=cache), path.stat()
    time.sleep(0.02)  # a clock of the file system may tick every 10 ms
    path.write_bytes(encode((1, 2, 3), "PPM"))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (about.st_size, about.st_mtime_ns)
    after = load(root, cache_dir=cache)
    assert pixels(after)[1, :, 0, 0].tolist() == [1, 2, 3]
    assert before.splits["train"].fingerprint() != after.splits["train"].fingerprint()


def test_a_moved_copy_is_not_decoded_again(root, cache, decoded, tmp_path):
    first = load(root, cache_dir=cache)
    copy = load(shutil.copytree(root, tmp_path / "copy"), cache_dir=cache)
    assert len(decoded) == 3
    assert torch.equal(pixels(first), pixels(copy))


@pytest.mark.parametrize("kind", ["*.npy", "*.json", "*"])
def test_a_truncated_file_in_the_cache_is_written_again(root, cache, decoded, kind):
    first = pixels(load(root, cache_dir=cache)).clone()
    for path in Path(cache, "images").glob(kind):
        os.truncate(path, path.stat().st_size // 2)
    assert torch.equal(pixels(load(root, cache_dir=cache)), first)
    assert len(decoded) == 6
    load(root, cache_dir=cache)
    assert len(decoded) == 6


def test_unreadable_files_leave_no_pixels_and_a_repair_is_noticed(root, cache):
    write(root, {"dog/y.ppm": "no image"})
    for _ in range(2):
        with pytest.raises(InputError, match=r"1 of 4 files can't be read as images; .*dog/y\.ppm \("):
            load(root, cache_dir=cache)
        assert {path.suffix for path in Path(cache, "images").iterdir()} <= {".lock"}
    write(root, {"dog/y.ppm": encode((1, 2, 3), "PPM")})
    assert pixels(load(root, cache_dir=cache))[2, :, 0, 0].tolist() == [1, 2, 3]


def test_without_a_cache_nothing_is_left(root, tmp_path, monkeypatch):
    temporary = write(tmp_path / "temporary", {})
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    before = sorted(root.rglob("*"))
    data = load(root, cache_dir=None)
    images, colors = pixels(data), pixels(data)[:, :, 0, 0].tolist()
    del data
    gc.collect()
    assert list(temporary.iterdir()) == []
    assert sorted(root.rglob("*")) == before
    assert images[:, :, 9, 9].tolist() == colors == [list(color) for color in COLORS.values()]


def test_a_cache_that_can_not_be_written_only_warns(root, tmp_path, caplog):
    data = load(root, cache_dir=str(write(tmp_path, {"file": "text"}) / "file" / "cache"))
    assert len(pixels(data)) == 3
    assert "decoded images are not cached" in caplog.text


def test_options_that_change_pixels_have_entries_of_their_own(root, cache, decoded):
    variants = [{}, {"image_size": 8}, {"channels": 1}, {"background": "black"}]
    first = [pixels(load(root, cache_dir=cache, **options)).clone() for options in variants]
    assert len(decoded) == 3 * len(variants)
    for options, images in zip(variants, first, strict=True):
        assert torch.equal(pixels(load(root, cache_dir=cache, **options)), images)
    assert len(decoded) == 3 * len(variants)
    assert len(list(Path(cache, "images").glob("*.npy"))) == len(variants)


def test_a_run_that_writes_into_its_images_changes_no_other(root, cache):
    one, other = load(root, cache_dir=cache), load(root, cache_dir=cache)
    before = pixels(other).clone()
    pixels(one).zero_()
    assert torch.equal(pixels(other), before)
    assert torch.equal(pixels(load(root, cache_dir=cache)), before)


def test_images_stay_on_disk_until_they_are_used(tmp_path, cache):
    data = load(write(tmp_path / "mine", {".": 3}), cache_dir=cache, image_size=64)
    (stored,) = Path(cache, "images").glob("*.npy")
    assert str(stored) in Path("/proc/self/maps").read_text(encoding="utf-8")
    assert pixels(data).untyped_storage().nbytes() == np.load(stored).nbytes


def load_slowly(root: Path, cache_dir: str, log: Path, n: int) -> list[list[int]]:
    """Load a folder as soon as n processes do, and note each file that is decoded; return the colors."""

    def slow(path: Path, **options):
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{path}\n")
        time.sleep(0.1)
        return decode_image(path, **options)

    folder.decode_image = slow
    (log.parent / f"{os.getpid()}.ready").touch()
    wait_until(lambda: len(list(log.parent.glob("*.ready"))) == n, "the other processes", 60)
    return pixels(load(root, cache_dir=cache_dir))[:, :, 0, 0].tolist()


@pytest.mark.slow
def test_processes_that_start_together_decode_once(root, cache, tmp_path):
    roots = [root, root, shutil.copytree(root, tmp_path / "copy")]
    log = write(tmp_path / "log", {}) / "decoded"
    with ProcessPoolExecutor(len(roots), CONTEXT) as pool:
        runs = [pool.submit(load_slowly, each, cache, log, len(roots)) for each in roots]
        assert [run.result(timeout=60) for run in runs] == [[list(color) for color in COLORS.values()]] * len(roots)
    assert len(log.read_text().splitlines()) == 3
    assert len(list(Path(cache, "images").glob("*.npy"))) == 1
    assert not list(Path(cache, "images").glob("*.part"))


def test_a_table_outside_of_the_root_is_none_of_its(tmp_path):
    (tmp_path / "labels.csv").write_text("file_name,label\n000.png,cat\n")
    data = load(write(tmp_path / "mine", {"": 12}))
    assert data.shape["num_classes"] == 0


def test_a_class_whose_name_the_locale_cannot_spell_still_has_one(tmp_path):
    """Latin-1 bytes on a UTF-8 system; Python holds them as surrogates, which no file and no terminal takes."""
    folder = os.fsencode(tmp_path) + b"/K\xe4se"
    os.makedirs(folder)
    with open(folder + b"/0.png", "wb") as file:
        file.write(encode())
    assert load(write(tmp_path, {"dog": 1})).classes == ["K\\xe4se", "dog"]
    assert decode_name("Käse") == "Käse"


def test_a_fraction_of_a_folder_leaves_its_test_images(tmp_path):
    write(tmp_path / "in", {"a": 30, "b": 20, "c": 2})
    data = load(tmp_path / "in", fraction=0.1)
    assert (count(data, "train"), count(data, "test")) == ({"a": 3, "b": 2, "c": 1}, {"a": 3, "b": 2, "c": 0})
    assert data.summary.endswith("; data.fraction=0.1: trains on 6 of 47 images")
