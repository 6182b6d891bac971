"""Counting conventions by name: papers do not share one, so a FLOP number means nothing without it.

Names and units are known without torch, for tables and reports; the counter itself is imported when it is called.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import UserError, nearest


@dataclass(frozen=True)
class Convention:
    """One way of counting. `count` gives the raw number; divided by `giga` it is what a paper prints as G."""

    name: str
    counter: str  # module:function(module, inputs) -> number
    meta: bool  # counts on tensors without data
    about: str
    giga: float = 1e9
    mega: float = 1e6  # of parameters

    def count(self, module: Any, inputs: Sequence[Any]) -> float:
        """FLOPs of `module(*inputs)` in eval mode, as this convention counts them."""
        name, _, function = self.counter.partition(":")
        return getattr(importlib.import_module(name), function)(module, inputs)


CONVENTIONS = {
    convention.name: convention
    for convention in (
        Convention(
            "mmcv-hooks",
            "harness.complexity.mmcv_hooks:count",
            meta=True,
            about="multiply-adds of modules (mmcv get_model_complexity_info): attention products are not seen",
        ),
        Convention(
            "fvcore",
            "harness.complexity.fvcore_trace:count",
            meta=False,
            about="multiply-adds of traced operators (fvcore FlopCountAnalysis), attention products included",
        ),
        Convention(
            "tf-profiler",
            "harness.complexity.tf_profiler:count",
            meta=True,
            about="TensorFlow profiler's float_ops / 2, dilated convolutions as space-to-batch; G = 1024³",
            giga=1024.0**3,
        ),
    )
}


def names() -> list[str]:
    return sorted(CONVENTIONS)


def find(name: str) -> Convention:
    """The convention called `name`; raises UserError with the nearest valid name."""
    if name not in CONVENTIONS:
        raise UserError(f"unknown counting convention '{name}'.{nearest(name, CONVENTIONS)}")
    return CONVENTIONS[name]
