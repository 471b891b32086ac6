"""A run's identity: its cell, and its group, name and id in W&B."""

import glob
import os
import secrets
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities import rank_zero_only

from gan.data.datamodule import ImageData
from gan.errors import InputError
from gan.run.cell import CHOICES, name_cell
from gan.run.wandb_start import TRACKED
from gan.system.run_folder import CONFIG

NAMES = ("project", "entity", "group", "name", "id")
LONGEST_TAG = 64  # characters that W&B allows


def prepare_logger(cfg: DictConfig) -> DictConfig:
    """Return the config with the mode (online, offline, disabled) in which W&B logs the run.

    Raises InputError before the data are read for what W&B would refuse later: names that are too long or have invalid
    characters, a wrong API key, and one id for several runs.
    """
    config = OmegaConf.to_container(cfg)
    if not is_tracked(config):
        return cfg
    options = normalize_options(config["logger"])
    options["save_dir"] = options.get("save_dir") or config["run_dir"]
    is_first = not rank_zero_only.rank  # only the first process logs
    options["mode"] = check_account(options, is_multirun=is_multirun()) if is_first else "disabled"
    if is_first and is_new(options["id"], config["ckpt_path"]):
        require_unused(options["id"], Path(config["run_dir"]))
    return OmegaConf.create(config | {"logger": options})


def check_account(options: dict[str, Any], *, is_multirun: bool) -> str:
    """Return the mode for runs with these logger options; raise InputError for what W&B would refuse."""
    from gan.system.wandb_server import choose_mode, require_name

    for key in (*NAMES, "tags"):
        require_name(key, options[key])
    if options["id"] and is_multirun:
        raise InputError(
            f"WANDB_RUN_ID={options['id']}: a multirun starts several runs, and each needs its own; unset it"
        )
    return choose_mode(options["mode"])


def identify_run(cfg: DictConfig, data: ImageData, record: dict[str, Any]) -> DictConfig:
    """Return the config with the images' hash, the cell's name, and the run's group, name, tags and id in W&B.

    `record` holds the version of the code, and the settings that were different before the run was resumed; the latter
    are part of its cell. A run that is resumed in its folder keeps its id. An id from WANDB_RUN_ID must be new, unless
    WANDB_RESUME or a sweep allows it to exist.
    """
    config = OmegaConf.to_container(cfg) | {"data_sha256": data.fingerprint()} | record
    cell = config["choices"]["cell"] = name_cell(config)
    if not is_tracked(config):
        return OmegaConf.create(config)
    options = config["logger"]
    is_given = is_new(options["id"], config["ckpt_path"])
    own = {
        "group": options["group"] or cell,
        "name": options["name"] or f"{cell}-seed{config['seed']}",
        "tags": options["tags"] or [str(config["choices"][name])[:LONGEST_TAG] for name in CHOICES],
        "id": options["id"] or find_id(config) or secrets.token_hex(5),
        "resume": os.environ.get("WANDB_RESUME") or ("never" if is_given else "allow"),
    }
    return OmegaConf.create(config | {"logger": options | own})


def is_new(run_id: str | None, ckpt_path: str | None) -> bool:
    """Return whether a run gets an id that must be new: resumed runs and those of a sweep have theirs already."""
    return bool(run_id) and not ckpt_path and "WANDB_SWEEP_ID" not in os.environ


def require_unused(run_id: str, run_dir: Path) -> None:
    """Raise InputError for an id that another run has; by default, a run's folder is named by its id."""
    for path in sorted(run_dir.parent.parent.glob(f"*/{glob.escape(run_id)}/{CONFIG}")):
        if run_dir.name == run_id and path.parent.resolve() != run_dir.resolve():
            raise InputError(f"WANDB_RUN_ID={run_id}: the run in {path.parent} has this id; unset it for a new run")


def is_tracked(config: dict[str, Any]) -> bool:
    """Return whether a run is logged to W&B."""
    return (config["logger"] or {}).get("_target_") == TRACKED


def is_multirun() -> bool:
    """Return whether this run belongs to a multirun."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def normalize_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the logger's options with names as text, None instead of empty names, and tags as a list."""
    tags = options.get("tags")
    words = [word.strip() for word in tags.split(",") if word.strip()] if isinstance(tags, str) else tags
    names = {key: options.get(key) for key in (*NAMES, "mode")}
    return (
        options
        | {key: str(value) if value not in (None, "") else None for key, value in names.items()}
        | {"tags": words}
    )


def find_id(config: dict[str, Any]) -> str | None:
    """Return the W&B id of a run that is resumed in its folder, None for a new run."""
    run_dir, path = Path(config["run_dir"]).resolve(), config["ckpt_path"]
    folder = run_dir if path == "last" else Path(path).resolve().parent.parent if path else None
    if folder != run_dir:
        return None
    before = OmegaConf.load(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    return (before.get("logger") or {}).get("id")
