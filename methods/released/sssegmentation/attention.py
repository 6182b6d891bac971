"""OCRNet, ANN, CCNet, DNLNet and the non-local network: attention between convolutions."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from harness.jobs.kinds import Model
from methods.released.sssegmentation._names import Names, rename

METHODS = ("ocrnet", "ann", "ccnet", "dnlnet", "nonlocal")
_CLASSIFIER: Names = ((r"decoder\.1\.", "classifier.1."),)
_FUSE_AND_CLASSIFY: Names = ((r"decoder\.([01])\.", r"context.fuse.\1."), (r"decoder\.4\.", "classifier.1."))


def _attention(foreign_name: str, ours: str) -> Names:
    """The projections of a self-attention block, each a 1×1 convolution with or without norm, or two of them."""
    return tuple((rf"{foreign_name}{name}_project\.", f"{ours}{name}.") for name in ("query", "key", "value", "out"))


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
        *((rf"{block}\.{foreign_name}\.0\.", f"context.block.{ours}.") for foreign_name, ours in inner),
        (rf"{block}\.conv_out\.", "context.block.out."),
        (rf"{block}\.conv_mask\.", "context.block.saliency."),
    )


_HEADS: dict[str, Names] = {
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


def convert(model: Model, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """(the head's state under our names, foreign names that are nothing of it)"""
    ours, unmatched = rename(state, _HEADS[model.name])
    gamma = ours.get("context.block.gamma")
    if gamma is not None:  # a number there, a vector of one here
        ours["context.block.gamma"] = gamma.reshape(-1)
    return ours, unmatched
