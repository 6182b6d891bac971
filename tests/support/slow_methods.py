"""A method and contexts whose jobs stay long enough to be disturbed; named as `slow_methods.py:NAME`."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import torch
from torch import Tensor, nn

from methods.registry import register, register_context
from methods.segmentor import Backbone, EncoderDecoder

HELD = 20  # steps after which a training waits


class Small(Backbone):
    """Two maps. It is not timm's, whose import each job of a test on Slurm would wait for, longer than for its training."""

    channels, strides = (8, 16), (2, 4)

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, more, 3, stride=2, padding=1), nn.BatchNorm2d(more), nn.ReLU())
            for width, more in ((3, 8), (8, 16))
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = [images]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


class Last(nn.Module):
    """The last feature map as it is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, features: list[Tensor]) -> Tensor:
        return features[-1]


class Slow(EncoderDecoder):
    """Does not end before the gate in `marks` is open, and hears signals meanwhile; its numbers do not depend on that."""

    def __init__(self, num_classes: int, marks: str) -> None:
        super().__init__(Small(), Last(Small.channels[-1]), num_classes, auxiliary_channels=8)
        self.marks, self.steps, self.heard, self.gate = Path(marks), 0, None, None

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        if self.heard is None:
            self.heard, written = os.pipe2(os.O_NONBLOCK)
            signal.set_wakeup_fd(written)
            self.gate = os.open(self.marks / "go", os.O_RDONLY | os.O_NONBLOCK)
        self.steps += 1
        # the first steps only take their time, so that progress can be seen; others wait for the gate or a signal
        select.select([self.heard, self.gate], [], [], 0.25 if self.steps < HELD else None)
        return super().losses(images, targets)


@register("slow", own_backbone=True)
def slow(num_classes: int, pretrained: bool, *, marks: str = ""):
    """A small FCN that waits."""
    return Slow(num_classes, marks)


class Uneven(Slow):
    """A batch of rank 1 is too large for its GPU."""

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        if os.environ.get("RANK") == "1":
            cuda(None)
        return super().losses(images, targets)


@register("uneven", own_backbone=True)
def uneven(num_classes: int, pretrained: bool, *, marks: str = ""):
    """Fails on one of several processes."""
    return Uneven(num_classes, marks)


class One(nn.Module):
    """One number times the last map."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, features: list[Tensor]) -> Tensor:
        return features[-1] * self.scale


@register_context("good")
def good(in_channels, *, name: str = ""):
    """Behaves."""
    return One()


@register_context("raises")
def raises(in_channels, *, name: str = ""):
    """Has an error of its own."""
    raise ValueError("the widths do not fit")


@register_context("hungry")
def hungry(in_channels, *, mib: int):
    """Takes this much memory; where that is more than it may have, it holds it until it is killed for it."""
    held = bytearray(os.urandom(2**20)) * mib
    while mib > int(os.environ.get("SLURM_MEM_PER_NODE", mib)):
        signal.pause()
    del held
    return One()


@register_context("cuda")
def cuda(in_channels):
    """Asks a GPU for more memory than it has, as torch tells it."""
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


@register_context("endless")
def endless(in_channels, *, marks: str):
    """The first time it never ends, whatever signal comes; then it behaves."""
    mark = Path(marks) / "endless"
    if not mark.exists():
        mark.touch()
        while True:
            signal.pause()
    return One()


@register_context("waits")
def waits(in_channels, *, marks: str, name: str = ""):
    """Ends when the gate in `marks` is open."""
    with (Path(marks) / "go").open("rb", buffering=0):
        return One()
