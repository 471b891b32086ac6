"""The start of W&B for a run, beside the import of torch."""

import os
from contextlib import suppress
from threading import Thread

from omegaconf import DictConfig

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
TRACKED = "gan.tracking.wandb_logger"


def start_wandb(cfg: DictConfig) -> None:
    """Import W&B and start its service in a thread, for a run that logs to it; its first use waits for the service.

    Call it before torch is imported: pydantic, which W&B's import uses, looks through all imported modules. A setting
    that W&B refuses is reported by its first use.
    """
    logger = cfg.get("logger") or {}
    is_first = not any(int(os.environ.get(name) or 0) for name in RANKS)  # only the first process logs
    if logger.get("_target_") != TRACKED or logger.get("mode") == "disabled" or not is_first:
        return
    import wandb

    _ = wandb.Api  # a run's start imports it too

    def start_service() -> None:
        with suppress(Exception):
            wandb.setup(wandb.Settings(silent=True))

    Thread(target=start_service, daemon=True).start()
