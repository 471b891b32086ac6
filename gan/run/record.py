"""Finished runs, read from their folders and grouped by protocol and by cell."""

import json
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gan.errors import InputError
from gan.metrics.protocol import PROTOCOL, hash_protocol
from gan.run.cell import name_cell, select_setting, unify_numbers
from gan.system.run_folder import CONFIG, HISTORY, METRICS

CONFIRMED_SUFFIX = "-confirmed"  # at the end of a study's name: it trains the best settings of another study again


@dataclass(frozen=True)
class Run:
    """The scores of one checkpoint of a run under one protocol.

    `best` holds the scores of the run's best checkpoint on new samples. `floor` holds the scores of `n_floor` real
    images (None: unknown), and `at_n_floor` the scores of that many of the run's samples; it is empty if `scores` are
    of that many already.
    """

    name: str
    config: dict[str, Any]
    scores: dict[str, float]
    floor: dict[str, float]
    protocol: dict[str, Any]
    best: dict[str, float] = field(default_factory=dict)
    checkpoint: str = "last"
    n_floor: int | None = None
    at_n_floor: dict[str, float] = field(default_factory=dict)

    @property
    def setting(self) -> dict[str, Any]:
        """The run's settings by dotted key, without those that change neither training nor scores."""
        return select_setting(self.config)

    @property
    def cell(self) -> str:
        """The name of the run's cell: the recorded one or, for a run without, the one its config implies."""
        return self.config["choices"].get("cell") or name_cell(self.config)

    @property
    def code(self) -> str:
        """The version of the code that trained the run, several ones joined by ", ", "" if it is not recorded."""
        return self.config.get("code") or ""

    @property
    def accelerator(self) -> str:
        """What the run trained on: cpu, gpu, ..., auto, or "" if it is not recorded."""
        return (self.config.get("trainer") or {}).get("accelerator") or ""

    @property
    def trial(self) -> tuple[str, int] | None:
        """The name of the run's study and the number of its trial; None for a run of no study."""
        search = (self.config.get("callbacks") or {}).get("search") or {}
        study, number = search.get("study_name"), search.get("trial", search.get("number"))
        return (str(study), int(number)) if study and number is not None else None


def read_history(folder: Path) -> list[dict[str, float]]:
    """Return a run's evaluations by step; where a resumed run repeated a step, the later evaluation counts."""
    path, rows = folder / HISTORY, {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        with suppress(ValueError):  # the last line of a run that was killed as it wrote it
            row = json.loads(line)
            rows[row["step"]] = row
    return [rows[step] for step in sorted(rows)]


def find_runs(folders: Iterable[Path]) -> list[Run]:
    """Return the scored runs in these folders and all folders below, with their later evaluations.

    Raises InputError if there is none.
    """
    runs = [run for folder in folders for path in sorted(folder.rglob(CONFIG)) for run in read_run(path.parent)]
    if not runs:
        raise InputError(f"{', '.join(map(str, folders))}: no finished, scored run here or below (no {METRICS})")
    return runs


def read_run(folder: Path) -> list[Run]:
    """Return the scores of a run's last checkpoint and of its later evaluations; nothing for one without scores."""
    if not (folder / METRICS).is_file():
        return []
    config = OmegaConf.to_container(OmegaConf.load(folder / CONFIG))
    content = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    if "protocol" not in content:
        return []
    runs = [build_run(str(folder), config, content)]
    facts = {name: content["scores"][name] for name in ("images_seen", "seconds")}
    for path in sorted((folder / "evaluations").glob("*.json")):
        evaluation = json.loads(path.read_text(encoding="utf-8"))
        evaluation["scores"] |= facts if evaluation["checkpoint"] == "last" else {}
        if (evaluation["checkpoint"], evaluation["protocol"]) != ("last", content["protocol"]):
            runs.append(build_run(str(folder), config, evaluation))
    return runs


def build_run(name: str, config: dict[str, Any], content: dict[str, Any]) -> Run:
    """Return a run from its config and the content of metrics.json, of an evaluation's file or of a W&B summary."""
    return Run(
        name,
        config,
        scores=content["scores"],
        floor=content["floor"],
        protocol=content["protocol"],
        best=(content.get("best") or {}).get("scores", {}),
        checkpoint=content.get("checkpoint", "last"),
        n_floor=content.get("n_floor") or None,
        at_n_floor=content.get("at_n_floor") or {},
    )


def group_by_protocol(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Return runs by checkpoint and protocol; the keys describe the protocol in words and by its hash."""
    groups = defaultdict(list)
    for run in runs:
        text = PROTOCOL.format(**run.protocol)
        groups[f"{run.checkpoint} checkpoint; {text}; protocol {hash_protocol(run.protocol)}"].append(run)
    return dict(groups)


def drop_selecting_runs(runs: list[Run]) -> list[Run]:
    """Return runs without those by which a search chose the settings that it then confirmed on fresh seeds.

    Their scores are the best of many, and so lower than those of their setting on other seeds.
    """
    studies = {(run.cell, run.trial[0]) for run in runs if run.trial and run.trial[0].endswith(CONFIRMED_SUFFIX)}
    return [run for run in runs if not run.trial or (run.cell, run.trial[0] + CONFIRMED_SUFFIX) not in studies]


def group_by_cell(runs: list[Run]) -> dict[str, list[Run]]:
    """Return the runs of each cell by a label: data-model-loss and the settings in which these cells differ.

    Of two runs with the same seed, the later one in the list counts, and `drop_selecting_runs` leaves some out.
    """
    members: dict[str, dict[int, Run]] = defaultdict(dict)
    for run in drop_selecting_runs(runs):
        members[run.cell][run.config["seed"]] = run
    groups: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for cell, seeds in members.items():
        first = next(iter(seeds.values()))
        groups[first.config["choices"]["group"]][cell] = first.setting
    labels = {}
    for group, settings in groups.items():
        names = sorted(set().union(*settings.values()))
        values = {name: {repr(unify_numbers(setting.get(name))) for setting in settings.values()} for name in names}
        varying = [name for name in names if len(values[name]) > 1]
        for cell, setting in settings.items():
            label = " ".join([group, *(f"{name}={setting.get(name)}" for name in varying)])
            labels[cell] = f"{label} {cell[-8:]}" if label in labels.values() else label
    return dict(sorted((labels[cell], list(seeds.values())) for cell, seeds in members.items()))
