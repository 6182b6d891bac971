"""Weight files: read without executing code, and checked in full against a model before loading."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from harness.errors import MissingError, UserError
from harness.files import write_bytes
from harness.torch_file import refusal

_DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
_DTYPES |= {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
_LISTED = 1000  # problems that an error names; a file may have a million names
_SHARED = 4  # a file's tensors together are at most so often as large as the file: some share their values


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name: a .safetensors file, or what torch.save wrote of tensors alone.

    A dictionary that holds them under `model` or `state_dict` beside an optimiser is opened. Raises MissingError where
    there is no file, UserError where it holds anything else: also for tensors that are not plain values on the CPU (sparse,
    quantised, complex, meta, expanded), and for a file that would grow when it is loaded. Nothing of it is executed.
    """
    if not path.is_file():
        raise MissingError(f"there is no checkpoint at {path}")
    state: Any
    try:
        reason = "" if path.suffix == ".safetensors" else refusal(path)
        if not reason:
            load = safetensors.torch.load_file if path.suffix == ".safetensors" else _load
            state = load(path)
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
    if reason:
        raise UserError(f"{path} is not a file of weights alone, and anything else is not opened ({reason})")
    for wrapper in ("model", "state_dict"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path} is not a file of weights (it holds no mapping from names to tensors)")
    tensors = {str(name).removeprefix("module."): value for name, value in state.items()}
    problems = [f"{name} is {kind}" for name, value in tensors.items() if (kind := _kind_refused(value))]
    if problems:
        raise UserError(f"{path} holds tensors that are no plain values:\n  {listing(problems)}")
    size, most = sum(map(_bytes, tensors.values())), _SHARED * path.stat().st_size + (1 << 20)
    if size > most:
        raise UserError(f"{path} has {path.stat().st_size} bytes, and its tensors would take {size}: they share values")
    return tensors


def _load(path: Path) -> Any:
    with warnings.catch_warnings():  # of types of tensors that are refused below
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _kind_refused(value: Tensor) -> str:
    """What keeps a tensor from being a weight, or ''."""
    if value.layout is not torch.strided or value.is_nested:
        return "sparse or nested"
    if value.is_quantized or value.dtype not in _DTYPES:
        return f"of the type {str(value.dtype).removeprefix('torch.')}"
    if value.device.type != "cpu":
        return "without values (on the device 'meta')"
    if type(value) not in (Tensor, nn.Parameter):
        return f"of the class {type(value).__name__}"
    if _bytes(value) > value.untyped_storage().nbytes():
        return f"{tuple(value.shape)} of {value.untyped_storage().nbytes()} bytes (a stride of 0: each value is there once)"
    return ""


def _bytes(value: Tensor) -> int:
    return value.numel() * value.element_size()


def listing(problems: Sequence[str]) -> str:
    """Problems for an error, a line each; of very many the first."""
    more = [f"… and {len(problems) - _LISTED} more"] if len(problems) > _LISTED else []
    return "\n  ".join([*problems[:_LISTED], *more])


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
        raise UserError(f"{source} does not fit the model; nothing was loaded:\n  {listing(problems)}")
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
