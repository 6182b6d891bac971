"""Weight files: read without executing code, and checked in full against a model before loading."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from harness.errors import MissingError, UserError
from harness.files import write_bytes


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name: a .safetensors file, or what torch.save wrote of tensors alone.

    A dictionary that holds them under `model` or `state_dict` beside an optimiser is opened. Raises MissingError where
    there is no file, UserError where it holds anything else.
    """
    if not path.is_file():
        raise MissingError(f"there is no checkpoint at {path}")
    try:
        if path.suffix == ".safetensors":
            state: Any = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path} is not a file of weights alone, and anything else is not opened ({reason})") from error
    for wrapper in ("model", "state_dict"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path} holds no mapping from names to tensors")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def misfits(model: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Everything that keeps `state` from being the weights of `model`: missing, unexpected and misshapen names."""
    model_state = model.state_dict()
    missing = [
        f"missing {name}" for name in model_state if name not in state and not name.endswith("num_batches_tracked")
    ]
    extra = [f"unexpected {name}" for name in state if name not in model_state]
    shapes = [
        f"{name} is {tuple(state[name].shape)}, should be {tuple(value.shape)}"
        for name, value in model_state.items()
        if name in state and state[name].shape != value.shape
    ]
    return missing + extra + shapes


def to_fit(model: nn.Module, state: Mapping[str, Tensor], source: object) -> dict[str, Tensor]:
    """The whole state of `model` from `state`; UserError that lists every misfit. How many batches a norm has seen,
    which only momentum-free norms use, may be left out."""
    problems = misfits(model, state)
    if problems:
        lines = "\n  ".join(problems)
        raise UserError(f"{source} does not fit the model; nothing was loaded:\n  {lines}")
    model_state = model.state_dict()
    return {name: state[name].to(value.dtype) if name in state else value for name, value in model_state.items()}


def write(state: Mapping[str, Tensor], path: Path) -> None:
    """Writes a state as safetensors where the name says so, else as torch.save does; OutputError (nothing changed) when
    the folder or the disk refuses."""
    whole = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    if path.suffix == ".safetensors":
        content = safetensors.torch.save(whole)
    else:
        buffer = io.BytesIO()  # both savers report a failed write of a file as anything but an OSError
        torch.save(whole, buffer)
        content = buffer.getvalue()
    write_bytes(path, content, advice="make room or choose another file with --out")
