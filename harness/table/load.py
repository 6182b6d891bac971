"""Loads and checks table files; all errors are reported at once with their lines."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.errors import Problem, Problems, UserError
from harness.table.checks import inconsistencies
from harness.table.schema import Table
from harness.yamlfile import Document, location, read, validation_problems


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
    data = {**document.data, "id": Path(document.file).stem, "path": document.file}
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
