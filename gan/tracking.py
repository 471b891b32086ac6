"""What a run logs to W&B. Nothing else imports wandb but gan/system/wandb_server.py."""

import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from hashlib import sha256
from pathlib import Path
from shlex import quote
from typing import Any

import pydantic
import wandb
from hydra.utils import to_absolute_path
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from gan.errors import InputError, Preempted
from gan.system.wandb_server import HINT, LONGEST, choose_mode, explain, is_best_of_group, safe, silence

FINISH_S = 120  # for uploads at a run's end; what is left is on disk

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


def served(what: str) -> Callable[..., Any]:
    """Leave something out, with a warning, while the server that it needs does not answer; the run's folder has it."""

    def decorate(use: Callable[..., None]) -> Callable[..., None]:
        @wraps(use)
        def used(logger: Logger | None, *args: Any) -> None:
            if not speaks(logger) or logger.experiment.disabled:
                return
            run = logger.experiment
            why = None if run.offline else silence(run.settings.base_url)
            try:
                if not why:
                    use(logger, *args)
            except wandb.Error as error:
                why = " ".join(str(error).split())
            if why:
                log.warning("W&B does not answer (%s): %s left out there", why, what)

        return used

    return decorate


class RunLogger(WandbLogger):
    """Lightning's logger, whose run outlives W&B's own process."""

    log_metrics = lasting(WandbLogger.log_metrics)

    def start(self) -> None:
        """Start the run; raise InputError where W&B refuses it."""
        try:
            _ = self.experiment
        except (pydantic.ValidationError, wandb.Error) as error:
            raise InputError(f"{explain(error)}; mend it, {HINT}") from error

    def renew(self) -> None:
        """Go on with the same run in a new process of W&B's."""
        for end in (wandb.finish, wandb.teardown):
            with suppress(ConnectionError):
                end()
        mode = (
            "offline"
            if not self._experiment.offline and silence(self._experiment.settings.base_url)
            else self._wandb_init["mode"]
        )
        same = {"id": self._experiment.id, "resume": "allow", "mode": mode}
        self._experiment = wandb.init(**self._wandb_init | same)


def wandb_logger(*, save_dir: str, mode: str | None = None, **options: Any) -> RunLogger:
    """Return a logger whose run starts with its first use; `mode` is chosen where there is none, without prompts.

    `options` are those of wandb.init: project, entity, group, name, tags, id, resume.
    """
    folder = Path(to_absolute_path(save_dir))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"logger.save_dir={save_dir}: {error.strerror}; WANDB_DIR may name another folder") from error
    wait = os.environ.get("WANDB_FINISH_TIMEOUT", FINISH_S)
    settings = wandb.Settings(silent=True, finish_timeout=wait, finish_timeout_raises=True)
    options = {name: value for name, value in options.items() if value}
    logger = RunLogger(save_dir=str(folder), mode=mode or choose_mode(None), settings=settings, **options)
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
    logger.start()
    try:
        add_to_config(logger, config)
        yield
    except Preempted:
        finish(logger, 1, is_preempted=True)
        raise
    except BaseException:
        finish(logger, 1)
        raise
    finish(logger, 0)


@lasting
def finish(logger: RunLogger, exit_code: int, *, is_preempted: bool = False) -> None:
    """Close the run; a sweep hands a preempted one to the next agent.

    Where the server does not take all of it in time, a warning says how to upload the rest.
    """
    folder = Path(logger.experiment.dir).parent
    try:
        if is_preempted:
            logger.experiment.mark_preempting()
        wandb.finish(exit_code=exit_code)
    except TimeoutError:
        log.warning(
            "W&B has not got all of this run, which is on disk: wandb sync --include-online %s", quote(str(folder))
        )


@lasting
def add_to_config(logger: Logger | None, values: dict[str, Any]) -> None:
    """Add values to the run's config, to filter and group by."""
    if speaks(logger):
        logger.experiment.config.update(values, allow_val_change=True)


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


@served("the table of samples is")
def log_pictures(logger: Logger | None, key: str, of: str, rows: list[tuple[Any, Tensor]]) -> None:
    """Log a table of pictures (3, H, W) in [0, 1], a row each, headed by what they are of."""
    pictures = [[name, wandb.Image(picture.permute(1, 2, 0).mul(255).byte().numpy())] for name, picture in rows]
    if pictures:
        logger.log_table(key, columns=[of, "samples"], data=pictures)


@lasting
@served("the generator is")
def log_generator(logger: Logger | None, files: list[Path], objective: str | None, metadata: dict[str, Any]) -> None:
    """File a generator as a version of its group's model artifact; the group's best run so far gets the alias best.

    The best is the run with the smallest `{objective}_best` of one protocol. Offline runs cannot know of others.
    """
    run = logger.experiment
    artifact = wandb.Artifact(artifact_name(f"generator-{run.group}"), type="model", metadata=jsonable(metadata))
    for file in files:
        artifact.add_file(str(file))
    aliases, key = ["latest"], f"{objective}_best"
    if objective and not run.offline:
        aliases += ["best"] if is_best_of_group(run, key, metadata[key], metadata.get("protocol_id")) else []
    run.log_artifact(artifact, aliases=aliases)


def artifact_name(name: str) -> str:
    """Return a name as W&B takes it for an artifact: one that has to change gets a hash of what it was."""
    if safe(name) == name and len(name) <= LONGEST:
        return name
    return f"{safe(name)[: LONGEST - 9]}-{sha256(name.encode()).hexdigest()[:8]}"


def where(logger: Logger | None) -> list[str]:
    """Return the run's page or, for an offline run, the command that uploads it; nothing without a W&B run."""
    if not speaks(logger) or logger.experiment.disabled:
        return []
    run = logger.experiment
    return [f"wandb sync {quote(str(Path(run.dir).parent))}" if run.offline else run.url]
