"""The warning of mode collapse: once, in one line, and only for samples that are nearly alike."""

import json

import pytest
import torch
from torch import Tensor

import train
from gan import tracking
from gan.callbacks.evaluation import Evaluation
from gan.metrics.extractors.classifier import Classifier
from gan.metrics.scorer import Scorer
from gan.models.mlp import Generator
from tests.helpers import NARROW, load_digits

RUN = ["model=mlp", *NARROW["mlp"], "trainer.val_check_interval=10"]


def forget_z(z: Tensor) -> Tensor:
    return torch.zeros_like(z)


def remember_a_sign(z: Tensor) -> Tensor:
    return z[:, :1].sign().expand_as(z)


@pytest.fixture
def summary(monkeypatch) -> dict:
    """What a run puts into its summary in W&B before it ends."""
    found = {}
    monkeypatch.setattr(tracking, "log_summary", lambda _, values: found.setdefault("values", []).append(values))
    return found


@pytest.mark.parametrize("keep", [forget_z, remember_a_sign])
def test_a_generator_of_one_or_two_images_is_warned_of_once(configure, tmp_path, monkeypatch, caplog, summary, keep):
    forward = Generator.forward
    monkeypatch.setattr(Generator, "forward", lambda self, z, labels: forward(self, keep(z), torch.zeros_like(labels)))
    train.train(configure(*RUN))
    warnings = [message for message in caplog.messages if "mode collapse" in message]
    assert len(warnings) == 1
    assert warnings[0].startswith("mode collapse: the samples at step 10 have little variety: diversity ")
    assert summary["values"].count({"collapsed": True}) == 1
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["scores"]["collapsed"] is True


def test_a_generator_that_becomes_varied_is_not_warned_of(configure, tmp_path, caplog, summary):
    """After 10 and 20 steps its samples are nearly alike, but they become more varied."""
    train.train(configure(*RUN))
    assert "mode collapse" not in caplog.text
    history = [json.loads(line)["diversity"] for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert history[0] < history[1]
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["scores"]["collapsed"] is False
    assert not any(values == {"collapsed": True} for values in summary["values"])


@pytest.mark.parametrize(
    ("diversity", "before", "is_collapsed"),
    [
        (0.9, {}, False),
        (0.2, {}, False),  # of a first evaluation, early in training
        (0.004, {}, True),
        (0.004, {"diversity": 0.002}, True),
        (0.2, {"diversity": 0.19}, False),
        (0.2, {"diversity": 0.2}, True),
        (0.2, {"diversity": 0.9}, True),
        (0.26, {"diversity": 0.9}, False),
    ],
)
def test_samples_have_collapsed_if_they_are_alike_and_become_no_more_varied(diversity, before, is_collapsed):
    scorer = Scorer(Classifier(weights_path="mnist"), load_digits(), n_fakes=200)
    scorer.floor = {"diversity": 1.0}
    reason = scorer.find_collapse({"diversity": diversity}, before)
    assert reason == (f"diversity {diversity:.2g}, real images 1" if is_collapsed else None)


def test_a_resumed_run_is_not_warned_of_again():
    evaluation, resumed = Evaluation(None, objective=None), Evaluation(None, objective=None)
    evaluation.run.collapsed = True
    resumed.load_state_dict(evaluation.state_dict())
    assert resumed.run.collapsed
    earlier = {name: value for name, value in resumed.state_dict().items() if name != "collapsed"}
    resumed.load_state_dict(earlier)  # of a checkpoint before there was the warning
    assert not resumed.run.collapsed
