"""How long a multirun will take, printed before it starts."""

import itertools
import math
import shlex
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict

from gan.errors import exit_in_one_line
from gan.launch.swept_keys import SweptKeys
from gan.run.display import format_duration
from gan.system.console import plain_console
from gan.system.threads import choose_threads, divide_threads

WARM_UP, TIMED = 3, 12  # steps of each cell
START_S = 12  # of a run: imports, and files written at its end


class Forecast(Callback):
    """Times a few steps and one scoring of each cell of a multirun, and prints how long all its runs will take.

    It also decodes the images and trains the user's own extractor, so that the runs find both in the cache. The
    forecast assumes `hydra.launcher.n_jobs` runs at a time, each with its share of the cores.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        SweptKeys().on_multirun_start(config)  # a recipe's callbacks come before train.yaml's
        runs = expand_sweep(config)
        n_jobs = config.hydra.launcher.get("n_jobs", 1)
        cells = Counter(tuple(word for word in words if not word.startswith("seed=")) for words in runs)
        console = plain_console()
        with exit_in_one_line(), console.status("timing a few steps of each cell"):
            choose_threads()
            seconds = {words: time_run([*words], config, n_jobs) for words in cells}
        total = sum(seconds[words] * n for words, n in cells.items()) / min(n_jobs, len(runs))
        end = datetime.now() + timedelta(seconds=total)
        longest, shortest = max(seconds.values()), min(seconds.values())
        at_once = f"{n_jobs} at a time" if n_jobs > 1 else "one after another"
        console.print(
            f"{len(runs)} runs, {len(cells)} cells, {at_once}: about {format_duration(total)}, until {end:%H:%M} "
            f"({format_duration(shortest)} to {format_duration(longest)} per run; {TIMED} steps of each cell timed)",
            soft_wrap=True,
        )

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        if not any(Path(config.hydra.sweep.dir).rglob("metrics.json")):
            return
        command = f"python scripts/report.py --local {shlex.quote(config.hydra.sweep.dir)}"
        plain_console().print(f"compare  {command}", soft_wrap=True)


def expand_sweep(config: DictConfig) -> list[tuple[str, ...]]:
    """Return the overrides of each run of a multirun: the sweeper's own parameters, and those of the command line."""
    words = [f"{name}={value}" for name, value in (config.hydra.sweeper.get("params") or {}).items()]
    values: dict[str, list[str]] = {}
    for override in OverridesParser.create().parse_overrides([*words, *config.hydra.overrides.task]):
        swept = override.sweep_string_iterator() if override.is_sweep_override() else None
        key = override.get_key_element()
        values[key] = [f"{key}={value}" for value in swept or [override.get_value_element_as_str()]]
    return list(itertools.product(*values.values()))


def time_run(words: list[str], config: DictConfig, n_jobs: int) -> float:
    """Return the seconds that a run will take, estimated from some of its steps and one scoring."""
    import torch
    from pytorch_lightning import seed_everything

    from gan.launch.step_timer import StepTimer
    from gan.run.build import build_data, build_gan, build_lightning_trainer, build_scorer, network_shape
    from gan.system.console import quiet

    quiet()
    threads = torch.get_num_threads()
    torch.set_num_threads(int(divide_threads(n_jobs)))
    try:
        cfg = prepare_run(words, config)
        seed_everything(cfg.seed, verbose=False)
        data = build_data(cfg)
        gan, scorer, timer = build_gan(cfg, network_shape(cfg, data)), build_scorer(cfg, data), StepTimer(WARM_UP)
        trainer = build_lightning_trainer(
            cfg,
            **{"max_steps": WARM_UP + TIMED, "limit_val_batches": 0, "enable_progress_bar": False},
            **{"callbacks": [timer], "logger": False},
        )
        steps = cfg.trainer.max_steps
        if steps < 1:
            steps = cfg.trainer.max_epochs * (len(data.splits["train"]) // (data.batch_size * data.n_critic))
        trainer.fit(gan, data)
        seconds = START_S + timer.seconds_per_step * steps
        if scorer:
            scorer.measure_reals(trainer.strategy.root_device)
            started = time.perf_counter()
            scorer.score(gan.ema.module, data.latents.build_loader(), trainer.strategy.root_device)
            n_scorings = math.ceil(steps / cfg.trainer.val_check_interval) + 1  # the best checkpoint's too
            seconds += n_scorings * (time.perf_counter() - started)
        return seconds
    finally:
        torch.set_num_threads(threads)


def prepare_run(words: list[str], config: DictConfig) -> DictConfig:
    """Return the config of one run of a multirun as the run itself would compose it."""
    from gan.run.config import prepare_config

    multirun = HydraConfig.instance().cfg
    cfg = compose(config.hydra.job.config_name, words, return_hydra_config=True)
    with open_dict(cfg):
        cfg.hydra.runtime.output_dir = config.hydra.sweep.dir
        cfg.hydra.job.num = 0
    HydraConfig.instance().set_config(cfg)
    try:
        with open_dict(cfg):
            del cfg["hydra"]
        return prepare_config(cfg)
    finally:
        HydraConfig.instance().cfg = multirun
