"""train.py from end to end: every cell trains, bad input ends in one line, what a run leaves can be used."""

import json
import math
import re

import pytest
import torch
from hydra.errors import InstantiationException
from PIL import Image
from pytorch_lightning.utilities.exceptions import MisconfigurationException

import train
from gan.callbacks.evaluation import Evaluation
from gan.errors import InputError, find_reason
from gan.gan import GAN
from gan.run.generator import load_generator
from gan.run.outputs import get_objectives
from tests.helpers import NARROW, TINY, run_command
from tests.processes import run_forked

DIAGONAL = [*((model, "rpgan") for model in NARROW), *(("dcgan", loss) for loss in ("bce", "lsgan", "wgan", "wgan_gp"))]


@pytest.mark.parametrize(("model", "loss"), DIAGONAL)
def test_every_model_and_every_kind_of_loss_trains_from_end_to_end(configure, tmp_path, model, loss):
    """20 steps on mnist_5k, both players moved and finite, every file of a run left behind."""
    cfg = configure(f"model={model}", f"loss={loss}", *NARROW[model])
    fid = train.train(cfg)
    assert math.isfinite(fid)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["scores"]["fid_200"] == fid
    assert metrics["scores"]["images_seen"] == 20 * 64 * cfg.n_critic
    assert metrics["scores"]["generator_steps"] == 20
    assert not metrics["scores"]["diverged"]
    assert metrics["protocol"]["n_fakes"] == 200
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.isfinite(tensor.float()).all() for tensor in state.values())
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").is_file()
    with Image.open(tmp_path / "run" / "samples" / "step_000020.png") as grid:
        assert grid.size[0] > 10 * 58 + 2  # the names of the classes are to the left of their rows
        assert grid.size[1] == 10 * 58 + 2
    for player in ("generator", "discriminator"):
        assert metrics["scores"][f"{player}_parameters"] > 1000
    assert metrics["scores"]["flops_per_step"] > 1e6
    drawn_by = load_generator(tmp_path / "run")
    assert drawn_by.num_classes == 10
    ema = {name.removeprefix("ema.module."): tensor for name, tensor in state.items() if name.startswith("ema.module.")}
    assert all(torch.equal(tensor, ema[name]) for name, tensor in drawn_by.network.state_dict().items())


def test_an_unconditional_run_ignores_the_labels(configure, tmp_path):
    train.train(configure("conditional=false", *NARROW["dcgan"]))
    assert load_generator(tmp_path / "run").num_classes == 0
    assert "conditional_accuracy" not in json.loads((tmp_path / "run" / "metrics.json").read_text())["scores"]


def test_a_run_without_scores_returns_nothing_but_samples(configure, tmp_path):
    assert train.train(configure("metrics=none", *NARROW["dcgan"])) is None
    assert (tmp_path / "run" / "samples" / "step_000020.png").is_file()


@pytest.mark.parametrize("poisoned", ["discriminator_step", "generator_step"])
def test_a_diverged_run_returns_inf_and_says_so(configure, tmp_path, monkeypatch, poisoned):
    step = getattr(GAN, poisoned)

    def poison(self, *arguments):
        logs = step(self, *arguments)
        if self.global_step >= 10:
            torch.nn.utils.vector_to_parameters(
                torch.full((sum(p.numel() for p in self.generator.parameters()),), math.nan),
                self.generator.parameters(),
            )
        return logs

    monkeypatch.setattr(GAN, poisoned, poison)
    assert train.train(configure("trainer.log_every_n_steps=5", *NARROW["dcgan"])) == math.inf
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["scores"]["diverged"]


def test_a_diverged_run_keeps_its_best_score_and_has_no_second_value_of_its_own():
    evaluation = Evaluation(None, objective=None)
    evaluation.objective, evaluation.best = "fid", 3.0
    evaluation.first_at = evaluation.run.evaluated_at = 10
    assert not evaluation.has_selected
    evaluation.record_divergence("the generator's samples are not finite")
    assert evaluation.scores == {"fid": math.inf, "fid_best": 3.0}
    assert evaluation.has_selected
    assert get_objectives(evaluation.scores, "fid", "kid") == (math.inf, math.inf)


def test_the_best_score_survives_a_resume():
    evaluation = Evaluation(None, objective=None)
    evaluation.best, evaluation.first_at, evaluation.run.seconds = 1.5, 10, 60.0
    resumed = Evaluation(None, objective=None)
    resumed.load_state_dict(evaluation.state_dict())
    assert (resumed.best, resumed.first_at, resumed.run.seconds) == (1.5, 10, 60.0)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["n_critic=0"], r"n_critic=0: must be at least 1"),
        (["data.batch_size=5000"], r"data\.batch_size=5000: .* there are 4,000"),
        (["data.image_size=30"], r"data\.image_size=30: this model needs .*28, 32"),
        (["loss=wgan_gp", "discriminator_norm=batch"], r"norm=batch: a penalty .*norm=layer"),
        (["loss=wgan_gp", "penalty=none"], r"penalty=none: a Wasserstein loss needs"),
        (["loss=wgan", "weight_clip=null"], r"penalty=none: a Wasserstein loss needs"),
        (["penalty=r1", "penalty.r1.gamma=0"], r"penalty\.r1\.gamma=0: must be above 0"),
        (["penalty=[r1,r2]", "penalty.r2.interval=0"], r"penalty\.r2\.interval=0: must be a whole number"),
        (["model=projection", "conditional=false"], r"model=projection: .*model=sngan"),
        (["model=acgan", "conditional=false"], r"model=acgan: .*model=sngan"),
        (["model=sngan", "model.generator.attention=16"], r"generator.attention=16: .*maps \(14, 28\), or null"),
        (["weight_clip=0"], r"weight_clip=0: must be above 0, or null"),
        (["gradient_clip_val=-1"], r"gradient_clip_val=-1: must be above 0, or null"),
        (["loss.label_smoothing=1"], r"loss\.label_smoothing=1: "),
        (["augment=diffaugment", "augment.policy=blur"], r"augment\.policy=blur: .*color"),
        (["ckpt_path=nowhere.ckpt"], r"ckpt_path=nowhere\.ckpt: no such file"),
        (["data=folder", "data.root=nowhere"], r"data\.root=nowhere: no such folder"),
        (["metrics.weights_path=nowhere"], r"metrics\.weights_path=nowhere: .*mnist"),
        (["metrics.reference=val"], r"metrics\.reference=val: .*train, test"),
        (["objective=fid"], r"objective=fid: this run measures fid_200"),
        (["model.discriminator.norm=group"], r"norm=group: must be one of batch"),
        (["ema_half_life_steps=-1"], r"ema_half_life_steps=-1: .*0"),
    ],
)
def test_bad_input_is_refused_before_training(configure, monkeypatch, overrides, message):
    monkeypatch.setattr(GAN, "training_step", lambda *_: pytest.fail("training began"))
    with pytest.raises((InputError, InstantiationException, MisconfigurationException)) as caught:
        train.train(configure("model=dcgan", *overrides))
    assert re.search(message, find_reason(caught.value))


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["n_critic=0"], ["n_critic=0: must be at least 1"]),
        (["loss=wgam"], ["bce", "hinge", "wgan_gp"]),
        (["los=bce"], ["los"]),
        (["experiment=quickstrat"], ["quickstart", "mnist_fast"]),
        (["hparams_search=optune"], ["grid", "optuna"]),
        (["model.generator.widht=3"], ["model.generator.widht"]),
        (["trainer=gpu"], ["gpu"]),
    ],
)
def test_bad_input_on_the_command_line_shows_no_traceback(arguments, shown, tmp_path):
    if arguments == ["trainer=gpu"] and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = run_forked(*arguments, "logger=none", "model=dcgan", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for text in shown:
        assert text in done.stderr
    if arguments == ["n_critic=0"]:
        assert done.stderr == "error: n_critic=0: must be at least 1\n"


def test_a_whole_run_as_a_user_starts_it(tmp_path):
    """In an interpreter of its own: trained, scored, shown, and filed as an offline run of W&B."""
    done = run_command(*TINY, f"hydra.run.dir={tmp_path}/run", env={"WANDB_MODE": "offline"})
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "run" / "metrics.json").read_text())["scores"]
    assert re.search(rf"│ FID 200 +│ +{scores['fid_200']:.2f} │", done.stdout), done.stdout
    assert "wandb sync" in done.stdout
    assert load_generator(tmp_path / "run").num_classes == 10
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert steps == [10, 20]


@pytest.mark.slow
def test_a_multirun_trains_each_cell_in_a_folder_of_its_own(tmp_path):
    small = ["trainer=cpu", "trainer.max_steps=2", "metrics=none", "logger=none", f"hydra.sweep.dir={tmp_path}"]
    done = run_forked("-m", "model=mlp,dcgan", "loss=bce,hinge", *small)
    assert done.returncode == 0, done.stderr
    folders = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert folders == [
        "0-mnist_5k-mlp-bce-seed0",
        "1-mnist_5k-mlp-hinge-seed0",
        "2-mnist_5k-dcgan-bce-seed0",
        "3-mnist_5k-dcgan-hinge-seed0",
    ]
    assert all((tmp_path / folder / "generator.safetensors").is_file() for folder in folders)


def test_help_names_the_groups_and_their_options():
    done = run_forked("--help")
    assert done.returncode == 0
    for text in (
        "model: acgan, assignment, biggan, dcgan, dcgan_projection, infogan, infogan_code, mlp, projection, r3gan, "
        "reacgan, resnet_gp, sngan",
        "loss: bce, hinge, lsgan, minimax",
        "n_critic",
    ):
        assert text in done.stdout


@pytest.mark.slow
def test_a_run_leaves_the_floors_own_number_of_images(configure, tmp_path, capsys):
    words = ["metrics=classifier", "metrics.n_fakes=1200", "objective=fid_1200", "metrics.reference=train"]
    train.train(configure(*words, "trainer.max_steps=2", *NARROW["mlp"], "model=mlp"))
    run = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert (run["n_floor"], set(run["at_n_floor"])) == (1000, set(run["floor"]))
    assert "n = 1,000" in capsys.readouterr().out
