"""Checks the W&B account once for all runs of a multirun, before the first of them starts."""

import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.utils import get_class
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher
from omegaconf import DictConfig

from gan.errors import exit_in_one_line


class Account(Callback):
    """Ends a multirun in one line where W&B would refuse its runs; makes them offline where no server answers."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        from gan.run.identity import check_account, is_tracked, normalize_options

        words = OverridesParser.create().parse_overrides([*config.hydra.overrides.task])
        fixed = [word.input_line for word in words if not word.is_sweep_override()]
        logger: dict[str, Any] = {}
        with suppress(HydraException):  # which its first run reports
            logger = compose(config.hydra.job.config_name, fixed).logger
        if not is_tracked({"logger": logger}):
            return
        options = normalize_options({key: logger[key] for key in logger if key != "save_dir"})
        with exit_in_one_line():
            mode = check_account(options, is_multirun=True)
        if mode == "offline" and not issubclass(get_class(config.hydra.launcher._target_), SlurmLauncher):
            os.environ["WANDB_MODE"] = mode

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        wandb_server = sys.modules.get("gan.system.wandb_server")  # which takes seconds to import
        pattern = "*/wandb/offline-run-*"
        if wandb_server and wandb_server.unreachable and any(Path(config.hydra.sweep.dir).glob(pattern)):
            print(f"W&B      wandb sync {shlex.quote(config.hydra.sweep.dir)}/{pattern}")
