"""mmsegmentation's configurations: those it packages, by name; what one says, read by mmengine.

Importing this imports neither library, and naming a configuration needs neither: planning stays light.
"""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.errors import MissingError, UserError, nearest
from harness.recipes.common import Normalisation

INSTALL = "pip install 'segmentation-harness[mmseg]', or `make setup` in a checkout"
NEEDS_OPERATORS = ("ccnet", "psanet", "point_rend", "mask2former", "maskformer")
"""Folders of the zoo whose models need mmcv's compiled operators, or mmdetection, which the extra does not bring."""


NORMALISATIONS: dict[tuple[float, ...], Normalisation] = {
    (123.675, 116.28, 103.53, 58.395, 57.12, 57.375): "imagenet",
    (127.5, 127.5, 127.5, 127.5, 127.5, 127.5): "symmetric",
}


@functools.cache
def configurations() -> dict[str, Path]:
    """{name: file} of every packaged configuration; MissingError where mmsegmentation is not installed."""
    spec = importlib.util.find_spec("mmseg")
    if spec is None or spec.origin is None:
        raise MissingError(f"mmsegmentation is not installed: {INSTALL}")
    folder = Path(spec.origin).parent / ".mim" / "configs"
    return {file.stem: file for file in sorted(folder.glob("[!_]*/*.py"))}


def find(name: str) -> Path:
    """The file of a packaged configuration; UserError with the nearest names, or with what it needs and is not there."""
    known = configurations()
    if name.endswith(".py") or "/" in name:
        raise UserError(
            f"'config' takes a name of mmsegmentation's zoo or the configuration's model, not the path of a file: '{name}'. "
            "python -m harness recipe from-mmsegmentation FILE prints the model and the recipe of a file"
        )
    if name not in known:
        raise UserError(f"'config': mmsegmentation packages no configuration '{name}'.{nearest(name, known)}")
    if known[name].parent.name in NEEDS_OPERATORS:
        raise UserError(
            f"'config': '{name}' needs mmcv's compiled operators or mmdetection, which run nowhere without a compiler; "
            "MaskFormer and Mask2Former have a home in transformers, and criss-cross attention is method 'ccnet' here"
        )
    return known[name]


def check(options: Mapping[str, Any]) -> None:
    """UserError unless the option `config` names a configuration, or holds a model."""
    config = options["config"]
    if isinstance(config, str):
        find(config)
    elif not isinstance(config, Mapping) or not {"backbone", "decode_head"} <= config.keys():
        raise UserError("'config' takes a name of mmsegmentation's zoo, or a mapping with 'backbone' and 'decode_head'")


def read(file: Path) -> dict[str, Any]:
    """A whole configuration with its `_base_` files. It is Python and is run, as a method's file is."""
    with explained_import():
        from mmengine.config import Config
    try:
        return Config.fromfile(str(file), import_custom_modules=False).to_dict()
    except Exception as error:  # whatever a configuration's code raises
        raise UserError(f"{file}: cannot be read as a configuration of mmsegmentation: {error}") from error


@contextmanager
def explained_import() -> Iterator[None]:
    """Around an import of the library: MissingError with what to install, where it is not there."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of operators that are not compiled, whether or not a model needs them
            yield
    except ModuleNotFoundError as error:
        raise MissingError(f"{error.name} is not installed: {INSTALL}") from error


def normalisation_of(preprocessor: Mapping[str, Any] | None) -> Normalisation | None:
    """The recipe's name for what a model's data preprocessor does; None where it says nothing. UserError for any other."""
    mean, std = ((preprocessor or {}).get(key) for key in ("mean", "std"))
    if mean is None or std is None:
        return None
    numbers = tuple(round(float(x), 4) for x in (*mean, *std))
    if numbers not in NORMALISATIONS:
        raise UserError(
            f"the configuration's data_preprocessor subtracts {mean} and divides by {std}; recipes know "
            + " and ".join(f"{name} ({', '.join(map(str, values))})" for values, name in NORMALISATIONS.items())
        )
    return NORMALISATIONS[numbers]
