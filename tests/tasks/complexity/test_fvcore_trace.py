"""Convention `fvcore` against hand counts and against fvcore itself."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from harness.tasks.complexity.explicit_attention import attention_as_products, explicit_attention
from harness.tasks.complexity.fvcore_trace import count
from tests.support.function_module import Function

CASES = {
    "conv": (nn.Conv2d(3, 8, 3, padding=1), (2, 3, 5, 7), 3 * 8 * 9 * 70),
    "batch norm": (nn.BatchNorm2d(4), (1, 4, 3, 3), 2 * 36),
    "layer norm": (nn.LayerNorm(6), (1, 4, 6), 5 * 24),
    "linear": (nn.Linear(6, 10), (3, 6), 180),
    "relu": (nn.ReLU(), (1, 4, 3, 3), 0),
    "adaptive pool": (nn.AdaptiveAvgPool2d(2), (1, 4, 6, 6), 144),
    "resize": (Function(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")), (1, 4, 3, 3), 4 * 144),
    "product": (Function(lambda x: torch.matmul(x, x.transpose(2, 3))), (1, 4, 3, 5), 4 * 3 * 3 * 5),
    "scattered bool": (
        Function(lambda x: x * torch.zeros(1, 4, dtype=torch.bool).scatter(1, x.argmax(1, keepdim=True), True)),
        (1, 4),
        0,
    ),
    "fused attention": (
        Function(lambda x: F.scaled_dot_product_attention(x, x, x)),
        (2, 3, 7, 5),
        2 * (2 * 3 * 7 * 7 * 5),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_by_hand(case):
    module, shape, expected = CASES[case]
    assert count(module, (torch.randn(shape),)) == expected


def test_agrees_with_fvcore_where_fvcore_sees_everything():
    from fvcore.nn import FlopCountAnalysis

    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 6, 1),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 5), nn.LayerNorm(5),
    ).eval()  # fmt: skip
    x = torch.randn(1, 3, 16, 16)
    assert count(module, (x,)) == FlopCountAnalysis(module, (x,)).unsupported_ops_warnings(False).total()


def test_transformer_layers_are_counted_without_their_fast_path():
    layer = nn.MultiheadAttention(8, 2, batch_first=True, bias=False)
    module = Function(lambda x: layer(x, x, x, need_weights=False)[0])
    module.layer = layer
    tokens, width = 5, 8
    expected = tokens * width * 3 * width + 2 * tokens * tokens * width + tokens * width * width
    assert count(module, (torch.randn(1, tokens, width),)) == expected


def test_a_product_that_fvcore_does_not_know_is_an_error():
    module = nn.LSTM(4, 4)
    with pytest.raises(AssertionError, match="lstm"):
        count(module, (torch.randn(3, 1, 4),))


@pytest.mark.parametrize("mask", [None, "bool", "float"])
def test_explicit_attention_is_attention(mask):
    q, k, v = torch.randn(2, 1, 5, 4), torch.randn(2, 1, 7, 4), torch.randn(2, 1, 7, 3)
    given = None
    if mask is not None:
        given = torch.rand(2, 1, 5, 7) < 0.7
        given[..., 0] = True
        given = given if mask == "bool" else torch.zeros(2, 1, 5, 7).masked_fill(~given, float("-inf"))
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=given, scale=0.3)
    torch.testing.assert_close(explicit_attention(q, k, v, given, scale=0.3), expected)
    with attention_as_products():
        written_out = F.scaled_dot_product_attention(q, k, v, attn_mask=given, scale=0.3)
    torch.testing.assert_close(written_out, expected)
