"""Self-attention between the positions of a feature map, an option of the residual networks."""

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from gan.errors import InputError


class SelfAttention(nn.Module):
    """Add to each position of maps (N, channels, H, W) a weighted sum over all positions; the shape stays.

    x + gamma v(sum_i softmax_i(g(x)_j . f(x)_i) h(x)_i) at position j, where f, g, h and v are 1x1 convolutions without
    bias, and f and g have channels / 8 outputs. Zhang et al. 2019, "Self-Attention Generative Adversarial Networks",
    eqs. 1 to 3. As in their code and in BigGAN's, h has channels / 2 outputs, and f(x) and h(x) are max-pooled to half
    the size. gamma is learned and starts at 0, so that the layer starts as the identity. Raises InputError for fewer
    than 8 channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < 8:
            raise InputError(f"attention: needs maps of at least 8 channels, these have {channels}; raise the width")
        self.f = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.g = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.h = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.v = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        # an odd size is rounded up, so that no position is left out
        f, h = (max_pool2d(layer(x), 2, ceil_mode=True).flatten(2) for layer in (self.f, self.h))  # (N, C', HW / 4)
        g = self.g(x).flatten(2)  # (N, C / 8, HW)
        # not scaled_dot_product_attention: its fast kernels can't be differentiated twice, as penalties need
        weights = (g.transpose(1, 2) @ f).softmax(dim=-1)  # (N, HW, HW / 4)
        o = h @ weights.transpose(1, 2)  # (N, C / 2, HW)
        return x + self.gamma * self.v(o.unflatten(2, x.shape[2:]))


def require_attention_size(player: str, attention: int | None, sizes: list[int]) -> None:
    """Raise InputError for an `attention` that is not the size in px of any block's maps."""
    if attention is not None and attention not in sizes:
        shown = ", ".join(str(size) for size in dict.fromkeys(sizes))
        raise InputError(
            f"model.{player}.attention={attention}: must be the size in px of some of this network's maps ({shown}), "
            "or null for no self-attention"
        )
