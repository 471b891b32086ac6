"""Score a checkpoint of a finished run again: with other features, more samples or further scores.

python scripts/evaluate.py --run outputs/mnist_5k-dcgan-bce/DATE
python scripts/evaluate.py --run outputs/mnist_5k-dcgan-bce/DATE --checkpoint best --z-seed 7 --neighbors
python scripts/evaluate.py --run outputs/mnist_5k-dcgan-bce/DATE --metrics inception --fakes 50000

Without options, it reproduces the scores that the run reported. Each evaluation is stored with its protocol in the
run's folder, under evaluations/.
"""

import argparse
import json
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from gan.data.datamodule import ImageData
from gan.data.latents import Latents
from gan.data.pixels import save_grid, to_float
from gan.data.points import require_pixels
from gan.errors import InputError, exit_in_one_line
from gan.metrics.extractors.fitting import fit_classifier, measure_accuracy
from gan.metrics.memorization import estimate_copying, find_nearest
from gan.metrics.protocol import hash_protocol
from gan.metrics.real_statistics import BATCH, choose_evenly, extract_outputs
from gan.metrics.scorer import Scorer
from gan.run.allowlist import require_trusted
from gan.run.build import build_data, build_scorer
from gan.run.display import print_scores
from gan.run.generator import LoadedGenerator, load_generator
from gan.run.untrusted import load_plain
from gan.system.console import plain_console, quiet
from gan.system.run_folder import CONFIG

METRICS = Path(__file__).resolve().parents[1] / "conf" / "metrics"
CAS_IMAGES = 60_000  # that each classifier is trained on, over several epochs if the data set has fewer
PAIRS = 20  # of samples and their nearest training images in the picture


def load_config(run: Path, metrics: str | None, overrides: list[str]) -> DictConfig:
    """Return a run's config with other metrics and values; raise InputError for a missing file or unknown key."""
    path = run / CONFIG
    if not path.is_file():
        raise InputError(f"--run {run}: has no {CONFIG}; give the folder of a run")
    cfg = load_plain(path)
    if metrics:
        chosen = OmegaConf.load(METRICS / f"{metrics}.yaml")
        cfg.metrics = chosen.get("metrics", chosen)  # of a file that sets an objective, too
    for override in overrides:
        name, _, value = override.partition("=")
        if OmegaConf.select(cfg, name, default=...) is ...:
            raise InputError(f"{override}: no such key in {path}")
        OmegaConf.update(cfg, name, OmegaConf.from_dotlist([f"_={value}"])["_"])
    if not cfg.metrics.extractor:
        raise InputError("metrics=none: this run was not scored; choose features with --metrics")
    require_trusted(OmegaConf.to_container(cfg, resolve=True))
    return cfg


def draw_samples(
    generator: LoadedGenerator, data: ImageData, n: int, z_seed: int, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return n samples (n, C, H, W) in [-1, 1] and their labels (n,)."""
    labels, z_dim = data.splits["train"].labels, generator.network.z_dim
    latents = Latents(generator.prior, z_dim=z_dim, n=n, labels=labels, seed=z_seed)
    made = [(generator.network(z.to(device), y.to(device)).cpu(), y) for z, y in latents.build_loader()]
    samples, labels = (torch.cat(parts) for parts in zip(*made, strict=True))
    return samples, labels


def compare_neighbors(scorer: Scorer, fakes: torch.Tensor, data: ImageData, device: str, picture: Path) -> float:
    """Draw the samples closest to a training image, each above that image; return the score `copying` in [0, 1]."""
    train, test = data.splits["train"], data.splits["test"]

    def features(images, indices):
        return torch.cat([outputs.features for outputs in extract_outputs(scorer.extractor, images, indices, device)])

    scorer.reset()
    for batch in fakes.split(BATCH):
        scorer.update(batch.to(device), torch.zeros(len(batch)))
    of_fakes = torch.cat([outputs.features for outputs in scorer.batches])
    bank = features(train, torch.arange(len(train)))
    held_out, _ = find_nearest(features(test, choose_evenly(len(test), len(fakes))), bank)
    distances, indices = find_nearest(of_fakes, bank)
    closest = distances.argsort()[:PAIRS]
    images = to_float(train.__getitems__(indices[closest].tolist())[0])
    rows = [row for pair in zip(fakes[closest].split(10), images.split(10), strict=True) for row in pair]
    save_grid(torch.cat(rows), picture, 10)
    return estimate_copying(distances, held_out)


def measure_classification_accuracy(
    generator: LoadedGenerator, data: ImageData, z_seed: int, device: str
) -> dict[str, float]:
    """Return the test accuracy of a classifier trained on samples, and of one trained on as many reals, in [0, 1].

    The classification accuracy score of Ravuri & Vinyals 2019. Raises InputError for an unconditional generator.
    """
    if not generator.num_classes:
        raise InputError("--cas: this generator is unconditional, and CAS needs classes")
    train = data.splits["train"]
    samples, labels = draw_samples(generator, data, len(train), z_seed, device)
    pixels = samples.add(1).mul(127.5).round().to(torch.uint8)
    real_pixels, real_labels = train.__getitems__(list(range(len(train))))
    epochs = max(1, -(-CAS_IMAGES // len(train)))
    kinds = {"samples": (pixels, labels), "reals": (real_pixels, real_labels)}
    fitted = {
        name: fit_classifier(*pair, epochs=epochs, seed=0, title=f"learning from {name}")
        for name, pair in kinds.items()
    }
    return {name: measure_accuracy(network, data.splits["test"]) for name, network in fitted.items()}


def evaluate_run(arguments: argparse.Namespace) -> dict:
    """Score a checkpoint as the arguments say; print the scores and store them in the run's folder."""
    run, device = arguments.run, arguments.device
    cfg = load_config(run, arguments.metrics, arguments.overrides)
    named = {"last": run / "checkpoints" / "last.ckpt", "best": run / "checkpoints" / "best.ckpt"}
    checkpoint = named.get(arguments.checkpoint) or Path(arguments.checkpoint)
    generator = load_generator(run, checkpoint, raw=arguments.raw)
    cfg.metrics.n_fakes, z_seed = arguments.fakes or cfg.metrics.n_fakes, arguments.z_seed
    data = build_data(cfg)
    if arguments.neighbors:
        require_pixels(data, "--neighbors", "leave it out")
    scorer = build_scorer(cfg, data, z_seed=z_seed, generator="raw" if arguments.raw else "ema")
    found = {"checkpoint": checkpoint.stem, "step": generator.step}
    found["scores"] = scorer.score(generator.network, data.latents.build_loader(z_seed), device)
    found |= scorer.describe()
    folder = run / "evaluations"
    path = folder / f"{checkpoint.stem}-{hash_protocol(scorer.protocol)}.json"
    folder.mkdir(exist_ok=True)
    if arguments.neighbors:
        picture = path.with_suffix(".png")
        fakes, _ = draw_samples(generator, data, min(data.latents.n, 10_000), z_seed, device)
        found["scores"]["copying"] = compare_neighbors(scorer, fakes, data, device, picture)
        found["floor"] = found["floor"] | {"copying": 0.5}
    if arguments.cas:
        learned = measure_classification_accuracy(generator, data, z_seed, device)
        found["scores"]["classification_accuracy"] = learned["samples"]
        found["floor"] = found["floor"] | {"classification_accuracy": learned["reals"]}
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    plain_console().print(f"{checkpoint}, step {generator.step:,}", soft_wrap=True)
    print_scores(found)
    print(f"evaluation  {path}")
    if arguments.neighbors:
        print(f"neighbors   {picture} (samples, and below each row their nearest training images)")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--checkpoint", default="last", help="last, best or a .ckpt file (default: %(default)s)")
    options = sorted(path.stem for path in METRICS.glob("*.yaml") if path.stem != "none")
    parser.add_argument("--metrics", choices=options, help="extractor of the features (default: the run's own)")
    parser.add_argument("--fakes", type=int, help="number of samples (default: metrics.n_fakes)")
    parser.add_argument("--z-seed", type=int, default=0, help="seed of the samples' z (default: %(default)s)")
    parser.add_argument("--raw", action="store_true", help="score the raw generator instead of the EMA")
    parser.add_argument(
        "--neighbors", "--neighbours", action="store_true", help="look for copies of training images, and draw them"
    )
    parser.add_argument("--cas", action="store_true", help="train a classifier on samples and test it on real images")
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="device to compute on (default: %(default)s)",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="other values for the run's config, such as data.root=PATH"
    )
    arguments = parser.parse_intermixed_args()
    quiet()
    with exit_in_one_line():
        evaluate_run(arguments)


if __name__ == "__main__":
    main()
