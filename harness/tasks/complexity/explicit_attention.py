"""Makes attention countable: every fused attention becomes two matrix products and a softmax."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor


def explicit_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`scaled_dot_product_attention` in eval mode, written out; the affinities are scaled, unless by 1."""
    assert not is_causal
    assert not enable_gqa
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    affinity = torch.matmul(query, key.transpose(-2, -1))
    if factor != 1:
        affinity = affinity * factor
    if attn_mask is not None:
        affinity = (
            affinity.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else affinity + attn_mask
        )
    return torch.matmul(affinity.softmax(dim=-1), value)


@contextmanager
def attention_as_products() -> Iterator[None]:
    """Within, `torch.nn.functional`'s attention is written out, whatever kernel the machine would choose.

    A TorchFunctionMode would not do: it does not reach inside `nn.MultiheadAttention`.
    """
    fast_path, fused = torch.backends.mha.get_fastpath_enabled(), F.scaled_dot_product_attention
    torch.backends.mha.set_fastpath_enabled(False)
    F.scaled_dot_product_attention = explicit_attention
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        F.scaled_dot_product_attention = fused
