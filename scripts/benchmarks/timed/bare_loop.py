"""Training as a script would have it: the same networks and the same arithmetic, and nothing else.

python scripts/benchmarks/timed/bare_loop.py STEPS [--dataloader] key=value ...
"""

import sys
import time
from pathlib import Path

import torch
from clock import WARM_UP
from hydra import compose, initialize_config_dir
from torch.nn.functional import softplus
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Compose, Normalize, ToTensor
from torchvision.transforms.functional import to_pil_image

from gan.data.pixels import to_float
from gan.run.build import build_data, build_gan


class Pictures(Dataset):
    """Images as torchvision's data sets return them: one by one, through PIL and transforms."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.images, self.labels = images.numpy(), labels.tolist()
        self.transform = Compose([ToTensor(), Normalize([0.5], [0.5])])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(to_pil_image(torch.from_numpy(self.images[i]))), self.labels[i]


def feed(images: torch.Tensor, labels: torch.Tensor, device: str, *, dataloader: bool):
    """Yield batches of 64 images in [-1, 1] and labels without end."""
    while dataloader:
        for batch in DataLoader(Pictures(images, labels), batch_size=64, shuffle=True, drop_last=True):
            yield tuple(tensor.to(device) for tensor in batch)
    while True:
        for chosen in torch.randperm(len(labels)).split(64)[: len(labels) // 64]:
            yield to_float(images[chosen].to(device)), labels[chosen].to(device)


def penalize(name: str, discriminator, logits, real, fake, labels):
    """Return the penalty r1 or gradient_penalty, in float32."""
    images, mixed = real, torch.is_autocast_enabled(real.device.type)
    if name == "gradient_penalty":
        share = torch.rand(len(real), 1, 1, 1, device=real.device)
        images = torch.lerp(fake.float(), real.detach(), share).requires_grad_()
    with torch.autocast(real.device.type, enabled=False):
        if name == "gradient_penalty" or mixed:  # new images, or logits from bfloat16
            logits = discriminator(images, labels)
        slope = torch.autograd.grad(logits.sum(), images, create_graph=True)[0].flatten(1)
    return 5 * slope.square().sum(1).mean() if name == "r1" else 10 * (slope.norm(dim=1) - 1).square().mean()


def train(steps: int, penalty: str, mixed: bool, batches, g, d, ema) -> float:
    """Train G and D, and return the images per second after the first ten steps."""
    step_g = torch.optim.Adam(g.parameters(), 2e-4, betas=(0.5, 0.999), fused=True)
    step_d = torch.optim.Adam(d.parameters(), 2e-4, betas=(0.5, 0.999), fused=True)
    average = get_ema_multi_avg_fn(0.998)
    for i, (real, labels) in zip(range(steps), batches, strict=False):
        if i == WARM_UP:
            synchronize(real.device)
            started = time.perf_counter()
        with torch.autocast(real.device.type, torch.bfloat16, enabled=mixed, cache_enabled=False):
            fake = g(torch.randn(len(labels), g.z_dim, device=labels.device), labels)
            real.requires_grad_(penalty == "r1")
            real_logits, fake_logits = d(real, labels), d(fake.detach(), labels)
            loss = softplus(-real_logits).mean() + softplus(fake_logits).mean()
            if penalty != "none":
                loss = loss + penalize(penalty, d, real_logits, real, fake.detach(), labels)
            step_d.zero_grad()
            loss.backward(inputs=list(d.parameters()))
            step_d.step()
            loss = softplus(-d(fake, labels)).mean()
            step_g.zero_grad()
            loss.backward(inputs=list(g.parameters()))
            step_g.step()
            with torch.no_grad():
                average(list(ema.parameters()), list(g.parameters()), None)
    synchronize(real.device)
    return (steps - WARM_UP) * 64 / (time.perf_counter() - started)


def synchronize(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    steps, *words = sys.argv[1:]
    dataloader = "--dataloader" in words
    with initialize_config_dir(str(Path(__file__).resolve().parents[3] / "conf")):
        cfg = compose("train", [word for word in words if word != "--dataloader"])
    data = build_data(cfg)
    device = "cuda" if cfg.trainer.accelerator == "gpu" else "cpu"
    gan = build_gan(cfg, data.shape).to(device)
    batches = feed(data.splits["train"].images, data.splits["train"].labels, device, dataloader=dataloader)
    penalty = next(iter(cfg.penalty), "none")
    mixed = cfg.trainer.precision == "bf16-mixed"
    print(train(int(steps), penalty, mixed, batches, gan.generator, gan.discriminator, gan.ema.module))


if __name__ == "__main__":
    main()
