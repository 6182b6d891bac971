"""Weights that others trained, under our names: which parameter of their model is which of ours.

Facts about names come from SegmentationBLWX/sssegmentation at eb1878c1 (ssseg/modules/models): its segmentors call the
backbone `backbone_net` and the auxiliary head `auxiliary_decoder`; the rest differs from segmentor to segmentor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from harness.errors import UserError, nearest
from harness.jobs.kinds import Model
from methods.idrnet.released import from_released as idrnet_from_released

SOURCES = ("sssegmentation",)
"""Toolboxes whose checkpoints can be read."""

Names = tuple[tuple[str, str], ...]
"""(pattern at the start of a foreign name, ours), tried in order."""

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
_BACKBONES = {"resnet": _RESNET, "swin": _SWIN, "hrnet": _HRNET}
_AUXILIARY: Names = (
    (r"auxiliary_decoder\.([01])\.", r"auxiliary.body.\1."),
    (r"auxiliary_decoder\.4\.", "auxiliary.classifier.1."),
)
_CLASSIFIER: Names = ((r"decoder\.1\.", "classifier.1."),)
_FUSE_AND_CLASSIFY: Names = ((r"decoder\.([01])\.", r"context.fuse.\1."), (r"decoder\.4\.", "classifier.1."))


def _attention(theirs: str, ours: str) -> Names:
    """The projections of a self-attention block, each a 1×1 convolution with or without norm, or two of them."""
    return tuple((rf"{theirs}{name}_project\.", f"{ours}{name}.") for name in ("query", "key", "value", "out"))


def _pooling(ours: str) -> Names:
    """A pyramid pooling module, where pooling is the first of a branch's four layers."""
    return (
        *((rf"ppm_net\.branches\.(\d)\.{i + 1}\.", rf"{ours}levels.\1.1.{i}.") for i in (0, 1)),
        (r"ppm_net\.bottleneck\.", f"{ours}fuse."),
    )


def _around(block: str, inside: Names) -> Names:
    """Reduce, `block`, convolve, concatenate, fuse: the frame of Non-Local, DNL and CCNet."""
    return (
        (rf"conv_before_{block}\.", "context.before."),
        (rf"conv_after_{block}\.", "context.after."),
        *inside,
        *_FUSE_AND_CLASSIFY,
    )


def _non_local(block: str) -> Names:
    inner = (("theta", "query"), ("phi", "key"), ("g", "value"))
    return (
        *((rf"{block}\.{theirs}\.0\.", f"context.block.{ours}.") for theirs, ours in inner),
        (rf"{block}\.conv_out\.", "context.block.out."),
        (rf"{block}\.conv_mask\.", "context.block.saliency."),
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
    "ocrnet": (  # the auxiliary head is the coarse classifier
        (r"auxiliary_decoder\.([01])\.", r"context.coarse.body.\1."),
        (r"auxiliary_decoder\.4\.", "context.coarse.classifier.1."),
        (r"bottleneck\.", "context.reduce."),
        *_attention(r"object_context_block\.", "context.attention."),
        (r"object_context_block\.bottleneck\.", "context.fuse."),
        *_CLASSIFIER,
    ),
    "ann": (
        *_attention(r"afn_block\.stages\.0\.", "context.fusion.attention."),
        (r"afn_block\.bottleneck\.", "context.fusion.fuse."),
        *_attention(r"apn_block\.stages\.0\.", "context.self_fusion.attention."),
        (r"apn_block\.bottleneck\.", "context.self_fusion.fuse."),
        (r"bottleneck\.", "context.reduce."),
        *_CLASSIFIER,
    ),
    "ccnet": _around(
        "cca",
        (
            *((rf"cca\.{name}_conv\.", f"context.block.{name}.") for name in ("query", "key", "value")),
            (r"cca\.gamma\.scale$", "context.block.gamma"),
        ),
    ),
    "dnlnet": _around("dnl", _non_local("dnl_block")),
    "nonlocal": _around("nl", _non_local("nl_block")),
}


def _fcn(convs: int) -> Names:
    """So many convolutions with norm and ReLU in a row, then dropout and the classifier."""
    inside = ((rf"decoder\.{3 * i + j}\.", f"context.reduce.{3 * i + j}.") for i in range(convs) for j in (0, 1))
    return (*inside, (rf"decoder\.{3 * convs + 1}\.", "classifier.1."))


def methods() -> list[str]:
    """Names of the methods whose released weights are understood."""
    return sorted({*_HEADS, "fcn", "idrnet"})


def num_classes(state: Mapping[str, Tensor]) -> int | None:
    """How many classes a foreign checkpoint tells apart, read off its auxiliary classifier; None where it has none."""
    bias = state.get("auxiliary_decoder.4.bias")
    return len(bias) if bias is not None else None


def convert(model: Model, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """(the state under our names, foreign names that are nothing of ours) of a released checkpoint of `model`.

    Says nothing of whether the result is complete; methods.weights.misfits does. UserError for a method whose released
    names are not known.
    """
    if model.name == "idrnet":
        ours, rest = idrnet_from_released(state)
    elif model.name in methods():
        ours, rest = {}, list(state)
    else:
        raise UserError(f"no released names are known for method '{model.name}'.{nearest(model.name, methods())}")
    backbone = next((names for net, names in _BACKBONES.items() if (model.backbone or "").startswith(net)), None)
    if backbone is None:
        raise UserError(
            f"no released names are known for backbone '{model.backbone}'.{nearest(str(model.backbone), _BACKBONES)}"
        )
    head = _fcn(model.options.get("convs", 1)) if model.name == "fcn" else _HEADS.get(model.name, ())
    names = (*head, *_AUXILIARY, *backbone)
    left = []
    for name in rest:
        if name.endswith("relative_position_index"):  # follows from the window size; no weight
            continue
        translated = _translate(name, names)
        if translated is None:
            left.append(name)
        else:
            ours[translated] = state[name]
    for name, value in ours.items():
        for end, change in _CHANGES.items():
            if name.endswith(end):
                ours[name] = change(value)
    return ours, left


def _translate(name: str, names: Names) -> str | None:
    for pattern, ours in names:
        match = re.match(pattern, name)
        if match is not None:
            return match.expand(ours) + name[match.end() :]
    return None


def _merging_order(value: Tensor) -> Tensor:
    """Input channels of a patch merging from Unfold's order [C, (row, column)] to Swin's [(column, row), C].

    Last dimension 4C -> 4C; anything whose last dimension is no multiple of 4 stays, to be reported by its shape.
    """
    width = value.shape[-1] if value.dim() else 0
    if width % 4:
        return value
    split = value.reshape(*value.shape[:-1], width // 4, 2, 2)  # channel, row, column
    return torch.moveaxis(split, -3, -1).transpose(-3, -2).reshape(value.shape)


_CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    ".downsample.norm.weight": _merging_order,
    ".downsample.norm.bias": _merging_order,
    ".downsample.reduction.weight": _merging_order,
    "context.block.gamma": lambda value: value.reshape(-1),
}
