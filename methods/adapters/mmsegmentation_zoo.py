"""mmsegmentation's packaged configurations by name, without importing it: planning needs no torch."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import MissingError, UserError, nearest

INSTALL = "pip install 'segmentation-harness[mmseg]', or `make setup` in a checkout"
NEEDS_OPERATORS = ("ccnet", "psanet", "point_rend", "mask2former", "maskformer")
"""Folders of the zoo whose models need mmcv's compiled operators, or mmdetection, which the extra does not bring."""


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
