"""Residual GAN with a projection discriminator (Miyato & Koyama 2018), spectrally normalised (Miyato et al. 2018).

The networks are those of the papers' 32 px experiments (Miyato et al. 2018, table 4), for any size that doubles from
4..7 px. Without classes the discriminator is the unconditional SN-ResNet.
"""

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, relu
from torch.nn.utils.parametrizations import spectral_norm

from gan.models.layers import ConditionalBatchNorm2d, doublings


class GeneratorBlock(nn.Module):
    """Double the size of maps (N, inputs, H, W) to (N, outputs, 2H, 2W), conditional batch norm before each ReLU."""

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


class DiscriminatorBlock(nn.Module):
    """Map (N, inputs, H, W) to (N, outputs, H, W), or to half the size with `down`; `first` takes raw pixels."""

    def __init__(self, inputs: int, outputs: int, *, down: bool, first: bool = False) -> None:
        super().__init__()
        self.down, self.first = down, first
        self.conv1 = spectral_norm(nn.Conv2d(inputs, outputs, 3, padding=1))
        self.conv2 = spectral_norm(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.shortcut = spectral_norm(nn.Conv2d(inputs, outputs, 1)) if down or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(x if self.first else relu(x))
        h = self.conv2(relu(h))
        if self.down:
            h, x = avg_pool2d(h, 2), avg_pool2d(x, 2)
        return h + self.shortcut(x)


class Generator(nn.Module):
    """Map z (N, z_dim) and labels (N,) to images (N, channels, image_size, image_size) in [-1, 1].

    Raises InputError for an image_size that does not double from 4..7 px.
    """

    def __init__(self, *, channels: int, image_size: int, num_classes: int, z_dim: int = 128, width: int = 256) -> None:
        super().__init__()
        self.z_dim = z_dim
        start, n = doublings(image_size, "projection")
        self.project = nn.Sequential(nn.Linear(z_dim, width * start**2), nn.Unflatten(1, (width, start, start)))
        self.blocks = nn.ModuleList(GeneratorBlock(width, width, num_classes) for _ in range(n))
        self.head = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, channels, 3, padding=1), nn.Tanh())
        self.apply(initialise)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        x = self.project(z)  # (N, width, start, start)
        for block in self.blocks:
            x = block(x, labels)  # twice the size each time
        return self.head(x)  # (N, C, H, W)


class Discriminator(nn.Module):
    """Map images (N, channels, image_size, image_size) and labels (N,) to logits <v_y, phi(x)> + psi(phi(x)), (N,).

    phi are sum-pooled features; every layer, the class vectors v included, is spectrally normalised.
    Miyato & Koyama 2018, eq. 3.
    """

    def __init__(self, *, channels: int, image_size: int, num_classes: int, width: int = 128) -> None:
        super().__init__()
        doublings(image_size, "projection")
        self.blocks = nn.Sequential(
            DiscriminatorBlock(channels, width, down=True, first=True),
            DiscriminatorBlock(width, width, down=True),
            DiscriminatorBlock(width, width, down=False),
            DiscriminatorBlock(width, width, down=False),
        )
        self.psi = spectral_norm(nn.Linear(width, 1))
        self.v = spectral_norm(nn.Embedding(num_classes, width)) if num_classes else None
        self.apply(initialise)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        phi = relu(self.blocks(images)).sum(dim=(2, 3))  # (N, width)
        logits = self.psi(phi).squeeze(1)  # (N,)
        return logits if self.v is None else logits + (self.v(labels) * phi).sum(dim=1)


def initialise(module: nn.Module) -> None:
    """Draw weights by Glorot & Bengio's uniform rule, with gain sqrt(2) for 3x3 convolutions (the authors' code)."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        gain = 2**0.5 if module.weight.shape[2:] == (3, 3) else 1.0
        nn.init.xavier_uniform_(module.weight, gain)
        nn.init.zeros_(module.bias)
