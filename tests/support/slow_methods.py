"""A method and contexts whose jobs stay long enough to be disturbed; named as `victims.py:NAME`."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from methods.registry import register, register_context
from methods.segmentor import Backbone, EncoderDecoder

HELD = 20  # steps after which a training waits


class Last(nn.Module):
    """The last feature map as it is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, features: list[Tensor]) -> Tensor:
        return features[-1]


class Slow(EncoderDecoder):
    """Does not reach its end before `marks`/go exists, and hears signals meanwhile; its numbers do not depend on that."""

    def __init__(self, backbone: Backbone, num_classes: int, marks: str) -> None:
        super().__init__(backbone, Last(backbone.channels[-1]), num_classes, auxiliary_channels=8)
        self.marks, self.steps, self.heard = Path(marks), 0, None

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        if self.heard is None:
            self.heard, written = os.pipe2(os.O_NONBLOCK)
            signal.set_wakeup_fd(written)
        self.steps += 1
        while not (self.marks / "go").exists():
            signalled = select.select([self.heard], [], [], 0.25)[0]
            if signalled or self.steps < HELD:  # the first steps only take their time, so that progress can be seen
                break
        return super().losses(images, targets)


@register("slow")
def slow(backbone: Backbone, num_classes: int, *, marks: str = ""):
    """A small FCN that waits."""
    return Slow(backbone, num_classes, marks)


class Uneven(Slow):
    """A batch of rank 1 is too large for its GPU."""

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        if os.environ.get("RANK") == "1":
            cuda(None)
        return super().losses(images, targets)


@register("uneven")
def uneven(backbone: Backbone, num_classes: int, *, marks: str = ""):
    """Fails on one of several processes."""
    return Uneven(backbone, num_classes, marks)


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
    """Ends when `marks`/go exists."""
    while not (Path(marks) / "go").exists():
        time.sleep(0.05)
    return One()
