"""The ResNet-50 of HFGD's authors (their framework iSeg): not the one that other toolboxes and timm have.

- The stem is three 3×3 convolutions of 64, 64 and 128 channels and a max-pool.
- A stage takes its stride in its *last* block, on the 3×3 convolution; the shortcut there is a 2×2 average. The feature
  map that a stage gives is the input of that block, so it is one block younger than elsewhere.
- The last stage has no stride; its three blocks have dilations 1, 2, 4 at every output stride (multi-grid).

Parameters have timm's names for a ResNet with this stem (`resnet50s`), whose shapes are the same. No published weights
were trained with these strides: those of `resnet50s.gluon_in1k` fit, but were trained with a stage's stride in its first
block. The authors' own are TensorFlow's.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from methods.layers import BatchNorm
from methods.segmentor import Backbone

_BLOCKS = (3, 4, 6, 3)
_WIDTHS = (64, 128, 256, 512)
_MULTI_GRID = (1, 2, 4)
_EPSILON = 1.001e-5


def _norm(channels: int) -> BatchNorm:
    return BatchNorm(channels, eps=_EPSILON)


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 and a shortcut. x [B, in, H, W] -> [B, 4·width, ceil(H / stride), ceil(W / stride)]"""

    def __init__(self, in_channels: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        out = 4 * width
        self.stride = stride
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = _norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = _norm(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = _norm(out)
        self.downsample = None
        if in_channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(in_channels, out, 1, bias=False), _norm(out))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        if self.stride > 1:
            shortcut = F.avg_pool2d(shortcut, self.stride, ceil_mode=True)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        return F.relu(self.bn3(self.conv3(x)) + shortcut, inplace=True)


def stage_plan(output_stride: int) -> list[list[tuple[int, int]]]:
    """(stride, dilation) of every block of every stage. Where a stride is left out, that block and what follows dilate
    twice as much instead."""
    plan, stride, dilation = [], 4, 1
    for blocks in _BLOCKS[:-1]:
        stage = [(1, dilation)] * (blocks - 1)
        if stride < output_stride:
            stride *= 2
            stage.append((2, dilation))
        else:
            dilation *= 2
            stage.append((1, dilation))
        plan.append(stage)
    plan.append([(1, dilation * grid) for grid in _MULTI_GRID])
    return plan


class AuthorsResNet50(Backbone):
    """Four feature maps, C2 to C5.

    images [B, 3, H, W], any size -> [B, channels[i], ceil(H / strides[i]), ceil(W / strides[i])]

    `output_stride`: of C5; 8 and 16 leave strides out and dilate.
    """

    channels = (256, 512, 1024, 2048)

    def __init__(self, *, output_stride: int = 32) -> None:
        super().__init__()
        self.strides = (4, 8, min(16, output_stride), output_stride)
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, 64, 3, 2, padding=1, bias=False),
            _norm(64),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, 3, padding=1, bias=False),
            _norm(64),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 128, 3, padding=1, bias=False),
        )
        self.bn1 = _norm(128)
        in_channels = 128
        for i, (width, blocks) in enumerate(zip(_WIDTHS, stage_plan(output_stride))):
            stage = nn.Sequential()
            for stride, dilation in blocks:
                stage.append(Bottleneck(in_channels, width, stride, dilation))
                in_channels = 4 * width
            setattr(self, f"layer{i + 1}", stage)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> list[Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images)), inplace=True), 3, 2, padding=1)
        features = []
        for stage in (self.layer1, self.layer2, self.layer3):
            for block in stage[:-1]:
                x = block(x)
            features.append(x)
            x = stage[-1](x)
        return [*features, self.layer4(x)]
