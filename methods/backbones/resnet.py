"""ResNets (He et al. 2016) as segmentation trains them, from timm.

`resnet50` and `resnet101` are the V1c variants that these papers train: a stem of three 3×3 convolutions (32, 32, 64
channels), strides on the 3×3 convolution, and dilations in place of strides where the output stride asks for it, the
first block of such a stage keeping the dilation of the stage before (mmsegmentation's `contract_dilation`).
"""

from __future__ import annotations

from methods.backbones._common import dilated_stride
from methods.backbones._timm_pyramid import TimmBackbone, create_body

NAMES = ("resnet18", "resnet34", "resnet50", "resnet50_v1c", "resnet101", "resnet101_v1c")
STRIDES = (8, 16, 32)
WEIGHTS = {  # torchvision's where the papers' toolboxes take those; of V1c timm has one training
    "resnet18": "resnet18.tv_in1k",
    "resnet34": "resnet34.tv_in1k",
    "resnet50": "resnet50c.gluon_in1k",
    "resnet50_v1c": "resnet50c.gluon_in1k",
    "resnet101": "resnet101c.gluon_in1k",
    "resnet101_v1c": "resnet101c.gluon_in1k",
}
_OPEN_MMLAB = ((r"^stem\.7\.", "bn1."), (r"^stem\.", "conv1."))  # how resnet50_v1c-2cccc1ad.pth calls V1c's stem


def build(name: str, *, output_stride: int | None = None, pretrained: bool | str = False) -> TimmBackbone:
    """A ResNet at output stride 8, 16 or 32 (default)."""
    stride = dilated_stride(name, output_stride)
    return TimmBackbone(create_body(name, WEIGHTS[name], pretrained, renames=_OPEN_MMLAB, output_stride=stride))
