"""Cells, intervals and tests against hand-made figures; scripts/compare.py on folders of runs."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gan.errors import InputError
from gan.report.differences import adjust_p_values, compare_cells
from gan.report.intervals import compute_interval
from gan.report.statistics import build_table
from gan.run.record import Run, find_runs, group_by_cell, group_by_protocol, read_history
from tests.helpers import PROTOCOL, write_run
from tests.processes import run_forked


def run(fid=5.0, *, loss="bce", seed=0, lr=1e-4, protocol=PROTOCOL, **scores) -> Run:
    group = f"mnist-dcgan-{loss}"
    config = {"seed": seed, "run_dir": f"outputs/{group}/{seed}", "loss": {"name": loss}, "lr": lr}
    config |= {"choices": {"group": group}}
    measured = {"fid": fid, "images_seen": 640_000, "seconds": 120.0, "diverged": not math.isfinite(fid)}
    return Run(f"{group}-{seed}", config, measured | scores, {"fid": 1.0}, protocol, {"fid": fid + 0.1})


def test_seeds_are_one_cell_and_any_other_difference_sets_cells_apart():
    runs = [run(seed=0), run(seed=1), run(seed=0, lr=2e-4), run(seed=0, loss="hinge")]
    assert {label: len(members) for label, members in group_by_cell(runs).items()} == {
        "mnist-dcgan-bce lr=0.0001": 2,
        "mnist-dcgan-bce lr=0.0002": 1,
        "mnist-dcgan-hinge": 1,
    }


def test_a_seed_run_twice_counts_once():
    (members,) = group_by_cell([run(5.0), run(6.0), run(7.0, seed=1)]).values()
    assert sorted(member.scores["fid"] for member in members) == [6.0, 7.0]


def test_a_row_holds_mean_spread_and_interval_over_seeds_without_the_diverged():
    fids = [4.0, 5.0, 7.0]
    runs = [*(run(fid, seed=seed) for seed, fid in enumerate(fids)), run(math.inf, seed=3), run(2.0, loss="hinge")]
    rows = build_table(runs, "fid").set_index("cell")
    assert list(rows.index) == ["mnist-dcgan-hinge", "mnist-dcgan-bce", "real images"]
    row = rows.loc["mnist-dcgan-bce"]
    assert (row["n"], row["diverged"], row["images seen"], row["minutes"]) == (3, 1, 640_000, 2.0)
    assert row["fid"] == pytest.approx(16 / 3)
    assert row["std"] == pytest.approx(np.std(fids, ddof=1))
    half = 4.302653 * np.std(fids, ddof=1) / math.sqrt(3)  # Student's t of 2 degrees of freedom, 97.5%
    assert (row["95% low"], row["95% high"]) == pytest.approx((16 / 3 - half, 16 / 3 + half))
    assert math.isnan(rows.loc["mnist-dcgan-hinge", "std"])
    assert rows.loc["real images", "fid"] == 1.0
    assert row["fid of best"] == pytest.approx(16 / 3 + 0.1)  # of the runs that are in "fid"
    assert rows.loc["mnist-dcgan-hinge", "fid of best"] == pytest.approx(2.1)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    """In 2,000 draws of 4 seeds; a normal interval, with 1.96 for t, would cover it in 85% only."""
    random = np.random.default_rng(0)
    low, high = np.array([compute_interval(list(random.normal(size=4))) for _ in range(2000)]).T
    assert ((low < 0) & (high > 0)).mean() == pytest.approx(0.95, abs=0.02)


def test_differences_are_welchs_with_p_adjusted_for_their_number():
    samples = {"bce": [5.0, 5.2, 5.1], "hinge": [7.0, 7.3, 7.1], "lsgan": [5.1, 5.3, 5.0]}
    runs = [run(fid, loss=loss, seed=seed) for loss, fids in samples.items() for seed, fid in enumerate(fids)]
    rows = compare_cells(runs, "fid")
    p = {
        pair: stats.ttest_ind(*map(samples.get, pair), equal_var=False).pvalue
        for pair in itertools.combinations(samples, 2)
    }
    ordered = sorted(p.values())
    assert list(rows["p"]) == pytest.approx([3 * ordered[0], max(3 * ordered[0], 2 * ordered[1]), ordered[2]])
    found = {
        frozenset(row[name].split("-")[-1] for name in ("cell", "other")): row["real"] for _, row in rows.iterrows()
    }
    assert found[frozenset({"bce", "hinge"})] == "yes"
    assert found[frozenset({"bce", "lsgan"})] == "not shown at this n"


def test_a_pair_has_the_probability_that_a_run_of_the_first_cell_is_better():
    """A diverged run is the worst, for any score; it is in no mean."""
    samples = {"bce": [5.0, 6.0, math.inf], "hinge": [5.5, 7.0]}
    runs = [run(fid, loss=loss, seed=seed) for loss, fids in samples.items() for seed, fid in enumerate(fids)]
    (row,) = compare_cells(runs, "fid").to_dict("records")
    assert (row["cell"], row["n"]) == ("mnist-dcgan-bce", "2, 2")
    assert row["P(better)"] == pytest.approx((2 + 1 + 0) / 6)
    assert row["P low"] < row["P(better)"] < row["P high"]
    measured = zip(runs, (0.9, 0.1, 0.0, 0.1, 0.05), strict=True)
    runs = [replace(one, floor={"precision": 1.0}, scores=one.scores | {"precision": value}) for one, value in measured]
    (row,) = compare_cells(runs, "precision").to_dict("records")
    assert row["P(better)"] == pytest.approx((2 + 1.5 + 0) / 6)  # higher is better, and a tie counts half


def test_the_interquartile_mean_is_a_column_where_it_is_asked_for():
    runs = [run(fid, seed=seed) for seed, fid in enumerate([1.0, 4.0, 5.0, 6.0, 99.0])] + [run(3.0, loss="hinge")]
    assert "IQM" not in build_table(runs, "fid")
    rows = build_table(runs, "fid", with_iqm=True).set_index("cell")
    assert rows.loc["mnist-dcgan-bce", ["IQM", "IQM low", "IQM high"]].tolist() == [5.0, 1.0, 99.0]
    assert rows.loc["mnist-dcgan-hinge", "IQM"] == 3.0
    assert math.isnan(rows.loc["mnist-dcgan-hinge", "IQM low"])


def test_one_seed_each_shows_nothing():
    assert compare_cells([run(1.0), run(9.0, loss="hinge")], "fid").empty


def test_holm_multiplies_the_smallest_by_all_and_never_falls():
    assert adjust_p_values([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert adjust_p_values([0.9, 0.8]) == [1.0, 1.0]


def test_protocols_are_kept_apart():
    other = PROTOCOL | {"n_fakes": 2000}
    parts = group_by_protocol([run(), run(seed=1), run(protocol=other)])
    assert [len(part) for part in parts.values()] == [2, 1]
    for name, value in PROTOCOL.items():
        changed = PROTOCOL | {name: value + 1 if isinstance(value, int) else "b" + value[1:]}
        assert len(group_by_protocol([run(), run(protocol=changed)])) == 2, name


def test_an_unknown_score_is_named_with_what_exists():
    with pytest.raises(InputError, match=r"--score speed: .*: fid"):
        build_table([run()], "speed")


def test_a_history_is_in_the_order_of_steps_without_what_a_resumed_run_took_again_or_a_killed_one_left(tmp_path):
    lines = [{"step": 10, "fid": 9}, {"step": 20, "fid": 8}, {"step": 20, "fid": 7}, {"step": 15, "fid": 6}]
    (tmp_path / "history.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 30, "fi')
    assert [row["fid"] for row in read_history(tmp_path)] == [9, 6, 7]
    assert read_history(tmp_path / "nowhere") == []


@pytest.fixture
def folder(tmp_path):
    for loss, seed in itertools.product(("bce", "hinge"), range(3)):
        write_run(tmp_path / "runs", run(5.0 + seed / 10 + 3 * (loss == "hinge"), loss=loss, seed=seed))
    return tmp_path / "runs"


def compare(*arguments):
    return run_forked(*map(str, arguments), script="scripts/compare.py")


def test_the_command_prints_the_table_and_which_differences_are_real(folder):
    done = compare(folder)
    assert done.returncode == 0, done.stderr
    for text in ("classifier mnist, 28 px, 10,000 samples", "| mnist-dcgan-bce", "| real images", "| yes"):
        assert text in done.stdout


@pytest.mark.parametrize("suffix", ["csv", "md", "tex"])
def test_the_table_is_written_in_three_formats(folder, suffix, tmp_path):
    out = tmp_path / f"table.{suffix}"
    assert compare(folder, "--out", out).returncode == 0
    text = out.read_text()
    assert {"csv": "cell,n,fid", "md": "| cell", "tex": r"\begin{tabular}"}[suffix] in text
    assert "mnist-dcgan-hinge" in text
    assert "last checkpoint; classifier mnist, 28 px, 10,000 samples" in text
    assert r"95\% low" in text or suffix != "tex"
    if suffix == "csv":
        rows = pd.read_csv(out).set_index("cell")
        assert rows.loc["mnist-dcgan-bce", "fid"] == pytest.approx(5.1)


def test_one_file_never_holds_two_protocols(folder, tmp_path):
    write_run(folder, run(loss="lsgan", protocol=PROTOCOL | {"n_fakes": 2000}))
    assert compare(folder).stdout.count("checkpoint; classifier") == 2
    refused = compare(folder, "--out", tmp_path / "table.csv")
    assert refused.returncode == 1
    assert "2 protocols, which never share a table" in refused.stderr
    assert not (tmp_path / "table.csv").exists()
    assert compare(folder, "--protocol", "2,000 samples", "--out", tmp_path / "table.csv").returncode == 0
    assert list(pd.read_csv(tmp_path / "table.csv")["cell"]) == ["mnist-dcgan-lsgan", "real images"]


def test_later_evaluations_are_rows_of_their_own_protocol(folder):
    (folder / "mnist-dcgan-bce-0" / "evaluations").mkdir()
    again = {"checkpoint": "last", "step": 1, "scores": {"fid": 9.0}, "floor": {"fid": 1.0}}
    for i, protocol in enumerate((PROTOCOL, PROTOCOL | {"extractor": "inception"})):
        path = folder / "mnist-dcgan-bce-0" / "evaluations" / f"{i}.json"
        path.write_text(json.dumps(again | {"protocol": protocol}))
    parts = group_by_protocol(find_runs([folder]))
    assert [len(part) for part in parts.values()] == [6, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{empty}"], "no finished, scored run"),
        (["{folder}", "--protocol", "inception"], "--protocol inception: none of last checkpoint; classifier"),
        (["{folder}", "--out", "table.xls"], "--out table.xls: must end in .csv, .md, .tex"),
        ([], "give folders of runs or a --project"),
    ],
)
def test_bad_input_is_one_line(folder, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    done = compare(*(argument.format(folder=folder, empty=tmp_path / "empty") for argument in arguments))
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_that_diverged_is_out_of_its_best_checkpoints_and_its_other_scores_too():
    runs = [run(4.0, kid=0.4), run(math.inf, seed=1, kid=9.0)]
    runs = [replace(one, best={"fid": fid, "kid": fid}) for one, fid in zip(runs, (3.0, 99.0), strict=True)]
    assert build_table(runs, "fid").iloc[0]["fid of best"] == 3.0
    runs = [replace(one, floor={"fid": 1.0, "kid": 0.0}) for one in runs]
    row = build_table(runs, "kid").iloc[0]
    assert (row["n"], row["kid"], row["kid of best"], row["diverged"]) == (1, 0.4, 3.0, 1)


def test_fewer_real_images_than_samples_have_a_column_beside_as_many_samples():
    few = [
        replace(run(5.0, seed=seed), n_floor=100, at_n_floor={"fid": 30.0 + seed}, floor={"fid": 32.2})
        for seed in (0, 1)
    ]
    rows = build_table(few, "fid").set_index("cell")
    assert list(rows.index) == ["mnist-dcgan-bce", "100 real images"]
    assert math.isnan(rows.loc["100 real images", "fid"])
    assert list(rows["fid of 100 samples"]) == [30.5, 32.2]
    alike = build_table([replace(run(5.0), n_floor=10_000)], "fid").set_index("cell")
    assert alike.loc["10,000 real images", "fid"] == 1.0
    assert not any("samples" in name for name in alike)


def test_names_are_text_in_a_table_of_the_terminal(folder, tmp_path):
    name = "[/x] <b> a|b [red]"
    write_run(folder, run(loss=name))
    done = compare(folder)
    assert f"| mnist-dcgan-{name.replace('|', chr(92) + '|')} " in done.stdout
