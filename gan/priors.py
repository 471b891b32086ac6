"""What z is drawn from: `prior(n, z_dim, ...)` returns (n, z_dim); further arguments are those of torch.randn."""

from typing import Any

import torch
from torch import Tensor


def normal(*size: int, **options: Any) -> Tensor:
    """Draw from N(0, 1)."""
    return torch.randn(*size, **options)


def uniform(*size: int, **options: Any) -> Tensor:
    """Draw from U[-1, 1], as Lucic et al. 2018 and DCGAN do."""
    return torch.rand(*size, **options).mul_(2).sub_(1)
