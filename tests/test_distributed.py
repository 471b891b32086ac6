"""Two processes with batches of b train as one with batches of 2b: the same noise, shared out, the same weights."""

import json
import os
import socket
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import execution_whitelist
from omegaconf import open_dict
from safetensors.torch import load_file
from torch.distributed.nn import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm

from gan.gan import GAN
from gan.run.allowlist import TARGETS
from tests.helpers import FEW_FAKES, NARROW, ROOT, SMALL
from tests.processes import CONTEXT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

MLP = ["model=mlp", *NARROW["mlp"]]
LOSSES = "bce", "hinge", "lsgan", "minimax", "rpgan", "wgan_gp"
CASES = {loss: [*MLP, f"loss={loss}", "n_critic=1"] for loss in LOSSES}
CASES |= {"wgan": [*MLP, "loss=wgan", "n_critic=1", "weight_clip=0.01"]}
CASES |= {penalty: [*MLP, f"penalty={penalty}"] for penalty in ("r1", "r2", "dragan", "gradient_penalty")}
CASES |= {
    "n_critic": [*MLP, "loss=wgan_gp", "n_critic=3"],
    "clipped": [*MLP, "gradient_clip_val=0.01"],
    "ada": [*MLP, "augment=ada"],
    "lecam": [*MLP, "penalty=lecam"],
    "approx_r1": [*MLP, "penalty=approx_r1"],
    "r3gan": ["model=r3gan", *NARROW["r3gan"], "loss=rpgan", "penalty=r1"],
    "sngan": ["model=sngan", *NARROW["sngan"], "loss=hinge"],
}
BATCH = 24
EPSILON = ["+optimizer.generator.eps=1e-3", "+optimizer.discriminator.eps=1e-3"]  # Adam's 1e-8 blows up rounding


def share_out_noise(rank: int, world: int) -> None:
    """Make each sample's draws those of one process with all of them, of which each process has its share."""
    mine = BATCH // world
    for name in ("rand", "randn"):
        draw = getattr(torch, name)

        def shared(*size, draw=draw, **options):
            size = size[0] if isinstance(size[0], tuple) else size
            if size[0] == mine:
                return draw(BATCH, *size[1:], **options)[rank::world]
            if size[-1] == mine:
                return draw(*size[:-1], BATCH, **options)[..., rank::world]
            return draw(*size, **options)

        setattr(torch, name, shared)
    torch.rand_like = lambda images: torch.rand(*images.shape, device=images.device)
    torch.randn_like = lambda images: torch.randn(*images.shape, device=images.device)
    GAN.on_train_start = lambda self: torch.manual_seed(1)  # one stream of noise


def synchronize_batch_norm() -> None:
    """Take batch norm's statistics over both processes, as torch.nn.SyncBatchNorm does on GPUs and only there."""
    alone = _BatchNorm.forward

    def forward(self, x):
        if not self.training:
            return alone(self, x)
        dims, shape = [d for d in range(x.dim()) if d != 1], [1, -1] + [1] * (x.dim() - 2)
        mean = all_reduce(x.mean(dims)) / 2
        deviation = x - mean.view(shape)
        variance = all_reduce(deviation.square().mean(dims)) / 2
        n = 2 * x.numel() / x.shape[1]
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
            self.num_batches_tracked += 1
        x = deviation * (variance + self.eps).rsqrt().view(shape)
        return x * self.weight.view(shape) + self.bias.view(shape) if self.affine else x

    _BatchNorm.forward = forward


def train_all(rank: int, world: int, port: int, folder: Path, cache: str) -> None:
    """Train every case, as one process of `world`."""
    import train

    torch.set_num_threads(1)
    os.environ |= {"XDG_CACHE_HOME": cache, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if world > 1:
        os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": str(world)}
        synchronize_batch_norm()
    share_out_noise(rank, world)
    with initialize_config_dir(str(ROOT / "conf")), execution_whitelist(TARGETS):
        for name, overrides in CASES.items():
            own = ["logger=none", f"run_dir={folder}/{name}", *SMALL, *FEW_FAKES, *EPSILON, "trainer.max_steps=6"]
            own += ["trainer.val_check_interval=3", f"data.batch_size={BATCH // world}", f"trainer.devices={world}"]
            cfg = compose("train", [*own, *overrides], return_hydra_config=True)
            HydraConfig.instance().set_config(cfg)
            with open_dict(cfg):
                del cfg["hydra"]
            train.train(cfg)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train each case once by one process, once by two, all three beside each other."""
    folder = tmp_path_factory.mktemp("ddp")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    gang = [
        CONTEXT.Process(target=train_all, args=(rank, world, port, folder / str(world), os.environ["XDG_CACHE_HOME"]))
        for world in (1, 2)
        for rank in range(world)
    ]
    for process in gang:
        process.start()
    for process in gang:
        process.join(600)
    assert [process.exitcode for process in gang] == [0, 0, 0]
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one_with_twice_the_batch(trained, case):
    """Weights agree within 2e-5 after six steps in float32, the Frechet distance of their samples within 0.1%."""
    states = [
        torch.load(trained / world / case / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for world in ("1", "2")
    ]
    for name, one in states[0].items():
        torch.testing.assert_close(
            states[1][name], one, atol=2e-5, rtol=1e-4, msg=lambda text, name=name: f"{name} {text}"
        )
    scores = [json.loads((trained / world / case / "metrics.json").read_text())["scores"] for world in ("1", "2")]
    assert scores[1]["fid_200"] == pytest.approx(scores[0]["fid_200"], rel=1e-3)
    assert scores[1]["images_seen"] == scores[0]["images_seen"]
    weights = [load_file(trained / world / case / "generator.safetensors") for world in ("1", "2")]
    assert weights[0].keys() == weights[1].keys()
