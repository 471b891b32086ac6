"""Short names of cells: they tell the cells apart, and are what was typed where that is what differs."""

from gan.report.cell_names import shorten_names
from gan.report.charts import describe_row
from gan.report.sections import Cell
from gan.run.record import Run, group_by_cell

R1 = {"r1": {"_target_": "gan.penalties.R1", "gamma": 10.0, "interval": 1}}
R2 = {"r2": {"_target_": "gan.penalties.R2", "gamma": 10.0, "interval": 1}}


def make_run(*words: str, model="mlp", loss="bce", **setting) -> Run:
    choices = {"data": "mnist", "model": model, "loss": loss, "group": f"mnist-{model}-{loss}"}
    return Run("", {"seed": 0, "choices": choices, "overrides": list(words), **setting}, {}, {}, {})


def name_cells(*runs: Run) -> set[str]:
    return set(shorten_names(group_by_cell(list(runs))).values())


def test_an_option_stands_for_all_settings_of_its_group():
    names = name_cells(
        make_run("penalty=[r1]", penalty=R1),
        make_run("penalty=[r1,r2]", penalty=R1 | R2),
        make_run("penalty=[r1]", loss="rpgan", penalty=R1),
        make_run("penalty=[r1,r2]", loss="rpgan", penalty=R1 | R2),
    )
    assert names == {f"{loss} penalty={option}" for loss in ("bce", "rpgan") for option in ("[r1]", "[r1,r2]")}


def test_a_run_without_an_option_has_that_of_runs_with_the_same_settings():
    plain, strong = {"_target_": "gan.augment.Augment"}, {"_target_": "gan.augment.DiffAugment"}
    runs = [make_run("augment=none", augment=plain), make_run("augment=translation", augment=strong)]
    untyped = [make_run(augment=plain, lr=0.1), make_run(augment=strong, lr=0.1)]
    expected = {f"{lr}augment={option}" for option in ("none", "translation") for lr in ("", "lr=0.1 ")}
    assert name_cells(*runs, *untyped) == expected


def test_an_option_does_not_stand_for_settings_that_it_does_not_tell_apart():
    strong = {"r1": R1["r1"] | {"gamma": 1.0}}
    assert name_cells(make_run("penalty=r1", penalty=R1), make_run("penalty=r1", penalty=strong)) == {
        "r1.gamma=10",
        "r1.gamma=1",
    }
    untyped = name_cells(make_run("penalty=r1", penalty=R1), make_run(penalty={}))
    assert untyped == {"penalty.r1=R1 r1.gamma=10 r1.interval=1", "mnist-mlp-bce"}


def test_a_name_leaves_out_what_all_share_and_what_the_model_and_the_loss_decide():
    runs = [make_run(loss=loss, n_critic=n, lr=2e-4) for loss, n in (("bce", 1), ("wgan", 5))]
    assert name_cells(*runs) == {"bce", "wgan"}
    assert name_cells(make_run(lr=1.23456e-4), make_run(lr=5e-4)) == {"lr=0.000123", "lr=0.0005"}


def test_of_two_settings_that_split_the_runs_alike_the_typed_one_is_shown():
    settings = [{"beta": 0.1, "g": {"lr": 1.0}}, {"beta": 0.2, "g": {"lr": 2.0}}]
    apart = [{"x": 1}, {"x": 2}]  # so that neither setting alone tells all runs apart

    def name_with(*words):
        return name_cells(*(make_run(*words, **setting, **other) for setting in settings for other in apart))

    assert name_with() == {"beta=0.1 x=1", "beta=0.1 x=2", "beta=0.2 x=1", "beta=0.2 x=2"}
    assert name_with("g.lr=1.0") == {"g.lr=1 x=1", "g.lr=1 x=2", "g.lr=2 x=1", "g.lr=2 x=2"}


def test_numbers_that_a_search_drew_are_short():
    names = name_cells(
        make_run("ema=532.2363671909785", ema=532.2363671909785, betas=[0.27457235475349456, 0.999]),
        make_run("ema=35.271203066222", ema=35.271203066222, betas=[5.123456789e-05, 0.999]),
    )
    assert names == {"ema=532 betas=[0.275,0.999]", "ema=35.3 betas=[5.12e-05,0.999]"}
    assert name_cells(make_run(tag="v1.2"), make_run(tag="v1.25")) == {"tag=v1.2", "tag=v1.25"}


def test_a_name_leaves_out_what_the_model_and_the_loss_decide_together():
    """Only a DCGAN has a norm, and only a penalty makes it layer norm."""
    norms = {("mlp", "bce"): None, ("mlp", "wgan"): None, ("dcgan", "bce"): "batch", ("dcgan", "wgan"): "layer"}
    runs = [make_run(model=model, loss=loss, norm=norm) for (model, loss), norm in norms.items()]
    assert name_cells(*runs) == {"mlp bce", "mlp wgan", "dcgan bce", "dcgan wgan"}
    other = make_run(model="dcgan", loss="bce", norm="layer")
    assert {"dcgan bce norm=batch", "dcgan bce norm=layer"} < name_cells(*runs, other)


def test_a_long_name_takes_two_lines_beside_a_chart():
    long = "dcgan_projection hinge ema_half_life_steps=532 discriminator.lr=0.00964"
    cell = Cell(long, long, [], [], ("", "", ""))
    assert describe_row(long, cell) == "dcgan_projection hinge\nema_half_life_steps=532…"
    assert describe_row("hinge", cell) == "hinge\ndcgan_projection ema_half_lif…"
    assert describe_row("mlp bce", Cell("mlp bce", "mlp bce", [], [], ("", "", ""))) == "mlp bce"
