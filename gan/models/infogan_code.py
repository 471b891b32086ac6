"""InfoGAN with its latent code (Chen et al. 2016, "InfoGAN: Interpretable Representation Learning ..."), on infogan.py.

The code has one of `categories` values and `continuous` further numbers, which are parts of z. A distribution Q on the
features of the discriminator predicts the code from the image. With conditional=false the categories are found without
labels.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot

from gan.errors import InputError
from gan.models import infogan
from gan.models.layers import (
    LogitLayer,
    apply_spectral_norm,
    build_norm,
    initialize_normal,
    require_auxiliary_weight,
)


class Generator(infogan.Generator):
    """Map z (N, z_dim) and labels (N,) to images (N, channels, image_size, image_size) in [-1, 1].

    The largest of the first `categories` numbers of z is the category, which the network gets as a one-hot vector in
    their place: all are equally likely. The next `continuous` numbers are the rest of the code. Raises InputError for
    a code that is empty or longer than z, and for an image_size as infogan.py does.
    """

    def __init__(self, *, z_dim: int = 74, categories: int = 10, continuous: int = 2, **options: int) -> None:
        require_code(categories, continuous)
        if categories + continuous > z_dim:
            raise InputError(
                f"model.generator.z_dim={z_dim}: must be at least the {categories + continuous} numbers of the code"
            )
        super().__init__(z_dim=z_dim, **options)
        self.categories, self.continuous = categories, continuous

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        if self.categories:
            category = z[:, : self.categories].argmax(dim=1)
            z = torch.cat([one_hot(category, self.categories).to(z.dtype), z[:, self.categories :]], dim=1)
        return super().forward(z, labels)

    def traverse_code(self, z: Tensor) -> dict[str, Tensor]:
        """Return rows (n, z_dim) by name, from z (n, z_dim): one per category, one per number of the code.

        A category's row is z with this category. A number's row is the first z, with that number from -2 to 2. Chen et
        al. 2016, figure 2.
        """
        rows = {}
        for i in range(self.categories):
            rows[f"category {i}"] = z.clone()
            rows[f"category {i}"][:, : self.categories] = torch.eye(self.categories, device=z.device)[i]
        for i in range(self.continuous):
            rows[f"code {i + 1}"] = z[:1].repeat(len(z), 1)
            rows[f"code {i + 1}"][:, self.categories + i] = torch.linspace(-2, 2, len(z), device=z.device)
        return rows


class Discriminator(infogan.Discriminator):
    """Map images (N, channels, image_size, image_size) and labels (N,) to logits (N,), and predict the code of fakes.

    Both players minimize -E log Q(c | G(z)). Less the constant entropy of the code, it is the negative of a lower bound
    of the mutual information (Chen et al. 2016, eqs. 4 to 6, where the weight lambda is 1). Q is a categorical
    distribution, and a normal one of variance 1 for each number. As in the authors' code, D's update trains Q together
    with the features that it shares with D. Raises InputError as infogan.py does, for an empty code, and for an
    `auxiliary_weight` that is not above 0.
    """

    auxiliary_on = ("fake",)

    def __init__(
        self,
        *,
        categories: int = 10,
        continuous: int = 2,
        hidden: int = 1024,
        norm: str = "batch",
        auxiliary_weight: float = 1.0,
        **options: int,
    ) -> None:
        require_code(categories, continuous)
        require_auxiliary_weight(auxiliary_weight, "infogan", "code")
        super().__init__(hidden=hidden, norm=norm, **options)
        self.categories, self.continuous, self.auxiliary_weight = categories, continuous, auxiliary_weight
        self.q = nn.Sequential(
            nn.Linear(hidden, 128), build_norm(norm, 128), nn.LeakyReLU(0.2), LogitLayer(128, categories + continuous)
        )
        self.q.apply(initialize_normal)
        if norm == "spectral":
            apply_spectral_norm(self.q)

    def judge_with_auxiliary(self, images: Tensor, labels: Tensor, z: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return logits (N,), and -E log Q of the code in z (N, z_dim) up to a constant; 0 for reals, without a z."""
        first, *others, last = self.body
        x = first(images, labels)
        for layer in others:
            x = layer(x)
        logits = last(x).squeeze(1)  # (N,)
        return logits, logits.new_zeros(()) if z is None else self.compute_auxiliary_loss(x, z)

    def compute_auxiliary_loss(self, x: Tensor, z: Tensor) -> Tensor:
        """Return -E log Q(c | x), a scalar, up to a constant, from features x (N, hidden) and z (N, z_dim)."""
        sizes = [self.categories, self.continuous]
        (of_category, of_numbers), code = self.q(x).split(sizes, dim=1), z[:, : sum(sizes)].split(sizes, dim=1)
        loss = of_numbers.new_zeros(())
        if self.categories:
            loss = loss + cross_entropy(of_category, code[0].argmax(dim=1))
        if self.continuous:
            loss = loss + self.continuous / 2 * mse_loss(of_numbers, code[1])
        return loss


def require_code(categories: int, continuous: int) -> None:
    """Raise InputError unless a code has 2 or more categories, or none, and at least one part."""
    if categories < 0 or categories == 1 or continuous < 0 or categories + continuous == 0:
        raise InputError(
            f"model.generator.categories={categories} and continuous={continuous}: a code needs at least 2 categories, "
            "or 0 of them and at least 1 number; model=infogan is the same network without a code"
        )
