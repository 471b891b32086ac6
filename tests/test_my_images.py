"""From a folder to a report: what the recipe for the user's own images does, and says before it starts."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image, ImageDraw

from gan.data.datamodule import Images
from gan.data.folder import Folder
from gan.errors import InputError
from gan.launch.forecast import expand_sweep
from gan.metrics.extractors import own_classifier as own
from gan.metrics.extractors.classifier import Classifier
from gan.metrics.extractors.own_classifier import choose_num_features, own_classifier
from gan.metrics.scorer import Scorer
from gan.run.display import format_duration
from tests.helpers import ROOT
from tests.processes import run_forked

SHAPES = {
    "disc": ImageDraw.ImageDraw.ellipse,
    "square": ImageDraw.ImageDraw.rectangle,
    "line": ImageDraw.ImageDraw.line,
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """110 colored pictures of each of three shapes, somewhere on a plain background."""
    root = tmp_path_factory.mktemp("pictures")
    random = torch.Generator().manual_seed(0)
    for name, draw in SHAPES.items():
        (root / name).mkdir()
        for i in range(110):
            x, y, red, green = torch.randint(2, 14, (4,), generator=random).tolist()
            image = Image.new("RGB", (32, 32), (15 * red, 15 * green, 128))
            draw(ImageDraw.Draw(image), (x, y, x + 14, y + 14), fill="white", width=3)
            image.save(root / name / f"{i:03}.png")
    return root


def data(pictures, **options) -> Folder:
    made = Folder(root=str(pictures), channels=3, image_size=16, batch_size=8, **options)
    made.setup()
    return made


def test_a_classifier_of_ones_own_images_is_trained_once_and_knows_them(pictures, tmp_path, monkeypatch):
    images = data(pictures)
    first = own_classifier(images, cache_dir=str(tmp_path))
    monkeypatch.setattr(own, "fit_classifier", lambda *_, **__: pytest.fail("trained again"))
    second = own_classifier(data(pictures), cache_dir=str(tmp_path))
    assert first.sha256 == second.sha256
    assert (first.name, first.resize, first.num_features) == ("own classifier", "28 px RGB, bilinear antialiased", 16)
    scorer = Scorer(second, images, n_fakes=200, reference="train")
    scorer.measure_reals()
    assert scorer.floor["conditional_accuracy"] > 0.8
    assert scorer.fid_name == "fid_200"


def test_other_images_get_a_classifier_of_their_own(pictures, tmp_path, monkeypatch):
    names = []
    fit = own.fit_classifier
    monkeypatch.setattr(own, "fit_classifier", lambda *a, **k: (names.append(a), fit(*a, **k | {"epochs": 1}))[1])
    images = data(pictures)
    own_classifier(images, cache_dir=str(tmp_path))
    images.splits["train"].known_fingerprint = "another"
    own_classifier(images, cache_dir=str(tmp_path))
    own_classifier(images, cache_dir=None)
    assert len(names) == 3
    assert len(list(tmp_path.glob("classifiers/*.safetensors"))) == 2


def test_unlabeled_images_are_told_apart_by_the_way_they_are_turned(pictures, tmp_path):
    images = data(pictures / "line")
    assert images.shape["num_classes"] == 0
    extractor = own_classifier(images, cache_dir=str(tmp_path))
    features, logits = extractor(images.splits["test"].images)
    assert (features.shape[1], logits.shape[1], extractor.knows_classes) == (16, 4, False)
    turned, turns = own.rotate_images(images.splits["train"].images[:2])
    assert torch.equal(turned[2:4], images.splits["train"].images[:2].rot90(1, (2, 3)))
    assert turns.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(("n", "features"), [(27, 16), (319, 16), (320, 32), (640, 64), (1280, 128), (10**6, 128)])
def test_there_are_ten_images_for_each_feature(n, features):
    assert choose_num_features(n) == features


def test_a_classifier_of_other_classes_is_refused(pictures, tmp_path):
    with pytest.raises(InputError, match="classifier mnist knows 10 classes, the images have 3"):
        Scorer(Classifier(weights_path="mnist"), data(pictures), n_fakes=200).measure_reals()
    images = data(pictures)
    extractor = own_classifier(images, cache_dir=str(tmp_path))
    for split in images.splits.values():
        split.labels = (split.labels + 1) % 3
    with pytest.raises(InputError, match=r"own classifier finds the class of \d+% of the real images: .*metrics=own"):
        Scorer(extractor, images, n_fakes=200).measure_reals()


def test_a_sweep_is_all_combinations_and_the_command_line_wins():
    params = {"model": "mlp,dcgan", "seed": "0,1,2", "loss": "bce"}
    hydra = {"sweeper": {"params": params}, "overrides": {"task": ["seed=5,6", "data.root=a/b", "++n_critic=2"]}}
    runs = expand_sweep(OmegaConf.create({"hydra": hydra}))
    assert len(runs) == 4
    assert runs[0] == ("model=mlp", "seed=5", "loss=bce", "data.root=a/b", "++n_critic=2")
    assert runs[-1] == ("model=dcgan", "seed=6", "loss=bce", "data.root=a/b", "++n_critic=2")


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.4, "4 s"), (100, "2 min"), (59 * 60, "59 min"), (5999, "1 h 40 min"), (9000, "2 h 30 min")]
)
def test_time_spans_are_written_as_people_say_them(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.slow
def test_three_commands_lead_from_a_folder_to_a_report(pictures, tmp_path):
    """A look, a multirun that says how long it takes, a report; two runs of it, short and narrow."""
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = run_forked(str(pictures), "--out", f"{tmp_path}/look.png", script="scripts/look.py", env=cache)
    assert done.returncode == 0, done.stderr
    assert "330 images; 3 classes (disc 110, line 110, square 110); 32 x 32 px" in done.stdout
    assert re.search(r"│ line +│ 99 +│ 11 +│", done.stdout)
    with Image.open(tmp_path / "look.png") as picture:
        assert picture.size[1] == 3 * (64 + 2) + 2
    small = ["model=mlp", "loss=bce,hinge", "seed=0", "model.generator.hidden=[16]", "model.discriminator.hidden=[16]"]
    small += ["trainer.max_steps=20", "trainer.val_check_interval=10", "metrics.n_fakes=200", "objective=fid_200"]
    words = [
        "-m",
        "hydra/launcher=local",
        "experiment=my_images",
        f"data.root={pictures}",
        f"hydra.sweep.dir={tmp_path}/m",
    ]
    done = run_forked(*words, *small, "logger=none", env=cache)
    assert done.returncode == 0, done.stderr
    line, *others = " ".join(done.stdout.split()).split(" (", 1)
    assert re.fullmatch(r"2 runs, 2 cells, 2 at a time: about \d+ (s|min), until \d\d:\d\d", line)
    runs = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("m/*/metrics.json"))]
    assert [run["protocol"]["extractor"] for run in runs] == ["own classifier"] * 2
    assert runs[0]["protocol"] == runs[1]["protocol"]
    assert {run["scores"]["images_seen"] for run in runs} == {20 * 32}
    assert f"compare python scripts/report.py --local {tmp_path}/m" in " ".join(others[0].split())
    done = run_forked("--local", f"{tmp_path}/m", script="scripts/report.py")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m" / "report.html").is_file()


def test_the_recipe_compares_at_an_equal_budget(configure):
    cfg = OmegaConf.load(ROOT / "conf" / "experiment" / "my_images.yaml")
    sizes = {name: len(values.split(",")) for name, values in cfg.hydra.sweeper.params.items()}
    assert sizes == {"model": 3, "loss": 3, "seed": 3}
    budgets = set()
    for model in cfg.hydra.sweeper.params.model.split(","):
        for loss in cfg.hydra.sweeper.params.loss.split(","):
            run = configure("experiment=my_images", "data.root=x", f"model={model}", f"loss={loss}", "metrics=own")
            budgets.add((run.n_critic, run.data.batch_size, run.trainer.max_steps, len(run.penalty)))
    assert len(budgets) == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere"], "error: data.root=nowhere: no such folder"),
        (["data=folder"], "error: data.root: must be given"),
        (["data=mnist_5k", "data.channels=2"], "error: data.channels=2: must be 1 (gray) or 3 (RGB)"),
    ],
)
def test_a_look_at_nothing_is_one_line(tmp_path, arguments, line):
    done = run_forked(*arguments, "--out", f"{tmp_path}/look.png", script="scripts/look.py")
    assert done.returncode == 1
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1


def test_warnings_name_what_is_odd(tmp_path):
    from scripts.look import find_warnings

    labels = torch.tensor([0] * 500 + [1] * 10)
    splits = {
        "train": Images(torch.zeros(510, 1, 4, 4).byte(), labels),
        "test": Images(torch.zeros(3, 1, 4, 4), labels[:3]),
    }
    found = find_warnings(SimpleNamespace(splits=splits, classes=["cat", "dog"], image_size=4))
    assert [line.split()[0] for line in found] == ["510", "3", "the", "classes"]
    assert "the class dog has only 10 training images" in found
