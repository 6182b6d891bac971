"""Names of the released backbones, and of the auxiliary head that most segmentors have."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from methods.released.sssegmentation._names import Names

_RESNET: Names = (
    (r"backbone_net\.stem\.7\.", "backbone.body.bn1."),
    (r"backbone_net\.stem\.", "backbone.body.conv1."),
    (r"backbone_net\.(layer\d|conv1|bn1)\.", r"backbone.body.\1."),
)
_SWIN: Names = (
    (r"backbone_net\.patch_embed\.projection\.", "backbone.body.patch_embed.proj."),
    (r"backbone_net\.patch_embed\.norm\.", "backbone.body.patch_embed.norm."),
    (r"backbone_net\.stages\.(\d)\.blocks\.(\d+)\.attn\.w_msa\.", r"backbone.body.layers_\1.blocks.\2.attn."),
    (r"backbone_net\.stages\.(\d)\.blocks\.(\d+)\.ffn\.layers\.0\.0\.", r"backbone.body.layers_\1.blocks.\2.mlp.fc1."),
    (r"backbone_net\.stages\.(\d)\.blocks\.(\d+)\.ffn\.layers\.1\.", r"backbone.body.layers_\1.blocks.\2.mlp.fc2."),
    (r"backbone_net\.stages\.(\d)\.blocks\.", r"backbone.body.layers_\1.blocks."),
    # a stage merges patches at its end there, and at the start of the next one here
    *((rf"backbone_net\.stages\.{i}\.downsample\.", f"backbone.body.layers_{i + 1}.downsample.") for i in range(3)),
    (r"backbone_net\.norm(\d)\.", r"backbone.norms.\1."),
)
_HRNET: Names = ((r"backbone_net\.", "backbone.body."),)
BACKBONES = {"resnet": _RESNET, "swin": _SWIN, "hrnet": _HRNET}
"""{how our backbone is called at the start: its names}"""
AUXILIARY: Names = (
    (r"auxiliary_decoder\.([01])\.", r"auxiliary.body.\1."),
    (r"auxiliary_decoder\.4\.", "auxiliary.classifier.1."),
)


def _merging_order(value: Tensor) -> Tensor:
    """Input channels of a patch merging from Unfold's order [C, (row, column)] to Swin's [(column, row), C].

    Last dimension 4C -> 4C; anything whose last dimension is no multiple of 4 stays, to be reported by its shape.
    """
    width = value.shape[-1] if value.dim() else 0
    if width % 4:
        return value
    split = value.reshape(*value.shape[:-1], width // 4, 2, 2)  # channel, row, column
    return torch.moveaxis(split, -3, -1).transpose(-3, -2).reshape(value.shape)


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    ".downsample.norm.weight": _merging_order,
    ".downsample.norm.bias": _merging_order,
    ".downsample.reduction.weight": _merging_order,
}
"""{how our name ends: what becomes of the value}"""
