"""Runs of one process share images, extractor and statistics where these are equal, and nothing else."""

import gzip
import json
import shutil
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from gan.metrics import scorer
from gan.metrics.extractors.classifier import WEIGHTS
from gan.run import build
from gan.run.build import build_data, build_extractor, build_scorer
from gan.run.config import prepare_config
from gan.system.reuse import Last
from tests.helpers import NARROW, SHORT, run_command


@pytest.fixture(autouse=True)
def _new_process(monkeypatch):
    """Nothing is left of other tests."""
    for module, name in ((build, "LOADED"), (build, "EXTRACTOR"), (scorer, "MEASURED")):
        monkeypatch.setattr(module, name, Last())


@pytest.fixture
def prepared(configure):
    return lambda *words: prepare_config(configure(*words))


def test_the_last_part_is_reused_while_its_key_stays_the_same():
    last = Last()
    parts = [last.get(key, object) for key in ("a", "a", "b", "a", None, None)]
    assert parts[0] is parts[1]
    assert len(set(map(id, parts))) == 5


def test_a_part_that_could_not_be_built_is_built_again():
    last = Last()
    with pytest.raises(ZeroDivisionError):
        last.get("a", lambda: 1 / 0)
    assert last.get("a", lambda: 2) == 2


def test_runs_share_images_but_not_their_batches(prepared):
    first = build_data(prepared("seed=0"))
    second = build_data(prepared("seed=1", "n_critic=3"))
    assert second.splits["train"] is first.splits["train"]
    assert second.classes == first.classes
    assert (first.seed, first.n_critic, second.seed, second.n_critic) == (0, 1, 1, 3)
    less = build_data(prepared("data.fraction=0.1", "seed=2"))
    assert (len(less.splits["train"]), less.summary) == (400, "data.fraction=0.1: trains on 400 of 4,000 images")
    third = build_data(prepared("data.batch_size=8", "data.image_size=32"))
    assert (third.batch_size, third.splits["train"].images.shape[-1]) == (8, 32)


def write_mnist(root, images):
    for name in ("train", "t10k"):
        for kind, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", np.arange(len(images)) % 10)):
            array = array.astype(np.uint8)
            path = root / "MNIST" / "raw" / f"{name}-{kind}.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
            path.write_bytes(gzip.compress(header + array.tobytes()))


def test_images_of_files_that_change_are_loaded_again(prepared, tmp_path):
    words = ["data=mnist", f"data_dir={tmp_path}/data", f"cache_dir={tmp_path}/cache", "data.batch_size=4"]
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28))
    write_mnist(tmp_path / "data", images)
    first, again = build_data(prepared(*words)), build_data(prepared(*words))
    assert again.splits["train"] is first.splits["train"]
    write_mnist(tmp_path / "data", 255 - images)
    changed = build_data(prepared(*words))
    assert torch.equal(changed.splits["train"].images, 255 - first.splits["train"].images)
    assert changed.fingerprint() != first.fingerprint()


def test_images_in_a_folder_behind_a_link_are_loaded_again(prepared, tmp_path):
    write_mnist(tmp_path / "other", np.zeros((20, 28, 28)))
    (tmp_path / "data" / "MNIST").mkdir(parents=True)
    (tmp_path / "data" / "MNIST" / "raw").symlink_to(tmp_path / "other" / "MNIST" / "raw")
    words = ["data=mnist", f"data_dir={tmp_path}/data", f"cache_dir={tmp_path}/cache", "data.batch_size=4"]
    assert build_data(prepared(*words)).list_sources() is None


def test_a_folder_of_images_that_changes_is_read_again(prepared, tmp_path):
    root = tmp_path / "pictures"
    root.mkdir()
    for i in range(40):
        Image.new("RGB", (32, 32), (i, 0, 0)).save(root / f"{i}.png")
    words = ["data=folder", f"data.root={root}", f"cache_dir={tmp_path}/cache", "data.batch_size=4", "metrics=none"]
    first = build_data(prepared(*words, "objective=null")).fingerprint()
    Image.new("RGB", (32, 32), (0, 200, 0)).save(root / "0.png")
    assert build_data(prepared(*words, "objective=null")).fingerprint() != first


def test_runs_share_the_extractor_and_the_statistics(prepared):
    scorers = []
    for seed in (0, 1):
        cfg = prepared(f"seed={seed}", "cache_dir=null")
        data = build_data(cfg)
        scorers.append(build_scorer(cfg, data))
        scorers[-1].measure_reals()
    first, second = scorers
    assert second.extractor is first.extractor
    assert second.real_statistics is first.real_statistics
    assert second.floor == first.floor
    cfg = prepared("metrics.reference=train", "cache_dir=null")
    other = build_scorer(cfg, build_data(cfg))
    other.measure_reals()
    assert other.real_statistics.n == 4000


def test_an_extractor_whose_weights_change_is_built_again(prepared, tmp_path):
    path = tmp_path / "mine.safetensors"
    shutil.copy(WEIGHTS / "mnist.safetensors", path)
    cfg = prepared(f"metrics.weights_path={path}")
    data = build_data(cfg)
    first = build_extractor(cfg, data)
    assert build_extractor(cfg, data) is first
    shutil.copy(WEIGHTS / "fashion_mnist.safetensors", path)
    assert build_extractor(cfg, data).sha256 != first.sha256


def test_a_run_of_a_multirun_is_the_same_bit_for_bit_as_alone(tmp_path):
    words = ["model=mlp", *NARROW["mlp"], *SHORT, "logger=none", "trainer.max_steps=5", "trainer.val_check_interval=5"]
    together = run_command("-m", "seed=0,1", *words, f"hydra.sweep.dir={tmp_path}/together")
    alone = run_command("seed=1", *words, f"hydra.run.dir={tmp_path}/alone")
    assert (together.returncode, alone.returncode) == (0, 0), together.stderr + alone.stderr
    [second] = (tmp_path / "together").glob("1-*")
    one, other = load_file(second / "generator.safetensors"), load_file(tmp_path / "alone" / "generator.safetensors")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    scores = [json.loads((folder / "metrics.json").read_text())["scores"] for folder in (second, tmp_path / "alone")]
    assert scores[0]["fid_200"] == scores[1]["fid_200"]
