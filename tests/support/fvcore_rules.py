"""fvcore's rules on tensors without data, for tests: a trace of a large model computes it, which takes half a minute.

`test_ecenet_complexity.py` holds it against fvcore itself on a small model.
"""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from harness.tasks.complexity.explicit_attention import attention_as_products

aten = torch.ops.aten


def _convolution(arguments, y):
    x, weight, transposed = arguments[0], arguments[1], arguments[6]
    positions = x if transposed else y
    return positions.shape[0] * positions.shape[2:].numel() * weight.numel()


def _mean(arguments, y):
    """Only over a map, which is what adaptive pooling to 1 × 1 becomes; other means count nothing."""
    return arguments[0].numel() if sorted(d % arguments[0].dim() for d in arguments[1]) == [2, 3] else 0


_RULES = {
    aten.convolution: _convolution,
    aten.bmm: lambda a, y: a[0].shape[-1] * y.numel(),
    aten.mm: lambda a, y: a[0].shape[-1] * y.numel(),
    aten.addmm: lambda a, y: a[1].shape[-1] * y.numel(),
    aten.native_layer_norm: lambda a, y: 5 * a[0].numel(),
    aten.native_batch_norm: lambda a, y: 2 * a[0].numel(),
    aten._native_batch_norm_legit_no_training: lambda a, y: 2 * a[0].numel(),
    aten.upsample_bilinear2d: lambda a, y: 4 * y.numel(),
    aten._adaptive_avg_pool2d: lambda a, y: a[0].numel(),
    aten.mean: _mean,
}


class _Counter(TorchDispatchMode):
    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        rule = _RULES.get(func.overloadpacket)
        if rule is not None:
            self.total += rule(args, result)
        return result


def count(module, *inputs) -> int:
    """What fvcore would count of `module(*inputs)`, on any device; the module believes to be traced, as under fvcore."""
    tracing, torch.jit.is_tracing = torch.jit.is_tracing, lambda: True
    try:
        with torch.no_grad(), attention_as_products(), _Counter() as counter:
            module.eval()(*inputs)
    finally:
        torch.jit.is_tracing = tracing
    return counter.total
