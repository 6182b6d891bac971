"""Backbones by name: one file per family in this folder, found by its `NAMES` without importing it.

A family declares `NAMES`, a literal tuple of what it builds (one that ends in `/` stands for all that begin so), and
`build(name, *, output_stride, pretrained) -> Backbone`. Only the family that is asked for is imported, and only its code is in a
job's key. Files whose names begin with `_` hold what several families share. README.md says how to add one.
"""

from __future__ import annotations

import ast
import functools
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UserError, nearest

if TYPE_CHECKING:
    from methods.segmentor import Backbone

_FOLDER = Path(__file__).parent


@functools.cache
def _families() -> dict[str, str]:
    """{name: module that builds it}, from the source text."""
    modules: dict[str, str] = {}
    for file in sorted(_FOLDER.glob("[!_]*.py")):
        for name in _declared_names(file):
            module = f"{__name__}.{file.stem}"
            if name in modules:
                raise UserError(f"backbone '{name}' is declared twice: in {modules[name]} and in {module}")
            modules[name] = module
    return modules


def _declared_names(file: Path) -> tuple[str, ...]:
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["NAMES"]:
                return tuple(map(str, ast.literal_eval(node.value)))
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{file}: NAMES cannot be read from the source: {error}") from None
    raise UserError(f"{file} declares no NAMES: a backbone family says in a literal tuple what it builds")


def names() -> list[str]:
    """Names of the backbones; `timm/NAME` is understood besides."""
    return sorted(name for name in _families() if not name.endswith("/"))


def module_of(name: str) -> str | None:
    """The module that builds the backbone called `name`; None where there is none. Imports nothing."""
    families = _families()
    if name in families and not name.endswith("/"):
        return families[name]
    return next((module for start, module in families.items() if start.endswith("/") and name.startswith(start)), None)


def build_backbone(name: str, *, output_stride: int | None = None, pretrained: bool | str = False) -> Backbone:
    """The named backbone with random weights, those of a local file (a path), or pretrained ones (`True`): from the folder
    of weights where it has them (methods.pretrained), else those that its family downloads.

    `output_stride`: 8, 16 or 32 (default) for ResNets; left out for those that have one alone. Raises UserError for an
    unknown name or an impossible stride, MissingError where weights are not there.
    """
    module = module_of(name)
    if module is None:
        raise UserError(f"unknown backbone '{name}'.{nearest(name, names())}; or timm/NAME for a model that timm knows")
    return importlib.import_module(module).build(name, output_stride=output_stride, pretrained=pretrained)
