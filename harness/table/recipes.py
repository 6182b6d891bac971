"""Loads recipe and profile files into their models; all errors are reported at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.data import catalogue
from harness.errors import Problems, UserError, nearest
from harness.jobs.outside_names import is_outside, located
from harness.recipes.profile import Profile
from harness.recipes.segmentation import Recipe
from harness.table.paths import (
    files,
    table_files,  # noqa: F401  (names that belong here, too)
)
from harness.yamlfile import Document, merge, read, validate

_PLAIN = re.compile(r"\w[\w.-]*")


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
    if isinstance(data.get("dataset"), str):
        data["dataset"] = dataset_name(data["dataset"], near)
    resolved_recipe: Recipe = validate(document, data, Recipe, (entry,))
    problems = [document.problem((entry, key), message) for key, message in dataset_problems(resolved_recipe)]
    if problems:
        raise Problems(problems)
    return resolved_recipe


def dataset_name(name: str, near: Path | None) -> str:
    """A dataset's name as jobs have it: the path of `datasets/NAME.yaml` where that lies beside the table, and a path that counts
    from the table made absolute."""
    beside = near / "datasets" / f"{name}.yaml" if near is not None and _PLAIN.fullmatch(name) else None
    return str(beside.absolute()) if beside is not None and beside.is_file() else located(name, near)


def dataset_problems(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """(field, message) of what does not fit the dataset that a recipe names."""
    try:
        dataset = catalogue.find(recipe.dataset)
        dataset.check_task()
    except Problems as error:  # of the dataset's own file
        yield from (("dataset", str(problem)) for problem in error.problems)
        return
    except UserError as error:
        yield "dataset", str(error)
        return
    published = dataset.splits.get(recipe.train_split)
    if published is not None and published < recipe.batch_size:
        yield (
            "batch_size",
            f"split '{recipe.train_split}' of {dataset.name} has {published} images, fewer than one batch",
        )
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
    settings: dict[str, Any] = {}
    for name in reversed(chain):
        settings = merge(settings, document.data[name])
    settings.pop("extends", None)
    lines = dict(document.lines)
    for name in chain[1:]:
        lines = {(entry, *path[1:]): line for path, line in document.lines.items() if path[:1] == (name,)} | lines
    return replace(document, lines=lines), settings


def profile(name: str, near: Path | None = None) -> Profile:
    """The profile called `name`, from `tables/profiles/NAME.yaml`."""
    profiles = files("profiles", near)
    if name not in profiles:
        raise UserError(f"unknown profile '{name}'.{nearest(name, profiles)}")
    document = read(profiles[name])
    found: Profile = validate(document, document.data, Profile)
    problems = [document.problem(("options", *at), message) for at, message in _option_problems(found)]
    if problems:
        raise Problems(problems)
    backbone = found.model.backbone
    if backbone is None or not is_outside(backbone):
        return found
    return found.model_copy(update={"model": found.model.model_copy(update={"backbone": located(backbone, near)})})


def _option_problems(profile: Profile) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path, message) of every method that does not exist, and of every option that it does not take."""
    if not profile.options:
        return
    from methods import registry

    for method, options in profile.options.items():
        try:
            entry = registry.find(method)
        except UserError as error:
            yield (method,), str(error)
            continue
        required = {name for name, default in (entry.options or {}).items() if default is ...} - options.keys()
        for option, message in registry.check_options(replace(entry, check=""), options):
            if option not in required:  # the row's to give
                yield (method, option), message
