"""Object-contextual representations (OCR, Yuan et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from harness.errors import UserError, nearest
from methods.contexts.attention import Attention
from methods.layers import conv_bn_relu, resize
from methods.registry import register, register_context
from methods.segmentor import Backbone, EncoderDecoder, FCNHead, Segmentor

_COARSE = ("linear", "fcn")


def gather_regions(features: Tensor, coarse: Tensor) -> Tensor:
    """One vector per class: the mean of all pixels, weighted by the softmax over pixels of the class's logit (Eq. 8).

    features [B, C, h, w], coarse [B, K, h, w] -> [B, C, K, 1]
    """
    weights = coarse.flatten(2).softmax(dim=2).to(features.dtype)
    return torch.matmul(features.flatten(2), weights.transpose(1, 2)).unsqueeze(3)


@register_context("ocr")
class ObjectContext(nn.Module):
    """Coarse classes gather regions, pixels attend to the regions, and the result is fused with the pixels.

    `coarse`: "linear" classifies the last feature map by one 1×1 convolution; "fcn" takes a 3×3 head on the last but
    one, as the released segmentors do, of `coarse_channels` (None: half as many as come in). `fuse_kernel`: 3 as
    IDRNet's authors compare with it; OCR's own code has 1.
    features [..., [B, in_channels[-1], h, w]] -> [B, channels, h, w]
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        num_classes: int,
        channels: int = 512,
        inner: int = 256,
        coarse: Literal["linear", "fcn"] = "linear",
        coarse_channels: int | None = None,
        fuse_kernel: int = 3,
    ) -> None:
        super().__init__()
        if coarse not in _COARSE:
            raise UserError(f"ocr: unknown coarse classifier '{coarse}'.{nearest(coarse, _COARSE)}")
        self.channels = channels
        self.source = -1 if coarse == "linear" or len(in_channels) < 2 else -2
        width = in_channels[self.source]
        head = nn.Conv2d(width, num_classes, 1)
        hidden = coarse_channels or max(width // 2, 1)
        self.coarse = head if coarse == "linear" else FCNHead(width, num_classes, channels=hidden, dropout=0.0)
        self.reduce = conv_bn_relu(in_channels[-1], channels, 3)
        self.attention = Attention(
            query=nn.Sequential(conv_bn_relu(channels, inner, 1), conv_bn_relu(inner, inner, 1)),
            key=nn.Sequential(conv_bn_relu(channels, inner, 1), conv_bn_relu(inner, inner, 1)),
            value=conv_bn_relu(channels, inner, 1),
            out=conv_bn_relu(inner, channels, 1),
        )
        self.fuse = conv_bn_relu(2 * channels, channels, fuse_kernel)

    def coarse_logits(self, features: Sequence[Tensor]) -> Tensor:
        """Logits [B, K, h, w] of the coarse classifier, which training supervises."""
        return self.coarse(features[self.source])

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.fuse_regions(features, self.coarse_logits(features))

    def fuse_regions(self, features: Sequence[Tensor], coarse: Tensor) -> Tensor:
        """The context for given coarse logits, so that training computes them once."""
        pixels = self.reduce(features[-1])
        regions = gather_regions(pixels, resize(coarse, pixels.shape[-2:]))
        return self.fuse(torch.cat([self.attention(pixels, regions), pixels], dim=1))


class OCRNet(EncoderDecoder):
    """Supervises the coarse classifier, which stays in use at test time, in place of an auxiliary head."""

    context: ObjectContext

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        features = self.backbone(images)
        coarse = self.context.coarse_logits(features)
        logits = self.classifier(self.context.fuse_regions(features, coarse))
        return {"main": self.criterion(logits, targets), "coarse": 0.4 * self.criterion(coarse, targets)}


@register("ocrnet")
def ocrnet(
    backbone: Backbone,
    num_classes: int,
    *,
    channels: int = 512,
    inner: int = 256,
    coarse: Literal["linear", "fcn"] = "fcn",
    coarse_channels: int | None = None,
) -> Segmentor:
    """OCRNet: pixels attend to one representation per coarse class. Without dropout, as IDRNet's authors train it."""
    context = ObjectContext(
        backbone.channels,
        num_classes=num_classes,
        channels=channels,
        inner=inner,
        coarse=coarse,
        coarse_channels=coarse_channels,
    )
    return OCRNet(backbone, context, num_classes, dropout=0.0, auxiliary_weight=0.0)
