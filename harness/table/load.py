"""Loads and checks table files; all errors are reported at once with their lines."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.errors import Problem, Problems, UserError
from harness.jobs.outside_names import located_inside, without_folder
from harness.table.checks import inconsistencies
from harness.table.recipes import dataset_name
from harness.table.schema import Table
from harness.yamlfile import Document, location, read, validation_problems

_NAMING = ("method", "module", "model", "cells")  # what in a row may name something outside the checkout


def load(path: str | Path) -> Table:
    """Reads and checks a table file; raises Problems with everything that is wrong in it."""
    return check(read(path))


def load_all(paths: Iterable[str | Path]) -> list[Table]:
    """The tables in these files, each once; Problems with the errors of all of them at once."""
    tables, problems = [], []
    for path in dict.fromkeys(paths):
        try:
            tables.append(load(path))
        except Problems as error:
            problems += error.problems
    if problems:
        raise Problems(problems)
    first: dict[str, str] = {}
    for table in tables:
        if first.setdefault(table.id, table.path) != table.path:
            raise UserError(f"{first[table.id]} and {table.path} have the same name, which is what tells tables apart")
    return tables


def check(document: Document) -> Table:
    """A Table from a document, or Problems."""
    if not isinstance(document.data, dict):
        raise Problems([Problem(document.file, 1, "", "a table file is a mapping: paper, title, columns, rows, …")])
    reserved = [k for k in ("id", "path") if k in document.data]
    problems = [document.problem((key,), "is derived from the file's name; leave it out") for key in reserved]
    written = _located(document.data, Path(document.file).parent)
    data = {**written, "id": Path(document.file).stem, "path": document.file}
    try:
        table = Table.model_validate(data)
    except ValidationError as error:
        problems += validation_problems(error, document, Table, data)
        remainder = _without_errors(data, error)
        if remainder is not None:  # well-formed parts may still name things that do not exist: report both at once
            problems += [document.problem(path, message) for path, message in inconsistencies(remainder)]
        raise Problems(problems) from None
    problems += [document.problem(path, message) for path, message in inconsistencies(table)]
    if problems:
        raise Problems(problems)
    return table


def _located(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A table's content in which the names of files outside the checkout are absolute: their paths count from the table."""
    located = dict(data)
    for key in ("defaults", "rows"):
        if isinstance(data.get(key), dict):
            located[key] = {name: _located_row(value, folder) for name, value in data[key].items()}
    if isinstance(data.get("columns"), dict):
        located["columns"] = {name: _located_column(value, folder) for name, value in data["columns"].items()}
    accepted = data.get("incomplete_data")
    if isinstance(accepted, dict):  # as reports name datasets
        located["incomplete_data"] = {without_folder(dataset_name(name, folder)): accepted[name] for name in accepted}
    return located


def _located_row(row: Any, folder: Path) -> Any:
    """A row, or a value of the defaults."""
    if isinstance(row, dict):
        return {key: located_inside(row[key], folder) if key in _NAMING else row[key] for key in row}
    return located_inside(row, folder)


def _located_column(column: Any, folder: Path) -> Any:
    if isinstance(column, dict) and isinstance(column.get("tested_on"), str):
        return {**column, "tested_on": dataset_name(column["tested_on"], folder)}
    return column


def _without_errors(data: Mapping[str, Any], error: ValidationError) -> Table | None:
    """The table without its invalid parts; None where the rest is no table."""
    remaining_data = copy.deepcopy(dict(data))
    for issue in error.errors(include_url=False, include_context=False, include_input=False):
        path = location(issue["loc"], data)
        if path in (("title",), ("paper",)):
            remaining_data[str(path[0])] = ""
            continue
        parent: Any = remaining_data
        for part in path[:-1]:
            parent = parent[part] if isinstance(parent, dict) and part in parent else None
        if isinstance(parent, dict):
            parent.pop(path[-1], None)
    try:
        return Table.model_validate(remaining_data)
    except ValidationError:
        return None
