"""Runs copied to a table of results/: their small text files, the best samples and the best generator."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from PIL import Image

from gan.report.figures import save_curves
from gan.report.page import render_page
from gan.report.results import (
    MOST_PICTURES,
    REPORT,
    RUNS,
    ResultTable,
    build_result_sections,
    has_runs,
    name_chart,
    read_tables,
)
from gan.report.sections import Section, find_last_picture, find_picture, finite_or_inf
from gan.run.record import find_runs
from gan.system.files import replace_whole, write_whole
from gan.system.run_folder import CONFIG, GENERATOR, HISTORY, METRICS

LARGEST = 2_000_000  # bytes of a generator
COLORS = 256  # of a picture
# all of an absolute path but its last part, and the account and the host of a database's URL
PRIVATE = re.compile(r"(?:(?<![\w.~/-])|(?<=:///)|(?<=file://))/(?:[^/\s]+/)*(?=[^/\s])|(?<=://)[^/\s@]*@[^/\s]*")


def publish_runs(sources: Iterable[Path], folder: Path, table: ResultTable) -> int:
    """Copy all scored runs below some folders to a table's folder in `folder`, and return their number.

    A run replaces one of the same cell and seed. Of all runs of the table, those of the best cells keep their last
    grid of samples, one each, and the best one of at most 2 MB keeps its generator, if that draws images.
    Raises InputError if there is no run.
    """
    names = dict.fromkeys(run.name for run in find_runs(sources))
    for name in names:
        copy_run(Path(name), folder / table.name / RUNS)
    sections = build_result_sections(find_runs([folder / table.name]), table)
    remove_pictures(folder / table.name, sections)
    remove_generators(folder / table.name, sections)
    return len(names)


def copy_run(source: Path, runs: Path) -> None:
    """Copy a run to the folder of a table's runs, named by its cell and seed, without absolute paths."""
    config = OmegaConf.to_container(OmegaConf.load(source / CONFIG))
    choices = config["choices"]
    target = runs / f"{choices['group']}-{choices['cell'][-8:]}-seed{config['seed']}"
    shutil.rmtree(target, ignore_errors=True)
    write_whole(target / CONFIG, OmegaConf.to_yaml(OmegaConf.create(hide_paths(config))))
    for name in (METRICS, HISTORY):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    if picture := find_last_picture(source):
        copy_picture(picture, target / "samples" / picture.name)
    generator, recipe = source / GENERATOR, (source / GENERATOR).with_suffix(".yaml")
    draws_images = recipe.is_file() and OmegaConf.load(recipe).generator.image_size > 1  # not points
    if draws_images and generator.is_file() and generator.stat().st_size <= LARGEST:
        shutil.copyfile(generator, target / GENERATOR)
        shutil.copyfile(recipe, target / recipe.name)


def hide_paths(value: Any) -> Any:
    """Return nested values with each absolute path cut to its last part, and without accounts of databases."""
    if isinstance(value, dict):
        return {name: hide_paths(part) for name, part in value.items()}
    if isinstance(value, list):
        return [hide_paths(part) for part in value]
    return PRIVATE.sub("", value) if isinstance(value, str) else value


def copy_picture(source: Path, target: Path) -> None:
    """Copy a PNG with a palette, which makes it a third smaller."""
    with Image.open(source) as image, replace_whole(target) as part:
        image.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE).save(part, "PNG", optimize=True)


def remove_pictures(folder: Path, sections: list[Section]) -> None:
    """Remove the samples of all runs of a table but those that its page shows."""
    found = [find_picture(cell, section.score) for section in sections for cell in section.cells[:MOST_PICTURES]]
    shown = {picture[1] for picture in found if picture}
    for path in folder.glob(f"{RUNS}/*/samples/*.png"):
        if path not in shown:
            path.unlink()
            path.parent.rmdir()


def remove_generators(folder: Path, sections: list[Section]) -> None:
    """Remove the generators of all runs of a table but the best one, of the first section that has any."""
    ordered = [
        Path(run.name) / GENERATOR
        for section in sections
        for run in sorted(section.runs, key=lambda run: finite_or_inf(run.scores.get(section.score)))
    ]
    kept = next((path for path in ordered if path.is_file()), None)
    for path in folder.glob(f"{RUNS}/*/{GENERATOR}"):
        if path != kept:
            path.unlink()
            path.with_suffix(".yaml").unlink()


def draw_tables(folder: Path) -> None:
    """Draw the charts of all tables that have runs, scores against images and against time, and write their reports."""
    for table in read_tables(folder):
        if has_runs(folder / table.name):
            runs = find_runs([folder / table.name])
            for section in build_result_sections(runs, table):
                save_curves(section, folder / table.name / name_chart(section))
            report = render_page(runs, f"{folder.name}/{table.name}", table.score)
            write_whole(folder / table.name / REPORT, report)
