"""Draw images from a finished run's generator: noise and label in, a PNG out.

python scripts/generate.py --run outputs/mnist_5k-dcgan-bce/DATE --label 5 --count 64 --out fives.png
"""

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gan.data.pixels import save_grid
from gan.errors import InputError
from gan.results import load_generator


def spherical(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Walk from each row of a (N, z_dim) to that of b along the sphere: (N * steps, z_dim).

    Straight lines between Gaussian vectors leave the shell that G was trained on (White 2016, eq. 1).
    """
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1).clamp(-0.9999, 0.9999)
    angle = cosine.acos()[:, None, None]
    t = torch.linspace(0, 1, steps)[:, None]
    return ((((1 - t) * angle).sin() * a[:, None] + (t * angle).sin() * b[:, None]) / angle.sin()).flatten(0, 1)


def draw(
    run: Path, labels: list[str] | None, count: int, *, seed: int, interpolate: bool, truncation: float | None
) -> tuple[Tensor, int]:
    """Return images (N, C, H, W) in [-1, 1] and how many make a row."""
    generator, prior, num_classes, _, classes = load_generator(run)
    known = max(num_classes, 1)
    random = torch.Generator().manual_seed(seed)
    chosen = torch.tensor([find_class(label, known, classes) for label in labels or []] or range(known))
    if interpolate:
        rows, columns = -(-count // 10), 10
        ends = truncated(prior, 2 * rows, generator.z_dim, truncation, random).unflatten(0, (2, rows))
        of_rows = chosen[torch.arange(rows) % len(chosen)]
        return generator(spherical(*ends, columns), of_rows.repeat_interleave(columns)), columns
    z = truncated(prior, count, generator.z_dim, truncation, random)
    return generator(z, chosen[torch.arange(count) * len(chosen) // count]), columns_of(count, len(chosen))


def find_class(label: str, n: int, names: Sequence[str]) -> int:
    """Return the number of one of n classes, which is given by its name or its number; raise InputError for others."""
    if label in names[:n]:
        return names.index(label)
    if label.isdecimal() and int(label) < n:
        return int(label)
    known = f", or one of {', '.join(names[:n])}" if names and n > 1 else ""
    raise InputError(f"--label {label}: this generator knows 0 to {n - 1}{known}")


def truncated(
    prior: Callable[..., Tensor], n: int, z_dim: int, threshold: float | None, random: torch.Generator
) -> Tensor:
    """Return z (n, z_dim) with every entry beyond +-threshold drawn anew: less variety for better samples.

    The truncation trick, Brock et al. 2019 (BigGAN), section 3.1.
    """
    z = prior(n, z_dim, generator=random)
    while threshold is not None and (beyond := z.abs() > threshold).any():
        z = torch.where(beyond, prior(n, z_dim, generator=random), z)
    return z


def columns_of(count: int, classes: int) -> int:
    """Return a row's length: one class a row where that comes out even, else a square."""
    return count // classes if classes > 1 and count % classes == 0 else math.ceil(math.sqrt(count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run")
    parser.add_argument(
        "--label", action="append", help="class to draw, by name or number; may be repeated (default: all)"
    )
    parser.add_argument("--count", type=int, default=100, help="number of images (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("samples.png"), help="PNG to write (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of z (default: %(default)s)")
    parser.add_argument("--truncation", type=float, help="redraw entries of z beyond this size, 0.05 or more")
    parser.add_argument("--interpolate", action="store_true", help="walk from one z to another along each row of ten")
    arguments = parser.parse_args()
    if arguments.count < 1:
        parser.error(f"--count {arguments.count}: must be at least 1")
    if arguments.truncation is not None and not arguments.truncation >= 0.05:
        parser.error(f"--truncation {arguments.truncation}: must be at least 0.05")
    options = {name: getattr(arguments, name) for name in ("seed", "interpolate", "truncation")}
    try:
        images, columns = draw(arguments.run, arguments.label, arguments.count, **options)
    except InputError as error:
        parser.error(str(error))
    save_grid(images, arguments.out, columns)
    print(f"{len(images)} images: {arguments.out}")


if __name__ == "__main__":
    main()
