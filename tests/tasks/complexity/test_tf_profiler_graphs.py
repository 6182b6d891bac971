"""Convention `tf-profiler` on two whole networks whose float_ops TensorFlow's own profiler gave for the released code:
SemanticFPN and SA (CAR) of HFGD's Table 9, at 513 × 513 and 59 classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from harness.tasks.complexity.tf_profiler import count
from methods.layers import resize


def cbr(in_channels, out_channels, kernel, stride=1, dilation=1, relu=True):
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), *([nn.ReLU()] if relu else []))


class Block(nn.Module):
    """Bottleneck with the stride on the 3×3 convolution and an average-pooled shortcut."""

    def __init__(self, in_channels, width, stride, dilation):
        super().__init__()
        self.body = nn.Sequential(
            cbr(in_channels, width, 1), cbr(width, width, 3, stride, dilation), cbr(width, 4 * width, 1, relu=False)
        )
        self.shortcut = cbr(in_channels, 4 * width, 1, relu=False) if in_channels != 4 * width else nn.Identity()
        self.stride = stride

    def forward(self, x):
        shortcut = self.shortcut(x)
        if self.stride == 2:
            shortcut = F.avg_pool2d(shortcut, 2, 2, ceil_mode=True)
        return torch.relu(self.body(x) + shortcut)


class ResNet50(nn.Module):
    """The authors' ResNet-50: strides in the last block of a stage, whose input is the stage's feature map.

    `plan`: (stride, dilation) per block, per stage.
    """

    def __init__(self, plan):
        super().__init__()
        self.stem = nn.Sequential(cbr(3, 64, 3, 2), cbr(64, 64, 3), cbr(64, 128, 3), nn.MaxPool2d(3, 2, 1))
        self.stages, channels = nn.ModuleList(), 128
        for width, blocks in zip((64, 128, 256, 512), plan):
            stage = nn.ModuleList()
            for stride, dilation in blocks:
                stage.append(Block(channels, width, stride, dilation))
                channels = 4 * width
            self.stages.append(stage)

    def forward(self, images):
        x, features = self.stem(images), []
        for stage in self.stages:
            for block in stage:
                before, x = x, block(x)
            features.append(before)
        return [*features[:3], x]


STRIDED = [[(1, 1)] * 2 + [(2, 1)], [(1, 1)] * 3 + [(2, 1)], [(1, 1)] * 5 + [(2, 1)], [(1, 1), (1, 2), (1, 4)]]
DILATED = [[(1, 1)] * 2 + [(2, 1)], [(1, 1)] * 3 + [(1, 2)], [(1, 2)] * 5 + [(1, 4)], [(1, 4), (1, 8), (1, 16)]]


class SemanticFPN(nn.Module):
    """256 channels, 1×1 laterals, no convolution after the sums, branches of 1, 1, 2, 3 convolutions added by AddN."""

    def __init__(self, num_classes):
        super().__init__()
        self.backbone = ResNet50(STRIDED)
        self.laterals = nn.ModuleList(cbr(c, 256, 1) for c in (256, 512, 1024, 2048))
        self.branches = nn.ModuleList(nn.ModuleList(cbr(256, 256, 3) for _ in range(n)) for n in (1, 1, 2, 3))
        self.end = cbr(256, 256, 1)
        self.classifier = nn.Conv2d(256, num_classes, 1)

    def forward(self, images):
        levels = [lateral(x) for lateral, x in zip(self.laterals, self.backbone(images))]
        for i in (2, 1, 0):
            levels[i] = levels[i] + resize(levels[i + 1], levels[i].shape[-2:])
        sizes = [x.shape[-2:] for x in levels]
        for i, branch in enumerate(self.branches):
            for n, conv in enumerate(branch):
                levels[i] = resize(conv(levels[i]), sizes[max(i - 1 - n, 0)])
        return self.classifier(self.end(torch.stack(levels).sum(0)))


class SelfAttentionHead(nn.Module):
    """Unscaled self-attention on a reduced map of stride 8; CAR's linear convolution folded into the next one."""

    def __init__(self, num_classes):
        super().__init__()
        self.backbone = ResNet50(DILATED)
        self.reduce, self.tail = cbr(2048, 512, 3), cbr(512, 512, 1)
        self.query, self.key, self.value = nn.Conv2d(512, 64, 1), nn.Conv2d(512, 64, 1), nn.Conv2d(512, 512, 1)
        self.classifier = nn.Conv2d(512, num_classes, 1)

    def forward(self, images):
        x = self.reduce(self.backbone(images)[-1])
        query, key, value = (projection(x).flatten(2) for projection in (self.query, self.key, self.value))
        mixed = torch.matmul(torch.matmul(query.transpose(1, 2), key).softmax(-1), value.transpose(1, 2))
        return self.classifier(self.tail(x + mixed.transpose(1, 2).reshape_as(x)))


def float_ops(network):
    with torch.device("meta"):
        module = network(59)
        return 2 * count(module, (torch.empty(1, 3, 513, 513),)), sum(p.numel() for p in module.parameters())


def test_semantic_fpn_to_the_last_operation():
    operations, parameters = float_ops(SemanticFPN)
    assert operations == 98_033_564_987
    assert f"{operations / 2 / 1024**3:.2f}" == "45.65"  # as printed
    assert f"{parameters / 1e6:.2f}" == "28.83"


def test_self_attention_with_dilated_convolutions():
    """TensorFlow's graph has three more operations, on scalars."""
    operations, parameters = float_ops(SelfAttentionHead)
    assert operations == 341_362_828_995 - 3
    assert f"{operations / 2 / 1024**3:.2f}" == "158.96"  # as printed
    assert f"{parameters / 1e6:.2f}" == "33.69"
