"""ISNet (Jin et al. 2021): context of the whole image and of each predicted class, both by attention of the pixels.

Built after the authors' release (sssegmentation, configuration ISNet on ResNet-101), where the text leaves a width open.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from methods.contexts.attention import Attention
from methods.idrnet.tokens import assign_pixels, class_tokens, look_up
from methods.layers import conv_bn_relu, resize
from methods.registry import register
from methods.segmentor import Backbone, FCNHead, Segmentor


def correlation(channels: int, key_channels: int, inner: int) -> Attention:
    """Pixels [B, channels, h, w] ask, a map [B, key_channels, h, w] answers: -> [B, channels, h, w]"""
    return Attention(
        query=nn.Sequential(conv_bn_relu(channels, inner, 1), conv_bn_relu(inner, inner, 1)),
        key=nn.Sequential(conv_bn_relu(key_channels, inner, 1), conv_bn_relu(inner, inner, 1)),
        value=conv_bn_relu(key_channels, inner, 1),
        out=conv_bn_relu(inner, channels, 1),
    )


class ISNetHead(nn.Module):
    """Features [[B, in_channels[i], h_i, w_i], …] -> context [B, channels, h, w] and stage 1's logits [B, K, h, w].

    Image level: pixels attend to pixels that know the image's mean. Semantic level: pixels attend to the map in which each
    pixel is its predicted class's vector, a mean of the class's pixels weighted by the softmax of its logit over them.
    """

    def __init__(
        self, in_channels: Sequence[int], num_classes: int, *, channels: int, inner: int, dropout: float
    ) -> None:
        super().__init__()
        self.bottleneck = conv_bn_relu(in_channels[-1], channels, 3)
        self.image_level = correlation(channels, 2 * channels, inner)
        self.image_fuse = conv_bn_relu(2 * channels, channels, 3)
        self.stage1 = nn.Sequential(
            conv_bn_relu(channels, channels, 1), nn.Dropout2d(dropout), nn.Conv2d(channels, num_classes, 1)
        )
        self.semantic_level = correlation(channels, channels, inner)
        self.semantic_fuse = conv_bn_relu(2 * channels, channels, 3)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        x = self.bottleneck(features[-1])
        mean = x.mean(dim=(2, 3), keepdim=True).expand_as(x)
        image = self.image_fuse(torch.cat([x, self.image_level(x, torch.cat([mean, x], dim=1))], dim=1))
        logits = self.stage1(x)
        assignment = assign_pixels(logits, pooling="softmax")
        classes = look_up(class_tokens(x, assignment, None), assignment.labels_BN, x)
        return self.semantic_fuse(torch.cat([image, self.semantic_level(x, classes)], dim=1)), logits


class ISNet(Segmentor):
    """Losses: `main`, `stage1` of the logits that group the pixels, and `auxiliary` on the last but one feature map."""

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        channels: int = 512,
        inner: int = 256,
        shortcut_channels: int = 0,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = ISNetHead(backbone.channels, num_classes, channels=channels, inner=inner, dropout=dropout)
        self.shortcut = self.merge = None
        if shortcut_channels:
            self.shortcut = conv_bn_relu(backbone.channels[0], shortcut_channels, 1)
            self.merge = conv_bn_relu(channels + shortcut_channels, channels, 1)
        self.classifier = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(channels, num_classes, 1))
        self.auxiliary = None
        if len(backbone.channels) > 1:
            self.auxiliary = FCNHead(backbone.channels[-2], num_classes, channels=channels, dropout=dropout)

    @property
    def final_classifier(self) -> nn.Conv2d:
        return self.classifier[-1]

    def forward(self, images: Tensor) -> Tensor:
        return self._logits(self.backbone(images))[0]

    def _logits(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        context, stage1 = self.head(features)
        if self.shortcut is not None and self.merge is not None:
            fine = self.shortcut(features[0])
            context = self.merge(torch.cat([resize(context, fine.shape[-2:]), fine], dim=1))
        return self.classifier(context), stage1

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        features = self.backbone(images)
        logits, stage1 = self._logits(features)
        losses = {"main": self.criterion(logits, targets), "stage1": 0.4 * self.criterion(stage1, targets)}
        if self.auxiliary is not None:
            losses["auxiliary"] = 0.4 * self.criterion(self.auxiliary(features[-2]), targets)
        return losses


@register("isnet")
def isnet(
    backbone: Backbone,
    num_classes: int,
    *,
    channels: int = 512,
    inner: int = 256,
    shortcut_channels: int = 0,
    dropout: float = 0.1,
) -> Segmentor:
    """ISNet: image-level and semantic-level context. `shortcut_channels`: of the finest feature map, 48 in its LIP models."""
    return ISNet(
        backbone, num_classes, channels=channels, inner=inner, shortcut_channels=shortcut_channels, dropout=dropout
    )
