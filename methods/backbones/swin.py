"""Swin transformers (Liu et al. 2021) as segmentation trains them, from timm."""

from __future__ import annotations

from typing import Any

from methods.backbones._common import refuse_stride
from methods.backbones._padded_swin import pad_before_shifting
from methods.backbones._timm_pyramid import TimmBackbone, create_body

NAMES = ("swin_base", "swin_large")
STRIDES = ()
WEIGHTS = {  # with the weights of ImageNet-22k, as the papers' tables say
    "swin_base": "swin_base_patch4_window12_384.ms_in22k",
    "swin_large": "swin_large_patch4_window12_384.ms_in22k",
}
# windows shift in every stage, also where a map was no larger than a window when pretrained: so segmentors train Swin
_OPTIONS: dict[str, Any] = {"strict_img_size": False, "drop_path_rate": 0.3, "always_partition": True}


def build(name: str, *, output_stride: int | None = None, pretrained: bool | str = False) -> TimmBackbone:
    """A Swin with a LayerNorm on each of its four maps."""
    refuse_stride(name, output_stride)
    body = create_body(name, WEIGHTS[name], pretrained, **_OPTIONS)
    pad_before_shifting(body)
    return TimmBackbone(body, multiple=4, channels_last=True, norms=True)
