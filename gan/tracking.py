"""A run's identity in W&B. Nothing else imports wandb."""

import logging
import math
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any

import wandb
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from gan.errors import InputError, Preempted

log = logging.getLogger(__name__)


def lasting(use: Callable[..., Any]) -> Callable[..., Any]:
    """Do again, in a new process of W&B's, what the old one can't: Slurm ends all processes of a job at once."""

    @wraps(use)
    def used(logger: Logger | None, *args: Any, **options: Any) -> Any:
        try:
            return use(logger, *args, **options)
        except ConnectionError:
            logger.renew()
            return use(logger, *args, **options)

    return used


class RunLogger(WandbLogger):
    """Lightning's logger, whose run outlives W&B's own process."""

    log_metrics = lasting(WandbLogger.log_metrics)

    def renew(self) -> None:
        """Go on with the same run in a new process of W&B's."""
        for end in (wandb.finish, wandb.teardown):
            with suppress(ConnectionError):
                end()
        self._experiment = wandb.init(**self._wandb_init | {"id": self._experiment.id, "resume": "allow"})


def wandb_logger(*, save_dir: str, ckpt_path: str | None = None, **options: Any) -> RunLogger:
    """Return a logger that is online where an API key is configured, else offline; WANDB_MODE decides if it is set.

    With ckpt_path "last" it goes on with the run that the folder holds, where it holds one. `options` are those of
    wandb.init: project, group, name, tags. Never prompts.
    """
    before = Path(save_dir, "wandb", "latest-run")
    if ckpt_path == "last" and before.exists() and "WANDB_RUN_ID" not in os.environ:
        options["id"] = before.resolve().name.rsplit("-", 1)[-1]
    mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False, verify=False) else "offline")
    Path(save_dir).mkdir(parents=True, exist_ok=True)
    logger = RunLogger(save_dir=save_dir, mode=mode, settings=wandb.Settings(silent=True), **options)
    logger._wandb_init.pop("anonymous")  # Lightning always sets it, and wandb warns of it
    return logger


def speaks(logger: Logger | None) -> bool:
    """Whether this process logs to W&B: the first one does, for all."""
    return isinstance(logger, RunLogger) and not rank_zero_only.rank


@contextmanager
def run(logger: Logger | None, config: dict[str, Any]) -> Iterator[None]:
    """Log the config, and close the run in W&B at the end: as preempted, or as failed after an exception."""
    if not speaks(logger):
        yield
        return
    try:
        logger.experiment.config.update(config)
        yield
    except Preempted:
        close_as_preempted(logger)
        raise
    except BaseException:
        wandb.finish(exit_code=1)
        raise
    wandb.finish()


@lasting
def close_as_preempted(logger: RunLogger) -> None:
    """Close the run, to be started again; a sweep hands it to the next agent."""
    logger.experiment.mark_preempting()
    wandb.finish(exit_code=1)


@lasting
def add_to_config(logger: Logger | None, values: dict[str, Any]) -> None:
    """Add values to the run's config, to filter and group by."""
    if speaks(logger):
        logger.experiment.config.update(values)


@lasting
def summarise(logger: Logger | None, values: dict[str, Any]) -> None:
    """Put final values, nested ones too, into the run's summary."""
    if speaks(logger):
        logger.experiment.summary.update(jsonable(values))


def jsonable(value: Any) -> Any:
    """Return nested values with inf and nan as strings, since JSON has no such numbers."""
    if isinstance(value, dict):
        return {name: jsonable(part) for name, part in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def log_image(logger: Logger | None, key: str, path: Path, step: int) -> None:
    """Log a picture under a key at a generator step."""
    if speaks(logger):
        logger.log_image(key, [str(path)], step=step)


def log_pictures(logger: Logger | None, key: str, of: str, rows: list[tuple[Any, Tensor]]) -> None:
    """Log a table of pictures (3, H, W) in [0, 1], a row each, headed by what they are of."""
    if speaks(logger) and rows:
        pictures = [[name, wandb.Image(picture.permute(1, 2, 0).mul(255).byte().numpy())] for name, picture in rows]
        logger.log_table(key, columns=[of, "samples"], data=pictures)


@lasting
def log_generator(logger: Logger | None, files: list[Path], objective: str | None, metadata: dict[str, Any]) -> None:
    """File a generator as a version of its group's model artifact; the group's best run so far gets the alias best.

    The best is the run with the smallest `{objective}_best`. Offline runs cannot know of others.
    """
    if not speaks(logger) or logger.experiment.disabled:
        return
    run = logger.experiment
    artifact = wandb.Artifact(f"generator-{run.group}", type="model", metadata=jsonable(metadata))
    for file in files:
        artifact.add_file(str(file))
    best = objective and not run.offline and best_of_group(run, f"{objective}_best", metadata[f"{objective}_best"])
    run.log_artifact(artifact, aliases=["latest", "best"] if best else ["latest"])


def best_of_group(run: Any, key: str, value: float) -> bool:
    """Whether no other run of a run's group has a smaller value in its summary; no where the server can't tell."""
    try:
        others = list(wandb.Api().runs(f"{run.entity}/{run.project}", filters={"group": run.group}))
    except (wandb.Error, ValueError) as error:
        log.warning("the group's best run is not known: %s", error)
        return False
    known = [plain(other.summary).get(key, math.inf) for other in others if other.id != run.id]
    return math.isfinite(value) and all(value <= other for other in known)


def where(logger: Logger | None) -> list[str]:
    """Return the run's page or, for an offline run, the command that uploads it; nothing without a W&B run."""
    if not speaks(logger) or logger.experiment.disabled:
        return []
    run = logger.experiment
    return [shlex.join(["wandb", "sync", str(Path(run.dir).parent)]) if run.offline else run.url]


def scored_runs(project: str, sweep: str | None = None) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Return name, config, and scores with their protocol, of a project's or sweep's runs that ended with scores.

    Raises InputError for a project that is not there or holds none.
    """
    try:
        runs = list(wandb.Api().runs(project, filters={"sweep": sweep} if sweep else {}))
    except (wandb.Error, ValueError) as error:
        raise InputError(f"--project {project}: {error}") from error
    found = []
    for run in runs:
        summary = plain(run.summary)
        if "protocol" in summary:
            parts = {name: summary.get(name) or {} for name in ("floor", "n_floor", "at_n_floor", "protocol", "best")}
            found.append((run.name, run.config, {"scores": summary} | parts))
    if not found:
        raise InputError(f"--project {project}: none of its {len(runs)} runs has ended with scores")
    return found


def with_entity(project: str) -> str:
    """Return entity/name of a project, by the account's default entity where none is given."""
    return project if "/" in project else f"{wandb.Api().default_entity}/{project}"


def plain(value: Any) -> Any:
    """Return a summary of W&B as dicts and numbers: what `jsonable` made of them."""
    if hasattr(value, "items"):
        return {name: plain(part) for name, part in value.items()}
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value
