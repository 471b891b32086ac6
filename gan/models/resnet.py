"""The residual networks of the papers' 32 px experiments (Gulrajani et al. 2017, Miyato et al. 2018, table 4).

One generator and the blocks of the discriminators sngan, projection, resnet_gp, acgan, reacgan and biggan.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from gan.models.attention import SelfAttention, require_attention_size
from gan.models.layers import (
    ConditionalBatchNorm2d,
    LabeledSequential,
    LabelPlaneConv2d,
    MinibatchStd,
    factor_image_size,
)


class GeneratorBlock(nn.Module):
    """A residual block from (N, inputs, H, W) to (N, outputs, 2H, 2W), with a norm before each ReLU.

    `build_norm(channels)` returns a conditional norm, which is called with maps and the block's `condition`: the labels
    (N,), or vectors (N, d).
    """

    def __init__(self, inputs: int, outputs: int, build_norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm1 = build_norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = build_norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = interpolate(relu(self.norm1(x, condition)), scale_factor=2)
        h = self.conv1(h)
        h = self.conv2(relu(self.norm2(h, condition)))
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

    Labels enter by conditional batch norm. With `attention`, self-attention follows the block whose maps have this size
    in px. Raises InputError for an image_size that is not 4..7 times a power of two, and for an attention that is not
    the size of a block's maps.
    """

    def __init__(
        self,
        *,
        channels: int,
        image_size: int,
        num_classes: int,
        z_dim: int = 128,
        width: int = 256,
        attention: int | None = None,
    ) -> None:
        super().__init__()
        self.z_dim = z_dim
        start, n = factor_image_size(image_size)
        self.project = nn.Sequential(nn.Linear(z_dim, width * start**2), nn.Unflatten(1, (width, start, start)))
        build_norm = partial(ConditionalBatchNorm2d, num_classes=num_classes)
        self.blocks = build_generator_blocks(width, image_size, [build_norm] * n, attention)
        self.head = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, channels, 3, padding=1), nn.Tanh())
        self.apply(initialize_glorot)
        nn.init.xavier_uniform_(self.head[2].weight)  # 3x3, but in no residual block

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        x = self.project(z)  # (N, width, start, start)
        for block in self.blocks:
            x = block(x, labels)  # twice the size each time
        return self.head(x)  # (N, C, H, W)


def build_generator_blocks(
    width: int, image_size: int, norms: list[Callable[[int], nn.Module]], attention: int | None
) -> nn.ModuleList:
    """Return a generator's blocks, each with a norm of its own, up to maps (N, width, image_size, image_size).

    Self-attention follows the block whose maps have the size `attention`. Raises InputError if none has.
    """
    sizes = [image_size // 2**i for i in reversed(range(len(norms)))]
    require_attention_size("generator", attention, sizes)
    blocks: list[nn.Module] = [GeneratorBlock(width, width, build_norm) for build_norm in norms]
    if attention is not None:
        i = sizes.index(attention)
        blocks[i] = LabeledSequential(blocks[i], SelfAttention(width))
    return nn.ModuleList(blocks)


def build_trunk(
    channels: int,
    num_classes: int,
    width: int,
    image_size: int,
    attention: int | None = None,
    *,
    minibatch_std: bool = False,
) -> LabeledSequential:
    """Return a discriminator's blocks, (N, channels, H, W) to (N, width, h, w): some halve the size, then two keep it.

    There is no ReLU after the last. Images of 32 px are halved twice, as in the papers; larger ones until h = w <= 8,
    so that features cover as large a part of the image: three times at 64 px, four times at 128 px. Self-attention
    follows the first block whose maps have the size `attention`. Raises InputError if none has. With `minibatch_std`
    the last block gets one more channel, see `MinibatchStd`.
    """
    halvings = 2
    while image_size / 2**halvings > 8:
        halvings += 1
    blocks: list[nn.Module] = [
        InputBlock(channels, num_classes, width),
        *(DiscriminatorBlock(width, width, down=True) for _ in range(halvings - 1)),
        DiscriminatorBlock(width, width),
        DiscriminatorBlock(width + minibatch_std, width),
    ]
    sizes = [image_size // 2 ** min(i + 1, halvings) for i in range(len(blocks))]
    require_attention_size("discriminator", attention, sizes)
    if minibatch_std:
        blocks[-1] = nn.Sequential(MinibatchStd(), blocks[-1])
    if attention is not None:
        blocks.insert(sizes.index(attention) + 1, SelfAttention(width))
    return LabeledSequential(*blocks)


def initialize_glorot(module: nn.Module) -> None:
    """Draw weights by the uniform rule of Glorot & Bengio 2010, with gain sqrt(2) for 3x3 convolutions; biases are 0.

    As in the code of both papers, where the generator's last convolution, outside all blocks, has a gain of 1. For
    `nn.Module.apply`, before spectral norm: afterwards `weight` is a computed copy.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        gain = 2**0.5 if module.weight.shape[2:] == (3, 3) else 1.0
        nn.init.xavier_uniform_(module.weight, gain)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
