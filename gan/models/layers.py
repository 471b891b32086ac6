"""Layers and functions that two or more architectures share."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, embedding, one_hot
from torch.nn.utils.parametrizations import spectral_norm

from gan.errors import InputError


def encode_labels(labels: Tensor, num_classes: int) -> Tensor:
    """Return labels (N,) as one-hot vectors (N, num_classes), or (N, 0) for an unconditional network."""
    return one_hot(labels, num_classes).float() if num_classes else labels.new_zeros(len(labels), 0).float()


def factor_image_size(image_size: int) -> tuple[int, int]:
    """Return (start, n) with image_size = start * 2^n, start in 4..7 and n >= 1; raise InputError if there are none."""
    start, n = image_size, 0
    while start > 7 and start % 2 == 0:
        start, n = start // 2, n + 1
    if n == 0 or not 4 <= start <= 7:
        raise InputError(
            f"data.image_size={image_size}: this model needs 4, 5, 6 or 7 times a power of two, 8 or more "
            f"(28, 32, 40, 48, 56, 64, 96, 128, ...); model=mlp takes any size, and points"
        )
    return start, n


def require_classes(model: str, num_classes: int, part: str, without: str = "sngan") -> None:
    """Raise InputError for fewer than 2 classes: `model` is `without` with a further `part`, which needs them."""
    if num_classes < 2:
        raise InputError(
            f"model={model}: needs at least 2 classes, these images have {num_classes} (unlabeled data or "
            f"conditional=false); model={without} is the same network without the {part}"
        )


def require_auxiliary_weight(weight: float, model: str, part: str) -> None:
    """Raise InputError unless a weight is above 0: without it the network is that of `model`, which has no `part`."""
    if not weight > 0:
        raise InputError(
            f"model.discriminator.auxiliary_weight={weight:g}: must be above 0; model={model} is the same network "
            f"without the {part}"
        )


def build_norm(name: str, channels: int, *size: int) -> nn.Module:
    """Return the layer of `norm=name` for inputs (N, channels, *size), the identity for none and spectral.

    Raises InputError for a name other than batch, layer, none and spectral.
    """
    layers = {
        "batch": lambda: (nn.BatchNorm2d if size else nn.BatchNorm1d)(channels),
        "layer": lambda: nn.LayerNorm([channels, *size]),
        "none": nn.Identity,
        "spectral": nn.Identity,
    }
    if name not in layers:
        raise InputError(f"model.discriminator.norm={name}: must be one of {', '.join(layers)}")
    return layers[name]()


def apply_spectral_norm(network: nn.Module) -> None:
    """Keep the largest singular value of every convolution, dense layer and embedding at 1 (Miyato et al. 2018).

    Initialize them first: afterwards `weight` is a computed copy, and a change to it has no effect.
    """
    for layer in list(network.modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            spectral_norm(layer)


def initialize_normal(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02^2) and the gains of 2d batch norm from N(1, 0.02^2); biases stay as torch's defaults.

    For `nn.Module.apply`. Radford et al. 2016, section 4, and its code.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


class LogitLayer(nn.Linear):
    """The last, dense layer of a discriminator, (N, inputs) to (N, outputs), in float32 even under autocast.

    Losses take differences of logits. In bfloat16, with eight binary digits, little is left of the difference of two
    large logits, and a cast after the layer can't restore it.
    """

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def compute_logits(phi: Tensor, labels: Tensor, psi: LogitLayer, v: nn.Embedding | None) -> Tensor:
    """Return the logits <v_y, phi> + psi(phi), (N,), of features phi (N, inputs) and labels (N,); without v, psi(phi).

    Miyato & Koyama 2018, eq. 3. In float32 even under autocast, as in `LogitLayer`.
    """
    with torch.autocast(phi.device.type, enabled=False):
        phi = phi.float()
        logits = psi(phi).squeeze(1)  # (N,)
        return logits if v is None else logits + (v(labels) * phi).sum(dim=1)


class LabelPlaneConv2d(nn.Conv2d):
    """A convolution of images (N, channels, H, W) and, as further constant channels, of their one-hot labels (N,).

    It computes what `nn.Conv2d(channels + num_classes, ...)` does on the image joined with one plane per class, 1 for
    its own class and 0 elsewhere (Radford et al. 2016's conditional form; Miyato & Koyama 2018, figure 1b). All images
    of a class get the same from the planes, a map (outputs, H', W'), which is computed once and added to each.
    """

    def __init__(self, channels: int, num_classes: int, outputs: int, kernel_size: int, **options: Any) -> None:
        super().__init__(channels + num_classes, outputs, kernel_size, **options)
        self.channels, self.num_classes = channels, num_classes

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        weight = self.weight  # read once: under spectral norm each read is a step of its power iteration
        x = conv2d(images, weight[:, : self.channels], self.bias, self.stride, self.padding)
        if not self.num_classes:
            return x
        of_planes, rows = weight[:, self.channels :].transpose(0, 1), labels  # (num_classes, outputs, k, k)
        if self.num_classes > len(labels):  # one map for each image is less work
            of_planes, rows = of_planes[labels], torch.arange(len(labels), device=labels.device)
        plane = images.new_ones(1, 1, *images.shape[2:])
        maps = conv2d(plane, of_planes.flatten(0, 1)[:, None], None, self.stride, self.padding)
        maps = maps.view(-1, *x.shape[1:]).permute(0, 2, 3, 1)  # (num_classes, H', W', outputs), x's layout in memory
        return x.add_(embedding(rows, maps.flatten(1)).view(len(x), *maps.shape[1:]).permute(0, 3, 1, 2))


class MinibatchStd(nn.Module):
    """Append one channel with the standard deviation over groups of samples: (N, C, H, W) to (N, C + 1, H, W).

    A group's value is the mean over all features and positions of their standard deviation over its samples. The size
    of groups is the largest divisor of N up to `group`. With a gradient penalty a sample's gradient includes its effect
    on its group, as in the paper. Karras et al. 2018, "Progressive Growing of GANs", section 3; the groups of 4 and the
    1e-8 are those of their code.
    """

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        size = max(k for k in range(1, self.group + 1) if n % k == 0)
        variance = x.float().unflatten(0, (size, -1)).var(0, correction=0)  # (N / size, C, H, W)
        deviation = (variance + 1e-8).sqrt().mean((1, 2, 3)).to(x.dtype)
        return torch.cat([x, deviation.repeat(size).view(n, 1, 1, 1).expand(n, 1, height, width)], dim=1)


class LabeledSequential(nn.Sequential):
    """A sequence of layers, of which the first gets the labels too."""

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        first, *others = self
        x = first(images, labels)
        for layer in others:
            x = layer(x)
        return x


class ConditionalBatchNorm2d(nn.Module):
    """Batch norm whose gain (first 1) and bias (first 0) depend on the class; plain batch norm without classes.

    Maps (N, channels, H, W) and labels (N,) to (N, channels, H, W). Dumoulin et al. 2017, "A Learned Representation
    for Artistic Style", eq. 5.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.conditional = num_classes > 0
        self.norm = nn.BatchNorm2d(channels, affine=not self.conditional)
        if self.conditional:
            self.gain = nn.Embedding(num_classes, channels)
            self.bias = nn.Embedding(num_classes, channels)
            nn.init.ones_(self.gain.weight)
            nn.init.zeros_(self.bias.weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        x = self.norm(x)
        if not self.conditional:
            return x
        gain, bias = (embed(labels).to(x.dtype)[:, :, None, None] for embed in (self.gain, self.bias))
        return torch.addcmul(bias, x, gain)
