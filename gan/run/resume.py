"""Resuming a run: where it starts, and which of its settings may differ from before."""

from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities import rank_zero_only

from gan.errors import InputError
from gan.gan import GAN
from gan.run.cell import NEUTRAL, flatten
from gan.run.checkpoints import read_checkpoint, require_same_layers, shapes
from gan.run.command_line import OVERRIDES, get_key, read_config
from gan.run.config import format_value
from gan.system.code_version import describe_code
from gan.system.run_folder import BEST, CONFIG, GENERATOR, HISTORY, LAST, METRICS

CODE = "code"  # in a run's config: the version of the code, or all versions that trained it
CHANGES = "changed_at_step"  # in a run's config: by step, the settings that were others before it
# settings that a resumed run may change: all in these groups, and numbers in those
FREE = ("budget", "trainer", "schedule", "annealing", "metrics", "logger", "callbacks", "objective", "second_objective")
NUMBERS = ("optimizer", "penalty", "gradient_clip_val", "weight_clip", "ema_half_life_steps", "ema_ramp_up")
PLACES = ("run_dir", "data_dir", "cache_dir", "ckpt_path", "resume", "choices", "data_sha256", OVERRIDES, CHANGES, CODE)
# what runs did before these settings
UNRECORDED = {"fresh_fakes": True, "budget.images": None, "budget.flops": None, **NEUTRAL}
PLACE_OPTIONS = ("data.root", "data.cache_dir", "data.num_workers", "trainer.default_root_dir")
MOST_NAMED = 3  # settings in an error


class Start(NamedTuple):
    """Where a run starts: at a checkpoint (`path`) and its `step`, or from scratch.

    `changes` maps the key of each setting that changes to its value before and its new value. `before` holds the
    changes of earlier resumes by step, `data_sha256` the hash of the images so far, `layers` the shapes of the
    checkpoint's parameters by name, and `code` the versions of the code that trained it.
    """

    path: Path | None = None
    step: int = 0
    changes: dict[str, tuple[Any, Any]] = {}  # noqa: RUF012, a NamedTuple's default
    before: dict[str, Any] = {}  # noqa: RUF012
    data_sha256: str | None = None
    layers: dict[str, tuple[int, ...]] = {}  # noqa: RUF012
    code: str = ""

    @property
    def note(self) -> str | None:
        """One line that says where a run resumes, and with which changes; None for a new run."""
        if not self.path:
            return None
        changed = ", ".join(
            f"{key}={format_value(new)} (was {format_value(old)})" for key, (old, new) in self.changes.items()
        )
        return f"resuming {self.path} at step {self.step:,}" + (f" with {changed}" if changed else "")

    def require_fit(self, gan: GAN, cfg: DictConfig) -> None:
        """Raise InputError if the checkpoint is of other images or networks than this run's."""
        if self.data_sha256 not in (None, cfg.data_sha256):
            raise InputError(f"ckpt_path={self.path}: was trained on other images; start a new run")
        if self.path:
            require_same_layers(gan, self.layers, self.path)

    @property
    def record(self) -> dict[str, Any]:
        """The entries of the config for the code, and for all changes: {step: {key: value before that step}}."""
        versions = dict.fromkeys([*filter(None, self.code.split(", ")), describe_code()])
        now = {str(self.step): {key: old for key, (old, _) in self.changes.items()}} if self.changes else {}
        changes = {CHANGES: {**self.before, **now}} if self.before or now else {}
        return changes | {CODE: ", ".join(versions)}


def prepare_start(cfg: DictConfig) -> Start:
    """Return where a run starts; remove the files of an earlier try that ended before its first checkpoint.

    Raises InputError for a folder with another run, for a file that is not a checkpoint, and for settings that a
    resumed run can't change.
    """
    run_dir, wanted = Path(cfg.run_dir), cfg.ckpt_path
    path = run_dir / LAST if wanted == "last" else Path(wanted) if wanted else None
    if wanted == "last" and not path.is_file():
        path = None
    if path and not path.is_file():
        raise InputError(f"ckpt_path={wanted}: no such file; must be a .ckpt file, or last for that of this run")
    if not path:
        if not rank_zero_only.rank:
            clear_folder(cfg, run_dir)
        return Start()
    checkpoint = read_checkpoint(path)
    recorded = read_config(path.parent.parent)
    if recorded is None:
        raise InputError(
            f"ckpt_path={wanted}: the settings of its run are unknown: {path.parent.parent / CONFIG} is missing; "
            "use a checkpoint in its run's folder"
        )
    changes = compare_settings(recorded, OmegaConf.to_container(cfg), path)
    layers = shapes(checkpoint["state_dict"])
    earlier, data_sha256 = recorded.get(CHANGES) or {}, recorded.get("data_sha256")
    code = recorded.get(CODE) or ""
    return Start(path, checkpoint["global_step"], changes, earlier, data_sha256, layers, code)


def clear_folder(cfg: DictConfig, run_dir: Path) -> None:
    """Remove the files of this run that a try before its first checkpoint left; raise InputError for another run's."""
    left = [name for name in (CONFIG, METRICS, HISTORY, LAST, BEST, GENERATOR) if (run_dir / name).exists()]
    if not left:
        return
    recorded = read_config(run_dir)
    if cfg.ckpt_path != "last" or recorded is None or METRICS in left:
        raise InputError(
            f"run_dir={run_dir}: already contains a run ({', '.join(left)}); continue it with resume={run_dir}, or "
            "choose another folder with hydra.run.dir (for a multirun, hydra.sweep.dir)"
        )
    compare_settings(recorded, OmegaConf.to_container(cfg), run_dir / CONFIG)
    for path in [*(run_dir / name for name in left), *run_dir.glob("samples/**/step_*.png")]:
        path.unlink()


def compare_settings(recorded: dict[str, Any], config: dict[str, Any], source: Path) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ, by key, with both values; raise InputError for those that can't change."""
    before, now = select_settings(recorded), select_settings(config)
    before = {key: value for key, value in UNRECORDED.items() if key in now} | before
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
            f"{', '.join(shown)}{more}: can't change when {source} is resumed; keep the run's settings, or start a new "
            "run"
        )
    return changes


def select_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config's settings by dotted key, without the paths of its files."""
    chosen = flatten({name: part for name, part in config.items() if name not in PLACES})
    return {key: value for key, value in chosen.items() if key not in PLACE_OPTIONS}


def task_overrides() -> list[str]:
    """Return the overrides of this command, which the config records and a resume repeats."""
    return [word for word in HydraConfig.get().overrides.task if get_key(word) not in ("ckpt_path", "resume")]
