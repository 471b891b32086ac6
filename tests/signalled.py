"""Two processes that train together while signals come to one of them or both, at random moments, and go on."""

import os
import random
import signal
import threading
import time
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import execution_whitelist
from omegaconf import open_dict
from pytorch_lightning.utilities import rank_zero_only
from safetensors.torch import load_file

from gan.errors import Preempted
from gan.run.allowlist import TARGETS
from gan.system.signals import catch_signals
from tests.helpers import FEW_FAKES, NARROW, ROOT, SMALL

STEPS = 20
RUN = ["model=mlp", *NARROW["mlp"], "data.batch_size=16", f"trainer.max_steps={STEPS}", "trainer.val_check_interval=10"]


def train_once(folder: Path, *overrides: str, number: int = 0, delay: float = 0) -> bool:
    """Train, or resume, in a folder; send this process a signal in a while; return whether the run came to its end."""
    import train

    own = ["logger=none", f"run_dir={folder}", *SMALL, *FEW_FAKES, *RUN, "trainer.devices=2", *overrides]
    cfg = compose("train", own, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    catch_signals()
    timer = threading.Timer(delay, os.kill, (os.getpid(), number))
    timer.start()
    try:
        train.train(cfg)
    except Preempted:
        return False
    finally:
        timer.cancel()
        timer.join()
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["global_step"] == STEPS


def train_through_signals(rank: int, port: int, folder: Path, cache: str, rounds: int, seed: int) -> None:
    """Train undisturbed, then in rounds with a signal each; the weights must be the same bit for bit."""
    torch.set_num_threads(1)
    rank_zero_only.rank = rank  # as Lightning reads it, when it is imported, in a process that a launcher starts
    os.environ |= {"XDG_CACHE_HOME": cache, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2"}
    moments = random.Random(seed)
    with initialize_config_dir(str(ROOT / "conf")), execution_whitelist(TARGETS):
        assert train_once(folder / "warm")
        since = time.monotonic()
        assert train_once(folder / "alone")
        lasts = time.monotonic() - since
        expected = load_file(folder / "alone" / "generator.safetensors")
        for turn in range(rounds):
            number = moments.choice([signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM])
            ranks, delay = moments.choice([(0,), (1,), (0, 1)]), lasts * moments.random()
            own, tries = folder / str(turn), 1
            ended = train_once(own, number=number if rank in ranks else 0, delay=delay)
            while not ended:
                tries += 1
                ended = train_once(own, "ckpt_path=last")
            if rank == 0:  # which writes the file
                print(f"{signal.Signals(number).name} to {ranks} after {delay:.2f} s: {tries} tries", flush=True)
                found = load_file(own / "generator.safetensors")
                assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
