"""Context modules that fork, or say why they fail in words that cannot be written; tests name them as `odd_methods.py:NAME`."""

from __future__ import annotations

import os
import sys

import torch
from torch import Tensor, nn

from methods.registry import register_context

HALF = "caf\udce9"  # how Python holds a file's name that is not UTF-8


class Good(nn.Module):
    """One number times the last map."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, features: list[Tensor]) -> Tensor:
        return features[-1] * self.scale


class Mute(Exception):
    """Fails once more when it is asked why."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@register_context("half_letters")
def half_letters(in_channels):
    """Fails over a file whose name is not UTF-8."""
    raise ValueError(f"no file {HALF}")


@register_context("several")
def several(in_channels):
    """Fails with a group of exceptions, one of them as above."""
    raise BaseExceptionGroup("several", [ValueError(HALF), KeyboardInterrupt()])


@register_context("mute")
def mute(in_channels):
    """Fails with an exception that has no message."""
    raise Mute


@register_context("long")
def long(in_channels):
    """Fails with a message of ten million letters."""
    raise ValueError("x" * 10_000_000)


@register_context("closes_streams")
def closes_streams(in_channels):
    """Closes both streams, and fails."""
    sys.stdout.close()
    sys.stderr.close()
    raise ValueError("nobody hears this")


@register_context("prints_half_letters")
def prints_half_letters(in_channels):
    """Prints a file's name that is not UTF-8."""
    print(HALF)
    return Good()


@register_context("forks")
def forks(in_channels):
    """Goes on as two processes."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)  # the copy is first to come back
    return Good()


@register_context("fork_fails")
def fork_fails(in_channels):
    """Goes on, and fails in a copy of the process."""
    child = os.fork()
    if not child:
        raise ValueError("in the copy")
    os.waitpid(child, 0)
    return Good()
