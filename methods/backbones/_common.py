"""Helpers of all backbone families: the check of an output stride, and loading of weights from a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from timm.models._features import FeatureGetterNet
from torch import nn

from harness.errors import MissingError, UserError
from methods.pretrained import advice, offline
from methods.weights import listing, read

Renames = Sequence[tuple[str, str]]
"""(regular expression, replacement) of a parameter's name."""
_STRIDES = (8, 16, 32)
_FLATTENED = re.compile(r"^(stem|stages|layers)_(\d+)\.")
_CLASSIFIERS = ("fc.", "head.", "classifier.", "norm.", "final_layer.", "incre_modules.", "downsamp_modules.")


def dilated_stride(name: str, output_stride: int | None) -> int:
    """The output stride of a backbone that takes dilations in place of strides: 8, 16, or 32 where none is given."""
    stride = 32 if output_stride is None else output_stride
    if stride not in _STRIDES:
        raise UserError(f"backbone '{name}': output stride {stride} is not one of 8, 16, 32")
    return stride


def refuse_stride(name: str, output_stride: int | None) -> None:
    """UserError where a backbone that has one output stride alone is asked for one."""
    if output_stride is not None:
        raise UserError(f"backbone '{name}' has no adjustable output stride; leave output_stride out (null)")


def weights_file(name: str, pretrained: bool | str) -> Path | None:
    """The local file that pretrained weights come from; None where there is none, or none are wanted."""
    if isinstance(pretrained, str):
        return Path(pretrained).expanduser()
    return offline(name) if pretrained else None


def own_weights_file(name: str, pretrained: bool | str) -> Path | None:
    """The local file of a backbone whose weights nobody offers for download; None where none are wanted.

    Raises MissingError where weights are wanted and no file is there: nothing is trained from random ones in silence.
    """
    file = weights_file(name, pretrained)
    if pretrained and file is None:
        raise MissingError(f"backbone '{name}': there are no pretrained weights to download. {advice(name)}")
    return file


def load_file(body: nn.Module, path: Path, name: str, renames: Renames = ()) -> None:
    """Fills `body` from a file of timm's or torchvision's weights for this model; a classifier in it is left out.

    `renames`: what becomes of the names of another toolbox's file; the first pattern that a name fits counts.
    """
    if not path.is_file():
        raise MissingError(f"backbone '{name}': there are no weights at {path.absolute()}. {advice(name)}")
    try:
        state = read(path)
    except UserError as error:
        raise UserError(f"backbone '{name}': {error}") from error
    target = body.model if isinstance(body, FeatureGetterNet) else body  # what timm wraps, under the file's names
    parameters = target.state_dict()
    # timm's feature pyramids call stage 1 of `layers` layers_1, where the file says layers.1
    flat = {_FLATTENED.sub(r"\1.\2.", key): key for key in parameters}
    state = {_renamed(key, renames): value for key, value in state.items() if not key.startswith(_CLASSIFIERS)}
    weights = {flat.get(key, key): value for key, value in state.items()}
    problems = [
        f"missing {key}" for key in parameters if key not in weights and not key.endswith("num_batches_tracked")
    ]
    problems += [f"unexpected {key}" for key in weights if key not in parameters]
    problems += [
        f"{key} is {tuple(weights[key].shape)}, should be {tuple(value.shape)}"
        for key, value in parameters.items()
        if key in weights and weights[key].shape != value.shape
    ]
    if problems:
        raise UserError(f"backbone '{name}': {path} does not fit; nothing was loaded:\n  {listing(problems)}")
    target.load_state_dict(weights, strict=False)


def _renamed(key: str, renames: Renames) -> str:
    return next((re.sub(pattern, new, key) for pattern, new in renames if re.match(pattern, key)), key)
