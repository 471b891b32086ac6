"""A budget in images or FLOPs gives each run its steps, whatever its batch size, n_critic, processes and penalties."""

import json
import shutil

import optuna
import pytest
import torch
import yaml
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict

import train
from gan.callbacks.cost import Cost, count_step_flops
from gan.errors import InputError
from gan.launch.swept_keys import require_effects
from gan.launch.wandb_agent import translate_sweep
from gan.run.budget import count_flops, describe_budget
from gan.run.build import build_data, build_gan, network_shape
from gan.run.cell import name_cell, select_setting
from gan.run.command_line import complete_arguments
from gan.run.config import prepare_config
from gan.run.record import Run, group_by_cell
from gan.search.setting import SETTING, list_budget
from tests.helpers import FEW_FAKES, NARROW, ROOT
from tests.processes import run_forked

QUICK = ["experiment=quickstart", "trainer.precision=32-true"]
MLP = ["model=mlp", *NARROW["mlp"], "trainer.precision=32-true", "metrics=none", "objective=null"]


@pytest.fixture
def prepared(configure, tmp_path):
    """Compose and prepare a config without a length on the command line, unlike `configure`."""

    def prepare(*words: str):
        configure()
        own = ["logger=none", f"run_dir={tmp_path}/run", "trainer=cpu", "callbacks=default"]
        cfg = compose("train", [*own, *words], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        return prepare_config(cfg)

    return prepare


def count_seen(cfg) -> int:
    processes = cfg.trainer.devices * cfg.trainer.num_nodes
    return cfg.trainer.max_steps * cfg.data.batch_size * cfg.n_critic * processes


@pytest.mark.parametrize("batch_size", [32, 64])
@pytest.mark.parametrize("n_critic", [1, 3, 5])
@pytest.mark.parametrize("processes", [["trainer.devices=1"], ["trainer.devices=2"], ["trainer.num_nodes=2"]])
def test_all_runs_see_equally_many_images(prepared, batch_size, n_critic, processes):
    words = [*QUICK, f"data.batch_size={batch_size}", f"n_critic={n_critic}", *processes]
    assert count_seen(prepared(*words, "budget.images=192000")) == 192000
    odd = prepared(*words, "budget.images=200001")
    assert 200001 - batch_size * n_critic * 2 < count_seen(odd) <= 200001


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["penalty=r1"],
        ["penalty=gradient_penalty"],
        ["penalty=r1", "penalty.r1.interval=4"],
        ["loss=wgan_gp", "n_critic=3"],
        ["fresh_fakes=true", "n_critic=2"],
        ["loss=rpgan", "penalty=[r1,r2]", "penalty.r2.interval=2"],
    ],
)
def test_all_runs_take_equally_many_flops(prepared, monkeypatch, tmp_path, words):
    """By what each run counts of its own first steps."""
    costs = []
    monkeypatch.setattr(Cost, "__init__", lambda self: (setattr(self, "run", None), costs.append(self))[0])
    cfg = prepared(*MLP, "data.batch_size=16", "budget.flops=1e11", *words)
    per_step = count_flops(OmegaConf.to_container(cfg))
    assert 1e11 - per_step < cfg.trainer.max_steps * per_step <= 1e11
    hydra = compose("train", ["callbacks=default"], return_hydra_config=True)
    HydraConfig.instance().set_config(hydra)
    cfg.trainer.max_steps = 4
    train.train(OmegaConf.merge(cfg, {"budget": {"flops": None}}))
    assert costs[-1].run.cost["flops_per_step"] == per_step


@pytest.mark.parametrize("model", [model for model in NARROW if model != "assignment"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_flops_of_any_model_are_known_before_training(prepared, model, precision):
    """Counted on few images, they are those of a batch; and neither the GAN nor the random state changes."""
    penalty = ["penalty=r1"] if model not in ("infogan",) else []
    words = [f"model={model}", *NARROW[model], *penalty, f"trainer.precision={precision}", "augment=ada"]
    cfg = prepared(*words)
    shape = network_shape(cfg, build_data(cfg))
    gan = build_gan(cfg, shape)
    before = {name: tensor.clone() for name, tensor in gan.state_dict().items()}
    mixed = precision == "bf16-mixed"
    counts = [count_step_flops(gan, batch_size=n, mixed=mixed, **shape) for n in (2, 4, 6, 10)]
    assert counts[0] > 0
    assert counts[1] - counts[0] == counts[2] - counts[1] == (counts[3] - counts[2]) / 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in gan.state_dict().items())
    state = torch.get_rng_state()
    count_flops(OmegaConf.to_container(cfg))
    assert torch.equal(torch.get_rng_state(), state)


def test_flops_of_all_processes_count(prepared):
    one, two = (prepared(*MLP, "budget.flops=1e11", f"trainer.devices={n}") for n in (1, 2))
    assert two.trainer.max_steps == one.trainer.max_steps // 2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["budget.images=63"], "budget.images=63: must be at least 64"),
        (["budget.images=0"], "budget.images=0: must be at least 64"),
        (["budget.images=-5", "n_critic=5"], "budget.images=-5: must be at least 320"),
        (["budget.images=1.5"], "budget.images=1.5: must be a whole number, or null"),
        (["budget.images=many"], "budget.images=many: must be a whole number, or null"),
        (["budget.flops=1", *MLP], "budget.flops=1: must be at least "),
        (["budget=1000"], "budget=1000: must be given as budget.images=N or budget.flops=N"),
        (["+budget.steps=5"], "budget="),
        (["budget.images=1000", "trainer.max_steps=5"], "budget.images=1000, trainer.max_steps=5: each of them sets"),
        (["budget.flops=1e9", "trainer.max_epochs=5"], "budget.flops=1000000000, trainer.max_epochs=5: each of them"),
        (["budget.images=1000", "budget.flops=1000"], "budget.images=1000, budget.flops=1000: each of them sets"),
        (["budget.images=1000", "trainer.devices=auto"], "trainer.devices=auto: must be a whole number"),
        (["budget.images=1000", "trainer.devices=-1"], "trainer.devices=-1: must be a whole number"),
    ],
)
def test_what_cannot_be_a_budget_is_one_line(prepared, words, line):
    with pytest.raises(InputError) as caught:
        prepared(*words)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_a_budget_replaces_a_recipes_length_and_a_typed_length_a_recipes_budget(prepared):
    epochs = prepared("experiment=assignment", "budget.images=64000")
    assert (epochs.trainer.max_steps, epochs.trainer.max_epochs, epochs.trainer.val_check_interval) == (1000, -1, 1000)
    recipe = ["experiment=my_images", "data.root=x"]
    assert (prepared(*recipe).budget.images, prepared(*recipe).trainer.max_steps) == (96000, 3000)
    for word, steps, n_epochs in (("trainer.max_steps=7", 7, -1), ("trainer.max_epochs=2", -1, 2)):
        typed = prepared(*recipe, word)
        assert dict(typed.budget) == {"images": None, "flops": None}
        assert (typed.trainer.max_steps, typed.trainer.max_epochs) == (steps, n_epochs)
    assert prepared(*recipe, "budget.images=32000").trainer.max_steps == 1000
    none = prepared(*recipe, "budget.images=null")
    assert (none.budget.images, none.trainer.max_steps) == (None, 3000)
    flops = prepared(*MLP, "budget.flops=1e11", "hparams_search=random", "metrics=classifier", "objective=fid")
    assert (flops.budget.images, flops.budget.flops) == (None, 10**11)


@pytest.mark.parametrize(
    ("words", "steps", "interval"),
    [
        ([], 3600, 1200),
        (["n_critic=3"], 1200, 400),
        (["budget.images=64064"], 1001, 334),
        (["budget.images=128"], 2, 1),
        (["trainer.val_check_interval=100"], 3600, 100),
        (["trainer.val_check_interval=0.1", "n_critic=5"], 720, 72),
    ],
)
def test_evaluations_stay_at_the_same_shares_of_a_run(prepared, words, steps, interval):
    trainer = prepared(*QUICK, "budget.images=230400", *words).trainer
    assert (trainer.max_steps, trainer.val_check_interval) == (steps, interval)


def test_a_run_says_what_its_budget_is(prepared):
    assert describe_budget(prepared(*QUICK)) is None
    line = describe_budget(prepared(*QUICK, "budget.images=230400"))
    assert {"230,400", "3,600"} <= {*line.replace(":", "").split()}
    assert "1e+11 FLOP" in describe_budget(prepared(*MLP, "budget.flops=1e11"))


def test_a_cell_holds_the_budget_instead_of_its_steps(prepared):
    def config(*words: str) -> dict:
        return OmegaConf.to_container(prepared(*QUICK, *words))

    budget = "budget.images=230400"
    one, other = select_setting(config(budget)), select_setting(config(budget, "data.batch_size=32"))
    assert {name for name in one if one[name] != other[name]} == {"data.batch_size"}
    assert one.keys() == other.keys()
    assert (one["budget.images"], one["evaluations"]) == (230400, 3)
    configs = [config(), config(budget), config("budget.images=230464"), config("budget.flops=1e13")]
    names = [name_cell(made) for made in configs]
    assert len({*names}) == 4
    assert "-images_230400-" in names[1]
    assert "steps_" not in names[1]
    assert not any(name.startswith("budget") for name in select_setting(configs[0]))  # cells of before stay the same
    runs = [Run(str(size), config(budget, f"data.batch_size={size}"), {}, {}, {}) for size in (32, 64)]
    assert [*group_by_cell(runs)] == [f"mnist_5k-dcgan-bce data.batch_size={size}" for size in (32, 64)]


def test_a_swept_budget_has_an_effect(configure):
    configure()

    def composed(words):
        return compose("train", words, return_hydra_config=True)

    words = {"budget.images": ["budget.images=1000", "budget.images=2000"]}
    require_effects(words, composed, groups=composed([]).hydra.runtime.choices)


SEARCHES = ["optuna", "random", "grid"]


@pytest.mark.parametrize("recipe", [[], ["experiment=quickstart"], ["experiment=my_images", "data.root=x"]])
@pytest.mark.parametrize("search", SEARCHES)
def test_all_trials_of_a_search_see_the_images_of_its_recipe(prepared, search, recipe):
    expected = {"": 320000, "experiment=quickstart": 230400, "experiment=my_images": 96000}[(recipe or [""])[0]]
    for words in ([], ["n_critic=3"], ["n_critic=3", "data.batch_size=16"], ["penalty=r1"]):
        cfg = prepared(f"hparams_search={search}", *recipe, *words)
        assert cfg.budget.images == expected
        assert expected - 192 < count_seen(cfg) <= expected


SWEEPS = sorted((ROOT / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_all_runs_of_a_sweep_see_equally_many_images(prepared, path):
    sweep = yaml.safe_load(path.read_text(encoding="utf-8"))
    fixed = [word for word in sweep["command"] if "=" in word]
    needed = ["trainer.accelerator=cpu"]
    choices = {name: part["values"] for name, part in sweep["parameters"].items() if "values" in part}
    seen = {}
    for name, values in choices.items():
        for value in values if name != "seed" else values[:1]:
            cfg = prepared(*fixed, *needed, f"{name}={value}")
            assert cfg.budget.images
            seen[name, str(value)] = count_seen(cfg)
    cfg = prepared(*fixed, *needed)
    most = max(seen.values(), default=count_seen(cfg))
    assert most - 5 * cfg.data.batch_size < min(seen.values(), default=most) <= most <= cfg.budget.images
    header = path.read_text(encoding="utf-8").partition("program:")[0]
    assert f"{cfg.budget.images:,} " in header


def test_the_losses_are_compared_with_the_same_discriminator(prepared):
    sweep = yaml.safe_load((ROOT / "sweeps" / "loss.yaml").read_text(encoding="utf-8"))
    fixed = [word for word in sweep["command"] if "=" in word]
    cfgs = {loss: prepared(*fixed, f"loss={loss}") for loss in sweep["parameters"]["loss"]["values"]}
    assert {cfg.model.discriminator.norm for cfg in cfgs.values()} == {"layer"}
    assert {loss: cfg.n_critic for loss, cfg in cfgs.items() if cfg.n_critic != 1} == {"wgan": 5, "wgan_gp": 5}
    assert {loss for loss, cfg in cfgs.items() if cfg.penalty} == {"wgan_gp"}


RUN = [*MLP, "trainer=cpu", "logger=none", "data.batch_size=32"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of a budget that its search's file sets: 10 steps with n_critic=2."""
    folder = tmp_path_factory.mktemp("budget") / "run"
    done = run_forked(*RUN, "experiment=quickstart", "n_critic=2", "budget.images=640", f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    assert "budget of 640 images: 10 steps" in done.stdout
    return folder


def test_the_filed_config_is_the_one_that_acted(finished):
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert config["budget"] == {"images": 640, "flops": None}
    assert (config["trainer"]["max_steps"], config["trainer"]["val_check_interval"]) == (10, 4)
    scores = json.loads((finished / "metrics.json").read_text())["scores"]
    assert (scores["images_seen"], scores["generator_steps"]) == (640, 10)


@pytest.mark.parametrize(
    ("words", "length"),
    [
        (["budget.images=1280"], ["budget.images=1280"]),
        (["trainer.max_steps=12"], ["trainer.max_steps=12"]),
        ([], ["budget.images=640"]),
    ],
)
def test_a_resumed_run_keeps_its_budget_unless_it_gets_another_length(finished, words, length):
    """Also one that its search has set, which is not among its first overrides."""
    config = yaml.safe_load((finished / "config.yaml").read_text())
    for overrides in (config["overrides"], [word for word in config["overrides"] if "budget" not in word]):
        copied = shutil.copytree(finished, finished.parent / "copy", dirs_exist_ok=True)
        (copied / "config.yaml").write_text(yaml.safe_dump(config | {"overrides": overrides}))
        found = complete_arguments([f"resume={copied}", *words])
        assert [word for word in found if word.startswith(("budget", "trainer.max_"))] == length


def test_a_resumed_run_reaches_a_larger_budget(finished, tmp_path):
    copied = shutil.copytree(finished, tmp_path / "run")
    done = run_forked(f"resume={copied}", "budget.images=1280")
    assert done.returncode == 0, done.stderr
    assert "budget.images=1280 (was 640)" in done.stdout
    config = yaml.safe_load((copied / "config.yaml").read_text())
    assert (config["budget"]["images"], config["trainer"]["max_steps"]) == (1280, 20)
    assert json.loads((copied / "metrics.json").read_text())["scores"]["images_seen"] == 1280


@pytest.mark.slow
def test_a_forecast_and_its_runs_are_of_the_budget(tmp_path):
    words = ["-m", "hydra/callbacks=forecast", "n_critic=1,2", "budget.flops=2e9", f"hydra.sweep.dir={tmp_path}"]
    done = run_forked(*RUN, *words)
    assert done.returncode == 0, done.stderr
    assert "2 runs, 2 cells" in done.stdout
    scores = [json.loads(path.read_text())["scores"] for path in sorted(tmp_path.glob("[0-9]*/metrics.json"))]
    spent = [one["generator_steps"] * one["flops_per_step"] for one in scores]
    assert all(2e9 - one["flops_per_step"] < total <= 2e9 for one, total in zip(scores, spent, strict=True))
    assert scores[0]["generator_steps"] > scores[1]["generator_steps"]


def test_a_length_beside_a_budget_ends_a_multirun_in_one_line(tmp_path):
    done = run_forked("-m", *RUN, "trainer.max_steps=1,2", "budget.images=640", f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 1
    assert done.stderr.startswith("error: budget.images=640, trainer.max_steps=1,2: each of them sets")
    assert done.stderr.count("\n") == 1


def test_a_length_replaces_the_budget_of_a_sweep_file(tmp_path):
    done = run_forked("sweeps/loss.yaml", "trainer.max_steps=5", script="scripts/sweep_local.py")
    assert "trainer.max_steps=5" in done.stdout
    assert "budget" not in done.stdout
    done = run_forked("sweeps/loss.yaml", "budget.flops=1e12", script="scripts/sweep_local.py")
    assert "budget.flops=1e12" in done.stdout
    assert "budget.images" not in done.stdout


@pytest.mark.slow
def test_trials_of_a_search_see_equally_many_images_for_real(tmp_path):
    """They report the same evaluations, whatever their number of steps; the best command is of the same budget."""
    words = ["hparams_search=grid", "model=mlp", *NARROW["mlp"], *FEW_FAKES, "trainer=cpu", "logger=none"]
    words += ["hydra.sweeper.params=null", "n_critic=choice(1,3)", "data.batch_size=32", f"hydra.sweep.dir={tmp_path}"]
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    recipe = "# @package _global_\ndata: {batch_size: 32}\ntrainer: {max_steps: 30, val_check_interval: 6}\n"
    (tmp_path / "mine" / "experiment" / "short.yaml").write_text(recipe)
    done = run_forked(f"hydra.searchpath=[file://{tmp_path}/mine]", "experiment=short", *words)
    assert done.returncode == 0, done.stderr
    scores = [json.loads(path.read_text())["scores"] for path in sorted(tmp_path.glob("[0-9]*/metrics.json"))]
    assert [(one["images_seen"], one["generator_steps"]) for one in scores] == [(960, 30), (960, 10)]
    (study,) = optuna.get_all_study_names(f"sqlite:///{tmp_path}/study.db")
    trials = optuna.load_study(study_name=study, storage=f"sqlite:///{tmp_path}/study.db").trials
    assert [sorted(trial.intermediate_values) for trial in trials] == [[1, 2, 3, 4]] * 2
    (command,) = (line for line in done.stdout.splitlines() if line.strip().startswith("python train.py"))
    assert "budget.images=960" in command.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["n_critic=3"], ["budget.images=960"]),
        (["budget.images=100"], []),
        (["budget.flops=1e9"], []),
        (["trainer.max_steps=5"], []),
    ],
)
def test_the_best_command_has_one_length(words, expected):
    study = optuna.create_study()
    study.set_user_attr(SETTING, {"budget.images": 960, "n_critic": 1})
    assert list_budget(study, words) == expected


@pytest.mark.slow
def test_runs_of_the_loss_sweep_see_equally_many_images_for_real(tmp_path):
    small = ["budget.images=3200", "loss=hinge,wgan,wgan_gp", "seed=0", *NARROW["dcgan"], *FEW_FAKES, "logger=none"]
    done = run_forked(
        "sweeps/loss.yaml", "--run", *small, f"hydra.sweep.dir={tmp_path}", script="scripts/sweep_local.py"
    )
    assert done.returncode == 0, done.stderr
    scores = [json.loads(path.read_text())["scores"] for path in sorted(tmp_path.glob("[0-9]*/metrics.json"))]
    assert [(one["images_seen"], one["generator_steps"]) for one in scores] == [(3200, 50), (3200, 10), (3200, 10)]


def test_a_sweep_without_a_server_is_of_the_same_budget():
    for path in SWEEPS:
        words = translate_sweep(path.stem, yaml.safe_load(path.read_text(encoding="utf-8")))
        assert any(word.startswith("budget.images=") for word in words)
