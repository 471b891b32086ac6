"""Adversarial losses: raw logits of shape (N,) in, a scalar to minimise out. No network, no optimiser, no device.

`generator` gets the logits of reals only where a loss says `relativistic = True`; else None. One that says
`needs_lipschitz = True` has no minimum unless D is bounded: it is refused without a penalty, clipping or spectral norm.
"""

from torch import Tensor
from torch.nn.functional import relu, softplus

from gan.errors import InputError


class BCE:
    """Non-saturating binary cross-entropy on logits.

    D minimises E softplus(-D(x)) + E softplus(D(G(z))), G minimises E softplus(-D(G(z))).
    Goodfellow et al. 2014, "Generative Adversarial Nets", section 3. With `label_smoothing` s in [0, 1) the reals'
    target is 1 - s; the fakes' stays 0: one-sided (Salimans et al. 2016, section 3.4).
    """

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise InputError(f"loss.label_smoothing={label_smoothing:g}: must be at least 0 and below 1")
        self.label_smoothing = label_smoothing

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        real = softplus(-real_logits) + self.label_smoothing * real_logits  # softplus(x) = softplus(-x) + x
        return real.mean() + softplus(fake_logits).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return softplus(-fake_logits).mean()


class Minimax:
    """The original zero-sum game, whose generator saturates where D is sure of its fakes.

    D minimises as for BCE, G minimises E log(1 - sigmoid(D(G(z)))) = -E softplus(D(G(z))).
    Goodfellow et al. 2014, eq. 1.
    """

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return softplus(-real_logits).mean() + softplus(fake_logits).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -softplus(fake_logits).mean()


class LeastSquares:
    """Least squares to the targets 1 for reals and 0 for fakes, on raw outputs.

    D minimises 1/2 E (D(x) - 1)^2 + 1/2 E D(G(z))^2, G minimises 1/2 E (D(G(z)) - 1)^2. Mao et al. 2017, eq. 9.
    """

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return ((real_logits - 1).square().mean() + fake_logits.square().mean()) / 2

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return (fake_logits - 1).square().mean() / 2


class Hinge:
    """Hinge loss for D; G maximises the raw logit, with no margin.

    D minimises E relu(1 - D(x)) + E relu(1 + D(G(z))), G minimises -E D(G(z)).
    Lim & Ye 2017, "Geometric GAN", eqs. 10-11; Miyato et al. 2018, eqs. 16-17.
    """

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return relu(1 - real_logits).mean() + relu(1 + fake_logits).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -fake_logits.mean()


class Wasserstein:
    """Difference of mean scores: an estimate of the Wasserstein-1 distance if D is 1-Lipschitz.

    D minimises E D(G(z)) - E D(x), G minimises -E D(G(z)). The Lipschitz constraint comes from elsewhere: a penalty,
    spectral norm or clipping. Arjovsky et al. 2017, algorithm 1; with a gradient penalty Gulrajani et al. 2017, eq. 3.
    """

    needs_lipschitz = True

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return fake_logits.mean() - real_logits.mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -fake_logits.mean()


class RelativisticPaired:
    """Each real against one fake of its label: only the difference of their logits counts, for both players.

    D minimises E softplus(-(D(x) - D(G(z)))), G minimises E softplus(-(D(G(z)) - D(x))). Jolicoeur-Martineau 2018;
    Huang et al. 2024 (R3GAN), eq. 2. Raises InputError for batches that do not pair up.
    """

    relativistic = True

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return softplus(-compute_margins(real_logits, fake_logits)).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return softplus(compute_margins(real_logits, fake_logits)).mean()


def compute_margins(real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
    """Return D(x) - D(G(z)) of each pair, (N,); a broadcast would compare every real with every fake."""
    if real_logits is None or real_logits.shape != fake_logits.shape or fake_logits.dim() != 1:
        shapes = [None if logits is None else tuple(logits.shape) for logits in (real_logits, fake_logits)]
        raise InputError(
            f"loss=rpgan: pairs each real with one fake, so logits of reals {shapes[0]} and of fakes {shapes[1]} "
            f"must both have the shape (N,)"
        )
    return real_logits - fake_logits
