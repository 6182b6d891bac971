"""FLOP counters by counting convention. Papers use different ones, so a FLOP number means nothing without its
convention. The names of conventions and their units are in `harness.table.metrics`, for tables and reports.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import UserError, nearest


@dataclass(frozen=True)
class Counter:
    """One way of counting; the function is imported when it is called."""

    function: str  # module:function(module, inputs) -> number
    meta: bool  # counts on tensors without data
    auxiliary: bool = False  # parameters include those of the auxiliary head, which only training uses

    def count(self, module: Any, inputs: Sequence[Any]) -> float:
        """Raw FLOPs of `module(*inputs)` in eval mode, in which it leaves the module."""
        name, _, function = self.function.partition(":")
        return getattr(importlib.import_module(name), function)(module, inputs)


COUNTERS = {
    "mmcv-hooks": Counter("harness.tasks.complexity.mmcv_hooks:count", meta=True),
    "mmcv-model": Counter("harness.tasks.complexity.mmcv_hooks:count", meta=True, auxiliary=True),
    "fvcore": Counter("harness.tasks.complexity.fvcore_trace:count", meta=False),
    "tf-profiler": Counter("harness.tasks.complexity.tf_profiler:count", meta=True),
}


def find(name: str) -> Counter:
    """The counter of a convention; raises UserError with the nearest valid name."""
    if name not in COUNTERS:
        raise UserError(f"unknown counting convention '{name}'.{nearest(name, COUNTERS)}")
    return COUNTERS[name]
