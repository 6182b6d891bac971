"""PSPNet, DeepLabV3 and UPerNet: several grids or dilations, fused and classified."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from harness.jobs.kinds import Model
from methods.released.sssegmentation._names import Names, rename

METHODS = ("pspnet", "deeplabv3", "upernet")
_CLASSIFIER: Names = ((r"decoder\.1\.", "classifier.1."),)
_FUSE_AND_CLASSIFY: Names = ((r"decoder\.([01])\.", r"context.fuse.\1."), (r"decoder\.4\.", "classifier.1."))


def _pooling(ours: str) -> Names:
    """A pyramid pooling module, where pooling is the first of a branch's four layers."""
    return (
        *((rf"ppm_net\.branches\.(\d)\.{i + 1}\.", rf"{ours}levels.\1.1.{i}.") for i in (0, 1)),
        (r"ppm_net\.bottleneck\.", f"{ours}fuse."),
    )


_HEADS: dict[str, Names] = {
    "pspnet": (*_pooling("context."), *_CLASSIFIER),
    "deeplabv3": (
        (r"aspp_net\.parallel_branches\.", "context.branches."),
        *((rf"aspp_net\.global_branch\.{i + 1}\.", f"context.image.1.{i}.") for i in (0, 1)),
        (r"aspp_net\.bottleneck\.", "context.fuse."),
        *_CLASSIFIER,
    ),
    "upernet": (
        *_pooling("context.top."),
        (r"lateral_convs\.", "context.pyramid.laterals."),
        (r"fpn_convs\.", "context.pyramid.outputs."),
        *_FUSE_AND_CLASSIFY,
    ),
}


def convert(model: Model, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """(the head's state under our names, foreign names that are nothing of it)"""
    return rename(state, _HEADS[model.name])
