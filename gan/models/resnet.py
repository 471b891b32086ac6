"""The residual networks of the papers' 32 px experiments (Gulrajani et al. 2017, Miyato et al. 2018, table 4).

One generator and the blocks of three discriminators: sngan, projection and resnet_gp.
"""

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from gan.models.layers import (
    ConditionalBatchNorm2d,
    LabeledSequential,
    LabelPlaneConv2d,
    MinibatchStd,
    factor_image_size,
)


class GeneratorBlock(nn.Module):
    """A residual block from (N, inputs, H, W) to (N, outputs, 2H, 2W), with batch norm before each ReLU.

    With num_classes above 0 the batch norm is conditional on the labels (N,).
    """

    def __init__(self, inputs: int, outputs: int, num_classes: int) -> None:
        super().__init__()
        self.norm1 = ConditionalBatchNorm2d(inputs, num_classes)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = ConditionalBatchNorm2d(outputs, num_classes)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        h = interpolate(relu(self.norm1(x, labels)), scale_factor=2)
        h = self.conv1(h)
        h = self.conv2(relu(self.norm2(h, labels)))
        return h + interpolate(self.shortcut(x), scale_factor=2)  # a 1x1 convolution commutes with nearest upsampling


class InputBlock(nn.Module):
    """The first residual block of a discriminator, from images (N, channels, H, W) to (N, outputs, H/2, W/2).

    It has no ReLU before its first convolution, since its inputs are pixels. With num_classes above 0 the labels (N,)
    are further channels of the images: see `LabelPlaneConv2d`.
    """

    def __init__(self, channels: int, num_classes: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = LabelPlaneConv2d(channels, num_classes, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = LabelPlaneConv2d(channels, num_classes, outputs, 1)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        h = self.conv2(relu(self.conv1(images, labels)))
        return avg_pool2d(h, 2) + self.shortcut(avg_pool2d(images, 2), labels)


class DiscriminatorBlock(nn.Module):
    """A residual block from (N, inputs, H, W) to (N, outputs, H, W), or to half the size with `down`."""

    def __init__(self, inputs: int, outputs: int, *, down: bool = False) -> None:
        super().__init__()
        self.down = down
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if down or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(relu(self.conv1(relu(x))))
        if self.down:
            h, x = avg_pool2d(h, 2), avg_pool2d(x, 2)
        return h + self.shortcut(x)


class Generator(nn.Module):
    """Map z (N, z_dim) and labels (N,) to images (N, channels, image_size, image_size) in [-1, 1].

    Labels enter by conditional batch norm. Raises InputError for an image_size that is not 4..7 times a
    power of two.
    """

    def __init__(self, *, channels: int, image_size: int, num_classes: int, z_dim: int = 128, width: int = 256) -> None:
        super().__init__()
        self.z_dim = z_dim
        start, n = factor_image_size(image_size)
        self.project = nn.Sequential(nn.Linear(z_dim, width * start**2), nn.Unflatten(1, (width, start, start)))
        self.blocks = nn.ModuleList(GeneratorBlock(width, width, num_classes) for _ in range(n))
        self.head = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, channels, 3, padding=1), nn.Tanh())
        self.apply(initialize_glorot)
        nn.init.xavier_uniform_(self.head[2].weight)  # 3x3, but in no residual block

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        x = self.project(z)  # (N, width, start, start)
        for block in self.blocks:
            x = block(x, labels)  # twice the size each time
        return self.head(x)  # (N, C, H, W)


def build_trunk(
    channels: int, num_classes: int, width: int, image_size: int, *, minibatch_std: bool = False
) -> LabeledSequential:
    """Return a discriminator's blocks, (N, channels, H, W) to (N, width, h, w): some halve the size, then two keep it.

    There is no ReLU after the last. Images of 32 px are halved twice, as in the papers; larger ones until h = w <= 8,
    so that features cover as large a part of the image: three times at 64 px, four times at 128 px. With
    `minibatch_std` the last one gets a channel more, see `MinibatchStd`.
    """
    halvings = 2
    while image_size / 2**halvings > 8:
        halvings += 1
    return LabeledSequential(
        InputBlock(channels, num_classes, width),
        *(DiscriminatorBlock(width, width, down=True) for _ in range(halvings - 1)),
        DiscriminatorBlock(width, width),
        *([MinibatchStd()] if minibatch_std else []),
        DiscriminatorBlock(width + minibatch_std, width),
    )


def initialize_glorot(module: nn.Module) -> None:
    """Draw weights by the uniform rule of Glorot & Bengio 2010, with gain sqrt(2) for 3x3 convolutions; biases are 0.

    As in the code of both papers, where the generator's last convolution, outside all blocks, has a gain of 1. For
    `nn.Module.apply`, before spectral norm: afterwards `weight` is a computed copy.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        gain = 2**0.5 if module.weight.shape[2:] == (3, 3) else 1.0
        nn.init.xavier_uniform_(module.weight, gain)
        nn.init.zeros_(module.bias)
