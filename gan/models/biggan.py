"""A small BigGAN (Brock et al. 2019, "Large Scale GAN Training for High Fidelity Natural Image Synthesis").

All blocks have the same width, as in the 32 px networks of the authors' PyTorch code.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from gan.models.layers import LogitLayer, apply_spectral_norm, compute_logits, factor_image_size
from gan.models.resnet import build_generator_blocks, build_trunk


class ConditionedBatchNorm2d(nn.Module):
    """Batch norm of maps (N, channels, H, W) whose gain and bias are linear in a condition (N, inputs).

    The gain is 1 and the bias 0 for a condition of zeros. Brock et al. 2019, appendix B.
    """

    def __init__(self, channels: int, inputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Linear(inputs, channels, bias=False)
        self.bias = nn.Linear(inputs, channels, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        x = self.norm(x)
        gain, bias = (layer(condition).to(x.dtype)[:, :, None, None] for layer in (self.gain, self.bias))
        return torch.addcmul(x + bias, x, gain)


class Generator(nn.Module):
    """Map z (N, z_dim) and labels (N,) to images (N, channels, image_size, image_size) in [-1, 1].

    z is split evenly into one chunk for the first layer and one for each block. The condition of a block's batch norms
    is its chunk joined with an `embedding` of the label, which all blocks share; without classes it is the chunk alone.
    All convolutions and dense layers have spectral norm, also those of gain and bias. `attention` is that of
    resnet.py's generator. Raises InputError for an image_size or an attention as that one does.
    """

    def __init__(
        self,
        *,
        channels: int,
        image_size: int,
        num_classes: int,
        z_dim: int = 120,
        width: int = 256,
        embedding: int = 128,
        attention: int | None = None,
    ) -> None:
        super().__init__()
        self.z_dim = z_dim
        start, n = factor_image_size(image_size)
        self.chunks = [len(chunk) for chunk in torch.arange(z_dim).tensor_split(n + 1)]
        first, *others = self.chunks
        self.project = nn.Sequential(nn.Linear(first, width * start**2), nn.Unflatten(1, (width, start, start)))
        shared = embedding if num_classes else 0
        norms = [partial(ConditionedBatchNorm2d, inputs=shared + chunk) for chunk in others]
        self.blocks = build_generator_blocks(width, image_size, norms, attention)
        self.head = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, channels, 3, padding=1), nn.Tanh())
        self.apply(initialize_orthogonal)
        apply_spectral_norm(self)
        self.embedding = initialize_orthogonal(nn.Embedding(num_classes, embedding)) if num_classes else None

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        first, *others = z.split(self.chunks, dim=1)  # (N, z_dim / (n + 1)) each
        x = self.project(first)  # (N, width, start, start)
        for block, chunk in zip(self.blocks, others, strict=True):
            condition = chunk if self.embedding is None else torch.cat([self.embedding(labels), chunk], dim=1)
            x = block(x, condition)  # twice the size each time
        return self.head(x)  # (N, C, H, W)


class Discriminator(nn.Module):
    """Map images (N, channels, image_size, image_size) and labels (N,) to logits <v_y, phi(x)> + psi(phi(x)), (N,).

    phi are sum-pooled features (N, width), and all layers have spectral norm, as in projection.py. Without classes the
    logits are psi(phi(x)). Raises InputError for an attention that is not the size in px of a block's maps.
    """

    def __init__(
        self, *, channels: int, image_size: int, num_classes: int, width: int = 256, attention: int | None = None
    ) -> None:
        super().__init__()
        self.blocks = build_trunk(channels, 0, width, image_size, attention)  # labels enter at the end only
        self.psi = LogitLayer(width, 1)
        self.v = nn.Embedding(num_classes, width) if num_classes else None
        self.apply(initialize_orthogonal)
        apply_spectral_norm(self)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        phi = relu(self.blocks(images, labels)).sum(dim=(2, 3), dtype=torch.float32)  # (N, width)
        return compute_logits(phi, labels, self.psi, self.v)


def initialize_orthogonal(module: nn.Module) -> nn.Module:
    """Make the weights of a layer orthogonal (Saxe et al. 2014) and its bias 0, and return it.

    As in Brock et al. 2019, section 3. For `nn.Module.apply`, before spectral norm.
    """
    if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
        nn.init.orthogonal_(module.weight)
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)
    return module
