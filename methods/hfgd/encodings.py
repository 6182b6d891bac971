"""What stands between the backbone's last feature map and the decoder: the "extra encodings" of HFGD's tables.

As in the released heads of the authors' framework; CAE (Sec. 3.2) from the paper's text and Table 9.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.errors import UserError
from methods.contexts.ocr import ObjectContext
from methods.hfgd.attention import SelfAttention
from methods.hfgd.car import Regularised
from methods.hfgd.layers import conv_bn_relu, resize, with_epsilon
from methods.hfgd.options import Options
from methods.segmentor import Criterion

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Level:
    """The feature map that is encoded: its channels and output stride."""

    channels: int
    stride: int


class Encoding(nn.Module):
    """x [B, in_channels, h, w] -> [B, channels, h, w]"""

    channels: int

    def with_losses(self, x: Tensor, targets: Tensor, criterion: Criterion) -> tuple[Tensor, Losses]:
        """What `forward` gives, and the losses of training that are the encoding's own; targets [B, H, W]."""
        return self(x), {}


class Layers(Encoding):
    """Convolutions one after another."""

    def __init__(self, channels: int, *layers: nn.Module) -> None:
        super().__init__()
        self.channels = channels
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class AtrousPyramid(Encoding):
    """The image's mean, a 1×1 and three dilated 3×3 convolutions side by side, fused by a 1×1 (DeepLabV3).

    Dilations 3, 6, 9 at stride 32, and as much more as the stride is smaller. Raises UserError where that is no number.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        if stride < 1 or 32 % stride:
            raise UserError(
                f"hfgd: encoding 'aspp' has no dilations for output stride {stride}; it takes 32, 16, 8, 4, …"
            )
        self.channels = channels
        self.image = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_bn_relu(in_channels, channels, 1))
        self.point = conv_bn_relu(in_channels, channels, 1)
        self.dilated = nn.ModuleList(
            conv_bn_relu(in_channels, channels, 3, dilation=rate * 32 // stride) for rate in (3, 6, 9)
        )
        self.fuse = conv_bn_relu(5 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        image = self.image(x).expand(-1, -1, *x.shape[-2:])
        return self.fuse(torch.cat([image, self.point(x), *(conv(x) for conv in self.dilated)], dim=1))


class PyramidPooling(Encoding):
    """PSPNet's pooling with 3×3 convolutions of the averages, as UPerNet's head in the released framework has it."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.levels = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bin), conv_bn_relu(in_channels, channels, 3)) for bin in (1, 2, 3, 6)
        )
        self.fuse = conv_bn_relu(in_channels + 4 * channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fuse(torch.cat([x, *(resize(level(x), x.shape[-2:]) for level in self.levels)], dim=1))


class ObjectRegions(Encoding):
    """OCR on the last feature map alone: its coarse classifier reads that map too."""

    def __init__(self, in_channels: int, num_classes: int, inner: int, weight: float) -> None:
        super().__init__()
        self.channels = inner
        self.weight = weight
        self.context = with_epsilon(
            ObjectContext(
                (in_channels,),
                num_classes=num_classes,
                channels=inner,
                inner=max(inner // 2, 1),
                coarse="fcn",
                coarse_channels=in_channels,
                fuse_kernel=1,
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.context([x])

    def with_losses(self, x: Tensor, targets: Tensor, criterion: Criterion) -> tuple[Tensor, Losses]:
        coarse = self.context.coarse_logits([x])
        losses = {"coarse": self.weight * criterion(coarse, targets)} if self.weight else {}
        return self.context.fuse_regions([x], coarse), losses


class Attending(Encoding):
    """Reduced to `inner` channels, x + SA(x), CAR's linear layer where there is one, and a last convolution."""

    regularised: Regularised | None

    def __init__(
        self, reduce: nn.Module, attention: SelfAttention, regularised: Regularised | None, tail: nn.Sequential
    ) -> None:
        super().__init__()
        self.channels = tail[0].out_channels
        self.reduce = reduce
        self.attention = attention
        self.regularised = regularised
        self.tail = tail

    def _mix(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        return x + self.attention(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self._mix(x)
        return self.tail(x if self.regularised is None else self.regularised(x))

    def with_losses(self, x: Tensor, targets: Tensor, criterion: Criterion) -> tuple[Tensor, Losses]:
        if self.regularised is None:
            return self(x), {}
        x = self.regularised(self._mix(x))
        return self.tail(x), self.regularised.losses(x, targets)

    def fold(self) -> None:
        """Merges CAR's linear layer into the last convolution, which is what runs at test time."""
        if self.regularised is not None:
            self.regularised.fold_into(self.tail)
            self.regularised = None


def build_encoding(level: Level, num_classes: int, options: Options) -> Encoding:
    """The encoding that `options` name, for this feature map; its `channels` may differ from the decoder's."""
    width, inner = options.channels, options.inner
    match options.encoding:
        case "aspp":
            return AtrousPyramid(level.channels, width, level.stride)
        case "ppm":
            return PyramidPooling(level.channels, width)
        case "ocr":
            return ObjectRegions(level.channels, num_classes, inner, options.coarse_weight)
        case "sa":
            attention = SelfAttention(inner, inner=options.attention_channels)
            return Attending(conv_bn_relu(level.channels, inner, 3), attention, None, conv_bn_relu(inner, inner, 3))
        case "sa_car":
            attention = SelfAttention(inner, inner=options.attention_channels)
            reduce, tail = conv_bn_relu(level.channels, inner, 3), conv_bn_relu(inner, inner, 1)
            return Attending(reduce, attention, _regularised(num_classes, options), tail)
        case "cae":
            reduce = nn.Sequential(conv_bn_relu(level.channels, options.wide, 1), conv_bn_relu(options.wide, inner, 1))
            attention = SelfAttention(
                inner, inner=None if options.cae_attention == "plain" else options.attention_channels
            )
            return Attending(reduce, attention, _regularised(num_classes, options), conv_bn_relu(inner, width, 1))
        case "identity" if options.decoder == "none":  # FCN's head
            return Layers(width, conv_bn_relu(level.channels, inner, 3), conv_bn_relu(inner, width, 1))
        case "identity":
            return Layers(width, conv_bn_relu(level.channels, width, 1))
    raise AssertionError(f"no encoding '{options.encoding}'")


def _regularised(num_classes: int, options: Options) -> Regularised:
    return Regularised(options.inner, num_classes, weight=options.car_weight, mean=options.car_mean)
