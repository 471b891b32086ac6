"""Two sets of runs side by side, cells by data sets, and plans: gan/report and scripts/compare.py."""

import csv
import math
from dataclasses import replace

import pytest

from gan.errors import InputError
from gan.report.data_set_table import format_data_sets
from gan.report.data_sets import build_data_set_table, compare_to_first
from gan.report.differences import compare_members
from gan.report.page import render_page
from gan.report.power import describe_plan, find_sample_size
from gan.report.sections import build_sections
from gan.report.side_by_side import compare_sides, select_version
from gan.report.trials import build_best_curves
from gan.run.record import Run, group_by_cell, group_by_protocol
from tests.helpers import PROTOCOL, write_run
from tests.processes import run_forked


def build_run(fid, *, seed=0, loss="bce", data="mnist", floor=2.0, code="v1", batch_size=64, **settings):
    """Return a run of one data set, with the data's own settings and protocol."""
    choices = {"data": data, "model": "dcgan", "loss": loss, "group": f"{data}-dcgan-{loss}"}
    config = {"seed": seed, "choices": choices, "code": code, "data_sha256": f"hash of {data}", "loss": {"name": loss}}
    config |= {
        "data": {"root": data, "domain": data, "batch_size": batch_size},
        "metrics": {"extractor": data},
    } | settings
    scores = {"fid": fid, "images_seen": 640, "seconds": 60.0, "diverged": not math.isfinite(fid)}
    protocol = PROTOCOL | {"extractor": f"classifier {data}", "reals_sha256": data}
    return Run(f"{data}-{loss}-{code}-{seed}", config, scores, {"fid": floor}, protocol)


def build_runs(fids, **options):
    return [build_run(fid, seed=seed, **options) for seed, fid in enumerate(fids)]


BEFORE, AFTER = [5.0, 5.2, 5.4], [4.0, 4.1, 4.3]


def test_two_sides_are_compared_cell_by_cell():
    before = [*build_runs(BEFORE), *build_runs([9.0, 9.1], loss="hinge"), *build_runs([3.0], loss="wgan")]
    after = [*build_runs(AFTER), *build_runs([9.0, 9.2], loss="hinge"), *build_runs([3.0], loss="lsgan")]
    rows, alone = compare_sides(before, after, "fid")
    rows = rows.set_index("cell")
    assert list(rows.index) == ["mnist-dcgan-bce", "mnist-dcgan-hinge"]
    assert alone == ["mnist-dcgan-wgan (before)", "mnist-dcgan-lsgan (after)"]
    row = rows.loc["mnist-dcgan-bce"]
    assert (row["before"], row["after"], row["n"]) == (pytest.approx(5.2), pytest.approx(62 / 15), "3, 3")
    assert row["difference"] == pytest.approx(62 / 15 - 5.2)
    assert row["P(better)"] == 1
    assert row["p"] == pytest.approx(2 * compare_members(after[:3], before[:3], "fid")["p"])  # Holm, of two rows
    assert list(rows["real"]) == ["yes", "not shown at this n"]


def test_runs_by_which_a_search_chose_a_setting_are_left_out_of_its_confirmed_cell(tmp_path):
    """The page and compare.py say so; the best of k trials still counts them."""

    def of_trial(study: str, trial: int) -> dict:
        return {"callbacks": {"search": {"study_name": study, "number": trial, "trial": trial}}}

    chosen = build_runs([1.0, 1.2], **of_trial("s", 0))
    other = build_runs([5.0, 5.1], loss="hinge", **of_trial("s", 1))
    fresh = [build_run(fid, seed=seed, **of_trial("s-confirmed", 0)) for seed, fid in ((2, 2.0), (3, 2.2))]
    elsewhere = [build_run(3.0, seed=7, **of_trial("another", 0))]
    runs = [*chosen, *other, *fresh, *elsewhere]
    cells = {label: [run.config["seed"] for run in members] for label, members in group_by_cell(runs).items()}
    assert cells == {"mnist-dcgan-bce": [2, 3, 7], "mnist-dcgan-hinge": [0, 1]}
    (section,) = build_sections(runs)
    assert (section.selecting, section.repeated) == (2, 0)
    assert build_best_curves(section.all_runs, section.score)["s"] == [(1, pytest.approx(3.075)), (2, 1.1)]
    assert "confirmed these on\n      fresh seeds: 2." in render_page(runs, "s")
    for i, run in enumerate(runs):
        write_run(tmp_path, replace(run, name=f"{i}"))
    done = run_forked(str(tmp_path), script="scripts/compare.py")
    assert "2 runs by which a search chose its best settings are left out" in done.stdout


def test_a_setting_that_only_one_version_has_sets_no_cells_apart():
    before, after = build_runs(BEFORE, lr=1), build_runs(AFTER, lr=1, fresh_fakes=False)
    rows, alone = compare_sides(before, after, "fid")
    assert (len(rows), alone) == (1, [])
    rows, alone = compare_sides(before, [*after, *build_runs(AFTER, lr=1, fresh_fakes=True)], "fid")
    assert (len(rows), len(alone)) == (0, 3)  # which of them is the cell before is not known


def test_one_seed_is_compared_without_a_test():
    rows, _ = compare_sides(build_runs([5.0]), build_runs(AFTER), "fid")
    assert rows.loc[0, "difference"] == pytest.approx(62 / 15 - 5)
    assert "p" not in rows


def test_an_unknown_version_is_named_with_those_that_there_are():
    runs = [build_run(5.0, code="v1"), build_run(5.0, code="v2, v3"), build_run(5.0, code="")]
    assert select_version(runs, "v1", "before") == runs[:1]
    assert select_version(runs, "unknown", "before") == runs[2:]
    with pytest.raises(InputError, match=r"--after v9: must be one of .*: unknown, v1, v2, v3"):
        select_version(runs, "v9", "after")


def test_cells_of_several_data_sets_are_rows_and_the_best_of_each_is_marked():
    runs = [*build_runs([4.0, 6.0]), *build_runs([5.5], loss="hinge")]
    runs += [*build_runs([30.0, 32.0], data="fashion", floor=1.0, loss="bce")]
    runs += [*build_runs([20.0, 22.0], data="fashion", floor=1.0, loss="hinge")]
    table = build_data_set_table(group_by_protocol(runs), None)
    shown = format_data_sets(table, "[{}]").set_index("cell")
    assert shown["mnist, FID"].to_dict() == {"dcgan-bce": "[5.00 ± 1.41 (2)]", "dcgan-hinge": "5.50 (1)"}
    assert shown["fashion, FID"].to_dict() == {"dcgan-bce": "31.00 ± 1.41 (2)", "dcgan-hinge": "[21.00 ± 1.41 (2)]"}
    assert table.across["dcgan-bce"][0] == pytest.approx((3 + 30) / 2)  # the middle half of 2, 3, 30, 32
    (row,) = compare_to_first(table).to_dict("records")
    assert (row["cell"], row["other"], row["P(better)"]) == ("dcgan-hinge", "dcgan-bce", (0.5 + 1) / 2)
    other = replace(runs[0], protocol=PROTOCOL | {"n_fakes": 2000})
    with pytest.raises(InputError, match=r"--by-data-set: mnist has several protocols.*--protocol TEXT"):
        build_data_set_table(group_by_protocol([*runs, other]), None)


def test_a_batch_size_is_a_setting_and_not_of_the_data_set():
    runs = [build_run(5.0), build_run(6.0, batch_size=16)]
    table = build_data_set_table(group_by_protocol(runs), "fid")
    assert list(table.samples) == ["dcgan-bce data.batch_size=64", "dcgan-bce data.batch_size=16"]


def test_a_plan_names_the_two_best_cells_and_the_seeds_that_separate_them():
    runs = [*build_runs([5.0, 6.0, 7.0]), *build_runs([6.5, 7.5, 8.5], loss="hinge"), *build_runs([90.0], loss="wgan")]
    text = describe_plan(runs, "fid")
    assert "mnist-dcgan-bce and mnist-dcgan-hinge differ by 1.5 FID" in text
    assert f"at 5%: {find_sample_size(1.5, (1.0, 1.0))};" in text


@pytest.mark.parametrize(
    ("runs", "missing"),
    [
        (build_runs([5.0, 6.0]), "needs two cells with a finite FID; these runs have 1"),
        ([*build_runs([5.0]), *build_runs([6.0, 7.0], loss="hinge")], "mnist-dcgan-bce has one seed"),
    ],
)
def test_a_plan_without_a_spread_says_what_is_missing(runs, missing):
    assert missing in describe_plan(runs, "fid")


@pytest.fixture
def folders(tmp_path):
    """The folders of runs before and after, on two data sets."""
    for side, fids, code in (("before", BEFORE, "v1"), ("after", AFTER, "v2")):
        for data in ("mnist", "fashion"):
            for run in build_runs(fids, data=data, code=code):
                write_run(tmp_path / side, run)
    return tmp_path


def compare(*words):
    return run_forked(*map(str, words), script="scripts/compare.py")


def test_the_command_compares_folders_and_versions_alike(folders):
    by_folder = compare("--before", folders / "before", "--after", folders / "after")
    assert by_folder.returncode == 0, by_folder.stderr
    by_version = compare(folders, "--before", "v1", "--after", "v2")
    assert by_version.stdout == by_folder.stdout
    assert by_folder.stdout.count("| mnist-dcgan-bce") == by_folder.stdout.count("| fashion-dcgan-bce") == 1


def test_the_command_writes_a_table_of_data_sets(folders, tmp_path):
    for suffix, text in (("tex", r"\textbf{5.20 $\pm$ 0.20 (3)}"), ("md", "**5.20 ± 0.20 (3)**")):
        done = compare(folders / "before", "--by-data-set", "--out", tmp_path / f"table.{suffix}")
        assert done.returncode == 0, done.stderr
        assert "| dcgan-bce" in done.stdout
        assert (tmp_path / f"table.{suffix}").read_text().count(text) == 2
    assert compare(folders / "before", "--by-data-set", "--out", tmp_path / "table.csv").returncode == 0
    with (tmp_path / "table.csv").open() as file:
        rows = {row["data"]: row for row in csv.DictReader(file)}
    assert float(rows["mnist"]["mean"]) == pytest.approx(5.2)
    assert "classifier fashion" in rows["fashion"]["protocol"]


def test_the_command_plans_and_adds_the_interquartile_mean(folders):
    done = compare(folders / "before", "--plan", "--iqm", "--protocol", "mnist")
    assert done.returncode == 0, done.stderr
    assert "plan: needs two cells" in done.stdout
    assert "|   IQM |" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--before", "{before}"], "--before needs --after too"),
        (["--before", "{before}", "--after", "{before}", "--plan"], "--before and --plan are different tables"),
        (["{before}", "--before", "v1", "--after", "v2"], "--after v2: must be one of the code versions"),
        (["--before", "{before}", "--after", "nowhere"], "nowhere: no finished, scored run"),
        (["{before}", "--by-data-set", "--score", "speed"], "--score speed: must be one of"),
    ],
)
def test_bad_input_is_one_line(folders, words, message):
    done = compare(*(word.format(before=folders / "before") for word in words))
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
