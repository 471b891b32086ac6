"""Train a domain classifier, the extractor behind metrics=classifier, and record its sha256.

The shipped weights were made by

python scripts/train_classifier.py data=mnist data.root=PATH --epochs 8 --out gan/metrics/weights/mnist.safetensors
python scripts/train_classifier.py data=fashion_mnist data.root=PATH --epochs 10 \\
    --out gan/metrics/weights/fashion_mnist.safetensors
"""

import argparse
import hashlib
import json
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from rich.progress import track
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from torchvision.transforms import v2

from gan.data import Images
from gan.images import to_float
from gan.metrics.classifier import Classifier, Network

CONF = Path(__file__).resolve().parents[1] / "conf"


def train(images: Images, epochs: int, seed: int) -> Network:
    """Fit by Adam under a one-cycle schedule, on images shifted and scaled a little."""
    torch.manual_seed(seed)
    network = Network(int(images.labels.max()) + 1).to(memory_format=torch.channels_last)
    batches = len(images) // 128
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=epochs * batches)
    jitter = v2.RandomAffine(degrees=8, translate=(0.07, 0.07), scale=(0.9, 1.1))
    for epoch in range(epochs):
        order = torch.randperm(len(images)).view(-1)[: batches * 128].view(batches, 128)
        for indices in track(order, f"epoch {epoch + 1}/{epochs}"):
            x = to_float(jitter(images.images[indices]))
            with torch.autocast("cpu", torch.bfloat16):
                loss = cross_entropy(network(x)[1], images.labels[indices])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def save(network: Network, path: Path) -> None:
    """Write the weights in half precision and record their sha256 beside them."""
    save_file({name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}, path)
    record = path.parent / "sha256.json"
    known = json.loads(record.read_text()) if record.exists() else {}
    known[path.stem] = hashlib.sha256(path.read_bytes()).hexdigest()
    record.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="the data, as for train.py: data=mnist data.root=PATH")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with initialize_config_dir(str(CONF)):
        cfg = compose("train", ["data.image_size=28", "data.channels=1", *arguments.overrides])
        data = instantiate(cfg.data, _execution_whitelist_=("gan.datasets.*", "torchvision.datasets.*"))
    data.setup()
    save(train(data.splits["train"], arguments.epochs, arguments.seed), arguments.out)
    classifier, test = Classifier(weights_path=str(arguments.out)), data.splits["test"]
    accuracy = (classifier(test.images)[1].argmax(1) == test.labels).float().mean()
    print(f"{arguments.out}: test accuracy {accuracy:.2%}, sha256 {classifier.sha256}")


if __name__ == "__main__":
    main()
