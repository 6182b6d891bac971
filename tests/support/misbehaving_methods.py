"""Context modules that do what a job may do wrong; tests name them as `misbehaving.py:NAME`."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from harness.errors import DataError, Exit
from methods.registry import register_context


class Good(nn.Module):
    """One number times the last map; when it is built and done is written under `marks`."""

    def __init__(self, marks: str, name: str, seconds: float = 0.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        if marks:
            started = time.time()
            while time.time() - started < seconds:  # busy, as a job is
                sum(range(1000))
            (Path(marks) / f"{name}.txt").write_text(f"{os.getpid()} {started} {time.time()}")

    def forward(self, features: list[Tensor]) -> Tensor:
        return features[-1] * self.scale


@register_context("good")
def good(in_channels, *, marks: str = "", name: str = "", seconds: float = 0.0):
    """Behaves."""
    return Good(marks, name, seconds)


@register_context("meets")
def meets(in_channels, *, marks: str, name: str, other: str):
    """Ends only when `other` runs at the same time: a pipe opens when both of its ends do."""
    pipe = Path(marks) / "meeting"
    with contextlib.suppress(FileExistsError):
        os.mkfifo(pipe)
    with pipe.open("wb" if name < other else "rb", buffering=0):
        return Good("", "")


@register_context("raises")
def raises(in_channels, *, name: str = ""):
    """Raises an exception with a message."""
    raise ValueError("the widths do not fit")


@register_context("user_error")
def user_error(in_channels):
    """Raises an error for people."""
    raise DataError("label 21 in 000123.png is outside 0..19")


@register_context("leaves")
def leaves(in_channels):
    """Ends the process without a word."""
    os._exit(3)


@register_context("leaves_well")
def leaves_well(in_channels):
    """Ends the process as if all were well, and leaves no result."""
    os._exit(0)


@register_context("exits")
def exits(in_channels):
    """Calls sys.exit."""
    sys.exit("enough")


@register_context("killed")
def killed(in_channels):
    """Is killed, as the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


@register_context("crashes")
def crashes(in_channels):
    """Dies of a bad memory access, as broken native code does."""
    os.kill(os.getpid(), signal.SIGSEGV)


@register_context("greedy")
def greedy(in_channels):
    """Runs out of memory where Python notices."""
    raise MemoryError


@register_context("full")
def full(in_channels):
    """Finds the disk full."""
    raise OSError(errno.ENOSPC, "No space left on device")


@register_context("full_to_the_last")
def full_to_the_last(in_channels):
    """Finds the disk so full that even why it failed cannot be written."""
    os._exit(Exit.OUTPUT)


@register_context("talks")
def talks(in_channels):
    """Prints to both streams, also from below Python."""
    print("to stdout")
    print("to stderr", file=sys.stderr)
    os.write(1, b"from below\n")
    return Good("", "")


@register_context("flaky")
def flaky(in_channels, *, marks: str):
    """Fails the first time and dies in another way the second; behaves from the third on."""
    attempts = Path(marks) / "attempts"
    count = int(attempts.read_text()) + 1 if attempts.exists() else 1
    attempts.write_text(str(count))
    if count == 1:
        raise ValueError("first attempt")
    if count == 2:
        os._exit(3)
    return Good("", "")


@register_context("set_back")
def set_back(in_channels):
    """Runs while somebody sets the machine's clock back by a day."""
    before = time.time
    time.time = lambda: before() - 86400
    return Good("", "")


@register_context("leaves_a_process")
def leaves_a_process(in_channels, *, marks: str):
    """Has started a process that nothing but SIGKILL ends, and behaves."""
    process = os.fork()
    if process == 0:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        while True:
            signal.pause()
    (Path(marks) / "process").write_text(str(process))
    return Good("", "")
