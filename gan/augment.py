"""Augmentations of all that the discriminator sees: reals and fakes, in both players' updates, by new draws each time.

Each maps images (N, C, H, W) in [-1, 1] to the same shape, differentiably and by independent draws per sample. Values
of the result may be outside [-1, 1].
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample

from gan.distributed import average_over_processes, get_world_size
from gan.errors import InputError


class Augment(nn.Module):
    """No augmentation, and the base class of all others."""

    def forward(self, images: Tensor) -> Tensor:
        return images

    def adapt(self, real_logits: Tensor) -> None:
        """Adapt to D's logits (N,) of augmented reals; called once per discriminator update."""


class DiffAugment(Augment):
    """Color, translation by up to 1/8 of the size, and a cutout of half the size: Zhao et al. 2020, DiffAugment.

    `policy` lists any of color, translation and cutout, in the order in which they are applied. On one channel
    saturation is the identity. Raises InputError for any other name.
    """

    def __init__(self, *, policy: str = "color,translation,cutout") -> None:
        super().__init__()
        self.policy = policy.split(",") if policy else []
        for name in self.policy:
            if name not in POLICIES:
                raise InputError(f"augment.policy={policy}: {name!r} must be one of {', '.join(POLICIES)}")

    def forward(self, images: Tensor) -> Tensor:
        for name in self.policy:
            images = POLICIES[name](images)
        return images


class Shift(Augment):
    """Shift by up to `pixels` along each axis, repeating the edge, and mirror half of the images with `mirror`.

    The transform of consistency regularization (Zhang et al. 2020, section 3), whose authors mirror too. A mirrored
    digit or letter is another one, or none. Raises InputError for fewer pixels than 1, and for as many as images have.
    """

    def __init__(self, *, pixels: int = 4, mirror: bool = False) -> None:
        super().__init__()
        if pixels < 1:
            raise InputError(f"transform.pixels={pixels}: an image must be shifted by 1 pixel or more")
        self.pixels, self.mirror = pixels, mirror

    def forward(self, images: Tensor) -> Tensor:
        if self.pixels >= min(images.shape[2:]):
            size = " x ".join(map(str, images.shape[2:]))
            raise InputError(
                f"transform.pixels={self.pixels}: must be smaller than the images, which have {size} pixels"
            )
        if self.mirror:
            mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
            images = torch.where(mirrored, images.flip(3), images)
        return shift(images, [self.pixels, self.pixels], fill_with_zero=False)


def jitter_color(images: Tensor) -> Tensor:
    """Shift brightness by U[-0.5, 0.5], scale saturation by U[0, 2] and contrast by U[0.5, 1.5]."""
    brightness, saturation, contrast = torch.rand(3, len(images), 1, 1, 1, device=images.device)
    images = images + (brightness - 0.5)
    images = torch.lerp(images.mean(1, keepdim=True), images, 2 * saturation)
    return torch.lerp(images.mean((1, 2, 3), keepdim=True), images, contrast + 0.5)


def translate(images: Tensor, ratio: float = 1 / 8) -> Tensor:
    """Shift by whole pixels, up to `ratio` of the size along each axis, and fill with 0."""
    return shift(images, [round(size * ratio) for size in images.shape[2:]], fill_with_zero=True)


def shift(images: Tensor, most: Sequence[int], *, fill_with_zero: bool) -> Tensor:
    """Shift by whole pixels, up to `most` along height and width; fill with 0, or repeat the edge."""
    n, channels, height, width = images.shape
    for dim, size, farthest in ((2, height, most[0]), (3, width, most[1])):
        shifts = torch.randint(-farthest, farthest + 1, (n, 1), device=images.device)
        source = torch.arange(size, device=images.device) + shifts  # (N, size)
        across = (n, 1, size, 1) if dim == 2 else (n, 1, 1, size)
        index = source.clamp(0, size - 1).view(across).expand(n, channels, height, width)
        images = images.gather(dim, index)
        if fill_with_zero:
            images = images * ((source >= 0) & (source < size)).view(across)
    return images


def cut_out(images: Tensor, ratio: float = 1 / 2) -> Tensor:
    """Set a square of `ratio` of the size to 0, its center anywhere in the image."""
    n, _, height, width = images.shape
    inside = torch.ones(n, 1, 1, 1, dtype=torch.bool, device=images.device)
    for dim, size in ((2, height), (3, width)):
        side = round(size * ratio)
        first = torch.randint(0, size + 1 - side % 2, (n, 1), device=images.device) - side // 2
        at = torch.arange(size, device=images.device)
        inside = inside & ((at >= first) & (at < first + side)).view(n, 1, *((size, 1) if dim == 2 else (1, size)))
    return images * ~inside


POLICIES = {"color": jitter_color, "translation": translate, "cutout": cut_out}


class AugmentPipe(Augment):
    """Geometry and color, each with a probability `p` per sample: Karras et al. 2020, StyleGAN2-ADA, appendix B.

    Of the paper's transforms these are mirroring, scaling, rotation, stretching and translation, in one bilinear
    resampling with reflected edges, and brightness, contrast and, on more than one channel, saturation.
    """

    p: float | Tensor

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):  # bfloat16 has too few digits for coordinates
            grid = affine_grid(self.draw_maps(images), list(images.shape), align_corners=False)
            images = grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)
        brightness = 0.2 * self.draw_sometimes(torch.randn, images)
        contrast = torch.exp2(0.5 * self.draw_sometimes(torch.randn, images))
        if images.shape[1] > 1:
            saturation = torch.exp2(self.draw_sometimes(torch.randn, images))[:, None, None, None]
            images = torch.lerp(images.mean(1, keepdim=True), images, saturation)
        return (images + brightness[:, None, None, None]) * contrast[:, None, None, None]

    def draw_maps(self, images: Tensor) -> Tensor:
        """Draw each sample's affine map (N, 2, 3) from output to input coordinates in [-1, 1]."""
        mirror = 1 - 2 * self.draw_sometimes(torch.rand, images).round()
        scale, stretch = torch.exp2(0.2 * self.draw_sometimes(torch.randn, images, 2))
        angle = 2 * math.pi * self.draw_sometimes(torch.rand, images)
        right, down = 0.25 * self.draw_sometimes(torch.randn, images, 2)  # 1/8 of the size, which spans 2
        cos, sin, across, along = angle.cos(), angle.sin(), scale * stretch * mirror, scale / stretch
        rows = [across * cos, -along * sin, right, across * sin, along * cos, down]
        return torch.stack(rows, dim=1).view(-1, 2, 3)

    def draw_sometimes(self, draw: Callable[..., Tensor], images: Tensor, *size: int) -> Tensor:
        """Return draws (*size, N) that are replaced by 0 with probability 1 - p."""
        size = (*size, len(images))
        return draw(size, device=images.device) * (torch.rand(size, device=images.device) < self.p)


class Fixed(AugmentPipe):
    """The transforms of ADA with a probability `p` that does not follow D; annealing can change it over the run.

    Karras et al. 2020, StyleGAN2-ADA, section 2.3. Raises InputError for a probability outside [0, 1].
    """

    def __init__(self, *, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise InputError(f"augment.p={p:g}: must be a probability, from 0 to 1")
        self.p = p


class ADA(AugmentPipe):
    """Geometry and color, each with a probability p that follows how much D overfits: Karras et al. 2020, ADA.

    r_t is the mean sign of D's logits on reals (section 3.1): p rises while it is above `target` and falls while it is
    below, fast enough to go from 0 to 1 over `ramp_images` reals. p is a buffer, and so part of each checkpoint.
    Raises InputError for a target outside (-1, 1) and for ramp_images below 1.
    """

    def __init__(self, *, target: float = 0.6, ramp_images: int = 500_000) -> None:
        super().__init__()
        if not -1 < target < 1:
            raise InputError(f"augment.target={target}: must be between -1 and 1")
        if ramp_images < 1:
            raise InputError(f"augment.ramp_images={ramp_images}: must be 1 or more")
        self.target, self.ramp_images = target, ramp_images
        self.register_buffer("p", torch.zeros(()))

    @torch.no_grad()
    def adapt(self, real_logits: Tensor) -> None:
        overfit = average_over_processes(real_logits.float().sign().mean()) - self.target
        self.p.add_(overfit.sign() * len(real_logits) * get_world_size() / self.ramp_images).clamp_(0, 1)
