"""A classifier of the user's own images as extractor, trained in the first run on them and cached."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from filelock import FileLock
from safetensors.torch import save_file

from gan.data.datamodule import ImageData
from gan.metrics.extractors.classifier import Classifier
from gan.metrics.extractors.fitting import fit_classifier
from gan.system.files import digest

VERSION = 1  # of the training, part of the key in the cache
IMAGES, MOST_EPOCHS, FEWEST_EPOCHS = 40_000, 40, 2  # images to train on in total, within these limits of epochs
IMAGES_PER_FEATURE = 10


def own_classifier(data: ImageData, *, cache_dir: str | None) -> Classifier:
    """Return a classifier trained on the training split, or loaded from `cache_dir` if it was trained before.

    It learns the classes of the images or, without labels, by how many quarter turns an image was rotated (Gidaris et
    al. 2018, "Unsupervised Representation Learning by Predicting Image Rotations"). Runs that start at the same time
    train it once.
    """
    train, knows_classes = data.splits["train"], data.shape["num_classes"] > 0
    with TemporaryDirectory() as scratch:
        folder = Path(cache_dir, "classifiers").expanduser() if cache_dir else Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{digest([VERSION, train.fingerprint()])}.safetensors"
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                images, labels = train.images, train.labels
                if not knows_classes:
                    images, labels = rotate_images(images)
                epochs = max(FEWEST_EPOCHS, min(MOST_EPOCHS, IMAGES // len(images)))
                options = {"epochs": epochs, "seed": 0, "num_features": choose_num_features(len(train))}
                network = fit_classifier(images, labels, **options, title="training a classifier of your images")
                save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
        return Classifier(weights_path=str(path), name="own classifier", knows_classes=knows_classes)


def choose_num_features(n: int) -> int:
    """Return the number of features for n images: the covariance of more of them would be mostly noise."""
    return next((size for size in (128, 64, 32) if size * IMAGES_PER_FEATURE <= n), 16)


def rotate_images(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (N, C, S, S) in four orientations, (4N, C, S, S), and the quarter turns (4N,) of each, 0 to 3."""
    turned = torch.cat([images.rot90(turns, (2, 3)) for turns in range(4)])
    return turned, torch.arange(4).repeat_interleave(len(images))
