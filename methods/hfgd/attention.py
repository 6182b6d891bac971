"""Attention over all positions (SA) and along the axes (AA), by fused kernels: no map of affinities is kept."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from methods.contexts.attention import attend


class SelfAttention(nn.Module):
    """Every position becomes a mean of all positions, weighted by the softmax of their products, which are not scaled.

    `inner`: channels of queries and keys, which have biases and start equal, as in the heads that CAR released. None: no
    projection at all, which is how the GFLOPs of HFGD's Table 9 are met. x [B, channels, h, w] -> same shape
    """

    def __init__(self, channels: int, *, inner: int | None = None) -> None:
        super().__init__()
        self.projected = inner is not None
        if inner is not None:
            self.query = nn.Conv2d(channels, inner, 1)
            self.key = nn.Conv2d(channels, inner, 1)
            self.value = nn.Conv2d(channels, channels, 1)
            self.key.load_state_dict(self.query.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        if not self.projected:
            return attend(x, x, x, scale=1.0)
        return attend(self.query(x), self.key(x), self.value(x), scale=1.0)


class AxialAttention(nn.Module):
    """Attention along columns, then along rows (Ho et al. 2019), without projections: queries, keys and values are the
    map itself, in `heads` parts. Both affinities are those of the input; the values of the second are what the first gave.

    x [B, channels, H, W] -> same shape; the channels divide into the heads.
    """

    def __init__(self, channels: int, *, heads: int = 4) -> None:
        super().__init__()
        assert channels % heads == 0
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        rows = x.unflatten(1, (self.heads, -1)).permute(0, 3, 1, 4, 2)  # [B, H, heads, W, d]
        columns = rows.transpose(1, 3)
        mixed = _attend_to_itself(columns).transpose(1, 3)
        return _attend_to_itself(rows, mixed).permute(0, 2, 4, 1, 3).flatten(1, 2)


def _attend_to_itself(x: Tensor, values: Tensor | None = None) -> Tensor:
    """Attention within each [N, d] of x [B, L, heads, N, d]; in four dimensions, without which no fused kernel runs."""
    keys = x.flatten(0, 1).contiguous()
    mixed = F.scaled_dot_product_attention(keys, keys, keys if values is None else values.flatten(0, 1).contiguous())
    return mixed.unflatten(0, x.shape[:2])
