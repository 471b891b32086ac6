"""Training of the domain classifier: as an extractor, or to judge samples by what can be learnt from them."""

import sys

import torch
from rich.markup import escape
from rich.progress import track
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchvision.transforms import v2

from gan.data.datamodule import Images
from gan.data.pixels import to_float
from gan.metrics.extractors.classifier import Network, prepare_images
from gan.system.precision import cpu_has_bfloat16


def fit_classifier(
    images: Tensor, labels: Tensor, *, epochs: int, seed: int, num_features: int = 128, title: str = "training"
) -> Network:
    """Fit a classifier to uint8 images (N, C, H, W), by Adam under a one-cycle schedule.

    Images are resized to 28 px, and shifted and scaled a little. Same seed, same weights on machines of a kind; the
    global generator is left as it was.
    """
    channels, bfloat16 = images.shape[1], cpu_has_bfloat16()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(int(labels.max()) + 1, channels, num_features).to(memory_format=torch.channels_last)
        batch_size = min(128, len(images))
        batches = len(images) // batch_size
        optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=epochs * batches)
        jitter = v2.RandomAffine(degrees=8, translate=(0.07, 0.07), scale=(0.9, 1.1))
        used = batches * batch_size
        order = torch.cat([torch.randperm(len(images))[:used] for _ in range(epochs)]).split(batch_size)
        for indices in track(order, escape(title), transient=True, disable=not sys.stdout.isatty()):
            x = to_float(jitter(prepare_images(images[indices], channels)))
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                loss = cross_entropy(network(x)[1], labels[indices])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval().requires_grad_(False)


@torch.no_grad()
def measure_accuracy(network: Network, images: Images) -> float:
    """Return the share of images (uint8, of any size) that a classifier gives their label."""
    hits = 0
    for indices in torch.arange(len(images)).split(500):
        batch, labels = images.__getitems__(indices.tolist())
        hits += int((network(to_float(prepare_images(batch, network.channels)))[1].argmax(1) == labels).sum())
    return hits / len(images)
