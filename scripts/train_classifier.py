"""Train a domain classifier, the extractor of metrics=classifier, and record its sha256.

The weights that come with the suite were trained by

python scripts/train_classifier.py data=mnist data.root=PATH --epochs 8 \\
    --out gan/metrics/extractors/weights/mnist.safetensors
python scripts/train_classifier.py data=fashion_mnist data.root=PATH --epochs 10 \\
    --out gan/metrics/extractors/weights/fashion_mnist.safetensors
"""

import argparse
import hashlib
import json
from pathlib import Path

from hydra import compose, initialize_config_dir
from safetensors.torch import save_file

from gan.metrics.extractors.classifier import Classifier, Network
from gan.metrics.extractors.fitting import fit_classifier, measure_accuracy
from gan.run.build import build

CONF = Path(__file__).resolve().parents[1] / "conf"


def save_weights(network: Network, path: Path) -> None:
    """Write the weights in half precision, and their sha256 to sha256.json in the same folder."""
    save_file({name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}, path)
    record = path.parent / "sha256.json"
    known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    known[path.stem] = hashlib.sha256(path.read_bytes()).hexdigest()
    record.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="the data set, as for train.py: data=mnist data.root=PATH")
    parser.add_argument("--out", type=Path, required=True, help=".safetensors file to write")
    parser.add_argument("--epochs", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    arguments = parser.parse_args()
    with initialize_config_dir(str(CONF)):
        cfg = compose("train", ["data.image_size=28", *arguments.overrides])
        data = build(cfg.data)
    data.setup()
    train = data.splits["train"]
    save_weights(
        fit_classifier(train.images, train.labels, epochs=arguments.epochs, seed=arguments.seed), arguments.out
    )
    classifier = Classifier(weights_path=str(arguments.out))
    shown = measure_accuracy(classifier.network, data.splits["test"])
    print(f"{arguments.out}: test accuracy {shown:.2%}, sha256 {classifier.sha256}")


if __name__ == "__main__":
    main()
