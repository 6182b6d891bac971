"""Convention `tf-profiler`: half of the float_ops that TensorFlow's profiler reports for the same computation.

HFGD's Table 9 is printed so, divided by 1024³. TensorFlow registers a statistic per operator; an operator without one
counts nothing (ReLU, resizing, AddV2, concatenation). Counted per element of the result unless said otherwise:

- convolution 2 per multiply-add. A dilated one runs as space-to-batch and a VALID convolution, on sides rounded up to
  r·(ceil((n + r(k − 1)) / r) − (k − 1)); a bias adds 1 (BiasAdd);
- matrix product 2 per multiply-add, attention included; a bias of a linear layer adds 1;
- batch normalisation 1 (Mul), and 5 per channel for folding its statistics; softmax 5; Mul, Sub, RealDiv, Maximum,
  Minimum and Rsqrt 1; max and average pooling: the window; sums and means over axes 1 per input element (a sum of n
  stacked maps costs n − 1 per element, as AddN does).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from harness.errors import UserError
from harness.tasks.complexity.explicit_attention import attention_as_products

aten = torch.ops.aten
Rule = Callable[[Sequence[Any], Any], int]


def _space_to_batch(side: int, kernel: int, dilation: int) -> int:
    if dilation == 1:
        return side
    return dilation * (math.ceil((side + dilation * (kernel - 1)) / dilation) - (kernel - 1))


def _convolution(arguments: Sequence[Any], y: Tensor) -> int:
    x, weight, bias, _stride, _padding, dilation, transposed = arguments[:7]
    if transposed:
        operations = 2 * x.shape[0] * math.prod(x.shape[2:]) * weight.numel()
    else:
        sides = [_space_to_batch(n, k, r) for n, k, r in zip(y.shape[2:], weight.shape[2:], dilation)]
        operations = 2 * y.shape[0] * math.prod(sides) * weight.numel()
    return operations + (y.numel() if bias is not None else 0)


def _product(a: Tensor, y: Tensor) -> int:
    return 2 * a.shape[-1] * y.numel()


def _pool(arguments: Sequence[Any], y: Any) -> int:
    return math.prod(arguments[1]) * (y[0] if isinstance(y, tuple) else y).numel()


def _reduction(arguments: Sequence[Any], y: Tensor) -> int:
    """Sum: n − 1 additions per result."""
    return arguments[0].numel() - y.numel()


_ONE_PER_ELEMENT = (
    aten.mul, aten.mul_, aten.sub, aten.sub_, aten.rsub, aten.div, aten.div_, aten.maximum, aten.minimum, aten.rsqrt,
)  # fmt: skip
_RULES: dict[Any, Rule] = {
    aten.convolution: _convolution,
    aten.bmm: lambda a, y: _product(a[0], y),
    aten.mm: lambda a, y: _product(a[0], y),
    aten.addmm: lambda a, y: _product(a[1], y) + y.numel(),
    aten.baddbmm: lambda a, y: _product(a[1], y) + y.numel(),
    aten.native_batch_norm: lambda a, y: y[0].numel() + 5 * y[0].shape[1],
    aten.cudnn_batch_norm: lambda a, y: y[0].numel() + 5 * y[0].shape[1],
    aten._native_batch_norm_legit_no_training: lambda a, y: y[0].numel() + 5 * y[0].shape[1],
    aten._softmax: lambda a, y: 5 * y.numel(),
    aten.max_pool2d_with_indices: _pool,
    aten.avg_pool2d: _pool,
    aten._adaptive_avg_pool2d: lambda a, y: a[0].numel(),
    aten.mean: lambda a, y: a[0].numel(),
    aten.sum: _reduction,
    **{op: lambda a, y: y.numel() for op in _ONE_PER_ELEMENT},
}
# These are several operators in TensorFlow, and no published number here says which: refuse rather than guess.
_UNKNOWN_OPERATIONS = (
    aten.native_layer_norm, aten.native_group_norm, aten.gelu, aten.silu,
    aten._scaled_dot_product_flash_attention_for_cpu, aten._scaled_dot_product_flash_attention,
    aten._scaled_dot_product_efficient_attention, aten._scaled_dot_product_cudnn_attention,
)  # fmt: skip
_UNKNOWN_ELSEWHERE = ("torchvision.deform_conv2d",)  # by name, which needs no torchvision


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet in _UNKNOWN_OPERATIONS or str(packet) in _UNKNOWN_ELSEWHERE:
            raise UserError(
                f"convention tf-profiler has no rule for {packet}; count this model under another convention"
            )
        if packet in _RULES:
            self.total += _RULES[packet](args, result)
        return result


def count(module: nn.Module, inputs: Sequence[Any]) -> float:
    """float_ops / 2 of `module(*inputs)` in eval mode, in which it leaves the module; works on meta tensors."""
    counter = _Counter()
    with torch.no_grad(), attention_as_products(), counter:
        module.eval()(*inputs)
    return counter.total / 2
