"""Convention `fvcore`: fvcore's FlopCountAnalysis, with attention written out so that its products are counted.

A multiply-add of convolutions, linear layers and matrix products counts one; besides, BatchNorm 2 per element, LayerNorm
5, bilinear resizing 4 per output element, adaptive pooling 1 per input element; softmax, activations and sums nothing.
fvcore traces real tensors only and leaves out fused attention with a log line and whatever does not reach an output.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from fvcore.nn.jit_handles import bmm_flop_jit
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from harness.tasks.complexity.explicit_attention import attention_as_products

_PRODUCTS = ("attention", "matmul", "mm", "einsum", "conv", "linear", "lstm", "rnn", "gru")


class _RecordableScalars(TorchFunctionMode):
    """torch.jit.trace, on which fvcore stands, fails on a bool as the value to scatter; the integer means the same."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (Tensor.scatter, Tensor.scatter_, torch.scatter):
            args = tuple(int(a) if isinstance(a, bool) else a for a in args)
        return func(*args, **(kwargs or {}))


def _biased_product(inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
    """Of `baddbmm`, which masked nn.MultiheadAttention calls and fvcore does not know: the product, without the sum."""
    return bmm_flop_jit(inputs[1:3], outputs)


def count(module: nn.Module, inputs: Sequence[Any]) -> int:
    """Multiply-adds of `module(*inputs)` in eval mode, in which it leaves the module. Needs tensors with data.

    Raises AssertionError if a product was met that fvcore does not count: a number without it would be wrong.
    """
    logger = logging.getLogger("fvcore.nn.jit_analysis")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with torch.no_grad(), attention_as_products(), _RecordableScalars():
            analysis = FlopCountAnalysis(module.eval(), tuple(inputs))
            analysis.set_op_handle("aten::baddbmm", _biased_product)
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
            total = int(analysis.total())
            missed = [op for op in analysis.unsupported_ops() if any(word in op for word in _PRODUCTS)]
    finally:
        logger.setLevel(level)
    assert not missed, f"fvcore does not count {', '.join(missed)}"
    return total
