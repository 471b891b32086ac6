"""Discriminator with an auxiliary classifier (Odena et al. 2017) for the residual generator of resnet.py."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from gan.models.classifying import ClassifyingDiscriminator
from gan.models.layers import LogitLayer


class Discriminator(ClassifyingDiscriminator):
    """Map images to logits, and classify them by a linear layer; sngan's blocks and spectral norm.

    Both players minimize the cross-entropy of the classes, D on reals and fakes, G on fakes. Odena et al. 2017,
    "Conditional Image Synthesis with Auxiliary Classifier GANs", eqs. 2 and 3, where the weight is 1.
    """

    auxiliary_on = ("real", "fake")

    def __init__(
        self,
        *,
        channels: int,
        image_size: int,
        num_classes: int,
        width: int = 128,
        attention: int | None = None,
        auxiliary_weight: float = 1.0,
    ) -> None:
        shape = {"channels": channels, "image_size": image_size, "num_classes": num_classes}
        super().__init__("acgan", **shape, width=width, attention=attention, auxiliary_weight=auxiliary_weight)
        self.classifier = LogitLayer(width, num_classes)
        self.initialize_layers()

    def compute_auxiliary_loss(self, phi: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(self.classifier(phi), labels)
