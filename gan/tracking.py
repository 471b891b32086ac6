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
from typing import TYPE_CHECKING, Any

from hydra.utils import to_absolute_path
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from gan.errors import InputError, Preempted
from gan.system.wandb_names import LONGEST, make_safe_name

if TYPE_CHECKING:
    import wandb  # elsewhere where it is used: its import takes half a second

FINISH_S = 120  # for uploads at a run's end; what is left is on disk

log = logging.getLogger(__name__)


def renew_if_lost(use: Callable[..., Any]) -> Callable[..., Any]:
    """Do again, in a new process of W&B's, what the old one can't: Slurm ends all processes of a job at once."""

    @wraps(use)
    def use_again(logger: Logger | None, *args: Any, **options: Any) -> Any:
        try:
            return use(logger, *args, **options)
        except ConnectionError:
            logger.renew()
            return use(logger, *args, **options)

    return use_again


def skip_without_server(what: str) -> Callable[..., Any]:
    """Leave something out, with a warning, while the server that it needs does not answer; the run's folder has it."""

    def decorate(use: Callable[..., None]) -> Callable[..., None]:
        @wraps(use)
        def use_or_warn(logger: Logger | None, *args: Any) -> None:
            if not logs_to_wandb(logger) or logger.experiment.disabled:
                return
            import wandb

            from gan.system.wandb_server import find_outage

            run = logger.experiment
            why = None if run.offline else find_outage(run.settings.base_url)
            try:
                if not why:
                    use(logger, *args)
            except wandb.Error as error:
                why = " ".join(str(error).split())
            if why:
                log.warning("W&B does not answer (%s): %s left out there", why, what)

        return use_or_warn

    return decorate


class RunLogger(WandbLogger):
    """Lightning's logger for a run that starts with its first use, and that outlives W&B's own process.

    `options` are those of wandb.init.
    """

    log_metrics = renew_if_lost(WandbLogger.log_metrics)

    def __init__(self, *, save_dir: str, **options: Any) -> None:
        super().__init__(save_dir=save_dir, project=options.get("project"), version=options.get("id"))
        self.options = {"dir": save_dir, "resume": "allow"} | options
        self.run: wandb.Run | None = None

    @property
    @rank_zero_experiment
    def experiment(self) -> "wandb.Run":
        """The run in W&B, started with the first use; steps are Lightning's."""
        import wandb

        if self.run is None:
            self.run = wandb.init(**self.options)
            self.run.define_metric("trainer/global_step")
            self.run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return self.run

    def start(self) -> None:
        """Start the run; raise InputError where W&B refuses it."""
        import pydantic
        import wandb

        from gan.system.wandb_server import HINT, describe_refusal

        try:
            _ = self.experiment
        except (pydantic.ValidationError, wandb.Error) as error:
            raise InputError(f"{describe_refusal(error)}; correct it, {HINT}") from error

    def renew(self) -> None:
        """Continue the same run in a new process of W&B's."""
        import wandb

        from gan.system.wandb_server import find_outage

        for end in (wandb.finish, wandb.teardown):
            with suppress(ConnectionError):
                end()
        is_lost = not self.run.offline and find_outage(self.run.settings.base_url)
        mode = {"mode": "offline"} if is_lost else {}
        self.run = wandb.init(**self.options | {"id": self.run.id, "resume": "allow"} | mode)


def wandb_logger(*, save_dir: str, mode: str | None = None, **options: Any) -> RunLogger:
    """Return a logger whose run starts with its first use; `mode` is chosen where there is none, without prompts.

    `options` are those of wandb.init: project, entity, group, name, tags, id, resume.
    """
    import wandb

    from gan.system.wandb_server import choose_mode

    folder = Path(to_absolute_path(save_dir))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"logger.save_dir={save_dir}: {error.strerror}; WANDB_DIR may name another folder") from error
    wait = os.environ.get("WANDB_FINISH_TIMEOUT", FINISH_S)
    settings = wandb.Settings(silent=True, finish_timeout=wait, finish_timeout_raises=True)
    options = {name: value for name, value in options.items() if value}
    return RunLogger(save_dir=str(folder), mode=mode or choose_mode(None), settings=settings, **options)


def logs_to_wandb(logger: Logger | None) -> bool:
    """Return whether this process logs to W&B: the first one does, for all."""
    return isinstance(logger, RunLogger) and not rank_zero_only.rank


@contextmanager
def track_run(logger: Logger | None, config: dict[str, Any]) -> Iterator[None]:
    """Log the config; close the run in W&B at the end, as preempted, or as failed after an exception."""
    if not logs_to_wandb(logger):
        yield
        return
    logger.start()
    try:
        log_config(logger, config)
        yield
    except Preempted:
        finish_run(logger, 1, is_preempted=True)
        raise
    except BaseException:
        finish_run(logger, 1)
        raise
    finish_run(logger, 0)


@renew_if_lost
def finish_run(logger: RunLogger, exit_code: int, *, is_preempted: bool = False) -> None:
    """Close the run; a sweep hands a preempted one to the next agent.

    Where the server does not receive all of it in time, a warning says how to upload the rest.
    """
    import wandb

    folder = logger.experiment.settings.sync_dir
    try:
        if is_preempted:
            logger.experiment.mark_preempting()
        wandb.finish(exit_code=exit_code)
    except TimeoutError:
        log.warning(
            "W&B has not received all of this run, which is on disk: wandb sync --include-online %s", quote(folder)
        )


@renew_if_lost
def log_config(logger: Logger | None, values: dict[str, Any]) -> None:
    """Add values to the run's config, to filter and group by."""
    if logs_to_wandb(logger):
        logger.experiment.config.update(values, allow_val_change=True)


@renew_if_lost
def log_summary(logger: Logger | None, values: dict[str, Any]) -> None:
    """Put final values, nested ones too, into the run's summary."""
    if logs_to_wandb(logger):
        logger.experiment.summary.update(make_jsonable(values))


def make_jsonable(value: Any) -> Any:
    """Return nested values with inf and nan as strings, since JSON has no such numbers."""
    if isinstance(value, dict):
        return {name: make_jsonable(part) for name, part in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def log_image(logger: Logger | None, key: str, path: Path, step: int) -> None:
    """Log an image file under a key at a generator step."""
    if logs_to_wandb(logger):
        logger.log_image(key, [str(path)], step=step)


@skip_without_server("the animation of samples is")
def log_animation(logger: Logger | None, key: str, path: Path) -> None:
    """Log an animated GIF under a key."""
    import wandb

    logger.experiment.log({key: wandb.Video(str(path), format="gif")})


@skip_without_server("the table of samples is")
def log_image_table(logger: Logger | None, key: str, of: str, rows: list[tuple[Any, Tensor]]) -> None:
    """Log a table of images (3, H, W) in [0, 1], one per row; `of` heads the column of their names."""
    import wandb

    pictures = [[name, wandb.Image(picture.permute(1, 2, 0).mul(255).byte().numpy())] for name, picture in rows]
    if pictures:
        logger.log_table(key, columns=[of, "samples"], data=pictures)


@renew_if_lost
@skip_without_server("the generator is")
def log_generator(logger: Logger | None, files: list[Path], objective: str | None, metadata: dict[str, Any]) -> None:
    """File a generator as a version of its group's model artifact; the group's best run so far gets the alias best.

    The best is the run with the smallest `{objective}_best` of one protocol. Offline runs cannot know of others.
    """
    import wandb

    from gan.system.wandb_server import is_best_of_group

    run = logger.experiment
    artifact = wandb.Artifact(
        format_artifact_name(f"generator-{run.group}"), type="model", metadata=make_jsonable(metadata)
    )
    for file in files:
        artifact.add_file(str(file))
    aliases, key = ["latest"], f"{objective}_best"
    if objective and not run.offline:
        aliases += ["best"] if is_best_of_group(run, key, metadata[key], metadata.get("protocol_id")) else []
    run.log_artifact(artifact, aliases=aliases)


def format_artifact_name(name: str) -> str:
    """Return a name that W&B accepts for an artifact; a name that has to change gets a hash of the original."""
    if make_safe_name(name) == name and len(name) <= LONGEST:
        return name
    return f"{make_safe_name(name)[: LONGEST - 9]}-{sha256(name.encode()).hexdigest()[:8]}"


def list_locations(logger: Logger | None) -> list[str]:
    """Return the URL of the run's page or, for an offline run, the command that uploads it; nothing without a run."""
    if not logs_to_wandb(logger) or logger.experiment.disabled:
        return []
    run = logger.experiment
    return [f"wandb sync {quote(run.settings.sync_dir)}" if run.offline else run.url]
