"""results/: its page says what its runs' files say, its commands give their cells; scripts/publish.py on other runs."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf, open_dict
from PIL import Image

import train
from gan.errors import InputError
from gan.launch.wandb_agent import translate_sweep
from gan.report.publishing import LARGEST, hide_paths, publish_runs
from gan.report.results import RUNS, TABLES, has_runs, read_tables
from gan.report.results_page import format_command, render_results
from gan.run.cell import name_cell
from gan.run.command_line import get_key, list_replaced_keys
from gan.run.config import prepare_config
from gan.run.generator import load_generator
from gan.run.record import Run, find_runs
from scripts import publish
from tests.helpers import NARROW, PROTOCOL, ROOT
from tests.processes import run_forked

RESULTS = ROOT / "results"
DESCRIBED = read_tables(RESULTS)
COMMITTED = [table for table in DESCRIBED if has_runs(RESULTS / table.name)]
DESCRIPTION = dict.fromkeys(("title", "command", "cost", "budget", "machine", "shows"), "some words")


def leave(folder, fid, *, seed=0, loss="bce", weights=100, image_size=28, **scores):
    """Write what a run leaves in its folder: its text files, two grids of samples and its generator."""
    here = folder / f"{loss}-{seed}"
    group = f"mnist-mlp-{loss}"
    choices = {"data": "mnist", "model": "mlp", "loss": loss, "group": group, "cell": f"{group}-0123abc{len(loss)}"}
    config = {"seed": seed, "choices": choices, "run_dir": str(here), "data_dir": "/home/someone/data", "code": "v1"}
    config |= {"pack": 1, "budget": {"images": 640, "flops": None}, "trainer": {"max_steps": 10}}
    config |= {"overrides": [f"loss={loss}", "penalty=[r1,r2]", "data_dir=/home/someone/data", f"seed={seed}"]}
    measured = {"fid": fid, "conditional_accuracy": 0.975, "images_seen": 640, "seconds": 90.0, "diverged": False}
    content = {"scores": measured | scores, "floor": {"fid": 2.0, "conditional_accuracy": 0.99}, "protocol": PROTOCOL}
    rows = [{"step": s, "images_seen": 64 * s, "seconds": s, "fid": 20 * fid / s} for s in (5, 10)]
    (here / "samples").mkdir(parents=True)
    (here / "config.yaml").write_text(yaml.safe_dump(config))
    (here / "metrics.json").write_text(json.dumps(content | {"n_floor": 10_000, "best": {"scores": {"fid": fid - 1}}}))
    (here / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for step in (5, 10):
        Image.new("RGB", (20, 20), (step, 80, 120)).save(here / "samples" / f"step_{step:06d}.png")
    (here / "generator.safetensors").write_bytes(bytes(weights))
    (here / "generator.yaml").write_text(f"generator: {{image_size: {image_size}}}\n")
    return here


def describe(folder, **options):
    """Write tables.yaml with one table, and return the table."""
    folder.mkdir(exist_ok=True)
    (folder / TABLES).write_text(yaml.safe_dump({"digits": DESCRIPTION | options}))
    return read_tables(folder)[0]


@pytest.fixture
def source(tmp_path):
    """Two cells of three and two runs; one of a third cell has no scores yet."""
    for seed, fid in enumerate((5.0, 6.0, 7.0)):
        leave(tmp_path / "multirun", fid, seed=seed)
    for seed, fid in enumerate((9.0, 10.0)):
        leave(tmp_path / "multirun", fid, seed=seed, loss="hinge")
    (leave(tmp_path / "multirun", 1.0, loss="lsgan") / "metrics.json").unlink()
    return tmp_path / "multirun"


@pytest.fixture
def results(tmp_path, source, monkeypatch):
    """A folder of results, written by the command."""
    folder = tmp_path / "results"
    references = [{"where": {"choices.loss": "hinge", "pack": 1}, "value": "8.5 ± 0.1", "source": "A 2020, table 1"}]
    describe(folder, columns=["conditional_accuracy"], references=references)
    call(monkeypatch, folder, "digits", str(source))
    return folder


def call(monkeypatch, folder, *words):
    monkeypatch.setattr("sys.argv", ["publish.py", "--results", str(folder), *words])
    publish.main()


def read_page(folder) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def test_the_page_holds_mean_spread_interval_floor_reference_and_command_of_each_row(results):
    rows = [line[2:-2].split(" | ") for line in read_page(results).splitlines() if line.startswith("|")]
    by_cell = {row[0]: row[1:] for row in reversed(rows)}
    assert by_cell["cell"][:3] == ["n", "FID", "95% interval"]
    half = 4.302653 / 3**0.5  # Student's t of 2 degrees of freedom, 97.5%, for a standard deviation of 1
    interval = f"{6 - half:.2f} to {6 + half:.2f}"
    assert by_cell["bce"] == ["3", "6.00 ± 1.00", interval, "5.00", "3.0", "97.5% ± 0.0%", "0", "640", "1.5", ""]
    assert by_cell["hinge"][1] == "9.50 ± 0.71"
    assert by_cell["hinge"][-1] == "8.5 ± 0.1 (A 2020, table 1)"
    assert [text for text in by_cell["10,000 real images"] if text] == ["2.00", "99.0%"]
    assert "`python train.py loss=hinge 'penalty=[r1,r2]' budget.images=640 seed=0`" in read_page(results)
    headline = "bce has the lowest FID: 6.00 ± 1.00 over 3 seeds."
    for path in ("README.md", "digits/report.html"):
        assert headline in (results / path).read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")


def change_page(folder):
    path = folder / "README.md"
    path.write_text(read_page(folder).replace("9.50 ± 0.71", "9.51 ± 0.71", 1))


def change_score(folder):
    path = next(folder.glob(f"digits/{RUNS}/*hinge*seed1/metrics.json"))
    path.write_text(path.read_text().replace('"fid": 10.0', '"fid": 10.1'))


@pytest.mark.parametrize("change", [change_page, change_score])
def test_a_changed_digit_is_found(results, monkeypatch, change):
    call(monkeypatch, results, "--check")
    change(results)
    with pytest.raises(SystemExit, match=r"README.md, line \d+: is .* but its runs imply"):
        call(monkeypatch, results, "--check")


def test_a_page_without_its_last_lines_is_found(results, monkeypatch):
    (results / "README.md").write_text("".join(read_page(results).splitlines(keepends=True)[:-3]))
    with pytest.raises(SystemExit, match="is 'nothing', but its runs imply"):
        call(monkeypatch, results, "--check")


def test_what_is_published_is_small_and_names_no_path_of_the_machine(results, source):
    runs = results / "digits" / RUNS
    assert sorted(path.name for path in runs.iterdir()) == [
        *(f"mnist-mlp-bce-0123abc3-seed{seed}" for seed in range(3)),
        *(f"mnist-mlp-hinge-0123abc5-seed{seed}" for seed in range(2)),
    ]
    for run in runs.iterdir():
        text = (run / "config.yaml").read_text()
        assert "/home" not in text
        assert str(source) not in text
    config = yaml.safe_load((runs / "mnist-mlp-bce-0123abc3-seed0" / "config.yaml").read_text())
    assert (config["data_dir"], config["run_dir"]) == ("data", "bce-0")
    assert "data_dir=data" in config["overrides"]
    for name in ("metrics.json", "history.jsonl"):
        assert (runs / "mnist-mlp-bce-0123abc3-seed0" / name).read_bytes() == (source / "bce-0" / name).read_bytes()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/home/someone/gan/multirun/0-run/checkpoints/last.ckpt", "last.ckpt"),
        ("data_dir=/data", "data_dir=data"),
        ("sqlite:////home/someone/study.db", "sqlite:///study.db"),
        ("sqlite:///multirun/digits/study.db", "sqlite:///multirun/digits/study.db"),
        ("hydra.searchpath=[file:///home/someone/conf]", "hydra.searchpath=[file://conf]"),
        ("postgresql://someone:secret@host:5432/studies", "postgresql:///studies"),
        (
            "28 px grey, real/fake, multirun/x, ~/.cache/gan-sweeps",
            "28 px grey, real/fake, multirun/x, ~/.cache/gan-sweeps",
        ),
        ([{"a": ["/x/y", 1.5]}], [{"a": ["y", 1.5]}]),
    ],
)
def test_paths_and_accounts_are_hidden(value, expected):
    assert hide_paths(value) == expected


def list_files(folder, pattern) -> list[str]:
    return sorted(str(path.relative_to(folder / "digits" / RUNS)) for path in folder.glob(f"digits/{RUNS}/{pattern}"))


def test_the_best_run_of_each_cell_keeps_its_samples_and_the_best_of_all_its_generator(results, source, monkeypatch):
    first, second = "mnist-mlp-bce-0123abc3-seed0", "mnist-mlp-hinge-0123abc5-seed0"
    assert list_files(results, "*/samples/*") == [f"{name}/samples/step_000010.png" for name in (first, second)]
    assert list_files(results, "*/generator.*") == [f"{first}/generator.safetensors", f"{first}/generator.yaml"]
    assert f"with FID 5.00: `python scripts/generate.py --run results/digits/{RUNS}/{first}`" in read_page(results)
    leave(source.parent / "more", 1.0, seed=7, loss="hinge", weights=LARGEST + 1)
    leave(source.parent / "more", 2.0, seed=9, image_size=1)
    leave(source.parent / "more", 3.0, seed=8, loss="hinge")
    call(monkeypatch, results, "digits", str(source.parent / "more"))
    third, drawn = "mnist-mlp-hinge-0123abc5-seed", "samples/step_000010.png"
    assert list_files(results, "*/samples/*") == [
        f"mnist-mlp-bce-0123abc3-seed9/{drawn}",
        f"{third}7/{drawn}",
    ]
    assert list_files(results, "*/generator.safetensors") == [f"{third}8/generator.safetensors"]
    assert len(find_runs([results])) == 8


def test_a_generator_is_kept_of_a_second_protocol_if_those_of_the_first_are_too_large(tmp_path, monkeypatch):
    large = [leave(tmp_path / "runs", 5.0 + seed, seed=seed, weights=LARGEST + 1) for seed in range(2)]
    small = leave(tmp_path / "runs", 9.0, loss="hinge")
    metrics = json.loads((small / "metrics.json").read_text())
    (small / "metrics.json").write_text(json.dumps(metrics | {"protocol": PROTOCOL | {"n_fakes": 2000}}))
    describe(tmp_path / "results")
    call(monkeypatch, tmp_path / "results", "digits", *map(str, [*large, small]))
    (kept,) = list_files(tmp_path / "results", "*/generator.safetensors")
    assert kept.startswith("mnist-mlp-hinge-")
    page = read_page(tmp_path / "results")
    assert f"with FID 9.00: `python scripts/generate.py --run results/digits/{RUNS}/{Path(kept).parent}`" in page


def test_a_run_that_is_published_again_replaces_the_first(results, source, monkeypatch):
    shutil.rmtree(source / "bce-0")
    leave(source, 50.0)
    call(monkeypatch, results, "digits", str(source))
    assert sorted(run.scores["fid"] for run in find_runs([results])) == [6.0, 7.0, 9.0, 10.0, 50.0]


def test_the_chart_has_both_axes_and_a_name_for_each_cell(results):
    text = (results / "digits" / "curves_1.svg").read_text()
    for words in ("images that the discriminator has seen", "seconds of training", "bce", "hinge", "real images"):
        assert words in text
    assert "digits/curves_1.svg" in read_page(results)


def test_cells_of_few_seeds_can_be_left_out(results, source):
    describe(results, fewest_seeds=3)
    page = render_results(results)
    assert "| mnist-mlp-bce | 3 |" in page
    assert "hinge" not in page


def test_a_diverged_run_is_counted_and_in_no_mean(results, source):
    leave(source, float("inf"), seed=9, diverged=True)
    publish_runs([source], results, read_tables(results)[0])
    assert re.search(r"\| bce \| 3 \| 6.00 ± 1.00 .*\| 1 \| 640 \|", render_results(results))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"digits": {"title": "x"}}, "digits: missing .* 'command'"),
        (
            {"digits": DESCRIPTION | {"colour": "red"}},
            "argument 'colour'; a table has the keys title",
        ),
        ({"digits": DESCRIPTION | {"score": "modes"}}, "digits: score=modes: must be one of which less is better"),
    ],
)
def test_a_table_with_missing_or_unknown_keys_or_a_wrong_score_is_refused(tmp_path, content, expected):
    (tmp_path / TABLES).write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=expected):
        read_tables(tmp_path)


def test_bad_arguments_end_in_one_line(results, tmp_path):
    for words, message in {
        ("letters", str(tmp_path)): "letters: must be a table of",
        ("digits", str(tmp_path / "nowhere")): "no finished, scored run here or below",
    }.items():
        done = run_forked("--results", str(results), *words, script="scripts/publish.py")
        assert done.returncode == 1
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    assert run_forked("digits", script="scripts/publish.py").returncode == 2


def test_a_published_run_is_all_that_generate_compare_and_report_need(configure, tmp_path):
    train.train(configure("model=mlp", *NARROW["mlp"]))
    folder = tmp_path / "results"
    publish_runs([tmp_path / "run"], folder, describe(folder))
    (run,) = (folder / "digits" / RUNS).iterdir()
    assert load_generator(run).num_classes == 10
    done = run_forked("--run", str(run), "--out", str(tmp_path / "out.png"), script="scripts/generate.py")
    assert done.returncode == 0, done.stderr
    done = run_forked(str(folder / "digits"), script="scripts/compare.py")
    assert done.returncode == 0, done.stderr
    assert "mnist_5k-mlp-bce" in done.stdout
    done = run_forked("--local", str(folder / "digits"), script="scripts/report.py")
    assert done.returncode == 0, done.stderr
    assert "data:image/png" in (folder / "digits" / "report.html").read_text()


def compose_run(words):
    """Return the config of a run with these arguments of train.py, prepared; a study's callback is left out."""
    cfg = compose("train", [*words, "callbacks=default"], return_hydra_config=True)
    with open_dict(cfg):
        cfg.hydra.runtime.output_dir, cfg.hydra.job.num = "run", 0
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return prepare_config(cfg)


def to_plain(cfg):
    return OmegaConf.to_container(cfg)


@pytest.mark.parametrize(
    "words",
    [
        ["loss=hinge", "penalty=[r1,r2]", "experiment=quickstart", "trainer.max_steps=40"],
        ["hparams_search=grid", "experiment=quickstart", "loss=wgan_gp", "hydra/launcher=local"],
        ["experiment=my_images", "data.root=pictures", "model=sngan", "callbacks.samples.conditional=true"],
        ["hparams_search=grid", "experiment=pacgan_grid25", "pack=2", "conditional=false", "trainer.max_steps=50"],
    ],
)
def test_the_command_of_a_row_gives_its_cell(configure, words):
    configure()
    config = to_plain(compose_run([*words, "trainer=cpu"])) | {"overrides": [*words, "trainer=cpu", "seed=3"]}
    again = shlex.split(format_command(Run("run", config, {}, {}, PROTOCOL)))
    assert again[:2] == ["python", "train.py"]
    assert again[-1] == f"seed={config['seed']}"
    assert name_cell(to_plain(compose_run(again[2:]))) == name_cell(config)


def test_the_committed_page_is_what_the_committed_runs_imply():
    if COMMITTED:
        publish.check_page(RESULTS)
    else:
        assert not (RESULTS / "README.md").exists()


def list_rows(text: str, head: str) -> list[list[str]]:
    """Return the cells of each row of the tables in Markdown whose head begins so."""
    tables = [lines.splitlines()[2:] for lines in text.split("\n\n") if lines.startswith(head)]
    return [[cell.strip(" *`") for cell in row.strip("|").split("|")] for rows in tables for row in rows]


def read_results(name: str) -> str:
    """Return what the page of the results says of a table."""
    page = (RESULTS / "README.md").read_text(encoding="utf-8")
    return page.partition(f'<a id="{name}">')[2].partition("<a id=")[0]


def test_the_readme_shows_the_table_of_digits():
    """Each model with each loss, as on the page of the results, where the losses are in the same order."""
    head = "|  | bce | hinge"
    shown = list_rows((ROOT / "README.md").read_text(encoding="utf-8"), head)
    assert len(shown) > 1
    assert shown == list_rows(read_results("digits"), head)


def test_the_readme_shows_the_scores_of_the_presets():
    computed = [row for row in list_rows(read_results("presets"), "| cell | n | FID") if row[1]]  # not of real images
    cells = {fid: (accuracy.replace("% ±", " ±"), n) for _, n, fid, *_, accuracy, _, _, _ in computed}
    shown = list_rows((ROOT / "README.md").read_text(encoding="utf-8"), "| experiment | FID")
    assert {fid: (accuracy, n) for _, fid, _, accuracy, n, _ in shown} == cells


def list_overrides(line: str) -> list[str]:
    """Return the overrides of a command, of a sweep's file and its own, with the first value of each swept key."""
    program, *words = shlex.split(line)[1:]
    own = [word for word in words if "=" in word]
    if program == "scripts/sweep_local.py":
        replaced, path = list_replaced_keys(own), ROOT / words[0]
        _, *known = translate_sweep(path.stem, yaml.safe_load(path.read_text(encoding="utf-8")))
        own = [*(word for word in known if get_key(word) not in replaced), *own]
    found = []
    for override in OverridesParser.create().parse_overrides(own):
        values = list(override.sweep_string_iterator()) if override.is_sweep_override() else []
        found.append(f"{override.key_or_group}={values[0]}" if values else override.input_line)
    return found


LINES = [line for table in DESCRIBED for line in table.command.splitlines()]


@pytest.mark.parametrize("line", [line for line in LINES if not line.startswith("tar ")])
def test_each_line_of_the_command_of_a_table_composes(configure, line):
    configure()
    assert line.startswith(("python train.py ", "python scripts/sweep_local.py "))
    trainer = compose_run(list_overrides(line)).trainer
    assert max(trainer.max_steps, trainer.max_epochs or 0) > 0


def test_committed_runs_belong_to_a_table_and_are_small():
    known = {table.name for table in COMMITTED}
    for path in RESULTS.glob("*/**/*"):
        if path.is_file():
            assert path.relative_to(RESULTS).parts[0] in known, path
            assert path.stat().st_size <= LARGEST, path
        if path.name == "config.yaml":
            assert hide_paths(yaml.safe_load(path.read_text())) == yaml.safe_load(path.read_text()), path


@pytest.mark.parametrize("table", COMMITTED, ids=lambda table: table.name)
def test_each_committed_row_is_the_cell_of_its_command_and_the_generator_loads(configure, table):
    """On a machine with the precision and the data set of the run."""
    configure()
    runs = find_runs([RESULTS / table.name])
    for run in {run.cell: run for run in runs}.values():
        words = shlex.split(format_command(run))[2:]
        again = to_plain(compose_run([*words, f"trainer.precision={run.config['trainer']['precision']}"]))
        assert name_cell(again | {"data_sha256": run.config["data_sha256"]}) == run.cell, words
    generators = [*RESULTS.glob(f"{table.name}/{RUNS}/*/generator.safetensors")]
    assert len(generators) <= 1
    for path in generators:
        load_generator(path.parent)
