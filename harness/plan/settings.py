"""What the command line sets instead of a file: `--set recipe.iterations=100 --set row.fcn.channels=256`.

    recipe.FIELD[.FIELD]=VALUE        of every recipe, after the profile has changed it
    row.ROW.OPTION=VALUE              an option of the row's method or module, in all of its cells
    row.ROW.model.FIELD=VALUE         backbone, output_stride or pretrained of the row's model

Values are written as in a YAML file and checked like one. They are in the keys like everything else of a configuration, so that
such numbers never mix with others; they are not what the table says, so that no report calls them comparable with the paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from harness.errors import Problem, Problems, UserError, nearest
from harness.jobs.outside_names import located
from harness.recipes.profile import ModelChanges, Profile
from harness.recipes.segmentation import Recipe
from harness.table.checks import inconsistencies
from harness.table.recipes import dataset_problems
from harness.table.schema import Row, Table
from harness.yamlfile import Document, dotted, merge, parse, validation_problems

_FORM = "recipe.FIELD=VALUE or row.ROW.OPTION=VALUE, such as recipe.iterations=100 or row.ROW.channels=256"


@dataclass(frozen=True)
class Setting:
    """One argument of --set: `text` as it was written, what stands before and behind its first `=`."""

    text: str
    name: str
    value: Any

    @property
    def source(self) -> str:
        """Where an error says that it was found."""
        return f"--set {self.text}"


@dataclass(frozen=True)
class Settings:
    """All arguments of --set, in the order in which they were given; a later one wins."""

    items: tuple[Setting, ...] = ()

    @classmethod
    def parse(cls, arguments: Iterable[str]) -> Settings:
        """UserError for an argument of another form, Problems for a value that is not YAML."""
        items = []
        for text in dict.fromkeys(arguments):
            name, equals, value = text.partition("=")
            room, _, rest = name.partition(".")
            if not equals or not rest or any(not part for part in name.split(".")):
                raise UserError(f"--set {text}: write {_FORM}")
            if room not in ("recipe", "row"):
                raise UserError(
                    f"--set {text}: '{room}' cannot be set.{nearest(room, ('recipe', 'row'))}; write {_FORM}"
                )
            items.append(Setting(text, name, _value(text, value)))
        return cls(tuple(items))

    def __bool__(self) -> bool:
        return bool(self.items)

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(item.text for item in self.items)

    @property
    def sets_length(self) -> bool:
        """Whether the length of the training is set, which a profile then does not shorten."""
        return bool({"recipe.iterations", "recipe.epochs"} & {item.name for item in self.items})

    def profile(self, profile: Profile) -> Profile:
        """The profile under which the numbers stand: with something set, they compare with no paper."""
        if not self:
            return profile
        about = f"{profile.about}; set on the command line: {', '.join(self.texts)}"
        return profile.model_copy(update={"comparable": False, "about": about})

    # -------------------------------------------------------------------------------------------------------- recipes

    def recipe(self, recipe: Recipe, name: str) -> Recipe:
        """The recipe called `name` with what is set; Problems that name the arguments."""
        items = [item for item in self.items if item.name.startswith("recipe.")]
        if not items:
            return recipe
        changes: dict[str, Any] = {}
        for item in items:
            changes = merge(changes, _nested(item.name.split(".")[1:], item.value))
        if ("iterations" in changes) != ("epochs" in changes):  # exactly one of the two is a recipe's length
            changes = {"iterations": None, "epochs": None, **changes}
        data = merge(recipe.model_dump(), changes)
        document = Document(f"recipe '{name}'", data)
        try:
            changed = Recipe.model_validate(data)
        except ValidationError as error:
            raise Problems(_named(validation_problems(error, document, Recipe, data), items, "recipe.")) from None
        problems = [document.problem((key,), message) for key, message in dataset_problems(changed)]
        if problems:
            raise Problems(_named(problems, items, "recipe."))
        return changed

    # ---------------------------------------------------------------------------------------------------------- rows

    def tables(self, tables: Sequence[Table]) -> list[Table]:
        """The tables with what is set of their rows, checked again; Problems that name the arguments."""
        items = [item for item in self.items if item.name.startswith("row.")]
        rows = {row for table in tables for row in table.rows}
        changed = list(tables)
        for item in items:
            row, path = _row_of(item, rows)
            changed = [_with_setting(table, row, path, item) if row in table.rows else table for table in changed]
        problems = []
        for table in changed if items else ():
            found = [Problem(table.path, 0, dotted(path), message) for path, message in inconsistencies(table)]
            problems += _named(found, items, "rows.")
        if problems:
            raise Problems(problems)
        return changed


def _value(text: str, value: str) -> Any:
    """What stands behind the `=`, as in a YAML file; Problems that name the argument."""
    try:
        parsed = parse(value, f"--set {text}").data
    except Problems as error:  # it has one line
        raise Problems(replace(problem, line=0) for problem in error.problems) from None
    return located(parsed, None) if isinstance(parsed, str) else parsed  # a file's path counts from the current folder


def _nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return value


def _row_of(item: Setting, rows: Iterable[str]) -> tuple[str, list[str]]:
    """The row that `row.ROW.OPTION` names, and what of it; UserError where there is no such row."""
    rest = item.name.removeprefix("row.")
    for row in sorted(rows, key=len, reverse=True):  # a key may have dots
        if rest.startswith(f"{row}."):
            return row, rest.removeprefix(f"{row}.").split(".")
    name, dot, _ = rest.partition(".")
    if not dot and name in rows:
        raise UserError(f"{item.source}: says nothing of the row to set; write {_FORM}")
    raise UserError(f"{item.source}: no row is called '{name}'.{nearest(name, rows, label='rows are')}")


def _with_setting(table: Table, key: str, path: Sequence[str], item: Setting) -> Table:
    row = table.rows[key]
    if row.method is None and row.module is None:
        raise UserError(f"{item.source}: row '{key}' has neither method nor module, so there is nothing to set")
    changed = _with_model(row, path[1:], item) if path[0] == "model" else _with_option(row, path, item)
    return table.model_copy(update={"rows": {**table.rows, key: changed}})


def _with_model(row: Row, path: Sequence[str], item: Setting) -> Row:
    data = {**row.model.explicit_fields(), **_nested(path, item.value)} if path else {}
    try:
        if not path:
            raise UserError(f"{item.source}: name a field of the model: {', '.join(ModelChanges.model_fields)}")
        return row.model_copy(update={"model": ModelChanges.model_validate(data)})
    except ValidationError as error:
        document = Document(item.source, data)
        raise Problems(validation_problems(error, document, ModelChanges, data)) from None


def _with_option(row: Row, path: Sequence[str], item: Setting) -> Row:
    """The row with an option of its method, of its module, or of both where both have it; also where a cell says otherwise."""
    from methods import registry

    changes = _nested(path, item.value)
    refs = {kind: ref for kind, ref in (("method", row.method), ("context", row.module)) if ref is not None}
    options = {kind: registry.find(ref.name, kind).options for kind, ref in refs.items()}
    taking = [kind for kind, names in options.items() if names is None or path[0] in names] or [*refs][:1]
    update: dict[str, Any] = {}
    for kind in taking:
        ref = refs[kind]
        field = "module" if kind == "context" else "method"
        update[field] = ref.model_copy(update={"options": merge(ref.options, changes)})
    cells = {
        name: cell.model_copy(update={"options": merge(cell.options, changes)}) if path[0] in cell.options else cell
        for name, cell in row.cells.items()
    }
    return row.model_copy(update={**update, "cells": cells})


# ---------------------------------------------------------------------------------------------------------------- errors


def _named(problems: Iterable[Problem], items: Sequence[Setting], room: str) -> list[Problem]:
    """The problems with the argument that caused each as its file: the one that shares most of the path with it. What a method
    and its context module say alike of one option is said once."""
    named: dict[tuple[str, str, str], Problem] = {}
    for problem in problems:
        wanted = _parts(f"{room}{problem.key}".removeprefix("rows.rows."))
        best = max(items, key=lambda item: _shared(_parts(item.name.removeprefix("row.")), wanted))
        same = (best.source, wanted[-1], problem.message.rpartition(": ")[2])
        named.setdefault(same, Problem(best.source, 0, problem.key, problem.message))
    return [*named.values()]


def _parts(path: str) -> tuple[str, ...]:
    return tuple(path.replace("[", ".").replace("]", "").split("."))


def _shared(first: Sequence[str], second: Sequence[str]) -> tuple[int, int]:
    """How much two paths have in common: how long they agree from the start, and how many parts both have."""
    same = next((i for i, (a, b) in enumerate(zip(first, second)) if a != b), min(len(first), len(second)))
    return same, len(set(first) & set(second))
