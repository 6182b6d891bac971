"""The networks behind HFGD's Table 9, image to logits, as what runs at test time.

SemanticFPN and SA (CAR) are the released blocks, the latter with CAR's linear layer folded into the next convolution, and
meet the printed GFLOPs without a choice being made for it. The head of the two HFGD rows is unpublished: that the class
tokens have no bias, that attention has no projections, and where the convolutions of output stride 2 stand, was chosen to
meet the two numbers, so that meeting them is no evidence. They are the method `hfgd`, which training uses as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from harness.errors import UserError, nearest
from methods.hfgd.method import hfgd
from methods.hfgd.resnet import AuthorsResNet50
from methods.registry import register_context

ROWS: dict[str, dict[str, Any]] = {
    "sa_car": {"output_stride": 8, "decoder": "none", "encoding": "sa_car", "hfgm": "none"},
    "sfpn": {"output_stride": 32, "decoder": "sfpn", "encoding": "identity", "hfgm": "none"},
    "hfgd_os4": {"output_stride": 32, "decoder": "usfpn", "encoding": "cae", "hfgm": "full"},
    "hfgd_os2": {"output_stride": 32, "decoder": "usfpn", "stride": 2, "encoding": "cae", "hfgm": "full"},
}


@register_context("hfgd_table9")
class WholeNetwork(nn.Module):
    """A row of Table 9 with its ResNet-50: the "feature map" is the image.

    features [[B, 3, H, W]] -> logits [B, num_classes, H / s, W / s]. Raises UserError for a row that is not there.
    """

    def __init__(self, in_channels: Sequence[int], *, num_classes: int, row: str) -> None:
        super().__init__()
        if row not in ROWS:
            raise UserError(f"hfgd_table9: there is no row '{row}'.{nearest(row, ROWS, what='rows are')}")
        if tuple(in_channels) != (3,):
            raise UserError(f"hfgd_table9 takes one image of 3 channels, not maps of {list(in_channels)} channels")
        options = dict(ROWS[row])
        backbone = AuthorsResNet50(output_stride=options.pop("output_stride"))
        self.network = hfgd(backbone, num_classes, **options)
        self.network.auxiliary = None
        self.channels = num_classes

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.network(features[0])
