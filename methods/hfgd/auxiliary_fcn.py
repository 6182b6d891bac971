"""The study of HFGD's Sec. 5.1: what joint training with a decoder does to the backbone's features.

SemanticFPN is trained together with an FCN on the backbone's last feature map, and the FCN is what is scored: 44.35 % with
the FCN's gradient, 40.04 % with that gradient stopped before the backbone, against 45.87 % of an FCN alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from methods.hfgd.encodings import Layers
from methods.hfgd.layers import conv_bn_relu
from methods.hfgd.semantic_fpn import SemanticFPN
from methods.registry import register
from methods.segmentor import Backbone, Segmentor


class DecoderHead(nn.Module):
    """SemanticFPN with a 1×1 convolution in front and its own classifier. features, finest first -> logits"""

    def __init__(self, in_channels: Sequence[int], num_classes: int, channels: int) -> None:
        super().__init__()
        self.top = conv_bn_relu(in_channels[-1], channels, 1)
        self.decoder = SemanticFPN(in_channels[:-1], channels)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.classifier(self.decoder(features[:-1], self.top(features[-1])))


class AuxiliaryFCN(Segmentor):
    """An FCN head whose backbone is also trained by SemanticFPN, which only training uses.

    `isolated`: the FCN's gradient stops before the backbone.
    """

    def __init__(self, backbone: Backbone, num_classes: int, *, channels: int, inner: int, isolated: bool) -> None:
        super().__init__()
        in_channels = backbone.channels[-1]
        self.backbone = backbone
        self.isolated = isolated
        self.head = Layers(channels, conv_bn_relu(in_channels, inner, 3), conv_bn_relu(inner, channels, 1))
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.auxiliary = DecoderHead(backbone.channels, num_classes, channels)

    @property
    def final_classifier(self) -> nn.Conv2d:
        return self.classifier

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.head(self.backbone(images)[-1]))

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """`main` of the FCN, `decoder` of SemanticFPN; both have weight 1 (the paper says none)."""
        features = self.backbone(images)
        x = features[-1].detach() if self.isolated else features[-1]
        return {
            "main": self.criterion(self.classifier(self.head(x)), targets),
            "decoder": self.criterion(self.auxiliary(features), targets),
        }


@register("hfgd_auxiliary_fcn")
def auxiliary_fcn(
    backbone: Backbone, num_classes: int, *, channels: int = 256, inner: int = 512, isolated: bool = False
) -> Segmentor:
    """FCN beside SemanticFPN on one backbone, the FCN being scored (HFGD, Fig. 1 and Sec. 5.1)."""
    return AuxiliaryFCN(backbone, num_classes, channels=channels, inner=inner, isolated=isolated)
