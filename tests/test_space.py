"""What a search varies: every parameter acts, and is left out where it does not exist."""

import re

import optuna
import pytest
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler

from gan.errors import InputError
from gan.run.config import prepare_config
from gan.search.grid import CellSampler
from gan.search.setting import adopt_setting, collect_setting
from gan.search.space import Space
from gan.search.study import require_compatible_trials
from gan.search.trials import FAILURE, queue_again
from tests.helpers import ROOT

SEARCHES = sorted((ROOT / "conf" / "hparams_search").glob("*.yaml"))
ACTS_ON = {
    "loss": "loss._target_",
    "augment": "augment._target_",
    "discriminator_norm": "model.discriminator.norm",
    "optimizer.lr": "optimizer.generator.lr",
    "optimizer.generator.lr": "optimizer.generator.lr",
    "optimizer.discriminator.lr": "optimizer.discriminator.lr",
    "optimizer.beta1": "optimizer.generator.betas",
}  # other parameters are read as they are


def composed(words):
    return compose("train", [*words], return_hydra_config=True)


@pytest.fixture
def search(configure):
    """Return the space of a command's words; a search's own come first."""

    def of(*words: str) -> Space:
        hydras = [word for word in words if word.startswith("hydra.")]
        own = [word for word in words if word not in hydras]
        cfg = composed([*(word for word in own if "(" not in word and not word.startswith("penalty.")), *hydras])
        params = [f"{name}={value}" for name, value in (cfg.hydra.sweeper.get("params") or {}).items()]
        return Space([*params, *own], composed, groups=cfg.hydra.runtime.choices)

    return of


def drawn(space: Space, n: int = 20, sampler=None) -> list[tuple[dict, list[str]]]:
    """Return parameters and words of trials."""
    study = optuna.create_study(sampler=sampler or RandomSampler(seed=0))
    found = []
    for _ in range(n):
        trial = study.ask()
        words = space.draw_overrides(trial)
        found.append((trial.params, words))
        study.tell(trial, 0.0)
    return found


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.stem)
def test_every_parameter_of_a_searchs_own_command_acts(search, path):
    (command,) = re.findall(r"#   python train.py (.*?)  +\d", path.read_text())
    space = search(*command.split())
    words, changed = space.get_setting(space.choose_first())
    for name in space.others:
        assert ACTS_ON.get(name, name) in changed[name]
    for name in space.groups:
        assert ACTS_ON[name] in space.compare_choices(name, space.choose_first())
    for params, words in drawn(space, 4):
        assert params.keys() == space.parameters.keys()
        cfg = composed([*words, "callbacks=default", "hydra.runtime.output_dir=run"])
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        prepare_config(cfg)  # which refuses values of the wrong type


@pytest.mark.parametrize("recipe", ["quickstart", "mnist_fast", "sngan_cifar10", "r3gan_cifar10"])
def test_rates_and_betas_of_recipes_can_be_searched(search, recipe):
    words = ["optimizer.lr=interval(0.1,0.2)", "optimizer.beta1=interval(0.1,0.2)", "optimizer.beta2=interval(0.1,0.2)"]
    _, changed = search(f"experiment={recipe}", *words).get_setting({})
    for name, key in {"lr": "lr", "beta1": "betas", "beta2": "betas"}.items():
        assert changed[f"optimizer.{name}"] == {
            f"optimizer.{player}.{key}" for player in ("generator", "discriminator")
        }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["optimizer.lr=interval(0.1,0.2)", "optimizer.generator.lr=1", "optimizer.discriminator.lr=1"],
            "^optimizer.lr: changes nothing: ",
        ),
        (["model=mlp", "discriminator_norm=choice(batch,layer)"], "^discriminator_norm: changes nothing"),
        (["data_dir=choice(a,b)"], "^data_dir: changes nothing"),
        (["optimizer.lr=choice(1,1.0)"], "^optimizer.lr: changes nothing"),
        (["choices.group=choice(a,b)"], "^choices.group: changes nothing"),
        (["penalty=none", "penalty.r1.gamma=choice(1,2)"], "Could not override 'penalty.r1.gamma'"),
        (["penalty=none", "penalty.r1.interval=4", "n_critic=choice(1,2)"], "Could not override 'penalty.r1.interval'"),
        (["optimizer.lrr=choice(1,2)"], "Could not override 'optimizer.lrr'.*Did you mean: 'lr'"),
        (["loss=choice(bce,hing)"], "hing"),
        (["loss=interval(0,1)"], "loss: is a config group; give its options as choice"),
        (["objective=choice(fid,kid)"], "^objective: changes .*objective.* must mean the same"),
        (["metrics.n_fakes=choice(1000,2000)"], "^metrics.n_fakes: changes metrics.n_fakes"),
        (["data.image_size=choice(28,32)"], "^data.image_size: changes data.image_size"),
        (["data=folder", "data.root=a", "data.channels=choice(1,3)"], "^data.channels: changes data.channels"),
        (["data=choice(mnist,fashion_mnist)"], "^data: changes data.dataset"),
    ],
)
def test_a_parameter_that_does_nothing_or_compares_the_incomparable_is_refused(search, words, said):
    with pytest.raises(InputError, match=said):
        search(*words)


def test_parameters_are_left_out_where_they_do_not_exist(search):
    """By TPE too, which then knows no value of them."""
    search_words = ["penalty=choice(none,r1)", "penalty.r1.gamma=interval(1,2)", "penalty.r1.interval=4", "loss=hinge"]
    for params, words in drawn(search(*search_words), 20, optuna.samplers.TPESampler(seed=0, n_startup_trials=5)):
        has = params["penalty"] == "r1"
        assert ("penalty.r1.gamma" in params) == has
        assert ("penalty.r1.interval=4" in words) == has
        assert "loss=hinge" in words
    assert list(composed(words).penalty) == (["r1"] if has else [])


def test_a_parameter_that_acts_for_some_choices_only_is_left_out_for_others(search):
    for params, _ in drawn(search("model=choice(mlp,dcgan)", "discriminator_norm=choice(batch,layer)")):
        assert ("discriminator_norm" in params) == (params["model"] == "dcgan")


@pytest.mark.parametrize("word", ["penalty=choice(none,r1)", 'hydra.sweeper.params.penalty="choice(r1,none)"'])
def test_the_command_line_has_the_last_word(search, word):
    space = search("hparams_search=random", word)
    assert {params["penalty"] for params, _ in drawn(space)} == {"none", "r1"}
    assert all(("penalty.r1.gamma" in params) == (params["penalty"] == "r1") for params, _ in drawn(space))


def test_a_parameter_of_one_value_is_drawn(search):
    for params, words in drawn(search("n_critic=choice(2)", "optimizer.lr=choice(1,2)"), 3):
        assert params["n_critic"] == 2
        assert "n_critic=2" in words


def test_what_train_itself_reads_can_be_searched_and_a_look_leaves_hydras_config(search):
    names = ["seed", "n_critic", "ema_half_life_steps", "ema_ramp_up", "gradient_clip_val", "weight_clip"]
    before = HydraConfig.instance().cfg
    _, changed = search(*(f"{name}=choice(1,2)" for name in names), "conditional=choice(true,false)").get_setting({})
    assert changed.keys() == {*names, "conditional"}
    assert HydraConfig.instance().cfg is before


def test_a_search_can_be_held_at_a_value(search):
    space = search("hparams_search=random", "loss=lsgan")
    assert "loss" not in space.parameters
    assert all("loss=lsgan" in words for _, words in drawn(space, 3))


def test_a_grid_has_each_distinct_cell_once(search):
    space = search("penalty=choice(none,r1)", "penalty.r1.gamma=choice(1,2)", "seed=range(0,2)")
    cells = space.list_cells()
    assert len(cells) == 6  # not the eight of the whole product
    assert len({tuple(cell.items()) for cell in cells}) == 6
    assert [params for params, _ in drawn(space, 6, CellSampler(cells))] == cells
    with pytest.raises(InputError, match=r"optimizer.lr: .* has no steps; a grid needs choice"):
        search("optimizer.lr=interval(0.1,0.2)").list_cells()


def test_a_grid_runs_the_cells_of_failed_trials_again():
    study = optuna.create_study(sampler=CellSampler([{"x": x} for x in (1.0, 2.0, 3.0)]))
    for failure in ("failed", "", "diverged"):
        trial = study.ask()
        trial.suggest_float("x", 1, 3)
        if failure:
            trial.set_user_attr(FAILURE, failure)
        study.tell(trial, None if failure else 0.0, state=optuna.trial.TrialState.FAIL if failure else None)
    assert study.ask().suggest_float("x", 1, 3) == 1.0


SEARCH = {"penalty": "choice(r1,none)", "optimizer.lr": "tag(log,interval(1e-4,1e-2))", "data.root": "${data_dir}/a"}
SEARCH |= {"data": "folder", "metrics": "classifier"}
OTHERS = [
    ("trainer.max_steps=40", "^trainer.max_steps=40: the study s has trials with trainer.max_steps=5000; give this"),
    ("objective=kid", "^objective=kid: .* with objective=fid; .* hydra.sweeper.study_name of its own"),
    ("seed=1", "^seed=1: .* with seed=0;"),
    ("second_objective=images_seen", "^second_objective=images_seen: .* with second_objective=null;"),
    ("penalty.r1.interval=16", "^penalty.r1.interval=16: .* with penalty.r1.interval=1;"),
    ("data.root=${data_dir}/b", "^data.root=DATA_DIR/b: the study s has trials with data.root=DATA_DIR/a;"),
    ("data=mnist", "^data._target_=.*data.root.*: the study s has"),
    ("penalty=r1", "^parameters=optimizer.lr: the study s has trials with parameters=optimizer.lr, penalty;"),
]
SAME = ["optimizer.lr=tag(log,interval(1e-5,1e-2))", "data_dir=elsewhere", "cache_dir=elsewhere", "logger=none"]


def test_a_study_is_one_setting_wherever_its_data_lie(search, monkeypatch):
    def setting(*words: str) -> dict:
        chosen = SEARCH | dict(word.split("=", 1) for word in words)
        if chosen["data"] == "mnist":
            del chosen["data.root"]
        return collect_setting(search(*(f"{name}={value}" for name, value in chosen.items())))

    study = optuna.create_study(study_name="s")
    assert not adopt_setting(study, setting())
    study.tell(study.ask(), 1.0)
    monkeypatch.setenv("DATA_DIR", "/on/another/machine")
    assert adopt_setting(study, setting(*SAME))
    for word, said in OTHERS:
        with pytest.raises(InputError, match=said):
            adopt_setting(study, setting(word))


def test_a_length_on_the_command_line_takes_the_place_of_a_searchs_budget_in_its_setting(search):
    assert collect_setting(search("hparams_search=random"))["budget.images"] == 5000 * 64
    assert collect_setting(search("hparams_search=random", "budget.images=640"))["budget.images"] == 640
    shorter = collect_setting(search("hparams_search=random", "trainer.max_steps=20"))
    assert shorter["trainer.max_steps"] == 20
    assert "budget.images" not in shorter


def test_a_value_that_changes_nothing_is_no_part_of_the_setting(search):
    fixed = ["data=mnist_5k", "optimizer.lr=interval(1e-4,1e-2)"]
    settings = [collect_setting(search(*fixed, f"data.fraction={fraction}")) for fraction in (1.0, 0.5)]
    assert ["data.fraction" in setting for setting in settings] == [False, True]


def test_a_word_that_exists_for_later_choices_only_is_part_of_the_setting(search):
    four, sixteen = (
        collect_setting(search("penalty=choice(none,r1)", f"penalty.r1.interval={interval}")) for interval in (4, 16)
    )
    assert four != sixteen


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_study_whose_only_trial_waits_to_be_tried_again_keeps_its_setting():
    study = optuna.create_study()
    adopt_setting(study, {"seed": 0})
    study.tell(study.ask({"x": FloatDistribution(0, 1)}), state=optuna.trial.TrialState.FAIL)
    queue_again(study, study.trials[0])
    with pytest.raises(InputError, match=r"^seed=1: .* has trials with seed=0"):
        adopt_setting(study, {"seed": 1})


def test_a_study_of_other_directions_is_refused():
    study = optuna.create_study(study_name="s")
    require_compatible_trials(study, {}, ["minimize"])
    with pytest.raises(InputError, match=r"^hydra.sweeper.direction=\['minimize', 'maximize'\]: the study s has "):
        require_compatible_trials(study, {}, ["minimize", "maximize"])


def test_a_study_whose_trials_have_all_failed_takes_another_setting():
    study = optuna.create_study()
    assert not adopt_setting(study, {"seed": 0})
    trial = study.ask({"x": FloatDistribution(0, 1)})
    trial.set_user_attr(FAILURE, "failed: no such folder")
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert not adopt_setting(study, {"seed": 1})
    assert adopt_setting(study, {"seed": 1})
