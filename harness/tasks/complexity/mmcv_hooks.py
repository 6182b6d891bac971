"""Convention `mmcv-hooks`: what mmcv's `get_model_complexity_info` (and ptflops before 0.7) reports.

Forward hooks see modules, not operators. A multiply-add counts one. Counted per call of a module: convolutions and
linear layers (bias: one per output element of a convolution, none of a linear layer), normalisations with affine
parameters 2 per input element (1 without), ReLU and its kind 1 per element, pooling 1 per *input* element, nn.Upsample
1 per output element. Not seen: matrix products outside of modules (all attention products), softmax, sums, resizing by
function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd

Rule = Callable[[Any, Tensor, Tensor], int]


def _convolution(module: Any, x: Tensor, y: Tensor) -> int:
    per_position = math.prod(module.kernel_size) * module.in_channels * (module.out_channels // module.groups)
    return per_position * y.shape[0] * math.prod(y.shape[2:]) + (y.numel() if module.bias is not None else 0)


def _transposed_convolution(module: Any, x: Tensor, y: Tensor) -> int:
    per_position = math.prod(module.kernel_size) * module.in_channels * (module.out_channels // module.groups)
    return per_position * x.shape[0] * math.prod(x.shape[2:]) + (y.numel() if module.bias is not None else 0)


def _norm(module: Any, x: Tensor, y: Tensor) -> int:
    affine = getattr(module, "affine", False) or getattr(module, "elementwise_affine", False)
    return (2 if affine else 1) * x.numel()


_RULES: tuple[tuple[tuple[type, ...], Rule], ...] = (
    ((nn.Conv1d, nn.Conv2d, nn.Conv3d), _convolution),
    ((nn.ConvTranspose2d,), _transposed_convolution),
    ((nn.Linear,), lambda module, x, y: x.numel() * y.shape[-1]),
    ((_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm), _norm),
    ((nn.ReLU, nn.PReLU, nn.ELU, nn.LeakyReLU, nn.ReLU6), lambda module, x, y: y.numel()),
    ((_MaxPoolNd, _AvgPoolNd, _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd), lambda module, x, y: x.numel()),
    # The original takes the numel of output[0] with its batch dimension dropped.
    ((nn.Upsample,), lambda module, x, y: y[0].numel()),
)


def _rule(module: nn.Module) -> Rule | None:
    return next((rule for types, rule in _RULES if isinstance(module, types)), None)


def count(module: nn.Module, inputs: Sequence[Any]) -> int:
    """Multiply-adds of `module(*inputs)` in eval mode, in which it leaves the module; works on meta tensors."""
    total = 0

    def record_call(layer: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
        nonlocal total
        rule = _rule(layer)
        assert rule is not None
        total += rule(layer, arguments[0], output)

    with ExitStack() as stack, torch.no_grad():
        for layer in module.modules():
            if _rule(layer) is not None:
                stack.callback(layer.register_forward_hook(record_call).remove)
        module.eval()(*inputs)
    return total
