"""ReACGAN's discriminator (Kang et al. 2021, "Rebooting ACGAN") for the residual generator of resnet.py."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from gan.errors import InputError
from gan.models.classifying import ClassifyingDiscriminator
from gan.models.layers import LogitLayer


class Discriminator(ClassifyingDiscriminator):
    """Map images to logits, and to embeddings that the D2D-CE loss draws to a vector of their class.

    D minimizes this loss on reals, G on fakes; see `compute_d2d_cross_entropy`. Embeddings and class vectors have
    `features` numbers and length 1. The defaults are those of the authors' configuration for CIFAR-10. Raises
    InputError for margins outside [-1, 1] and for a temperature that is not above 0.
    """

    auxiliary_on = ("real",)

    def __init__(
        self,
        *,
        channels: int,
        image_size: int,
        num_classes: int,
        width: int = 128,
        features: int = 512,
        attention: int | None = None,
        auxiliary_weight: float = 0.5,
        temperature: float = 0.5,
        positive_margin: float = 0.98,
        negative_margin: float = 0.02,
    ) -> None:
        shape = {"channels": channels, "image_size": image_size, "num_classes": num_classes}
        super().__init__("reacgan", **shape, width=width, attention=attention, auxiliary_weight=auxiliary_weight)
        for name, value in {"positive_margin": positive_margin, "negative_margin": negative_margin}.items():
            if not -1 <= value <= 1:
                raise InputError(f"model.discriminator.{name}={value:g}: must be a cosine, from -1 to 1")
        if not temperature > 0:
            raise InputError(f"model.discriminator.temperature={temperature:g}: must be above 0")
        self.options = {
            "temperature": temperature,
            "positive_margin": positive_margin,
            "negative_margin": negative_margin,
        }
        self.embed, self.proxies = LogitLayer(width, features), nn.Embedding(num_classes, features)
        nn.init.xavier_uniform_(self.proxies.weight)  # as projection.py's class vectors
        self.initialize_layers()

    def compute_auxiliary_loss(self, phi: Tensor, labels: Tensor) -> Tensor:
        f, v = normalize(self.embed(phi)), normalize(self.proxies(labels))  # (N, features)
        return compute_d2d_cross_entropy(f, v, labels, **self.options)


def compute_d2d_cross_entropy(
    f: Tensor, v: Tensor, labels: Tensor, *, temperature: float, positive_margin: float, negative_margin: float
) -> Tensor:
    """Return the data-to-data cross-entropy, a scalar, of embeddings f and their classes' vectors v.

    Both are (N, d), with rows of length 1. It is -mean_i log(p_i / (p_i + sum_j n_ij)), where
    p_i = exp(min(<f_i, v_i> - m_p, 0) / t), n_ij = exp(max(<f_i, f_j> - m_n, 0) / t), and j runs over the samples of
    other classes; 0 if there are none. Kang et al. 2021, eq. 8.
    """
    with torch.autocast(f.device.type, enabled=False):
        positive = ((f * v).sum(1, keepdim=True) - positive_margin).clamp(max=0)  # (N, 1)
        negative = (f @ f.T - negative_margin).clamp(min=0)  # (N, N)
        negative = negative.masked_fill(labels[:, None] == labels, -torch.inf)
        return cross_entropy(torch.cat([positive, negative], dim=1) / temperature, torch.zeros_like(labels))
