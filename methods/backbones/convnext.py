"""ConvNeXt (Liu et al. 2022) as HFGD trains it, from timm."""

from __future__ import annotations

from methods.backbones._common import refuse_stride
from methods.backbones._timm_pyramid import TimmBackbone, create_body

NAMES = ("convnext_large",)
STRIDES = ()
WEIGHTS = {"convnext_large": "convnext_large.fb_in22k"}  # as segmentation starts it; HFGD does not say


def build(name: str, *, output_stride: int | None = None, pretrained: bool | str = False) -> TimmBackbone:
    """A ConvNeXt with stochastic depth 0.3; sides are padded, since its patches are cut without."""
    refuse_stride(name, output_stride)
    return TimmBackbone(create_body(name, WEIGHTS[name], pretrained, drop_path_rate=0.3), multiple=32)
