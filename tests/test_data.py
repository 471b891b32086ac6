"""Splits, order and pixels of every kind of data set, on real images and on folders made here."""

import gzip
import struct
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import MNIST

from gan.data.datamodule import Batches, ImageData
from gan.data.datasets import MNIST5k, Torchvision
from gan.data.pixels import save_grid, to_float, to_uint8
from gan.errors import InputError

GREY = {"channels": 1, "image_size": 28, "batch_size": 64}


def ready(data: ImageData, step: int = 0) -> ImageData:
    data.setup()
    data.trainer = SimpleNamespace(global_step=step, global_rank=0, world_size=1)
    return data


def indices(size: int, seed: int = 0, step: int = 0, rank: int = 0, world: int = 1) -> list[int]:
    return list(chain.from_iterable(Batches(size, 10, seed=seed, step=lambda: step, rank=rank, world=world)))


def test_mnist_5k_splits_every_class_alike_and_keeps_them_apart():
    data = ready(MNIST5k(**GREY))
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
    data = ready(MNIST5k(**GREY, n_critic=3))
    images, labels = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert images.shape == (192, 1, 28, 28)
    assert labels.shape == (192,)
    assert images.min() == -1
    assert images.max() == 1


def test_the_validation_set_is_fixed_and_class_balanced_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    sets = [ready(MNIST5k(**GREY, z_dim=8, n_fakes=1000)).samples(seed) for seed in (0, 0, 1)]
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


@pytest.mark.parametrize("packed", [False, True])
def test_torchvision_sets_use_raw_files_that_are_already_there(tmp_path, packed):
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (12, 28, 28), dtype=np.uint8), (np.arange(12) % 10).astype(np.uint8)
    for name in ("train", "t10k"):
        for kind, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
            idx(tmp_path / "MNIST" / "raw" / f"{name}-{kind}{'.gz' if packed else ''}", array, packed)
    before = sorted(tmp_path.rglob("*"))
    data = ready(Torchvision(dataset=MNIST, root=str(tmp_path), **GREY | {"batch_size": 4}))
    assert torch.equal(data.splits["train"].images[:, 0], torch.from_numpy(images))
    assert data.splits["test"].labels.tolist() == labels.tolist()
    assert sorted(tmp_path.rglob("*")) == before
    bigger = ready(Torchvision(dataset=MNIST, root=str(tmp_path), **GREY | {"batch_size": 4, "image_size": 32}))
    assert bigger.splits["train"].images.shape == (12, 1, 32, 32)


@pytest.mark.parametrize(("batch_size", "n_critic"), [(4001, 1), (2001, 2), (0, 1), (-5, 1)])
def test_a_batch_must_fit_the_data(batch_size, n_critic):
    with pytest.raises(InputError, match=rf"data\.batch_size={batch_size}: .*(at least 1|there are 4,000)"):
        MNIST5k(**GREY | {"batch_size": batch_size}, n_critic=n_critic).setup()
