"""A cell's name: the same for all that only says where and how a run ran, another for all that acts."""

import re

import pytest
import yaml
from omegaconf import OmegaConf

from gan.run.cell import LONGEST, is_incidental, name_cell, select_setting
from gan.run.config import prepare_config
from gan.run.record import Run, group_by_cell
from tests.helpers import NARROW, ROOT

INCIDENTAL = [
    ["seed=7"],
    ["run_dir=/elsewhere/run", "data_dir=/elsewhere/data", "cache_dir=null"],
    ["+data.num_workers=2", "trainer.accelerator=auto", "trainer.log_every_n_steps=7"],
    ["ckpt_path=last", "second_objective=seconds", "logger=wandb", "logger.project=other"],
    ["+study=random-mnist", "+trial=3"],
    ["+trainer.enable_progress_bar=false", "+trainer.deterministic=true"],
]
ACTING = [
    ["optimizer.lr=1e-3"],
    ["optimizer.generator.lr=1e-3"],
    ["optimizer.discriminator.lr=1e-3"],
    ["optimizer.beta1=0.0"],
    ["n_critic=2"],
    ["conditional=false"],
    ["ema_half_life_steps=50"],
    ["gradient_clip_val=1"],
    ["model.generator.width=16"],
    ["model=dcgan", "loss=hinge"],
    ["discriminator_norm=layer"],
    ["loss.label_smoothing=0.1"],
    ["penalty=r1"],
    ["penalty=r1", "penalty.r1.gamma=1"],
    ["penalty=[r1,r2]"],
    ["penalty=consistency"],
    ["penalty=consistency", "penalty.consistency.transform.pixels=2"],
    ["top_k=0.5"],
    ["model.discriminator.minibatch_std=true"],
    ["model=dcgan_projection"],
    ["augment=ada"],
    ["augment=fixed"],
    ["augment=fixed", "annealing.augment_p.final=1"],
    ["annealing.beta2.final=0.9"],
    ["annealing.beta2={final: 0.9, until: 0.5}"],
    ["annealing.ema_half_life_steps.final=0"],
    ["prior=uniform"],
    ["schedule=cosine"],
    ["schedule=cosine", "schedule.until=0.5"],
    ["data=mnist"],
    ["data.batch_size=32"],
    ["data.image_size=32"],
    ["data.fraction=0.1"],
    ["trainer.max_steps=21"],
    ["trainer.max_steps=1000000"],
    ["trainer.max_epochs=1", "trainer.max_steps=-1"],
    ["trainer.devices=2"],
    ["trainer.precision=bf16-mixed"],
    ["metrics.n_fakes=300", "objective=fid_300"],
    ["metrics.reference=train"],
    ["objective=kid"],
    ["metrics=own"],
    ["+callbacks.stop._target_=pytorch_lightning.callbacks.EarlyStopping"],
]


@pytest.fixture
def config(configure):
    def resolved(*overrides):
        own = ["model=dcgan", *NARROW["dcgan"]]
        if any(word.startswith("metrics=") for word in overrides):
            own += ["metrics.n_fakes=200", "objective=fid_200"]
        return OmegaConf.to_container(prepare_config(configure(*own, *overrides)))

    return resolved


def test_a_name_tells_the_budget_that_is_set(config):
    name = name_cell(config("trainer.max_epochs=3", "trainer.max_steps=-1"))
    assert "-epochs_3-" in name
    assert "steps_" not in name


@pytest.mark.parametrize("overrides", INCIDENTAL, ids=" ".join)
def test_where_and_how_a_run_ran_leaves_its_cell(config, overrides):
    assert name_cell(config(*overrides)) == name_cell(config())


def test_all_that_acts_is_another_cell(config):
    names = [name_cell(config(*overrides)) for overrides in ([], *ACTING)]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", name)
        assert "1e-06" not in name


def test_a_run_before_a_setting_is_of_the_cell_of_its_neutral_value(config):
    before = config()
    del before["top_k"], before["model"]["discriminator"]["minibatch_std"]
    assert name_cell(before) == name_cell(config())


def test_every_callback_of_the_suite_watches_and_no_other_is_taken_to():
    for path in (ROOT / "conf" / "callbacks").glob("*.yaml"):
        names = set(yaml.safe_load(path.read_text())) - {"defaults"}
        assert names
        assert all(is_incidental(f"callbacks.{name}.checkpoint") for name in names), path
    assert not is_incidental("callbacks.stop._target_")


@pytest.mark.parametrize(
    ("ways", "told"),
    [
        ([["optimizer.lr=1e-3"], ["optimizer.generator.lr=1e-3", "optimizer.discriminator.lr=0.001"]], "lr_0.001"),
        ([["penalty=[r1,r2]"], ["penalty=[r2,r1]"]], "r1_10"),
        ([["penalty=r1", "penalty.r1.gamma=3"], ["penalty=r1", "penalty.r1.gamma=3.0"]], "r1_3"),
    ],
)
def test_a_setting_is_one_cell_however_it_was_typed(config, ways, told):
    first, second = (name_cell(config(*way)) for way in ways)
    assert first == second
    assert f"-{told}-" in first


def test_an_experiment_file_and_its_values_typed_out_are_one_cell(config, tmp_path):
    path = ROOT / "conf" / "experiment" / "quickstart.yaml"
    values = yaml.safe_load(path.read_text())
    groups = [
        f"{group.removeprefix('override /')}={name}" for part in values.pop("defaults") for group, name in part.items()
    ]
    budget = ["trainer.max_steps=20", "trainer.val_check_interval=20"]  # the fixture's own, which the file has too
    rates = {player: values["optimizer"][player]["lr"] for player in values["optimizer"] if player != "lr"}
    typed = [f"optimizer.{player}.lr={rate}" for player, rate in rates.items()]
    typed += [f"optimizer.lr={values['optimizer']['lr']}"] if "lr" in values["optimizer"] else []
    typed += [f"ema_half_life_steps={values['ema_half_life_steps']}"]
    assert name_cell(config("experiment=quickstart", *budget)) == name_cell(config(*groups, *typed, *budget))


def test_a_key_that_changes_nothing_leaves_the_cell_of_earlier_runs(config):
    earlier = config()
    del earlier["data"]["fraction"]
    assert name_cell(config("data.fraction=1")) == name_cell(earlier)
    assert "-fraction_0.1-" in name_cell(config("data.fraction=0.1"))


def test_images_are_known_by_their_content(config):
    one, other, moved = config(), config(), config("data_dir=/elsewhere")
    for made, digest in ((one, "a"), (other, "b"), (moved, "a")):
        made["data_sha256"] = digest * 64
    assert name_cell(one) == name_cell(moved) != name_cell(other)


def test_weights_count_by_their_file_and_not_by_its_folder(config):
    def name(path):
        return name_cell(config(f"metrics.weights_path={path}"))

    assert name("/a/inception.pth") == name("/b/inception.pth") != name("/b/other.pth")


def test_numbers_are_what_a_server_makes_of_them(config):
    before = config("penalty=r1")
    assert name_cell(OmegaConf.create(before)) == name_cell(before)
    after = config("penalty=r1")
    after["penalty"]["r1"]["gamma"] = int(before["penalty"]["r1"]["gamma"])
    assert name_cell(before) == name_cell(after)


@pytest.mark.parametrize("model", ["großes Netz", "a/b", "x" * 130, "<script>", "[/x]"])
def test_any_name_of_a_model_makes_a_short_safe_name_of_its_own(config, model):
    made = config()
    made["choices"]["model"] = model
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", name_cell(made))
    assert len(name_cell(made)) <= LONGEST
    assert name_cell(made) != name_cell(made | {"choices": made["choices"] | {"model": model + "2"}})


def test_tables_put_runs_together_by_the_name_that_is_the_group(config):
    runs = []
    for seed, rate in ((0, 1e-3), (1, 1e-3), (0, 2e-3)):
        made = config(f"seed={seed}", f"optimizer.lr={rate}", f"run_dir=/runs/{len(runs)}")
        made["choices"]["cell"] = name_cell(made)
        runs.append(Run(f"{seed} {rate}", made, {"fid": 1.0}, {"fid": 1.0}, {}))
    found = group_by_cell(runs)
    assert {label: [run.cell for run in members] for label, members in found.items()} == {
        "mnist_5k-dcgan-bce optimizer.lr=0.001": [runs[0].cell, runs[0].cell],
        "mnist_5k-dcgan-bce optimizer.lr=0.002": [runs[2].cell],
    }
    del runs[0].config["choices"]["cell"]  # of a run that has not started by its config
    assert len(group_by_cell(runs)) == 2


def test_runs_that_called_themselves_otherwise_are_apart_under_labels_of_their_own(config):
    """A sweep's server replaces parts of a run's config: what a run called itself at its start is what counts."""
    runs = [Run(name, config(), {"fid": 1.0}, {"fid": 1.0}, {}) for name in "ab"]
    for run, cell in zip(runs, ("x-11111111", "x-22222222"), strict=True):
        run.config["choices"]["cell"] = cell
    assert len(group_by_cell(runs)) == 2


def test_what_both_players_share_is_named_once(config):
    told = select_setting(config())
    assert told["optimizer.lr"] == 2e-4
    assert "optimizer.generator.lr" not in told
    assert select_setting(config("optimizer.generator.lr=1e-3"))["optimizer.generator.lr"] == 1e-3
