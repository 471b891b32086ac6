"""scripts/evaluate.py on real, short runs: the run's own figures again, other features, copies, and learning."""

import json
import shutil

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from gan.data.pixels import to_float
from gan.metrics.extractors.classifier import Classifier
from gan.metrics.scorer import Scorer
from gan.priors import normal
from gan.run.generator import LoadedGenerator
from scripts import evaluate
from tests.helpers import FEW_FAKES, NARROW, SMALL, RealDigits, load_digits
from tests.processes import run_forked


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A short run; no test changes it."""
    folder = tmp_path_factory.mktemp("original") / "run"
    words = [*SMALL, *FEW_FAKES, *NARROW["dcgan"], "logger=none", "trainer.val_check_interval=10"]
    done = run_forked(*words, f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def finished(original, tmp_path):
    return shutil.copytree(original, tmp_path / "run")


def evaluated(run, *arguments) -> dict:
    done = run_forked("--run", str(run), *arguments, script="scripts/evaluate.py")
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("evaluation"))
    with open(line.split(maxsplit=1)[1], encoding="utf-8") as file:
        return json.load(file)


def test_the_runs_own_scores_come_out_again_to_the_last_digit(finished):
    own = json.loads((finished / "metrics.json").read_text())
    last = evaluated(finished)
    assert (last["step"], last["protocol"], last["floor"]) == (20, own["protocol"], own["floor"])
    assert last["scores"] == {name: own["scores"][name] for name in last["scores"]}
    best = evaluated(finished, "--checkpoint", "best", "--z-seed", "1")
    assert {name: best[name] for name in ("step", "scores", "protocol")} == own["best"]
    assert len(list((finished / "evaluations").iterdir())) == 2


def test_what_is_asked_for_is_in_the_protocol(finished):
    ema = evaluated(finished)
    raw = evaluated(finished, "--raw", "--fakes", "300", "metrics.reference=train")
    assert ("fid_300" in raw["scores"], raw["protocol"]["n_fakes"]) == (True, 300)
    assert (raw["protocol"]["generator"], raw["protocol"]["reference"]) == ("raw", "train")
    assert raw["scores"] != ema["scores"]


@pytest.mark.slow
def test_other_features_are_an_option(finished, tmp_path):
    """DINOv2's architecture, small and with random weights."""
    name = "vit_small_patch14_dinov2"
    torch.save(timm.create_model(name, num_classes=0).state_dict(), tmp_path / "weights.pth")
    small = [f"metrics.extractor.architecture={name}", "metrics.extractor.image_size=28", "metrics.n_fakes=200"]
    found = evaluated(finished, "--metrics", "dinov2", f"metrics.weights_path={tmp_path}/weights.pth", *small)
    assert found["protocol"]["extractor"] == f"timm {name}"
    assert found["scores"]["fid_200"] > 0
    assert not {"inception_score", "conditional_accuracy"} & set(found["scores"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--checkpoint", "nowhere.ckpt"], "error: nowhere.ckpt: no such file"),
        (["data.rot=1"], "error: data.rot=1: no such key"),
        (["--metrics", "inception", "metrics.weights_path=nowhere"], "error: metrics.weights_path=nowhere: no such"),
        (["--fakes", "3"], "error: metrics.n_fakes=3: must be at least 10"),
    ],
)
def test_bad_input_is_one_line(finished, arguments, message):
    done = run_forked("--run", str(finished), *arguments, script="scripts/evaluate.py")
    assert done.returncode == 1
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_without_a_run_is_named(tmp_path):
    done = run_forked("--run", str(tmp_path), script="scripts/evaluate.py")
    assert done.stderr == f"error: --run {tmp_path}: has no config.yaml; give the folder of a run\n"


@pytest.fixture(scope="module")
def digits():
    return load_digits()


def test_copies_of_training_images_are_found_and_new_images_are_not_called_copies(digits, tmp_path):
    scorer = Scorer(Classifier(weights_path="mnist"), digits, n_fakes=500)
    copies, new = (to_float(digits.splits[split].images[:1000]) for split in ("train", "test"))
    pictures = [tmp_path / "copies.png", tmp_path / "new.png"]
    assert evaluate.compare_neighbors(scorer, copies, digits, "cpu", pictures[0]) > 0.99
    assert evaluate.compare_neighbors(scorer, new, digits, "cpu", pictures[1]) == pytest.approx(0.5, abs=0.01)
    with Image.open(pictures[0]) as picture:
        rows = torch.from_numpy(np.array(picture)[2:]).unflatten(0, (4, 58))
        assert torch.equal(rows[0], rows[1])
        assert torch.equal(rows[2], rows[3])


@pytest.mark.slow
def test_what_can_be_learned_from_samples_is_tested_on_reals(digits, monkeypatch):
    monkeypatch.setattr(evaluate, "CAS_IMAGES", 16_000)

    class Mislabelled(RealDigits):
        def forward(self, z, labels):
            return super().forward(z, (labels + 1) % 10)

    right, wrong = (
        evaluate.measure_classification_accuracy(LoadedGenerator(network, normal, 10, None), digits, 0, "cpu")
        for network in (RealDigits(), Mislabelled())
    )
    assert right["samples"] > 0.9
    assert right["samples"] == pytest.approx(right["reals"], abs=0.05)
    assert wrong["samples"] < 0.1


def test_a_generator_without_classes_has_nothing_to_teach(digits):
    with pytest.raises(evaluate.InputError, match=r"--cas: .*unconditional"):
        evaluate.measure_classification_accuracy(LoadedGenerator(RealDigits(), normal, 0, None), digits, 0, "cpu")
