"""The warning of mode collapse: once, in one line, and only for samples that are nearly alike."""

import json

import pytest
import torch
from torch import Tensor

import train
from gan import tracking
from gan.callbacks.evaluation import Evaluation
from gan.models.mlp import Generator
from tests.helpers import NARROW

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
    assert warnings[0].startswith("mode collapse: the samples at step 10 are nearly alike (diversity ")
    assert summary["values"][0] == {"collapsed": True}
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["scores"]["collapsed"] is True


def test_a_generator_of_many_images_is_not_warned_of(configure, tmp_path, caplog, summary):
    train.train(configure(*RUN))
    assert "mode collapse" not in caplog.text
    scores = json.loads((tmp_path / "run" / "metrics.json").read_text())["scores"]
    print(scores["diversity"])
    assert scores["collapsed"] is False
    assert not any(values == {"collapsed": True} for values in summary["values"])


def test_a_resumed_run_is_not_warned_of_again():
    evaluation, resumed = Evaluation(None, objective=None), Evaluation(None, objective=None)
    evaluation.run.collapsed = True
    resumed.load_state_dict(evaluation.state_dict())
    assert resumed.run.collapsed
    earlier = {name: value for name, value in resumed.state_dict().items() if name != "collapsed"}
    resumed.load_state_dict(earlier)  # of a checkpoint before there was the warning
    assert not resumed.run.collapsed
