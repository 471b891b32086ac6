"""Mode scores: how many modes of the data a generator finds, and how evenly it draws from them."""

import torch
from torch import Tensor


def compute_mode_scores(modes: Tensor, real_shares: Tensor) -> dict[str, float]:
    """Return the mode scores of samples, by name.

    `modes` (N,) int64 holds the index of each sample's mode, or -1 for a sample of low quality; `real_shares` (M,)
    holds the share of each mode among the reals, all above 0. The scores are

    - modes: the number of modes with at least one sample of high quality, 0 to M;
    - high_quality: the share of samples of high quality, in [0, 1];
    - reverse_kl: sum_m q_m log(q_m / p_m) in nats, with q the shares of the modes among the samples of high quality
      and p those among the reals; 0 is best. Without such a sample it has its largest value, log(1 / min_m p_m), that
      of samples which are all in the rarest mode, so that it is finite.

    Srivastava et al. 2017 (VEEGAN), section 4, and Lin et al. 2018 (PacGAN), section 4.1. As in PacGAN's code, a
    sample of low quality counts for no mode.
    Raises ValueError for no samples, for an index outside -1 to M - 1, and for shares that are not above 0.
    """
    n_modes = len(real_shares)
    if not len(modes) or modes.min() < -1 or modes.max() >= n_modes:
        raise ValueError(f"modes must be at least one index from -1 to {n_modes - 1}")
    if not bool((real_shares > 0).all()):
        raise ValueError("real_shares must all be above 0: each mode has reals")
    counts = torch.bincount(modes[modes >= 0], minlength=n_modes).double()
    p = real_shares.double() / real_shares.double().sum()
    q = counts / counts.sum()
    reverse_kl = torch.special.xlogy(q, q / p).sum().clamp(min=0) if counts.sum() else -p.min().log()
    return {
        "modes": int((counts > 0).sum()),
        "high_quality": counts.sum().item() / len(modes),
        "reverse_kl": reverse_kl.item(),
    }
