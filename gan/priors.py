"""Priors of z: `prior(n, z_dim, ...)` returns z (n, z_dim); keyword arguments are those of torch.randn."""

from typing import Any

import torch
from torch import Tensor


def normal(*size: int, **options: Any) -> Tensor:
    """Return draws from N(0, 1)."""
    return torch.randn(*size, **options)


def uniform(*size: int, **options: Any) -> Tensor:
    """Return draws from U[-1, 1], as in Lucic et al. 2018 and DCGAN (Radford et al. 2016)."""
    return torch.rand(*size, **options).mul_(2).sub_(1)
