"""Checkpoints of SegmentationBLWX/sssegmentation: the correspondence of its parameter names with this harness's.

Facts about names come from eb1878c1 (ssseg/modules/models): its segmentors call the backbone `backbone_net` and the
auxiliary head `auxiliary_decoder`; the rest differs from segmentor to segmentor. One file per family of methods, found by
its `METHODS`; each has `convert(model, state)` for what is its own.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from torch import Tensor

from harness.errors import UserError, nearest
from harness.jobs.kinds import Model
from methods.released.sssegmentation._backbones import AUXILIARY, BACKBONES, CHANGES
from methods.released.sssegmentation._names import rename


@functools.cache
def _families() -> dict[str, ModuleType]:
    """{method: the module that knows its released names}"""
    files = sorted(Path(__file__).parent.glob("[!_]*.py"))
    modules = [importlib.import_module(f"{__name__}.{file.stem}") for file in files]
    return {method: module for module in modules for method in module.METHODS}


def methods() -> list[str]:
    """Names of the methods whose released weights are understood."""
    return sorted(_families())


def num_classes(state: Mapping[str, Tensor]) -> int | None:
    """How many classes a foreign checkpoint tells apart, read off its auxiliary classifier; None where it has none."""
    bias = state.get("auxiliary_decoder.4.bias")
    return len(bias) if bias is not None and bias.dim() == 1 and len(bias) else None


def convert(model: Model, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """(the state under our names, foreign names that are nothing of ours) of a released checkpoint of `model`.

    Says nothing of whether the result is complete; methods.weights.misfits does. UserError for a method whose released
    names are not known.
    """
    if model.name not in _families():
        raise UserError(f"no released names are known for method '{model.name}'.{nearest(model.name, methods())}")
    backbone = next((names for net, names in BACKBONES.items() if (model.backbone or "").startswith(net)), None)
    if backbone is None:
        raise UserError(
            f"no released names are known for backbone '{model.backbone}'.{nearest(str(model.backbone), BACKBONES)}"
        )
    ours, unmatched = _families()[model.name].convert(model, state)
    # an index of relative positions follows from the window size; no weight
    remaining_state = {name: state[name] for name in unmatched if not name.endswith("relative_position_index")}
    body, unknown_names = rename(remaining_state, (*AUXILIARY, *backbone))
    ours |= body
    for name, value in ours.items():
        for end, change in CHANGES.items():
            if name.endswith(end):
                ours[name] = change(value)
    return ours, unknown_names
