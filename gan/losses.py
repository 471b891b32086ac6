"""Adversarial losses: raw logits of shape (N,) in, one scalar per player out. No network, no optimizer, no device."""

from typing import Protocol

from torch import Tensor
from torch.nn.functional import relu, softplus

from gan.errors import InputError


class Loss(Protocol):
    """What the training step asks of a loss: one scalar to minimize for each player.

    Logits are D's raw outputs, one per image, of shape (N,) in float32. `relativistic` asks for the logits of reals in
    the generator's step too. `needs_lipschitz` marks a loss that has no minimum unless D is bounded: it is refused
    without a penalty, weight clipping or spectral norm. A class that is not derived from this one may leave both out,
    which means False: see `is_relativistic` and `is_unbounded`.
    """

    relativistic: bool = False
    needs_lipschitz: bool = False

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return D's loss, a scalar, from the logits (N,) of reals and (N,) of fakes."""
        ...

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        """Return G's loss, a scalar, from the logits (N,) of fakes; `real_logits` (N,) are None unless relativistic."""
        ...


def is_relativistic(loss: Loss) -> bool:
    """Whether G's loss compares fakes with reals; a user's own class need not say."""
    return getattr(loss, "relativistic", Loss.relativistic)


def is_unbounded(loss: Loss) -> bool:
    """Whether a loss has no minimum unless D is bounded; a user's own class need not say."""
    return getattr(loss, "needs_lipschitz", Loss.needs_lipschitz)


class BCE(Loss):
    """Non-saturating binary cross-entropy on logits.

    D minimizes E softplus(-D(x)) + E softplus(D(G(z))), G minimizes E softplus(-D(G(z))).
    Goodfellow et al. 2014, "Generative Adversarial Nets", section 3. With `label_smoothing` s in [0, 1) the
    target of reals is 1 - s and that of fakes stays 0: one-sided smoothing (Salimans et al. 2016, section 3.4).
    Raises InputError for a smoothing outside [0, 1).
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


class Minimax(Loss):
    """The original zero-sum game, whose generator saturates where D rejects its fakes with confidence.

    D minimizes the same as in BCE, G minimizes E log(1 - sigmoid(D(G(z)))) = -E softplus(D(G(z))).
    Goodfellow et al. 2014, eq. 1.
    """

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return softplus(-real_logits).mean() + softplus(fake_logits).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -softplus(fake_logits).mean()


class LeastSquares(Loss):
    """Least squares to the targets 1 for reals and 0 for fakes, on raw outputs.

    D minimizes 1/2 E (D(x) - 1)^2 + 1/2 E D(G(z))^2, G minimizes 1/2 E (D(G(z)) - 1)^2. Mao et al. 2017, eq. 9.
    """

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return ((real_logits - 1).square().mean() + fake_logits.square().mean()) / 2

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return (fake_logits - 1).square().mean() / 2


class Hinge(Loss):
    """Hinge loss for D; G maximizes the raw logit, with no margin.

    D minimizes E relu(1 - D(x)) + E relu(1 + D(G(z))), G minimizes -E D(G(z)).
    Lim & Ye 2017, "Geometric GAN", eqs. 10-11; Miyato et al. 2018, eqs. 16-17.
    """

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return relu(1 - real_logits).mean() + relu(1 + fake_logits).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -fake_logits.mean()


class Wasserstein(Loss):
    """Difference of mean logits: an estimate of the Wasserstein-1 distance if D is 1-Lipschitz.

    D minimizes E D(G(z)) - E D(x), G minimizes -E D(G(z)). The Lipschitz constraint comes from elsewhere: a penalty,
    spectral norm or clipping. Arjovsky et al. 2017, algorithm 1; with a gradient penalty Gulrajani et al. 2017, eq. 3.
    """

    needs_lipschitz = True

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return fake_logits.mean() - real_logits.mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -fake_logits.mean()


class RelativisticPaired(Loss):
    """Each real against one fake of its label: both players see only the difference of the two logits.

    D minimizes E softplus(-(D(x) - D(G(z)))), G minimizes E softplus(-(D(G(z)) - D(x))). Jolicoeur-Martineau 2018;
    Huang et al. 2024 (R3GAN), eq. 2. Raises InputError for logits that are
    not two vectors of the same length.
    """

    relativistic = True

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return softplus(-compute_margins(real_logits, fake_logits)).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return softplus(compute_margins(real_logits, fake_logits)).mean()


def compute_margins(real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
    """Return D(x) - D(G(z)) of each pair, (N,); raise InputError for shapes that would broadcast to other pairs."""
    if real_logits is None or real_logits.shape != fake_logits.shape or fake_logits.dim() != 1:
        shapes = [None if logits is None else tuple(logits.shape) for logits in (real_logits, fake_logits)]
        raise InputError(
            f"loss=rpgan: each real is paired with one fake; the logits of reals {shapes[0]} and of fakes {shapes[1]} "
            "must both have the shape (N,)"
        )
    return real_logits - fake_logits
