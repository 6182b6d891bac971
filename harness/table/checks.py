"""Consistency checks of a table file beyond its types: every name must exist in the file, a registry or the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data import catalogue
from harness.errors import Problems, UserError, nearest
from harness.jobs.outside_names import is_outside
from harness.recipes.segmentation import Recipe
from harness.table.metrics import CONVENTIONS, METRICS
from harness.table.model_checks import backbone_problems
from harness.table.recipes import recipe
from harness.yamlfile import Path_

if TYPE_CHECKING:
    from harness.table.schema import Column, MethodRef, ModuleRef, Published, Row, Table


def inconsistencies(table: Table) -> Iterator[tuple[Path_, str]]:
    """(path, message) of every name that exists neither in the file nor in the registries."""
    yield from _columns(table)
    yield from _rows(table)
    yield from _statistics(table)
    yield from backbone_problems(table)
    for dataset in table.incomplete_data:
        names = [*catalogue.names(), *catalogue.plugin_names()]
        if dataset not in names and not is_outside(
            dataset
        ):  # of one outside, the recipe that names it says what is wrong
            yield ("incomplete_data", dataset), f"unknown dataset '{dataset}'.{nearest(dataset, names)}"
    for row, values in table.published.values.items():
        if row not in table.rows:
            yield (
                ("published", "values", row),
                f"a published value for no row.{nearest(row, table.rows, label='rows are')}",
            )
        for column in values:
            if column not in table.columns:
                tail = nearest(column, table.columns, label="columns are")
                yield ("published", "values", row, column), f"no such column.{tail}"
    for i, claim in enumerate(table.claims):
        keys = ("monotone",) * len(claim.rows) if claim.monotone is not None else ("better", "than")
        for key, name in zip(keys, claim.rows):
            if name not in table.rows:
                yield ("claims", i, key), f"unknown row '{name}'.{nearest(name, table.rows, label='rows are')}"
        for column in () if claim.on == "all" else claim.on:
            if column not in table.columns:
                yield (
                    ("claims", i, "on"),
                    f"unknown column '{column}'.{nearest(column, table.columns, label='columns are')}",
                )


def _columns(table: Table) -> Iterator[tuple[Path_, str]]:
    for key, column in table.columns.items():
        path = ("columns", key)
        name = column.metric or table.metric or table.defaults.metric
        metric = METRICS.get(name or "")
        if name is None:
            yield path, f"says no 'metric' and the table has none.{nearest('', METRICS)}"
        elif metric is None:
            own: Path_ = ("metric",) if table.metric else ("defaults", "metric")
            where = (*path, "metric") if column.metric else own
            yield where, f"unknown metric '{name}'.{nearest(name, METRICS)}"
        if name == "flops" and column.convention not in CONVENTIONS:
            problem = f"unknown convention '{column.convention}'" if column.convention else "FLOPs need a 'convention'"
            yield (*path, "convention"), f"{problem}.{nearest(column.convention, CONVENTIONS)}"
        if column.relative_to is not None and column.relative_to not in table.rows:
            tail = nearest(column.relative_to, table.rows, label="rows are")
            yield (*path, "relative_to"), f"unknown row '{column.relative_to}'.{tail}"
        recipe = column.recipe or table.defaults.recipe
        trains = metric is None or metric.trains  # an unknown metric must not hide a bad recipe
        needs_recipe = trains or (column.input or table.defaults.input) is None
        if recipe is not None:
            yield from _recipe_problems(
                table, recipe, key, (*path, "recipe") if column.recipe else ("defaults", "recipe")
            )
        elif metric is not None and needs_recipe and any(row.method is not None for row in table.rows.values()):
            yield path, f"a column of {metric.title} needs a 'recipe' (python -m harness list recipes)"


def _recipe_problems(table: Table, name: str, column: str, path: Path_) -> Iterator[tuple[Path_, str]]:
    """What is wrong with the recipe that is named at `path`, or with how its column tests what was trained by it."""
    try:
        resolved_recipe = recipe(name, near=Path(table.path).parent)
    except Problems as error:  # of the recipe's own file: named with its own lines, beside what is wrong here
        yield from ((path, str(problem)) for problem in error.problems)
    except UserError as error:
        yield path, str(error)
    else:
        yield from (
            (("columns", column, *at), message) for at, message in _test_problems(table, column, resolved_recipe)
        )


def _test_problems(table: Table, column: str, recipe: Recipe) -> Iterator[tuple[Path_, str]]:
    """What is wrong with `tested_on` and `test` of a column, for models trained by this recipe."""
    spec = table.columns[column]
    if spec.tested_on is None and not spec.test:
        return
    metric = METRICS.get(spec.metric or table.metric or table.defaults.metric or "")
    if metric is not None and metric.kind != "evaluate":
        yield (
            ("tested_on" if spec.tested_on else "test",),
            "only a score is tested; this column measures something else",
        )
        return
    try:
        protocol = recipe.with_test_changes(spec.test)
    except ValueError as error:
        yield ("test",), f"does not fit the recipe's protocol: {error}"
        return
    try:
        dataset = catalogue.find(spec.tested_on or recipe.dataset)
        dataset.check_task()
    except UserError as error:
        yield ("tested_on",), str(error)
        return
    trained = catalogue.find(recipe.dataset)
    if dataset.num_classes != trained.num_classes:
        message = (
            f"{dataset.name} has {dataset.num_classes} classes, but {trained.name}, trained on, {trained.num_classes}"
        )
        yield ("tested_on",), message
    try:
        dataset.check_split(protocol.split)
    except UserError as error:
        yield ("test",), str(error)


def _rows(table: Table) -> Iterator[tuple[Path_, str]]:
    from methods import registry

    for key, row in table.rows.items():
        path: Path_ = ("rows", key)
        fields = [w for w, v in (("method", row.method), ("cited", row.cited), ("awaits", row.awaits)) if v is not None]
        if len(fields) != 1 and not (fields == [] and row.module is not None):
            listing = " and ".join(fields) or "none of them"
            yield (
                path,
                f"a row says one of 'method', 'cited' (quoted from there) or 'awaits' (why no method yet); found {listing}",
            )
        if row.quoted_from is not None and row.method is None:
            yield (*path, "quoted_from"), "of a row with a 'method'; one that cannot be run says 'cited'"
        if row.compared_with is not None and row.compared_with not in table.published.values:
            tail = nearest(row.compared_with, table.published.values, label="published rows are")
            yield (*path, "compared_with"), f"'{row.compared_with}' has no published values.{tail}"
        if row.evidence is not None and row.module is not None:
            yield (*path, "evidence"), "the row's module says it; leave one of the two out"
        if row.convention is not None and row.convention not in CONVENTIONS:
            tail = nearest(row.convention, CONVENTIONS)
            yield (*path, "convention"), f"unknown convention '{row.convention}'.{tail}"
        for name in row.descriptors:
            if name not in table.descriptors or name == "label":
                tail = nearest(name, set(table.descriptors) - {"label"}, label="the table's descriptors are")
                yield (*path, "descriptors", name), f"no such descriptor.{tail}"
        for column in row.cells:
            if column not in table.columns:
                tail = nearest(column, table.columns, label="columns are")
                yield (*path, "cells", column), f"no such column.{tail}"
        yield from _cell_problems(table, key, row)
        for ref_path, kind, ref in _references(path, row):
            try:
                entry = registry.find(ref.name, kind)
            except UserError as error:
                yield ref_path[: len(path) + 1], str(error)
                continue
            required_options = (
                {"num_classes": 0} if kind == "context" and "num_classes" in (entry.options or {}) else {}
            )
            for option, message in registry.check_options(entry, {**required_options, **ref.options}):
                yield (*ref_path, *([option] if option else [])), message


def _cell_problems(table: Table, key: str, row: Row) -> Iterator[tuple[Path_, str]]:
    """What is wrong in the recipes and checkpoints of a row and its cells."""
    for column, cell in row.cells.items():
        if cell.recipe is not None and column in table.columns:
            yield from _recipe_problems(table, cell.recipe, column, ("rows", key, "cells", column, "recipe"))
    checkpoint_paths: list[tuple[str, ...]] = [("checkpoint",)] if row.checkpoint else []
    checkpoint_paths += [("cells", column, "checkpoint") for column, cell in row.cells.items() if cell.checkpoint]
    for path in checkpoint_paths if row.method is None else ():
        yield ("rows", key, *path), "a checkpoint needs the 'method' whose weights it holds"
    if row.checkpoint and "{" in row.checkpoint.replace("{column}", ""):
        yield ("rows", key, "checkpoint"), "only {column} is filled in"


def _statistics(table: Table) -> Iterator[tuple[Path_, str]]:
    """Numbers of runs that do not go with the statistic that holds where they stand."""
    printed = table.published.statistic
    of_columns = {key: column.statistic or printed for key, column in table.columns.items()}
    places: list[tuple[Path_, Column | Row | Published, set[str]]] = [(("published",), table.published, {printed})]
    places += [(("columns", key), column, {of_columns[key]}) for key, column in table.columns.items()]
    for key, row in table.rows.items():
        places.append((("rows", key), row, {row.statistic} if row.statistic else set(of_columns.values())))
    for path, place, statistics in places:
        if place.runs is not None and not statistics & {"mean", "median"}:
            yield (*path, "runs"), "'runs' goes with 'statistic: mean' or 'statistic: median'"
        if place.of is not None and "best" not in statistics:
            yield (*path, "of"), "'of' goes with 'statistic: best'"


def _references(path: Path_, row: Row) -> Iterator[tuple[Path_, str, MethodRef | ModuleRef]]:
    """What a row names in the registry: (where, kind, reference with its options)."""
    if row.module is not None:
        yield (*path, "module"), "context", row.module
    if row.method is not None:
        yield (*path, "method"), "method", row.method
        for column, cell in row.cells.items():
            cell_method = row.method.model_copy(update={"options": {**row.method.options, **cell.options}})
            yield (*path, "cells", column, "options"), "method", cell_method
