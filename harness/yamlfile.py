"""YAML files parsed into data with source positions.

Every value keeps its line, so an error can name it; a number keeps its text, so `79.40` keeps its two decimals; a key is
always text and a duplicate key is an error. Only `true` and `false` are booleans (YAML 1.1's `on`, `no`, `yes` are words).
"""

from __future__ import annotations

import functools
import math
import re
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from harness.errors import Problem, Problems, nearest
from harness.spec import Spec

Path_ = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?[0-9]+\Z")
_NUMBER = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][-+]?[0-9]+)?\Z")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
# what plain values resolve to; written out, a tag such as !!set or !!python/object is refused
_TAGS = {"!"} | {
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "seq", "map", "timestamp", "merge", "value")
}
_SURROGATE = re.compile("[\ud800-\udfff]")
_DEPTH = 50  # of nesting
_LIMIT = 200_000  # values in one file, aliases expanded: more is a mistake or an attack


class Number(float):
    """A float that remembers how it was written."""

    text: str

    def __new__(cls, text: str) -> Number:
        self = super().__new__(cls, float(text))
        self.text = text
        return self


@dataclass(frozen=True)
class Document:
    """The content of one YAML file. `line(path)` is where a value (or its nearest parent) stands, counted from 1.

    One text gives one Document, however often it is read: nobody changes it.
    """

    file: str
    data: Any
    lines: dict[Path_, int] = field(default_factory=dict)

    def line(self, path: Path_) -> int:
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    def problem(self, path: Path_, message: str) -> Problem:
        return Problem(self.file, self.line(path), dotted(path), message)


def dotted(path: Path_) -> str:
    """`('rows', 'fcn', 0)` as `rows.fcn[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the fields of `over` laid on top; mappings merge, everything else (lists, null) replaces."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def read(path: str | Path) -> Document:
    """Reads a YAML file; raises Problems (with a line) when it is absent, not text or not YAML."""
    file = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Problems([Problem(file, 0, "", "there is no such file")]) from None
    except IsADirectoryError:
        raise Problems([Problem(file, 0, "", "is a folder; name the YAML file itself")]) from None
    except OSError as error:
        raise Problems([Problem(file, 0, "", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        raise Problems([Problem(file, 0, "", f"cannot be read as UTF-8 text: {error}")]) from None
    return parse(text, file)


@functools.lru_cache(maxsize=16)
def parse(text: str, file: str = "<text>") -> Document:
    """Reads YAML text; see `read`."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_depth(yaml.parse(text, Loader=loader), file)
        node = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"not YAML: {error.problem or error.context}"
        raise Problems([Problem(file, mark.line + 1 if mark else 0, "", message)]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Problems([Problem(file, 0, "", f"not YAML: {str(error).partition(chr(10))[0]}")]) from None
    reader = _Reader(file)
    data = reader.value(node, ()) if node is not None else None
    if reader.problems:
        raise Problems(reader.problems)
    return Document(file, data, reader.lines)


def _check_depth(events: Iterable[yaml.Event], file: str) -> None:
    """Problems where values are nested deeper than any file of ours: building them would overflow the stack."""
    depth = 0
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else 0
                raise Problems([Problem(file, line, "", f"nested more than {_DEPTH} deep")])
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Reader:
    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Path_, int] = {}
        self.problems: list[Problem] = []
        self._open: set[int] = set()
        self._count = 0

    def value(self, node: yaml.Node, path: Path_) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self._count += 1
        if self._count > _LIMIT or id(node) in self._open or len(path) > _DEPTH:
            self._problem(line, path, "refers to itself, or is nested or repeated without end")
            return None
        if node.tag not in _TAGS:
            self._problem(line, path, f"the tag {node.tag} is not allowed; write plain values")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.ScalarNode):
                if message := _unwritable(node.value):
                    self._problem(line, path, message)
                    return None
                return _scalar(node)
            if isinstance(node, yaml.SequenceNode):
                return [self.value(child, (*path, i)) for i, child in enumerate(node.value)]
            return self._mapping(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.Node, path: Path_) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(line, path, "a key must be a single word or quoted text")
                continue
            key = key_node.value
            if message := _unwritable(key):
                self._problem(line, path, f"a key {message}")
                continue
            if key in data:
                first = self.lines[(*path, key)]
                self._problem(line, (*path, key), f"'{key}' is written twice, first in line {first}")
                continue
            self.lines[(*path, key)] = line
            data[key] = self.value(value_node, (*path, key))
        return data

    def _problem(self, line: int, path: Path_, message: str) -> None:
        if self._count <= _LIMIT + 1:
            self.problems.append(Problem(self.file, line, dotted(path), message))


def _unwritable(text: str) -> str:
    """What is wrong with a text that no path, process or file can hold; '' where it can."""
    if "\0" in text:
        return "contains a NUL character; write text without it"
    return "" if text.isascii() or not _SURROGATE.search(text) else "contains half a character (a surrogate)"


def _scalar(node: yaml.ScalarNode) -> Any:
    text = node.value
    if node.style:  # quoted or block text stays text
        return text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.match(text) and len(text) < 19:
        return int(text)
    if _NUMBER.match(text) and math.isfinite(float(text)):
        return Number(text)
    return text


def validate(document: Document, data: Any, model: type[Any], at: Path_ = ()) -> Any:
    """`data` of a document as a model; Problems with lines where it does not fit."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise Problems(validation_problems(error, document, model, data, at)) from None


def validation_problems(
    error: ValidationError, document: Document, model: type[Spec], data: Any, at: Path_ = ()
) -> list[Problem]:
    """Pydantic's complaints as a person would put them, each with its line."""
    problems = []
    for issue in error.errors(include_url=False, include_context=False):
        path = location(issue["loc"], data)
        message = issue["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        if issue["type"] == "extra_forbidden":
            message = f"unknown key '{path[-1]}'.{nearest(path[-1], _fields(model, path[:-1]), label='allowed here')}"
        elif issue["type"] == "missing":
            message = f"'{path[-1]}' is missing"
        elif not isinstance(issue["input"], Mapping | list) and repr(issue["input"]) not in message:
            message = f"{message}, not {issue['input']!r}"
        problems.append(document.problem((*at, *path), message))
    return problems


def _fields(model: type[Spec], path: Path_) -> list[str]:
    """The keys allowed at `path` inside a model; [] where any key is."""
    current: Any = model
    for part in path:
        if _is_spec(current):
            field = current.model_fields.get(str(part))
            current = _unwrapped(field.annotation) if field is not None else None
        else:  # an entry of a mapping, or an item of a sequence
            inner = typing.get_args(current)
            current = _unwrapped(inner[0 if typing.get_origin(current) is tuple else -1]) if inner else None
    return list(set(current.model_fields) - {"id", "path"}) if _is_spec(current) else []


def _is_spec(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Spec)


def _unwrapped(annotation: Any) -> Any:
    """`Spec | None` as `Spec`."""
    if typing.get_origin(annotation) in (dict, tuple, None):
        return annotation
    return next((a for a in typing.get_args(annotation) if _is_spec(a)), annotation)


def location(loc: tuple[str | int, ...], data: Any) -> Path_:
    """Pydantic's location in `data` without the names of the union's branches that it tried."""
    path: list[str | int] = []
    for part in loc:
        if isinstance(part, str) and not isinstance(data, Mapping):
            continue  # `literal['all']`, `int`: only a mapping has keys that are text
        if part == "[key]":
            continue
        path.append(part)
        if isinstance(data, Mapping):
            data = data.get(part)
        else:
            data = data[part] if isinstance(data, list | tuple) and isinstance(part, int) and part < len(data) else None
    return tuple(path)
