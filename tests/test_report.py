"""scripts/report.py on folders of hand-made runs: one page of what gan.report.statistics says; it fetches nothing."""

import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
import wandb
import yaml
from matplotlib.figure import Figure
from PIL import Image

import train
from gan.report.charts import draw_curves, draw_strip
from gan.report.differences import compare_cells
from gan.report.intervals import compute_improvement_interval
from gan.report.markdown import render_aggregates
from gan.report.page import render_page
from gan.report.profiles import build_profiles
from gan.report.sections import build_sections
from gan.report.settings import compute_importance, find_varying_settings
from gan.report.statistics import build_table
from gan.report.trials import build_best_curves
from gan.run.display import format_score
from gan.run.record import find_runs
from gan.system import wandb_server
from scripts.report import create_wandb_report
from tests.helpers import NARROW, PROTOCOL, run_command
from tests.processes import run_forked

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HEADINGS = ["Losses and models", "Differences", "Over training", "Settings", "Samples", "Cells", "Runs", "Protocols"]


def leave(folder, fid, *, loss="bce", model="mlp", seed=0, lr=1e-4, protocol=PROTOCOL, course=True, note="plain"):
    """Write what a run leaves in its folder; without its `course`, neither evaluations nor samples."""
    group = f"mnist-{model}-{loss}"
    here = folder / f"{group}-{lr}-{seed}"
    here.mkdir(parents=True)
    choices = {"data": "mnist", "model": model, "loss": loss, "group": group}
    (here / "config.yaml").write_text(yaml.safe_dump({"seed": seed, "lr": lr, "note": note, "choices": choices}))
    scores = {"fid": fid, "kid": fid / 10, "images_seen": 640_000, "seconds": 120.0, "diverged": math.isinf(fid)}
    parts = {"scores": scores, "floor": {"fid": 1.0, "kid": 0.0}, "protocol": protocol}
    (here / "metrics.json").write_text(json.dumps(parts))
    if course:
        rows = [{"step": s, "images_seen": 64 * s, "seconds": 0.6 * s, "fid": 2000 / s} for s in (50, 100)]
        (here / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (here / "samples").mkdir()
        Image.new("RGB", (20, 20), (10 * seed, 80, 120)).save(here / "samples" / "step_000100.png")
    return here


@pytest.fixture
def folder(tmp_path):
    for seed in range(3):
        leave(tmp_path / "runs", 5 + seed / 10, seed=seed)
        leave(tmp_path / "runs", 8 + seed / 10, loss="hinge", seed=seed)
        leave(tmp_path / "runs", 11 + seed / 5, model="dcgan", seed=seed, lr=2e-4)
    return tmp_path / "runs"


def read(folder) -> str:
    return render_page(find_runs([folder]), str(folder))


class Tables(HTMLParser):
    """The bodies of a page's tables, as rows of text, by their aria-label."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found, self.rows, self.inside = {}, None, False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.rows = self.found.setdefault(dict(attrs).get("aria-label"), [])
        elif tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")
        self.inside = tag in ("td", "b") if tag != "b" else False

    def handle_data(self, data):
        if self.inside and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()

    def handle_endtag(self, tag):
        self.inside = tag == "b"


def rows(text: str, name: str) -> list[list[str]]:
    return [row for row in Tables(text).found[name] if row]


def test_the_command_writes_one_page_with_every_section(folder, tmp_path):
    done = run_forked("--local", str(folder), script="scripts/report.py")
    assert done.returncode == 0, done.stderr
    text = (folder / "report.html").read_text()
    assert re.findall(r"<h2>(.*?)</h2>", text) == HEADINGS
    titles = re.findall(r'<svg [^>]*aria-label="(.*?)"', text)
    lowest = [f"Lowest FID by {name}" for name in ("loss", "model", "cell")]
    training = ["FID against generator steps", "FID against time"]
    assert titles == [*lowest, "Performance profile in FID", *training, "Settings and FID of each run"]
    elsewhere = tmp_path / "elsewhere.html"
    assert run_forked("--local", str(folder), "--out", str(elsewhere), script="scripts/report.py").returncode == 0
    assert elsewhere.read_text() == text


def test_the_headline_names_the_best_cell_and_whether_it_is_luck(folder):
    text = read(folder)
    assert "<h1>mlp bce has the lowest FID: 5.10 ± 0.10 over 3 seeds.</h1>" in text
    assert "The difference is more than the luck of the seed (95% interval 2.77 to 3.23 for this pair alone" in text
    leave(folder, 5.2, loss="lsgan", seed=0)
    assert "The next, mlp lsgan, has 5.20 with one seed. Whether that is more than luck, only" in read(folder)


def test_a_headline_stays_short(folder):
    for i in (1, 2):
        leave(folder, 1.0 + i, loss="lsgan", lr=i * 1.23456789e-4, note="a note of many words that says nothing")
        leave(folder, 9.0 + i, loss="lsgan", lr=i * 2.3456789e-4)
    text = read(folder)
    assert "<h1>mlp lsgan has the lowest FID: 2.00 with one seed.</h1>" in text
    assert "It differs from other cells by lr=0.000123 note=a note of many words" in text


def test_the_table_of_cells_is_gan_comparisons(folder):
    leave(folder, math.inf, loss="hinge", seed=3, course=False)
    expected = build_table(find_runs([folder]), "fid")
    shown = rows(read(folder), "Cells")
    assert len(shown) == len(expected) == 4
    for row, (_, other) in zip(shown, expected.iterrows(), strict=True):
        assert row[0] == other["cell"]
        assert row[2] == format_score("fid", other["fid"])
        for i, name in enumerate(["fid", "std", "95% low", "95% high"], start=2):
            assert row[i] == ("" if math.isnan(other[name]) else format_score("fid", other[name]))
    assert [row[1] for row in shown] == ["3", "3", "3", ""]
    assert [row[7] for row in shown] == ["0", "1", "0", ""]
    assert shown[0][8:] == ["640,000", "2.0"]
    assert len(rows(read(folder), "Runs")) == 10


def test_minutes_are_apart_by_accelerator_where_runs_used_several(folder):
    """The runs of dcgan and the first seed of mlp with hinge on a GPU."""
    assert "cpu" not in read(folder)
    for path in folder.glob("*/config.yaml"):
        config = yaml.safe_load(path.read_text())
        on_gpu = "dcgan" in path.parent.name or path.parent.name.startswith("mnist-mlp-hinge-0.0001-0")
        path.write_text(yaml.safe_dump(config | {"trainer": {"accelerator": "gpu" if on_gpu else "cpu"}}))
        scores = json.loads((path.parent / "metrics.json").read_text())
        scores["scores"]["seconds"] = 60 if on_gpu else 600
        (path.parent / "metrics.json").write_text(json.dumps(scores))
    text = read(folder)
    minutes = {row[0]: row[-1] for row in rows(text, "Cells")[:-1]}
    expected = {"mlp-bce": "10.0 (cpu)", "mlp-hinge": "10.0 (cpu), 1.0 (gpu)", "dcgan-bce": "1.0 (gpu)"}
    assert minutes == {f"mnist-{name}": text for name, text in expected.items()}
    assert "of training, on cpu and gpu" in text
    assert {row[5] for row in rows(text, "Runs")} == {"10.0 (cpu)", "1.0 (gpu)"}


@pytest.mark.parametrize(("floor", "texts"), [(1.0, ["↓ real images 1"]), (15.0, []), (None, [])])
def test_a_floor_far_below_all_evaluations_is_written_at_the_edge(folder, floor, texts):
    """The evaluations are 40 and 20."""
    (section,) = build_sections(find_runs([folder]))
    axes = Figure().subplots()
    draw_curves(axes, section.cells, "fid", "step", floor, "FID")
    assert [text.get_text() for text in axes.texts] == texts
    dashed = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert dashed == ([axes.get_ylim()[0]] if texts else [floor] if floor else [])
    assert (axes.get_ylim()[0] > 15) == bool(texts or floor is None)


@pytest.mark.parametrize(
    ("scores", "text", "at_edge"),
    [
        ((50, 51, 52), "← real images 2", True),
        ((3, 4, 5), "real images", False),
        ((28, 38, 164), "real images", False),  # far below all runs, and above the lower end of their deviation
    ],
)
def test_a_floor_is_at_the_edge_of_a_strip_only_if_it_is_below_it(tmp_path, scores, text, at_edge):
    for seed, fid in enumerate(scores):
        leave(tmp_path, fid, seed=seed)
    (section,) = build_sections(find_runs([tmp_path]))
    axes = Figure().subplots()
    draw_strip(axes, [("mlp", cell) for cell in section.cells], 2.0, "FID")
    assert [note.get_text() for note in axes.texts] == [text]
    (dashed,) = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert dashed == (axes.get_xlim()[0] if at_edge else 2.0)
    assert axes.get_xlim()[0] <= dashed


def test_five_seeds_have_an_interquartile_mean(folder):
    assert "IQM" not in read(folder)
    for seed in (3, 4):
        leave(folder, 9.0, seed=seed)
    best = next(row for row in rows(read(folder), "Cells") if "mlp-bce" in row[0])
    assert best[6:9] == [format_score("fid", (5.1 + 5.2 + 9) / 3), "5.00", "9.00"]


def test_two_protocols_share_no_table_and_no_chart(folder):
    other = leave(folder, 3.0, loss="lsgan", protocol=PROTOCOL | {"n_fakes": 2000})
    text = read(folder)
    first, second = re.findall(r"<article.*?</article>", text, flags=re.DOTALL)
    assert "lsgan" not in first
    assert "hinge" not in second
    assert re.findall(r"<h2>(.*?)</h2>", text) == [*HEADINGS[:-1], *HEADINGS]
    fields = text[text.index("<h2>Protocols") :]
    assert all(f">{name}</th>" in fields for name in PROTOCOL)
    assert fields.count('<tr class="differs">') == 1
    ids = re.findall(r'\bid="(.*?)"', text)
    assert len(ids) == len(set(ids))

    again = {"checkpoint": "last", "scores": {"fid": 9.0}, "floor": {"fid": 1.0}, "protocol": PROTOCOL}
    (other / "evaluations").mkdir()
    (other / "evaluations" / "0.json").write_text(json.dumps(again))
    first = re.findall(r"<article.*?</article>", read(folder), flags=re.DOTALL)[0]
    assert "mnist-mlp-lsgan" in first  # its score, but not the evaluations of its training, which had another protocol
    assert chart(first, "FID against time").count("<path") == chart(text, "FID against time").count("<path")


def chart(text: str, title: str) -> str:
    return re.search(rf'<svg [^>]*aria-label="{title}".*?</svg>', text, flags=re.DOTALL).group()


def test_a_run_that_left_little_or_diverged_is_shown_as_far_as_it_goes(tmp_path):
    leave(tmp_path, 5.0, course=False)
    text = read(tmp_path)
    assert "has the lowest FID: 5.00 with one seed.</h1>" in text
    assert "It is the only cell; there is no other." in text
    assert "None of these runs saved samples." in text
    assert "None of these runs has evaluations" in text
    assert "No setting differs between these runs but the seed." in text
    leave(tmp_path, math.inf, loss="wgan", course=False)
    text = read(tmp_path)
    assert "It is the only cell that did not diverge." in text
    assert [row[3] for row in rows(text, "Runs")] == ["no", "yes"]


def test_runs_that_all_diverged_are_said_to_have(tmp_path):
    leave(tmp_path, math.inf)
    leave(tmp_path, math.inf, loss="wgan", course=False)
    text = read(tmp_path)
    assert "<h1>No run has a finite FID.</h1>" in text
    assert "Too few runs to tell settings apart: 0" in text
    assert [row[2] for row in rows(text, "Runs")] == ["∞", "∞"]


def test_runs_that_all_score_the_same_say_nothing_of_their_settings(tmp_path):
    for seed in range(12):
        leave(tmp_path, 5.0, seed=seed, lr=(1e-4, 1e-3)[seed % 2], note=f"note {seed}", course=False)
    assert "All these runs score the same." in read(tmp_path)


def test_the_best_seeds_samples_are_embedded(folder):
    text = read(folder)
    assert text.count('<img src="data:image/png;base64,') == 3
    assert 'alt="Samples of mnist-mlp-bce, seed 0"' in text
    shutil.rmtree(next(folder.glob("mnist-mlp-bce-*-0")) / "samples")
    assert 'alt="Samples of mnist-mlp-bce, seed 1"' in read(folder)


def test_pairs_have_the_better_mean_first_with_its_probability(folder):
    shown = rows(read(folder), "Differences")
    assert [row[:2] for row in shown] == [
        ["mlp bce", "mlp hinge"],
        ["mlp bce", "dcgan bce"],
        ["mlp hinge", "dcgan bce"],
    ]
    assert all(row[2].startswith("-") for row in shown)
    low, high = compute_improvement_interval(1, 3, 3)
    assert all(row[5:7] == ["1.00", f"{low:.2f} to {high:.2f}"] for row in shown)
    assert f"scores better than one of the next with a probability of 1.00 (95% interval {low:.2f} to" in read(folder)


def test_pairs_that_are_left_out_are_counted(folder):
    for i in range(4):
        for seed in range(2):
            leave(folder, 30 + seed, lr=(i + 3) * 1e-4, seed=seed)
    (section,) = build_sections(find_runs([folder]))
    pairs = compare_cells(section.runs, "fid")
    found = sum(pairs["real"] == "yes")
    assert 0 < found < len(pairs) == 21
    line = f"1 more pair, with larger p; {found} of all 21 are shown to be more than luck"
    assert line in read(folder)
    assert f"\n\n{line}." in render_aggregates(section)["Differences"]


def test_a_profile_needs_two_cells_of_two_seeds_and_a_floor(folder, tmp_path):
    profiles = build_profiles(*build_sections(find_runs([folder])))
    assert [cell.short for cell, _ in profiles] == ["mlp bce", "mlp hinge", "dcgan bce"]
    _, profile = profiles[0]
    assert profile.shares[-1] == 1
    assert profile.shares[profile.taus < 5].max() == 0  # its best run has 5 times the floor
    leave(folder, math.inf, seed=3, course=False)
    (_, profile), *_ = build_profiles(*build_sections(find_runs([folder])))
    assert profile.shares[-1] == 0.75  # one of four has diverged
    for seed in range(2):
        leave(tmp_path / "alone", 5.0 + seed, seed=seed)
    assert "Performance profile" not in read(tmp_path / "alone")
    assert "No two cells have two seeds each" in read(tmp_path / "alone")


def leave_trial(folder, number, fid, *, study="a study", trial=None, **options):
    """Write the run of a trial of a study."""
    path = leave(folder, fid, lr=number + 1, course=False, **options) / "config.yaml"
    search = {"study_name": study, "number": number} | ({"trial": trial} if trial is not None else {})
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"callbacks": {"search": search}}))


def test_a_search_has_the_curve_of_its_best_trials(tmp_path):
    for number, fid in enumerate([9.0, 5.0, 7.0]):
        leave_trial(tmp_path, number, fid - 1)
        leave_trial(tmp_path, number, fid + 1, seed=1)
    leave_trial(tmp_path, 8, 2.0, trial=1, study="a study-confirmed", seed=5)
    (section,) = build_sections(find_runs([tmp_path]))
    curves = build_best_curves(section.runs, "fid")
    assert curves == {"a study": [(1, pytest.approx(7)), (2, pytest.approx((5 + 5 + 7) / 3)), (3, pytest.approx(5))]}
    assert "Expected best FID of k trials" in re.findall(r'<svg [^>]*aria-label="(.*?)"', read(tmp_path))
    assert "<h2>Search</h2>" in read(tmp_path)
    leave_trial(tmp_path, 9, math.inf)
    (section,) = build_sections(find_runs([tmp_path]))
    assert [k for k, _ in build_best_curves(section.runs, "fid")["a study"]] == [2, 3, 4]
    expected = (3 * 5 + 2 * 7 + 9) / 6  # of the six pairs of 5, 7, 9 and inf
    assert f"| a study |  | {expected:.2f} |" in render_aggregates(section)["Expected best FID of k trials"]


def test_the_tables_of_a_wandb_report_are_those_of_the_page(folder):
    (section,) = build_sections(find_runs([folder]))
    tables = render_aggregates(section)
    assert "| mlp bce | mlp hinge | -3.00 |" in tables["Differences"]
    (profile,) = (text for title, text in tables.items() if title.startswith("Share of runs"))
    assert profile.splitlines()[2].startswith("| mlp bce | 0.00 |")
    assert profile.splitlines()[2].endswith("| 1.00 |")


def test_what_configs_say_is_escaped(folder):
    hostile = "<script>alert(1)</script> $x_ \\1"
    for seed in range(3):
        leave(folder, 7.0 + seed / 10, loss="lsgan", seed=seed, note=hostile)
        leave(folder, 7.5 + seed / 10, loss="lsgan", seed=seed, lr=1e-3)
    text = read(folder)
    assert "&lt;script&gt;alert(1)" in text
    assert text.count("<script>") == 1


def test_nothing_is_fetched_and_the_page_is_the_same_each_time(folder):
    text = read(folder)
    found = set(re.findall(r'(?:https?:)?//[^\s"\'<>)]+\.[^\s"\'<>)]+', re.sub(r"base64,[^\"]+", "", text)))
    assert found == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"} & found
    assert not re.search(r"<link(?! rel=\"icon\" href=\"data:)|@import|src=\"(?!data:)", text)
    assert read(folder) == text


def test_the_setting_that_matters_is_found_and_what_follows_from_it_is_left_out(tmp_path):
    for i in range(24):
        lr, note = (1e-4, 1e-3)[i % 2], "abc"[i % 3]
        leave(tmp_path, 5.0 + 5 * (i % 2) + i / 100, loss=("bce", "hinge")[i // 12], seed=i, lr=lr, note=note)
    runs = find_runs([tmp_path])
    told = find_varying_settings(runs)
    assert list(told) == ["choices.loss", "lr", "note"]
    shares = compute_importance(told, [run.scores["fid"] for run in runs])
    assert next(iter(shares)) == "lr"
    assert shares["lr"] > 0.9
    text = read(tmp_path)
    assert "Share of the differences in FID by setting" in text
    assert "Settings and FID of each run" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--local", "{empty}"], "no finished, scored run"),
        (["--local", "{folder}", "--out", "{empty}/none/report.html"], "report.html: No such file or directory"),
        ([], "one of the arguments --local --project is required"),
    ],
)
def test_bad_input_is_one_line(folder, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    places = {"folder": folder, "empty": tmp_path / "empty"}
    done = run_forked(*(argument.format(**places) for argument in arguments), script="scripts/report.py")
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


PROBE = """<script>
const table = document.querySelector("table.sortable.cells"), header = table.tHead.rows[0].cells[2];
const column = (i) => [...table.tBodies[0].rows].map((row) => row.cells[i].innerText);
const seen = {};
for (const turn of ["first", "second"]) {
  header.querySelector("button").click();
  seen[turn] = [header.getAttribute("aria-sort"), column(2)];
}
const resources = performance.getEntriesByType("resource").map((entry) => entry.name);
seen.fetched = resources.filter((name) => !name.startsWith("data:"));
document.body.innerHTML = "<pre>" + JSON.stringify(seen) + "</pre>";
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH (apt-get install chromium)")
def test_a_browser_opens_it_without_errors_or_requests_and_sorts_by_a_click(folder, tmp_path):
    path = tmp_path / "probed.html"
    leave(folder, 100.0, loss="lsgan")
    path.write_text(read(folder).replace("</body>", f"{PROBE}</body>"))
    alone = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    seeing = ["--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom"]
    done = subprocess.run([CHROMIUM, *alone, *seeing, path.as_uri()], capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr, done.stderr
    seen = json.loads(re.search(r"<pre>(.*)</pre>", done.stdout).group(1))
    rising = ["5.10", "8.10", "11.20", "100.00"]
    assert seen["first"] == ["ascending", rising]
    assert seen["second"] == ["descending", rising[::-1]]
    assert seen["fetched"] == []


class Tags(HTMLParser):
    """The tags of a page, and the names of all attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}


def test_names_are_text_whatever_they_hold(tmp_path):
    """In headline, legend, charts, tables and titles; the page has the tags that it has for plain names."""
    evil = [
        "<script>alert(1)<",
        '"><img src=x onerror=alert(1)>',
        "'></title><svg onload=alert(1)>",
        "[/x] {{ 7 * 7 }} &lt;",
    ]
    plain = [re.sub(r"\S", "a", name) for name in evil]  # as long, so that charts break their lines alike
    tags = []
    for names in (plain, evil):
        folder = tmp_path / str(len(tags))
        for seed in range(2):
            for i, name in enumerate(names):
                protocol = PROTOCOL | {"extractor": names[0]}
                leave(
                    folder / str(i),
                    5 + i + seed / 10,
                    loss=name,
                    model=names[-1],
                    seed=seed,
                    note=name,
                    protocol=protocol,
                )
        text = render_page(find_runs([folder]), names[1])
        tags.append((sorted(Tags(text).tags), Tags(text).attributes))
    assert tags[0] == tags[1]
    assert "&lt;script&gt;alert(1)&lt;" in text
    assert "[/x] {{ 7 * 7 }} &amp;lt;" in text
    assert "49" not in text.partition("<main>")[0]


@pytest.mark.server
def test_the_report_in_wandb_names_every_panel_and_keeps_protocols_apart(configure, capsys, tmp_path):
    small = ["logger=wandb", "logger.project=test-report", "trainer.val_check_interval=10", *NARROW["mlp"], "model=mlp"]
    for loss in ("bce", "hinge"):
        for seed in (0, 1):
            train.train(configure(*small, f"loss={loss}", f"seed={seed}", f"run_dir={tmp_path}/{loss}{seed}"))
    train.train(configure(*small, "metrics=classifier", "metrics.n_fakes=300", "objective=fid_300"))
    capsys.readouterr()
    create_wandb_report("test-report", None)
    url = capsys.readouterr().out.split()[-1]
    (report,) = (found for found in wandb.Api().reports(wandb_server.add_entity("test-report")) if found.id in url)
    grids = [block for block in report.spec["blocks"] if block["type"] == "panel-grid"]
    panels = [panel for grid in grids for panel in grid["metadata"]["panelBankSectionConfig"]["panels"]]
    titles = [panel["config"].get("chartTitle") for panel in panels]
    for fid in ("fid_200", "fid_300"):
        assert {f"{fid}_best by choices.{name}" for name in ("loss", "model")} <= set(titles)
        assert {f"{fid} against {axis}" for axis in ("step", "images seen", "seconds of training")} <= set(titles)
    kinds = {panel["viewType"] for panel in panels}
    assert {"Bar Chart", "Run History Line Plot", "Parameter Importance", "Parallel Coordinates Plot"} <= kinds
    assert {"Media Browser", "Run Comparer"} <= kinds
    chosen = {grid["metadata"]["runSets"][0]["filters"]["filters"][0]["value"] for grid in grids}
    runs = wandb.Api().runs("test-report")
    assert chosen == {run.summary["protocol_id"] for run in runs}
    assert len(chosen) == 2
    text = json.dumps(report.spec, ensure_ascii=False)
    assert "| n_fakes | 200 | 300 |" in text
    assert text.count("| better mean | other | difference | 95% interval | p | P(better) |") == 1
    assert text.count("τ = ") == 8
    assert {panel["config"]["groupBy"] for panel in panels if "Line" in panel["viewType"]} == {"choices.value.cell"}


def test_a_page_is_utf8_under_any_locale(tmp_path):
    folder = tmp_path / "Läufe" / "猫"
    leave(folder, 5.0, model="Käse")
    done = run_command("--local", str(folder), script="scripts/report.py", env={"PYTHONUTF8": "0", "LC_ALL": "C"})
    assert done.returncode == 0, done.stderr
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "Käse" in text
    assert str(folder) in text


def test_fewer_real_images_than_samples_are_in_no_chart_and_the_page_says_why(folder):
    assert "the dashed line what real images score" in read(folder)
    for path in folder.rglob("metrics.json"):
        few = {"n_floor": 100, "at_n_floor": {"fid": 41.5}, "floor": {"fid": 32.25, "kid": 0.0}}
        path.write_text(json.dumps(json.loads(path.read_text()) | few))
    text = read(folder)
    assert "the dashed line" not in text
    assert "There are only 100 real images to compare with" in text
    for name, value in (("100 real images", "32.25"), ("as many samples of the best cell", "41.50")):
        assert f"<dt>FID of {name}</dt><dd>{value}</dd>" in text
    assert "FID of 100 samples" in text
