"""How recipe and profile files are read into their models, with every error at once."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.data import catalog
from harness.document import Document, Path_, merge, read
from harness.errors import Problem, Problems, UserError, nearest
from harness.recipe import Profile, Recipe, Spec
from harness.shelves import files, table_files  # noqa: F401  (names that belong here, too)


def recipe_names(near: Path | None = None) -> list[str]:
    """All recipes, as `PAPER/ENTRY`."""
    return [f"{stem}/{entry}" for stem, file in files("recipes", near).items() for entry in _entries(read(file))]


def _entries(document: Document) -> dict[str, Any]:
    """The recipes of a file by name; Problems where it is no mapping."""
    if not isinstance(document.data, dict | None):
        raise Problems([document.problem((), "a recipe file is a mapping from names to recipes")])
    return document.data or {}


def recipe(name: str, near: Path | None = None) -> Recipe:
    """The recipe `PAPER/ENTRY`, its `extends` resolved. UserError for an unknown name, Problems for a bad file."""
    stem, _, entry = name.partition("/")
    file = files("recipes", near).get(stem)
    document = read(file) if file is not None else None
    if document is None or entry not in _entries(document):
        raise UserError(f"unknown recipe '{name}'.{nearest(name, recipe_names(near))} (python -m harness list recipes)")
    document, data = _extended(document, entry)
    found: Recipe = validate(document, data, Recipe, (entry,))
    problems = [document.problem((entry, key), message) for key, message in _dataset_problems(found)]
    if problems:
        raise Problems(problems)
    return found


def _dataset_problems(recipe: Recipe) -> Iterator[tuple[str, str]]:
    try:
        dataset = catalog.find(recipe.dataset)
        dataset.check_task()
    except UserError as error:
        yield "dataset", str(error)
        return
    for key, split in (("train_split", recipe.train_split), ("test", recipe.test.split)):
        try:
            dataset.check_split(split)
        except UserError as error:
            yield key, str(error)


def _extended(document: Document, entry: str) -> tuple[Document, dict[str, Any]]:
    """The entry with what it extends; in the document returned, what is inherited has the line where it is written."""
    chain: list[str] = []
    current: str | None = entry
    while current is not None:
        if not isinstance(current, str) or current in chain or not isinstance(document.data.get(current), dict):
            message = f"extends '{current}', which {'extends it again' if current in chain else 'is no recipe here'}"
            raise Problems([document.problem(((chain or [entry])[-1],), message)])
        chain.append(current)
        current = document.data[current].get("extends")
    resolved: dict[str, Any] = {}
    for name in reversed(chain):
        resolved = merge(resolved, document.data[name])
    resolved.pop("extends", None)
    lines = dict(document.lines)
    for name in chain[1:]:
        lines = {(entry, *path[1:]): line for path, line in document.lines.items() if path[:1] == (name,)} | lines
    return replace(document, lines=lines), resolved


def validate(document: Document, data: Any, model: type[Any], at: Path_ = ()) -> Any:
    """`data` of a document as a model; Problems with lines where it does not fit."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise Problems(validation_problems(error, document, model, data, at)) from None


def profile(name: str, near: Path | None = None) -> Profile:
    """The profile called `name`, from `tables/profiles/NAME.yaml`."""
    found = files("profiles", near)
    if name not in found:
        raise UserError(f"unknown profile '{name}'.{nearest(name, found)}")
    document = read(found[name])
    return validate(document, document.data, Profile)


def validation_problems(
    error: ValidationError, document: Document, model: type[Spec], data: Any, at: Path_ = ()
) -> list[Problem]:
    """Pydantic's complaints as a person would put them, each with its line."""
    problems = []
    for issue in error.errors(include_url=False, include_context=False):
        path = location(issue["loc"], data)
        message = issue["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        if issue["type"] == "extra_forbidden":
            message = f"unknown key '{path[-1]}'.{nearest(path[-1], _fields(model, path[:-1]), what='allowed here')}"
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
