"""Backbones by name: one file per family in this folder, found by its `NAMES` without importing it.

A family declares `NAMES`, a literal tuple of what it builds (one that ends in `/` stands for all that begin so), `STRIDES`, a
literal tuple of the output strides that a table may choose from (`()`: they have one alone; left out: not known before one is
built), `WEIGHTS`, a literal mapping from names to timm's weights of them, MODEL.TAG (left out: nothing to download), and
`build(name, *, output_stride, pretrained) -> Backbone`. Only the family that is asked for is imported, and only its code is in a
job's key. Files whose names begin with `_` hold what several families share. README.md says how to add one.
A family outside the checkout is a file that a table names `path/to/file.py:NAME`, or a module that an installed package offers in
the entry-point group `harness.backbones`; it declares the same.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from harness.errors import UserError, nearest
from harness.jobs import outside, outside_names
from harness.jobs.key import read_imports

if TYPE_CHECKING:
    from methods.segmentor import Backbone

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Family:
    """What the source text of a family declares. `strides`: None where it does not say; `weights`: {name: timm's MODEL.TAG}."""

    module: str
    names: tuple[str, ...]
    strides: tuple[int, ...] | None
    weights: Mapping[str, str]
    file: Path

    def load(self) -> ModuleType:
        """The family's module; imports it."""
        if self.module.startswith(outside.PREFIX):
            return outside.load(self.module, self.file, read_imports)
        return importlib.import_module(self.module)


@functools.cache
def _families() -> dict[str, Family]:
    """{name: family that builds it}, from the source text."""
    by_name: dict[str, Family] = {}
    families = [_declared(file, f"{__name__}.{file.stem}") for file in sorted(_FOLDER.glob("[!_]*.py"))]
    for family in [*families, *_plugins()]:
        for name in family.names:
            if name in by_name:
                where = f"in {by_name[name].module} and in {family.module}"
                raise UserError(f"backbone '{name}' is declared twice: {where}")
            by_name[name] = family
    return by_name


def _plugins() -> Iterator[Family]:
    """The families that installed packages offer: `harness.backbones`, NAME = "package.module"."""
    for point in entry_points(group="harness.backbones"):
        spec = importlib.util.find_spec(point.module)
        if spec is not None and spec.origin is not None:
            yield _declared(Path(spec.origin), point.module)


def _outside(name: str) -> Family:
    """The family in the file of `path/to/file.py:NAME`; UserError where there is no such file, or it has no such name."""
    path, _, short = name.rpartition(":")
    subject = f"backbone '{name}'"
    file = outside_names.original(path)
    copy = outside_names.copy_of(file, subject)
    if copy is None:
        outside.check_file(file, subject)
        copy = file, outside.module_name(file)
    family = _declared(*copy)
    if short not in family.names:
        raise UserError(f"{subject}: {file.name} declares no such name in NAMES.{nearest(short, family.names)}")
    return family


def short_name(name: str) -> str:
    """The name by which a backbone's family knows it: without the file of one outside the checkout."""
    return name.rpartition(":")[2] if ".py:" in name else name


def _declared(file: Path, module: str) -> Family:
    """The declaration in one file; UserError where it is none, or where `build` cannot be called as the others."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise UserError(f"{file}:{line or 1}: cannot be read as Python: {error}") from None
    values = assignments(tree)
    if "NAMES" not in values:
        raise UserError(f"{file} declares no NAMES: a backbone family says in a literal tuple what it builds")
    names = _literal_items(file, "NAMES", values["NAMES"], str, 'of texts, such as NAMES = ("my_net_small",)')
    strides = None
    if "STRIDES" in values:
        strides = _literal_items(
            file, "STRIDES", values["STRIDES"], int, "of whole numbers, such as (8, 16, 32), or ()"
        )
    _check_build(file, tree)
    weights = _literal_mapping(file, values["WEIGHTS"]) if "WEIGHTS" in values else {}
    return Family(module, names, strides, weights, file)


def assignments(tree: ast.Module) -> dict[str, ast.expr]:
    """{name: value} of assignments at the top level, annotated ones included."""
    values: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            values |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            values[node.target.id] = node.value
    return values


def _literal_items(file: Path, name: str, node: ast.expr, kind: type, form: str) -> Any:
    try:
        items = ast.literal_eval(node)
    except ValueError:
        items = None
    if not isinstance(items, tuple | list) or not all(type(item) is kind and item != "" for item in items):
        raise UserError(
            f"{file}:{node.lineno}: {name} cannot be read from the source: it must be a literal tuple {form}; "
            f"here stands {ast.unparse(node)[:80]}"
        )
    return tuple(items)


def _literal_mapping(file: Path, node: ast.expr) -> dict[str, str]:
    try:
        items = ast.literal_eval(node)
    except ValueError:
        items = None
    if not isinstance(items, dict) or not all(isinstance(text, str) for pair in items.items() for text in pair):
        raise UserError(
            f"{file}:{node.lineno}: WEIGHTS cannot be read from the source: it must be a literal mapping of texts, such as "
            f'{{"my_net_small": "my_net_small.fb_in1k"}}; here stands {ast.unparse(node)[:80]}'
        )
    return items


def _check_build(file: Path, tree: ast.Module) -> None:
    definition = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "build"), None)
    signature = "build(name, *, output_stride=None, pretrained=False)"
    if definition is None:
        imported = {alias.asname or alias.name for n in tree.body if isinstance(n, ast.ImportFrom) for alias in n.names}
        if "build" in imported or "build" in assignments(tree):
            return
        raise UserError(f"{file} defines no {signature}, which makes a backbone of its family")
    arguments = definition.args
    keywords = {argument.arg for argument in (*arguments.args, *arguments.kwonlyargs)}
    absent = [name for name in ("output_stride", "pretrained") if name not in keywords]
    if absent and arguments.kwarg is None:
        raise UserError(
            f"{file}:{definition.lineno}: 'build' takes no {' and no '.join(absent)}; its signature is {signature}"
        )


def names() -> list[str]:
    """Names of the backbones; `timm/NAME` is understood besides."""
    return sorted(name for name in _families() if not name.endswith("/"))


def family_of(name: str) -> Family | None:
    """The family that builds the backbone called `name`; None where there is none. Imports nothing. UserError for one outside
    the checkout whose file is not there or declares none."""
    if ".py:" in name:
        return _outside(name)
    families = _families()
    if name in families and not name.endswith("/"):
        return families[name]
    return next((family for start, family in families.items() if start.endswith("/") and name.startswith(start)), None)


def module_of(name: str) -> str | None:
    """The module of the backbone's family; None where there is none. Imports nothing."""
    family = family_of(name)
    return family.module if family is not None else None


def find(name: str) -> Family:
    """The family that builds the backbone called `name`; UserError with the nearest valid name."""
    family = family_of(name)
    if family is None:
        tail = nearest(name, names())
        raise UserError(
            f"unknown backbone '{name}'.{tail}; or timm/NAME for a model that timm knows, or path/to/file.py:NAME for one of "
            "your own (python -m harness list backbones)"
        )
    return family


def check_stride(name: str, output_stride: int | None) -> None:
    """UserError where the backbone cannot have that output stride (None: its own), as far as its family declares it."""
    strides = find(name).strides
    if strides is None or output_stride is None or output_stride in strides:
        return
    if not strides:
        raise UserError(f"backbone '{name}' has no adjustable output stride; leave output_stride out (null)")
    listing = ", ".join(map(str, strides))
    raise UserError(f"backbone '{name}': output stride {output_stride} is not one of {listing}")


def build_backbone(name: str, *, output_stride: int | None = None, pretrained: bool | str = False) -> Backbone:
    """The named backbone with random weights, those of a local file (a path), or pretrained ones (`True`): from the folder
    of weights where it has them (methods.pretrained), else those that its family downloads.

    `output_stride`: 8, 16 or 32 (default) for ResNets; left out for those that have one alone. Raises UserError for an
    unknown name or an impossible stride, MissingError where weights are not there.
    """
    check_stride(name, output_stride)
    return find(name).load().build(short_name(name), output_stride=output_stride, pretrained=pretrained)
