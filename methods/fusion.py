"""Parts of a training that torch.compile takes one by one, where the recipe says `compile: stages`.

A whole training compiled at once breaks where an image's gradient is taken inside the forward pass, and compiles again where a
loss reads values. The stages of a backbone and the cross-entropy of one image have neither, and hold most of what fusing saves:
batch norm with ReLU, and the upsampled logits, which are then never written at full size.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from harness.errors import MissingError

BACKEND = "inductor"
_COMPILERS = ("cc", "gcc", "g++", "clang")  # what Inductor and Triton look for
_MOST = 0.9
"""A part with more than this share of the parameters is a wrapper, whose own parts are the stages."""

Function = TypeVar("Function", bound=Callable[..., object])
_is_on = False


def fuse(on: bool) -> None:
    """Whether functions marked `fusable` are compiled from now on, in this process."""
    global _is_on
    _is_on = on


def fusable(function: Function) -> Function:
    """Marks a function of tensors of few shapes, which is compiled while `fuse` says so."""

    @functools.wraps(function)
    def call(*arguments: object) -> object:
        return (_compiled(function, BACKEND) if _is_on else function)(*arguments)

    return call  # type: ignore[return-value]


@functools.cache
def _compiled(function: Callable[..., object], backend: str) -> Callable[..., object]:
    return torch.compile(function, backend=backend, dynamic=False)


def compile_stages(backbone: nn.Module) -> list[str]:
    """Compiles the backbone's stages in place for training; names and weights stay, and tests, whose images have each
    their own size, run as before. Gives the stages' names. Raises MissingError without a C compiler."""
    if BACKEND == "inductor" and not any(map(shutil.which, _COMPILERS)):
        raise MissingError(
            f"recipe.compile: torch.compile needs a C compiler ({', '.join(_COMPILERS)}), and there is none on this machine; "
            "install one, or say compile: false"
        )
    names = {id(module): name for name, module in backbone.named_modules()}
    found = stages(backbone)
    for stage in found:
        stage.forward = _in_training(stage)
    return [names[id(stage)] for stage in found]


def stages(backbone: nn.Module) -> list[nn.Module]:
    """The outermost parts of a backbone that are called one after another and hold more than one layer with parameters."""
    parts = list(backbone.children())
    whole = _parameters(backbone)
    wrapped = [part for part in parts if _parameters(part) > _MOST * whole and type(part) is not nn.Sequential]
    if wrapped:
        return stages(wrapped[0])
    return [part for part in parts if _layers(part) > 1 and not isinstance(part, nn.ModuleList | nn.ModuleDict)]


def _in_training(stage: nn.Module) -> Callable[..., object]:
    eager = stage.forward
    compiled = torch.compile(eager, backend=BACKEND, dynamic=False)

    def forward(*arguments: object) -> object:
        return (compiled if stage.training else eager)(*arguments)

    return forward


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _layers(module: nn.Module) -> int:
    return sum(any(True for _ in part.parameters(recurse=False)) for part in module.modules())
