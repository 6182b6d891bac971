"""Attention between maps of vectors, as ANN, OCR and the non-local family use it: one head, no N × N matrix kept."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, *, scale: float | None = None, bias: Tensor | None = None
) -> Tensor:
    """softmax(scale · q kᵀ + bias) v over all positions.

    queries [B, T, h, w], keys [B, T, ...] and values [B, V, ...] with the same positions -> [B, V, h, w];
    `scale` defaults to T^-0.5; `bias` broadcasts to [B, 1, queries, keys].
    """
    # Fused kernels want the channels of a position side by side; without the copies an N × N matrix would be made.
    q, k, v = (x.flatten(2).transpose(1, 2).contiguous().unsqueeze(1) for x in (queries, keys, values))
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    return mixed.squeeze(1).transpose(1, 2).reshape(queries.shape[0], -1, *queries.shape[2:])


class Attention(nn.Module):
    """Queries from one map, keys and values from another, each through its own projection; the result is projected.

    query [B, Cq, h, w], memory [B, Ck, ...] -> [B, out, h, w]; `pool` shortens keys and values.
    """

    def __init__(
        self, query: nn.Module, key: nn.Module, value: nn.Module, out: nn.Module, *, pool: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = query, key, value, out
        self.pool = pool if pool is not None else nn.Identity()

    def forward(self, query: Tensor, memory: Tensor) -> Tensor:
        return self.out(attend(self.query(query), self.pool(self.key(memory)), self.pool(self.value(memory))))
