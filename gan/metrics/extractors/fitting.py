"""Training of the small classifier: for an extractor, or to test what can be learned from samples."""

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
    """Return a classifier trained on uint8 images (N, C, H, W) and labels (N,), with AdamW and a one-cycle schedule.

    Images are resized to 28 px, and rotated, shifted and scaled a little. The same seed gives the same weights on the
    same kind of machine; the global random state is not changed.
    """
    channels, bfloat16 = images.shape[1], cpu_has_bfloat16()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(int(labels.max()) + 1, channels, num_features).to(memory_format=torch.channels_last)
        batch_size = min(128, len(images))
        batches = len(images) // batch_size
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=epochs * batches)
        jitter = v2.RandomAffine(degrees=8, translate=(0.07, 0.07), scale=(0.9, 1.1))
        used = batches * batch_size
        order = torch.cat([torch.randperm(len(images))[:used] for _ in range(epochs)]).split(batch_size)
        for indices in track(order, escape(title), transient=True, disable=not sys.stdout.isatty()):
            x = to_float(jitter(prepare_images(images[indices], channels)))
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                loss = cross_entropy(network(x)[1], labels[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval().requires_grad_(False)


@torch.no_grad()
def measure_accuracy(network: Network, images: Images) -> float:
    """Return the share, 0 to 1, of images whose label a classifier predicts."""
    correct = 0
    for indices in torch.arange(len(images)).split(500):
        batch, labels = images.__getitems__(indices.tolist())
        correct += int((network(to_float(prepare_images(batch, network.channels)))[1].argmax(1) == labels).sum())
    return correct / len(images)
