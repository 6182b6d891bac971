"""Parameter names of the released IDRNet (SegmentationBLWX/sssegmentation, ssseg/modules/models/segmentors/idrnet)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from harness.jobs.kinds import Model
from methods.released.sssegmentation import _names

METHODS = ("idrnet",)

_ATTENTION = (
    (r"(query|key)_project\.0\.0\.", r"\1.first."),
    (r"(query|key)_project\.0\.1\.", r"\1.norm.0."),
    (r"(query|key)_project\.1\.(\d)\.", r"\1.rest.0.\2."),
    (r"value_project\.0\.", "value.first."),
    (r"value_project\.1\.", "value.norm.0."),
    (r"out_project\.", "out."),
)
# (pattern at the start of a released name, ours), tried in order
_NAMES = (
    (r"class_relations_mean$", "head.relations.mean"),
    (r"class_relations_var$", "head.relations.variance"),
    (r"selected_classes_counter$", "head.deletion_counts"),
    (r"dl_cls_representations$", "head.memory"),
    (r"bottleneck\.", "head.bottleneck."),
    *((r"idcontext_refiner\." + pattern, "head.refiner." + ours) for pattern, ours in _ATTENTION),
    *(
        (rf"coarsecontext_refiner_(?:before|after)\.{pattern}", "head.coarse_attention." + ours)
        for pattern, ours in _ATTENTION
    ),
    *(
        (rf"decoder_stage{stage}\.{index}\.", f"head.stage{stage}.{ours}.")
        for stage in (1, 2)
        for index, ours in ((0, "mix"), (1, "norm.0"), (4, "classify"))
    ),
    (r"coarse_context_module\.branches\.(\d+)\.1\.", r"head.context.levels.\1.1.0."),  # ppm
    (r"coarse_context_module\.branches\.(\d+)\.2\.", r"head.context.levels.\1.1.1."),
    (r"coarse_context_module\.parallel_branches\.", "head.context.branches."),  # aspp
    (r"coarse_context_module\.global_branch\.1\.", "head.context.image.1.0."),
    (r"coarse_context_module\.global_branch\.2\.", "head.context.image.1.1."),
    (r"coarse_context_module\.bottleneck\.", "head.context.fuse."),
    (r"lateral_convs\.(\d+)\.", r"head.pyramid.laterals.\1."),
    (r"fpn_convs\.(\d+)\.", r"head.pyramid.outputs.\1."),
    (r"auxiliary_decoder\.([01])\.", r"auxiliary.body.\1."),
    (r"auxiliary_decoder\.4\.", "auxiliary.classifier.1."),
)


def translate(name: str) -> str | None:
    """Our name of a released parameter or buffer of the head or auxiliary head; None for any other (the backbone's)."""
    return _names.translate(name, _NAMES)


def from_released(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Our state of a released checkpoint's head, and the released names that are not part of it.

    The number of deletions so far, which the released code keeps only as the counter, is filled in from it.
    """
    ours, unmatched = _names.rename(state, _NAMES)
    counts = ours.get("head.deletion_counts")
    if counts is not None:
        ours["head.row_updates"] = counts.round().to(torch.int64)
    return ours, unmatched


def convert(model: Model, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """(the state of the head and the auxiliary head under our names, foreign names that are nothing of them)"""
    return from_released(state)
