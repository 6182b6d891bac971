"""Non-local network (Wang et al. 2018): embedded Gaussian, as the field's toolboxes use it for segmentation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from methods.contexts.attention import attend
from methods.contexts.bottleneck import Bottleneck
from methods.layers import BatchNorm
from methods.registry import register, register_context
from methods.segmentor import Backbone, EncoderDecoder, Segmentor


class NonLocalBlock(nn.Module):
    """Adds to every pixel a mean of all pixels, weighted by the softmax of their products (Eq. 1 and 6).

    x [B, channels, h, w] -> same shape
    """

    def __init__(self, channels: int, *, reduction: int = 2) -> None:
        super().__init__()
        inner = channels // reduction
        self.query = nn.Conv2d(channels, inner, 1)
        self.key = nn.Conv2d(channels, inner, 1)
        self.value = nn.Conv2d(channels, inner, 1)
        self.out = nn.Sequential(nn.Conv2d(inner, channels, 1, bias=False), BatchNorm(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(attend(self.query(x), self.key(x), self.value(x)))


@register_context("non_local")
class NonLocal(Bottleneck):
    """A non-local block between two 3×3 convolutions, concatenated with the backbone's last feature map.

    features [..., [B, in_channels[-1], h, w]] -> [B, channels, h, w]
    """

    def __init__(self, in_channels: Sequence[int], *, channels: int = 512, reduction: int = 2) -> None:
        super().__init__(in_channels, channels, NonLocalBlock(channels, reduction=reduction))


@register("nonlocal")
def nonlocal_net(backbone: Backbone, num_classes: int, *, channels: int = 512) -> Segmentor:
    """Non-local network: every pixel attends to every other."""
    return EncoderDecoder(backbone, NonLocal(backbone.channels, channels=channels), num_classes)
