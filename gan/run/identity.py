"""Who a run is: the cell that it is a seed of, and its group, name and id in W&B."""

import glob
import os
import re
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
from gan.system.run_folder import CONFIG

TRACKED = "gan.tracking.wandb_logger"
NAMES = ("project", "entity", "group", "name", "id")
LONGEST_TAG = 64  # characters that W&B takes


def prepare_logger(cfg: DictConfig) -> DictConfig:
    """Return the config with the mode in which the run is logged.

    Raises InputError, before the data are read, for what W&B would refuse only once the run has started or is trained:
    names with too many letters or wrong ones, an account, and one id for several runs.
    """
    config = OmegaConf.to_container(cfg)
    if not is_tracked(config):
        return cfg
    options = normalize_options(config["logger"])
    options["save_dir"] = options.get("save_dir") or config["run_dir"]
    is_first = not rank_zero_only.rank  # the process that logs for all
    options["mode"] = check_account(options, is_multirun=is_multirun()) if is_first else "disabled"
    if is_first and is_new(options["id"], config["ckpt_path"]):
        require_unused(options["id"], Path(config["run_dir"]))
    return OmegaConf.create(config | {"logger": options})


def check_account(options: dict[str, Any], *, is_multirun: bool) -> str:
    """Return the mode in which runs with a logger's options are logged; raise InputError for what W&B would refuse."""
    from gan.system.wandb_server import check_name, choose_mode

    for key in (*NAMES, "tags"):
        check_name(key, options[key])
    if options["id"] and is_multirun:
        raise InputError(f"WANDB_RUN_ID={options['id']}: is one run's id, and a multirun starts several; unset it")
    return choose_mode(options["mode"])


def identify_run(cfg: DictConfig, data: ImageData, record: dict[str, Any]) -> DictConfig:
    """Return the config with a hash of the images, the name of the run's cell, and what the run is called in W&B.

    `record` are the settings that were others before the run was resumed, which are part of its cell. A run that is
    resumed in its folder goes on with its id. An id that is asked for must be new, unless a sweep has given it;
    WANDB_RESUME decides if it is set.
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
    """Whether an id is asked for, and for a new run: a resumed one has it already, as has one that a sweep starts."""
    return bool(run_id) and not ckpt_path and "WANDB_SWEEP_ID" not in os.environ


def require_unused(run_id: str, run_dir: Path) -> None:
    """Raise InputError for an id that is another run's, as folders say, which by default are called by it."""
    for path in sorted(run_dir.parent.parent.glob(f"*/{glob.escape(run_id)}/{CONFIG}")):
        if run_dir.name == run_id and path.parent.resolve() != run_dir.resolve():
            raise InputError(f"WANDB_RUN_ID={run_id}: is the id of the run in {path.parent}; unset it for another run")


def is_tracked(config: dict[str, Any]) -> bool:
    """Whether a config's logger is W&B's."""
    return (config["logger"] or {}).get("_target_") == TRACKED


def is_multirun() -> bool:
    """Whether this run is one of several of a command."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def normalize_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the logger's options with names as text, None for empty ones, and tags as a list of words."""
    tags = options.get("tags")
    words = [word.strip() for word in tags.split(",") if word.strip()] if isinstance(tags, str) else tags
    names = {key: options.get(key) for key in (*NAMES, "mode")}
    return (
        options
        | {key: str(value) if value not in (None, "") else None for key, value in names.items()}
        | {"tags": words}
    )


def find_id(config: dict[str, Any]) -> str | None:
    """Return the W&B id of the run that is resumed in its folder, None for a new run."""
    run_dir, path = Path(config["run_dir"]).resolve(), config["ckpt_path"]
    folder = run_dir if path == "last" else Path(path).resolve().parent.parent if path else None
    if folder != run_dir:
        return None
    before = OmegaConf.load(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    if known := (before.get("logger") or {}).get("id"):
        return known
    latest = folder / "wandb" / "latest-run"  # run-DATE_TIME-ID, and an id may hold dashes
    found = re.fullmatch(r"(?:offline-)?run-\d+_\d+-(.+)", latest.resolve().name) if latest.exists() else None
    return found[1] if found else None
