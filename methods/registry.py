"""Names of methods and context modules, without importing any of them.

A method is a function `(backbone, num_classes, *, options…) -> Segmentor` under `@register("name")`; a context module is
a class or function `(in_channels, *, options…) -> nn.Module` under `@register_context("name")`. The names, options, their
types and docstrings are read from the source text (so listing and checking them costs no torch), and the object is
imported when it is built.
Methods outside the checkout are named `path/to/file.py:name` or offered by the entry-point group `harness.methods`; modules
beside such a file can be imported (harness.jobs.outside).
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import UserError, nearest
from harness.jobs import outside, outside_names
from harness.jobs.key import read_imports
from methods.option_types import mismatch

_FOLDER = Path(__file__).resolve().parent
_DECORATORS = {"register": "method", "register_context": "context"}


@dataclass(frozen=True)
class Entry:
    """Where a name is defined and which keyword options it takes (None: any).

    `types`: the options' annotations. `check`: `module:function`, which raises UserError for options that do not go together.
    `own_backbone`: it builds its backbone itself, so that a table names none.
    """

    name: str
    kind: str  # method | context
    module: str
    attribute: str
    file: Path
    options: dict[str, Any] | None = field(hash=False)
    summary: str = ""
    types: dict[str, ast.expr | None] = field(default_factory=dict, compare=False, repr=False)
    check: str = ""
    own_backbone: bool = False

    def load(self) -> Callable[..., Any]:
        """The registered object itself; imports its module."""
        if self.module.startswith(outside.PREFIX):
            module = outside.load(self.module, self.file, read_imports)
        else:
            module = importlib.import_module(self.module)
        return getattr(module, self.attribute)


def register(
    name: str, *, check: str = "", own_backbone: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Marks a function that builds a method: `(backbone, num_classes, *, options…) -> Segmentor`.

    `check`: `module:function`, called with {option: value} of all options before anything is built, also when planning; so
    its module must be importable without torch. It raises UserError for values that the method does not take.
    `own_backbone`: the function is `(num_classes, pretrained, *, options…)` and builds the backbone as well; `pretrained` is the
    recipe's.
    """
    return lambda builder: builder


def register_context(name: str, *, check: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Marks a context module: `(in_channels, *, options…)`, from a list of feature maps to one map. `check`: as `register`'s."""
    return lambda builder: builder


def _literal(node: ast.expr | None) -> Any:
    try:
        return ast.literal_eval(node) if node is not None else ...
    except ValueError:
        return ...


def _function(definition: ast.FunctionDef | ast.ClassDef) -> ast.FunctionDef | None:
    """What is called to build a registered object; None for a class without an `__init__` of its own."""
    if isinstance(definition, ast.FunctionDef):
        return definition
    inits = (n for n in definition.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    return next(inits, None)


def _options(function: ast.FunctionDef | None) -> dict[str, Any] | None:
    """Keyword-only options with their defaults; `...` where a default is missing or not a literal."""
    if function is None:
        return {}
    if function.args.kwarg is not None:
        return None
    return {a.arg: _literal(d) for a, d in zip(function.args.kwonlyargs, function.args.kw_defaults)}


def _scan(file: Path, module: str) -> list[Entry]:
    try:
        text = file.read_text(encoding="utf-8")
        if "@register" not in text:
            return []
        tree = ast.parse(text, filename=str(file))
    except SyntaxError as error:
        raise UserError(f"{file}:{error.lineno}: not Python: {error.msg}") from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a null byte
        raise UserError(f"{file}: cannot be read as Python: {error}") from None
    entries = []
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        for mark in node.decorator_list:
            if not (isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id in _DECORATORS):
                continue
            if mark.args and isinstance(mark.args[0], ast.Constant):
                summary = (ast.get_docstring(node) or ast.get_docstring(tree) or "").partition("\n")[0]
                name, kind, function = str(mark.args[0].value), _DECORATORS[mark.func.id], _function(node)
                types = {a.arg: a.annotation for a in function.args.kwonlyargs} if function is not None else {}
                checks = [str(_literal(k.value)) for k in mark.keywords if k.arg == "check"]
                options = _options(function)
                own = any(k.arg == "own_backbone" and _literal(k.value) is True for k in mark.keywords)
                entries.append(
                    Entry(name, kind, module, node.name, file, options, summary, types, "".join(checks), own)
                )
    return entries


def entries_in(file: Path) -> list[Entry]:
    """What a file outside the checkout registers, of any kind. UserError where it is not Python."""
    return _scan(file, outside.module_name(file))


@functools.cache
def entries() -> dict[tuple[str, str], Entry]:
    """All names of this checkout and of installed plug-ins, as {(kind, name): Entry}. Imports none of them."""
    by_name: dict[tuple[str, str], Entry] = {}
    for file in sorted(_FOLDER.rglob("*.py")):
        module = ".".join(("methods", *file.relative_to(_FOLDER).with_suffix("").parts)).removesuffix(".__init__")
        for entry in _scan(file, module):
            other = by_name.get((entry.kind, entry.name))
            if other is not None:
                raise UserError(f"{entry.kind} '{entry.name}' is registered twice: {other.file} and {entry.file}")
            by_name[entry.kind, entry.name] = entry
    for entry in _plugins():
        by_name.setdefault((entry.kind, entry.name), entry)
    return by_name


def _plugins() -> list[Entry]:
    from importlib.metadata import entry_points

    plugins = []
    for point in entry_points(group="harness.methods"):
        spec = importlib.util.find_spec(point.module)
        if spec is not None and spec.origin is not None:
            plugins += [
                e for e in _scan(Path(spec.origin), point.module) if e.attribute == point.attr or not point.attr
            ]
    return plugins


def names(kind: str = "method") -> list[str]:
    """Registered names of a kind (`method` or `context`), sorted."""
    return sorted(name for k, name in entries() if k == kind)


def find(name: str, kind: str = "method") -> Entry:
    """The entry called `name`; raises UserError with the nearest valid name."""
    if ".py:" in name:
        return _external(name, kind)
    entry = entries().get((kind, name))
    if entry is None:
        tail = nearest(name, names(kind))
        raise UserError(f"unknown {kind} '{name}'.{tail} (python -m harness list {kind}s)")
    return entry


def dependencies(name: str, options: Mapping[str, Any], kind: str = "method") -> list[Entry]:
    """The entry called `name` and, with these options, all that it builds by name and never imports: an option, or a
    default, may name another entry."""
    entries_used = [find(name, kind)]
    for entry in entries_used:  # grows
        values = {**(entry.options or {}), **(options if entry is entries_used[0] else {})}
        texts = _texts(values.values())
        named = [e for (_, other), e in entries().items() if other in texts]
        named += [e for text in sorted(texts) if ".py:" in text for e in _external_entries(text)]
        entries_used += [e for e in named if e not in entries_used]
    return entries_used


def _texts(values: Iterable[Any]) -> set[str]:
    """The texts among option values, also inside lists and mappings."""
    texts: set[str] = set()
    for value in values:
        if isinstance(value, str):
            texts.add(value)
        elif isinstance(value, Mapping):
            texts |= _texts(value.values())
        elif isinstance(value, list | tuple):
            texts |= _texts(value)
    return texts


def _external(name: str, kind: str) -> Entry:
    path, _, attribute = name.rpartition(":")
    file, module = _source(path, kind, name)
    by_name = {e.name: e for e in _scan(file, module) if e.kind == kind}
    if attribute not in by_name:
        raise UserError(f"{kind} '{name}': {file.name} registers no {kind} '{attribute}'.{nearest(attribute, by_name)}")
    return by_name[attribute]


def _source(path: str, kind: str, name: str) -> tuple[Path, str]:
    """(the file to read, its module) of a path that a table names."""
    file, subject = outside_names.original(path), f"{kind} '{name}'"
    copy = outside_names.copy_of(file, subject)
    if copy is not None:
        return copy
    outside.check_file(file, subject)
    return file, outside.module_name(file)


def _external_entries(name: str) -> list[Entry]:
    """What `path/to/file.py:name` may mean, of any kind; nothing where it only looks like a name."""
    entries_named = []
    for kind in dict.fromkeys(_DECORATORS.values()):
        with contextlib.suppress(UserError):  # said where it is built
            entries_named.append(_external(name, kind))
    return entries_named


def check_options(entry: Entry, options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with `options` for this entry, as (option, message) pairs; empty when they fit.

    Names, types and, where the entry names its `check`, values and what goes together ('' for an option that no message names).
    """
    if entry.options is None:
        return []
    wrong = []
    for option, value in options.items():
        if option not in entry.options:
            tail = nearest(option, entry.options, label="options are")
            wrong.append((option, f"{entry.kind} '{entry.name}' has no option '{option}'.{tail}"))
        elif not (value is None and entry.options[option] is None) and (
            kind := mismatch(entry.types.get(option), value)
        ):
            wrong.append((option, f"{entry.kind} '{entry.name}': option '{option}' takes {kind}, not {value!r}"))
    required = [o for o, default in entry.options.items() if default is ... and o not in options]
    wrong += [(o, f"{entry.kind} '{entry.name}' needs the option '{o}'") for o in required]
    values = {**entry.options, **options}
    if not wrong and entry.check and ... not in values.values():
        module, _, function = entry.check.partition(":")
        try:
            getattr(importlib.import_module(module), function)(values)
        except UserError as error:
            wrong.append((next((o for o in options if f"'{o}'" in str(error)), ""), str(error)))
    return wrong


def build(name: str, *arguments: Any, kind: str = "method", **options: Any) -> Any:
    """Builds the named method or context module."""
    return find(name, kind).load()(*arguments, **options)
