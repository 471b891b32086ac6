"""How a run goes on: in its folder, with the settings that it was started with, or with named changes to them."""

from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities import rank_zero_only

from gan.errors import InputError
from gan.gan import GAN
from gan.run.cell import flatten
from gan.run.checkpoints import read_checkpoint, require_same_layers, shapes
from gan.run.command_line import OVERRIDES, get_key, read_config
from gan.run.config import format_value
from gan.system.run_folder import BEST, CONFIG, GENERATOR, HISTORY, LAST, METRICS

CHANGES = "changed_at_step"  # in a run's config: by step, the settings that were others before it
# what a resumed run may change: everything in these groups, and numbers in these
FREE = ("trainer", "schedule", "metrics", "logger", "callbacks", "objective", "second_objective")
NUMBERS = ("optimizer", "penalty", "gradient_clip_val", "weight_clip", "ema_half_life_steps", "ema_ramp_up")
PLACES = ("run_dir", "data_dir", "cache_dir", "ckpt_path", "resume", "choices", "data_sha256", OVERRIDES, CHANGES)
PLACE_OPTIONS = ("data.root", "data.cache_dir", "data.num_workers", "trainer.default_root_dir")
MOST_NAMED = 3  # settings in an error


class Start(NamedTuple):
    """Where a run starts: at a checkpoint and its step, or fresh; `changes` are the settings that differ from before.

    They are by key, each with the value before and the one from now on. `before` holds earlier changes, by step;
    `data_sha256` is of the images before, `layers` the checkpoint's shapes by name.
    """

    path: Path | None = None
    step: int = 0
    changes: dict[str, tuple[Any, Any]] = {}  # noqa: RUF012, a NamedTuple's default
    before: dict[str, Any] = {}  # noqa: RUF012
    data_sha256: str | None = None
    layers: dict[str, tuple[int, ...]] = {}  # noqa: RUF012

    @property
    def note(self) -> str | None:
        """One line about how a resumed run goes on."""
        if not self.path:
            return None
        changed = ", ".join(
            f"{key}={format_value(new)} (was {format_value(old)})" for key, (old, new) in self.changes.items()
        )
        return f"resuming {self.path} at step {self.step:,}" + (f" with {changed}" if changed else "")

    def require_fit(self, gan: GAN, cfg: DictConfig) -> None:
        """Raise InputError unless the checkpoint's images and networks are this run's."""
        if self.data_sha256 not in (None, cfg.data_sha256):
            raise InputError(f"ckpt_path={self.path}: was trained on other images than these; start a new run")
        if self.path:
            require_same_layers(gan, self.layers, self.path)

    @property
    def record(self) -> dict[str, Any]:
        """What the config says of settings that were others before: {step: {key: value before}}."""
        now = {str(self.step): {key: old for key, (old, _) in self.changes.items()}} if self.changes else {}
        return {CHANGES: {**self.before, **now}} if self.before or now else {}


def find_start(cfg: DictConfig) -> Start:
    """Return where a run starts; clear what an earlier try left in its folder before its first checkpoint.

    Raises InputError for a folder that holds another run, a file that is no checkpoint, and for settings that a run
    can't change on its way.
    """
    run_dir, wanted = Path(cfg.run_dir), cfg.ckpt_path
    path = run_dir / LAST if wanted == "last" else Path(wanted) if wanted else None
    if wanted == "last" and not path.is_file():
        path = None
    if path and not path.is_file():
        raise InputError(f"ckpt_path={wanted}: no such file; give a .ckpt file, or last for the run's own")
    if not path:
        if not rank_zero_only.rank:
            clear_folder(cfg, run_dir)
        return Start()
    checkpoint = read_checkpoint(path)
    recorded = read_config(path.parent.parent)
    if recorded is None:
        raise InputError(
            f"ckpt_path={wanted}: its run's settings are unknown, as {path.parent.parent / CONFIG} is missing; "
            "resume a checkpoint in its run's folder"
        )
    changes = compare_settings(recorded, OmegaConf.to_container(cfg), path)
    layers = shapes(checkpoint["state_dict"])
    earlier, data_sha256 = recorded.get(CHANGES) or {}, recorded.get("data_sha256")
    return Start(path, checkpoint["global_step"], changes, earlier, data_sha256, layers)


def clear_folder(cfg: DictConfig, run_dir: Path) -> None:
    """Remove what this very run left before its first checkpoint; raise InputError for a folder of another run."""
    left = [name for name in (CONFIG, METRICS, HISTORY, LAST, BEST, GENERATOR) if (run_dir / name).exists()]
    if not left:
        return
    recorded = read_config(run_dir)
    if cfg.ckpt_path != "last" or recorded is None or METRICS in left:
        raise InputError(
            f"run_dir={run_dir}: holds a run already ({', '.join(left)}); resume={run_dir} continues it, another "
            "hydra.run.dir (of a multirun, hydra.sweep.dir) keeps both"
        )
    compare_settings(recorded, OmegaConf.to_container(cfg), run_dir / CONFIG)
    for path in [*(run_dir / name for name in left), *run_dir.glob("samples/step_*.png")]:
        path.unlink()


def compare_settings(recorded: dict[str, Any], config: dict[str, Any], source: Path) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ, by key, with both values; raise InputError for those that a run can't change."""
    before, now = select_settings(recorded), select_settings(config)
    changes, refused = {}, []
    for key in [*now, *(key for key in before if key not in now)]:
        old, new = before.get(key), now.get(key)
        if old == new and (key in before) == (key in now):
            continue
        group = key.split(".")[0]
        numbers = key in before and key in now and all(isinstance(value, int | float | list) for value in (old, new))
        if group not in FREE and not (group in NUMBERS and (numbers or group == key)):
            here, there = (f"{key}={format_value(of[key])}" if key in of else f"no {key}" for of in (now, before))
            refused.append(f"{here} (the run has {there})")
        elif group not in ("logger", "callbacks"):
            changes[key] = old, new
    if refused:
        shown = sorted(refused, key=lambda text: "_target_" not in text)[:MOST_NAMED]
        more = f" and {len(refused) - len(shown)} more" if len(refused) > len(shown) else ""
        raise InputError(
            f"{', '.join(shown)}{more}: can't change on the way from {source}; resume with the run's own settings, or "
            "start a new run"
        )
    return changes


def select_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config flat, without the places where its files are."""
    chosen = flatten({name: part for name, part in config.items() if name not in PLACES})
    return {key: value for key, value in chosen.items() if key not in PLACE_OPTIONS}


def task_overrides() -> list[str]:
    """Return the overrides that this run was started with, for its config: what resumes it repeats them."""
    return [word for word in HydraConfig.get().overrides.task if get_key(word) not in ("ckpt_path", "resume")]
