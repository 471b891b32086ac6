"""Adversarial losses: raw logits of shape (N,) in, a scalar to minimise out. No network, no optimiser, no device."""

from torch import Tensor
from torch.nn.functional import relu, softplus


class BCE:
    """Non-saturating binary cross-entropy on logits.

    D minimises E softplus(-D(x)) + E softplus(D(G(z))), G minimises E softplus(-D(G(z))).
    Goodfellow et al. 2014, "Generative Adversarial Nets", section 3.
    """

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return softplus(-real_logits).mean() + softplus(fake_logits).mean()

    def generator(self, fake_logits: Tensor) -> Tensor:
        return softplus(-fake_logits).mean()


class Hinge:
    """Hinge loss for D; G maximises the raw logit, with no margin.

    D minimises E relu(1 - D(x)) + E relu(1 + D(G(z))), G minimises -E D(G(z)).
    Lim & Ye 2017, "Geometric GAN", eqs. 10-11; Miyato et al. 2018, eqs. 16-17.
    """

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return relu(1 - real_logits).mean() + relu(1 + fake_logits).mean()

    def generator(self, fake_logits: Tensor) -> Tensor:
        return -fake_logits.mean()


class Wasserstein:
    """Difference of mean scores: an estimate of the Wasserstein-1 distance if D is 1-Lipschitz.

    D minimises E D(G(z)) - E D(x), G minimises -E D(G(z)). The Lipschitz constraint comes from elsewhere: a penalty,
    spectral norm or clipping. Arjovsky et al. 2017, algorithm 1; with a gradient penalty Gulrajani et al. 2017, eq. 3.
    """

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return fake_logits.mean() - real_logits.mean()

    def generator(self, fake_logits: Tensor) -> Tensor:
        return -fake_logits.mean()
