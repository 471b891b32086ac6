"""A run's identity in W&B. Nothing else imports wandb."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb
from pytorch_lightning.loggers import Logger, WandbLogger

from gan.errors import InputError


def wandb_logger(*, save_dir: str, **options: Any) -> WandbLogger:
    """Return a logger that is online where an API key is configured, else offline; WANDB_MODE decides if it is set.

    `options` are those of wandb.init: project, group, name, tags. Never prompts.
    """
    mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False, verify=False) else "offline")
    Path(save_dir).mkdir(parents=True, exist_ok=True)
    logger = WandbLogger(save_dir=save_dir, mode=mode, settings=wandb.Settings(silent=True), **options)
    logger._wandb_init.pop("anonymous")  # Lightning always sets it, and wandb warns of it
    return logger


@contextmanager
def run(logger: Logger | None, config: dict[str, Any]) -> Iterator[None]:
    """Log the config, and close the run in W&B at the end, as failed after an exception."""
    if not isinstance(logger, WandbLogger):
        yield
        return
    try:
        logger.experiment.config.update(config)
        yield
    except BaseException:
        wandb.finish(exit_code=1)
        raise
    wandb.finish()


def summarise(logger: Logger | None, values: dict[str, Any]) -> None:
    """Put final values, nested ones too, into the run's summary."""
    if isinstance(logger, WandbLogger):
        logger.experiment.summary.update(values)


def log_image(logger: Logger | None, key: str, path: Path, step: int) -> None:
    """Log a picture under a key at a generator step."""
    if isinstance(logger, WandbLogger):
        logger.log_image(key, [str(path)], step=step)


def where(logger: Logger | None) -> list[str]:
    """Return the run's page or, for an offline run, the command that uploads it; nothing without a W&B run."""
    if not isinstance(logger, WandbLogger) or logger.experiment.disabled:
        return []
    run = logger.experiment
    return [f"wandb sync {Path(run.dir).parent}" if run.offline else run.url]


def scored_runs(project: str) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Return name, config, and scores with their protocol, of a project's runs that have ended with scores.

    Raises InputError for a project that is not there or holds none.
    """
    try:
        runs = list(wandb.Api().runs(project))
    except (wandb.Error, ValueError) as error:
        raise InputError(f"--project {project}: {error}") from error
    found = []
    for run in runs:
        summary = plain(run.summary)
        if "protocol" in summary:
            parts = {name: summary.get(name) or {} for name in ("floor", "protocol", "best")}
            found.append((run.name, run.config, {"scores": summary} | parts))
    if not found:
        raise InputError(f"--project {project}: none of its {len(runs)} runs has ended with scores")
    return found


def plain(value: Any) -> Any:
    """Return a summary of W&B as dicts and numbers; its JSON writes inf as a string."""
    if hasattr(value, "items"):
        return {name: plain(part) for name, part in value.items()}
    return float("inf") if value == "Infinity" else value
