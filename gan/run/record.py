"""Finished runs: read from their folders, sorted by what their scores mean and by what may be averaged."""

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


@dataclass(frozen=True)
class Run:
    """The scores of one checkpoint of a run under one protocol; `best` are those of its best one on fresh samples.

    `floor` are the scores of `n_floor` real images (None: unknown), `at_n_floor` those of as many of the run's samples,
    empty where all of them are as many.
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
        """What the run was told to do, flat, without what is incidental."""
        return select_setting(self.config)

    @property
    def cell(self) -> str:
        """The name of the run's cell: what it called itself, or what its config amounts to."""
        return self.config["choices"].get("cell") or name_cell(self.config)


def read_history(folder: Path) -> list[dict[str, float]]:
    """Return a run's evaluations in the order of steps; of a step that a resumed run took again, the later one."""
    path, rows = folder / HISTORY, {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        with suppress(ValueError):  # of a run that was killed while it wrote
            row = json.loads(line)
            rows[row["step"]] = row
    return [rows[step] for step in sorted(rows)]


def find_runs(folders: Iterable[Path]) -> list[Run]:
    """Return all scored runs at or below folders, and their later evaluations; raise InputError for none."""
    found = []
    for folder in folders:
        for config_path in sorted(folder.rglob(CONFIG)):
            here = config_path.parent
            if not (here / METRICS).is_file():
                continue
            config = OmegaConf.to_container(OmegaConf.load(config_path))
            run = json.loads((here / METRICS).read_text(encoding="utf-8"))
            if "protocol" not in run:
                continue
            found.append(build_run(str(here), config, run))
            facts = {name: run["scores"][name] for name in ("images_seen", "seconds")}
            for path in sorted((here / "evaluations").glob("*.json")):
                again = json.loads(path.read_text(encoding="utf-8"))
                again["scores"] |= facts if again["checkpoint"] == "last" else {}
                if (again["checkpoint"], again["protocol"]) != ("last", run["protocol"]):
                    found.append(build_run(str(here), config, again))
    if not found:
        raise InputError(f"{', '.join(map(str, folders))}: no finished, scored run below; a run leaves {METRICS} there")
    return found


def build_run(name: str, config: dict[str, Any], run: dict[str, Any]) -> Run:
    """Return a run of what its files or its W&B summary say."""
    best = (run.get("best") or {}).get("scores", {})
    at_n_floor = {"n_floor": run.get("n_floor") or None, "at_n_floor": run.get("at_n_floor") or {}}
    parts = run["scores"], run["floor"], run["protocol"], best, run.get("checkpoint", "last")
    return Run(name, config, *parts, **at_n_floor)


def group_by_protocol(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Return runs by what their scores mean, in words and by a hash of the whole protocol."""
    parts = defaultdict(list)
    for run in runs:
        text = PROTOCOL.format(**run.protocol)
        parts[f"{run.checkpoint} checkpoint; {text}; protocol {hash_protocol(run.protocol)}"].append(run)
    return dict(parts)


def group_by_cell(runs: list[Run]) -> dict[str, list[Run]]:
    """Return runs that differ in their seed only, by data-model-loss and the settings that set their cell apart here.

    Of two runs of the same seed the later named counts.
    """
    members: dict[str, dict[int, Run]] = defaultdict(dict)
    for run in runs:
        members[run.cell][run.config["seed"]] = run
    groups: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for cell, seeds in members.items():
        first = next(iter(seeds.values()))
        groups[first.config["choices"]["group"]][cell] = first.setting
    labels = {}
    for group, settings in groups.items():
        names = sorted(set().union(*settings.values()))
        varying = [
            name for name in names if len({repr(unify_numbers(told.get(name))) for told in settings.values()}) > 1
        ]
        for cell, told in settings.items():
            label = " ".join([group, *(f"{name}={told.get(name)}" for name in varying)])
            labels[cell] = f"{label} {cell[-8:]}" if label in labels.values() else label
    found = {labels[cell]: list(seeds.values()) for cell, seeds in members.items()}
    return dict(sorted(found.items()))
