"""A method and contexts whose jobs stay long enough to be disturbed; named as `victims.py:NAME`."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from methods.registry import register, register_context
from methods.segmentor import Backbone, EncoderDecoder


class Last(nn.Module):
    """The last feature map as it is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, features: list[Tensor]) -> Tensor:
        return features[-1]


class Slow(EncoderDecoder):
    """Takes its time over every step until `marks`/go exists; its numbers do not depend on that."""

    def __init__(self, backbone: Backbone, num_classes: int, marks: str) -> None:
        super().__init__(backbone, Last(backbone.channels[-1]), num_classes, auxiliary_channels=8)
        self.marks = Path(marks)

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        if not (self.marks / "go").exists():
            time.sleep(0.25)
        return super().losses(images, targets)


@register("slow")
def slow(backbone: Backbone, num_classes: int, *, marks: str = ""):
    """A small FCN that waits."""
    return Slow(backbone, num_classes, marks)


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
    """Holds this much memory for some seconds."""
    held = bytearray(os.urandom(2**20)) * mib
    time.sleep(4)
    del held
    return One()


@register_context("endless")
def endless(in_channels, *, marks: str):
    """The first time it never ends, whatever signal comes; then it behaves."""
    mark = Path(marks) / "endless"
    if not mark.exists():
        mark.touch()
        while True:
            time.sleep(1)
    return One()


@register_context("waits")
def waits(in_channels, *, marks: str, name: str = ""):
    """Ends when `marks`/go exists."""
    while not (Path(marks) / "go").exists():
        time.sleep(0.05)
    return One()
