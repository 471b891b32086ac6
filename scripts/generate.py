"""Generate images with a finished run's generator, as one image file or a folder of files.

python scripts/generate.py --run outputs/mnist_5k-dcgan-bce/DATE --label 5 --count 64 --out fives.png
python scripts/generate.py --run outputs/mnist_5k-dcgan-bce/DATE --count 20000 --out samples/
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image

from gan.data.pixels import save_grid, to_uint8
from gan.data.tree import decode_name
from gan.errors import InputError
from gan.run.generator import load_generator

FORMATS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MOST_ON_A_SHEET, MOST = 1000, 1_000_000  # images
BATCH = 100


def interpolate_spherically(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Interpolate along the sphere from each row of a (N, z_dim) to the same row of b; return (N * steps, z_dim).

    Straight lines between Gaussian vectors leave the shell that the generator was trained on (White 2016, eq. 1).
    """
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1).clamp(-0.9999, 0.9999)
    angle = cosine.acos()[:, None, None]
    t = torch.linspace(0, 1, steps)[:, None]
    return ((((1 - t) * angle).sin() * a[:, None] + (t * angle).sin() * b[:, None]) / angle.sin()).flatten(0, 1)


def choose_latents(
    run: Path, labels: list[str] | None, count: int, *, seed: int, interpolate: bool, truncation: float | None
) -> tuple[nn.Module, Tensor, Tensor, int]:
    """Return a run's generator, the z (N, z_dim) and labels (N,) of the images, and the number of images per row."""
    generator, prior, num_classes, _, classes = load_generator(run)
    known = max(num_classes, 1)
    random = torch.Generator().manual_seed(seed)
    chosen = torch.tensor([find_class(label, known, classes) for label in labels or []] or range(known))
    if interpolate:
        rows, columns = -(-count // 10), 10
        ends = draw_truncated(prior, 2 * rows, generator.z_dim, truncation, random).unflatten(0, (2, rows))
        of_rows = chosen[torch.arange(rows) % len(chosen)]
        return generator, interpolate_spherically(*ends, columns), of_rows.repeat_interleave(columns), columns
    z = draw_truncated(prior, count, generator.z_dim, truncation, random)
    return generator, z, chosen[torch.arange(count) * len(chosen) // count], choose_columns(count, len(chosen))


def generate_images(generator: nn.Module, z: Tensor, labels: Tensor) -> Iterator[Tensor]:
    """Yield the images of z (N, z_dim) and labels (N,) in batches (n, C, H, W) in [-1, 1], n at most BATCH.

    Raises InputError for a generator of points.
    """
    batches = [*zip(z.split(BATCH), labels.split(BATCH), strict=True)]
    for batch in track(batches, "generating", transient=True, disable=not sys.stdout.isatty()):
        images = generator(*batch)
        if images.shape[1] not in (1, 3):
            raise InputError("--run: its generator draws points, not images; the pictures of them are in its samples/")
        yield images


def write_files(batches: Iterator[Tensor], folder: Path, count: int) -> None:
    """Write each image to its own file, 00000.png and so on; raise InputError for a folder that contains such files."""
    folder.mkdir(parents=True, exist_ok=True)
    before = next(folder.glob("[0-9]*.png"), None)
    if before:
        raise InputError(f"--out {folder}: already contains {before.name}; give another folder")
    digits, i = max(5, len(str(count - 1))), 0
    for images in batches:
        for image in to_uint8(images):
            to_pil_image(image).save(folder / f"{i:0{digits}}.png")
            i += 1


def is_folder(out: str, count: int) -> bool:
    """Return whether `out` names a folder; raise InputError for an unknown suffix or too many images in a file."""
    if out.endswith("/") or Path(out).is_dir():
        return True
    if Path(out).suffix.lower() not in FORMATS:
        raise InputError(f"--out {out}: must end in {', '.join(FORMATS)} for one image file, or in / for a folder")
    if count > MOST_ON_A_SHEET:
        folder = Path(out).with_suffix("")
        raise InputError(
            f"--count {count}: one file holds up to {MOST_ON_A_SHEET} images; --out {folder}/ writes one file per image"
        )
    return False


def find_class(label: str, n: int, names: Sequence[str]) -> int:
    """Return the number of one of n classes, given its name or number; raise InputError for an unknown class."""
    label = decode_name(label)
    if label in names[:n]:
        return names.index(label)
    if label.isdecimal() and int(label) < n:
        return int(label)
    known = f", or one of {', '.join(names[:n])}" if names and n > 1 else ""
    raise InputError(f"--label {label}: this generator knows 0 to {n - 1}{known}")


def draw_truncated(
    prior: Callable[..., Tensor], n: int, z_dim: int, threshold: float | None, random: torch.Generator
) -> Tensor:
    """Return z (n, z_dim) whose entries beyond +-threshold are redrawn, which trades variety for quality.

    The truncation trick, Brock et al. 2019 (BigGAN), section 3.1.
    """
    z = prior(n, z_dim, generator=random)
    while threshold is not None and (beyond := z.abs() > threshold).any():
        z = torch.where(beyond, prior(n, z_dim, generator=random), z)
    return z


def choose_columns(count: int, classes: int) -> int:
    """Return the number of images per row: one row per class if that comes out even, otherwise a square."""
    return count // classes if classes > 1 and count % classes == 0 else math.ceil(math.sqrt(count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of the finished run")
    parser.add_argument(
        "--label", action="append", help="class to generate, by name or number; may be repeated (default: all)"
    )
    parser.add_argument("--count", type=int, default=100, help="number of images (default: %(default)s)")
    parser.add_argument(
        "--out",
        default="samples.png",
        help="image file for all, or FOLDER/ for one file per image (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of z (default: %(default)s)")
    parser.add_argument("--truncation", type=float, help="redraw entries of z larger than this, at least 0.05")
    parser.add_argument("--interpolate", action="store_true", help="interpolate between two z along each row of ten")
    arguments = parser.parse_args()
    if not 1 <= arguments.count <= MOST:
        parser.error(f"--count {arguments.count}: must be at least 1 and at most {MOST}")
    if not 0 <= arguments.seed < 2**63:
        parser.error(f"--seed {arguments.seed}: must be at least 0 and below 2^63")
    if arguments.truncation is not None and not arguments.truncation >= 0.05:
        parser.error(f"--truncation {arguments.truncation}: must be at least 0.05")
    options = {name: getattr(arguments, name) for name in ("seed", "interpolate", "truncation")}
    try:
        single = is_folder(arguments.out, arguments.count)
        generator, z, labels, columns = choose_latents(arguments.run, arguments.label, arguments.count, **options)
        if single:
            write_files(generate_images(generator, z, labels), Path(arguments.out), len(z))
        else:
            save_grid(torch.cat([*generate_images(generator, z, labels)]), Path(arguments.out), columns)
    except InputError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"--out {arguments.out}: {error.strerror or error}")
    print(f"{len(z)} images: {arguments.out}")


if __name__ == "__main__":
    main()
