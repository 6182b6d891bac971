"""A published table as a file: its rows, columns, published values and claims, and every error such a file can have.

    paper: idrnet
    table: 5
    title: Complexity of context modules
    defaults: {num_classes: 150, input: [[1, 2048, 128, 128]]}
    columns:
      flops: {label: FLOPs, measure: flops, convention: mmcv-hooks}
    rows:
      ppm: {label: PPM, method: pspnet, module: {name: ppm, evidence: confirmed}}
    published:
      source: {arxiv: "2310.10755", table: 5}
      values:
        ppm: {flops: 309.45}

Everything that is wrong is reported at once, with its line and the nearest valid name.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from harness.document import Document, Number, Path_, read
from harness.errors import Problem, Problems, UserError, nearest
from harness.library import location, recipe, validation_problems
from harness.measures import CONVENTIONS, MEASURES, Measure
from harness.recipe import ModelChanges, Positive, Spec

Evidence = Literal["confirmed", "inferred", "fitted"]
Statistic = Literal["single", "best", "median", "mean", "unknown"]
Rounding = Literal["round", "truncate"]


class MethodRef(Spec):
    """A method and its options: `pspnet`, or `{name: idrnet, context: none}`."""

    name: str
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping) and "name" in value and "options" not in value:
            return {"name": value["name"], "options": {k: v for k, v in value.items() if k != "name"}}
        return value


class ModuleRef(Spec):
    """The context module whose complexity a row states, and how well it is established that the paper measured it."""

    name: str
    options: dict[str, Any] = {}
    evidence: Evidence = "confirmed"
    note: str = ""


Shape = Annotated[tuple[Positive, ...], Field(min_length=4, max_length=4)]
Shapes = Annotated[tuple[Shape, ...], Field(min_length=1)]  # one image, or one or more feature maps: [B, C, H, W] each


class Column(Spec):
    """One quantity. `on_request`: shown when measured, but run only when `--columns` names it."""

    label: str = ""
    measure: str | None = None
    recipe: str | None = None
    input: Shapes | None = None
    convention: str | None = None
    relative_to: str | None = None
    on_request: bool = False
    train_split: str | None = None
    split: str | None = None
    protocol: str | None = None
    statistic: Statistic | None = None
    note: str = ""


class CellSpec(Spec):
    """What one cell does differently from its row: released configurations often differ between datasets."""

    options: dict[str, Any] = {}


class Row(Spec):
    """One line of the table. `cited`: quoted from there, never run; `awaits`: why there is no method for it yet."""

    label: str = ""
    group: str = ""
    method: MethodRef | None = None
    module: ModuleRef | None = None
    model: ModelChanges = ModelChanges()
    cited: str | None = None
    awaits: str | None = None
    cells: dict[str, CellSpec] = {}
    compared_with: str | None = None
    extra: bool = False  # not in the paper's table; ours, printed below it
    notes: tuple[str, ...] = ()

    @field_validator("notes", mode="before")
    @classmethod
    def _one_note(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class Source(Spec):
    """Where the published values were read."""

    arxiv: str | None = None
    doi: str | None = None
    table: int | str | None = None
    venue: str | None = None


class Value(Spec):
    """One published number as printed. `text` keeps its digits: 79.40 has two decimals."""

    value: float
    text: str
    gain: float | None = None  # the `(+x)` printed beside it

    @model_validator(mode="before")
    @classmethod
    def _from_scalar(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            inner = value.get("value")
            return {"text": getattr(inner, "text", str(inner)), **value}
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{value!r} is not a number; leave the cell out where the paper prints none")
        return {"value": value, "text": value.text if isinstance(value, Number) else str(value)}

    @property
    def decimals(self) -> int:
        return len(self.text.partition(".")[2])


class Published(Spec):
    """The values a paper prints, and what it says of how they came about."""

    source: Source = Source()
    statistic: Statistic = "unknown"
    rounding: Rounding = "round"
    protocol: str | None = None
    values: dict[str, dict[str, Value]] = {}


class Claim(Spec):
    """What the paper concludes: `better` beats `than` on these columns (by at least `by`)."""

    better: str
    than: str
    on: Literal["all"] | tuple[str, ...] = "all"
    by: float | None = None


class Defaults(Spec):
    """What holds for every row or column that does not say otherwise."""

    backbone: str | None = None
    output_stride: int | None = Field(None, gt=0)
    num_classes: int | None = Field(None, gt=0)
    input: Shapes | None = None
    recipe: str | None = None
    measure: str | None = None


class Table(Spec):
    """A table file. `id` is the file's stem (`idrnet_table2`) and `path` where it was read."""

    id: str
    path: str
    paper: str
    table: int | str | None = None
    title: str
    measure: str | None = None
    about: str = ""
    defaults: Defaults = Defaults()
    columns: dict[str, Column] = Field(min_length=1)
    rows: dict[str, Row] = Field(min_length=1)
    published: Published = Published()
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()

    def measure_of(self, column: str) -> Measure:
        """What a column shows; validated on load."""
        return MEASURES[self.columns[column].measure or self.measure or self.defaults.measure or ""]

    def recipe_of(self, column: str) -> str | None:
        return self.columns[column].recipe or self.defaults.recipe

    def input_of(self, column: str) -> Shapes | None:
        return self.columns[column].input or self.defaults.input

    def convention_of(self, column: str) -> str:
        return self.columns[column].convention or ""

    def value_of(self, row: str, column: str) -> Value | None:
        """The published value a cell is compared with, if the paper prints one."""
        return self.published.values.get(self.rows[row].compared_with or row, {}).get(column)

    def provenance(self, row: str, column: str) -> dict[str, Any]:
        """Where a cell's published value comes from and how it is to be read; {} where the paper prints none."""
        value, measure = self.value_of(row, column), self.measure_of(column)
        if value is None:
            return {}
        module, spec = self.rows[row].module, self.columns[column]
        counted = measure.kind in ("complexity", "latency")
        return {
            "paper": self.paper,
            **{k: v for k, v in self.published.source.model_dump().items() if v is not None},
            "row": self.rows[row].label or row,
            "column": spec.label or column,
            "printed": value.text,
            "decimals": value.decimals,
            "statistic": "single" if measure.exact else spec.statistic or self.published.statistic,
            "split": spec.split or "",
            "protocol": spec.protocol or self.published.protocol or "",
            "unit": measure.unit,
            "convention": self.convention_of(column),
            "rounding": self.published.rounding,
            "evidence": module.evidence if counted and module is not None else "",
        }

    def options_of(self, row: str, column: str) -> dict[str, Any]:
        """Options of the row's method in this cell."""
        method, cell = self.rows[row].method, self.rows[row].cells.get(column)
        return {**(method.options if method is not None else {}), **(cell.options if cell is not None else {})}

    def cells(self) -> Iterator[tuple[str, str]]:
        for row in self.rows:
            for column in self.columns:
                yield row, column


def load(path: str | Path) -> Table:
    """Reads and checks a table file; raises Problems with everything that is wrong in it."""
    return check(read(path))


def check(document: Document) -> Table:
    """A Table from a document, or Problems."""
    if not isinstance(document.data, dict):
        raise Problems([Problem(document.file, 1, "", "a table file is a mapping: paper, title, columns, rows, …")])
    given = [k for k in ("id", "path") if k in document.data]
    problems = [document.problem((key,), "is derived from the file's name; leave it out") for key in given]
    data = {**document.data, "id": Path(document.file).stem, "path": document.file}
    try:
        table = Table.model_validate(data)
    except ValidationError as error:
        problems += validation_problems(error, document, Table, data)
        remainder = _without_errors(data, error)
        if remainder is not None:  # what is well formed may still name things that do not exist: say both at once
            problems += [document.problem(path, message) for path, message in _meaning(remainder)]
        raise Problems(problems) from None
    problems += [document.problem(path, message) for path, message in _meaning(table)]
    if problems:
        raise Problems(problems)
    return table


def _without_errors(data: Mapping[str, Any], error: ValidationError) -> Table | None:
    """The table that is left when everything ill-formed is taken out, if that is a table."""
    left = copy.deepcopy(dict(data))
    for issue in error.errors(include_url=False, include_context=False, include_input=False):
        path = location(issue["loc"], data)
        if path in (("title",), ("paper",)):
            left[str(path[0])] = ""
            continue
        parent: Any = left
        for part in path[:-1]:
            parent = parent[part] if isinstance(parent, dict) and part in parent else None
        if isinstance(parent, dict):
            parent.pop(path[-1], None)
    try:
        return Table.model_validate(left)
    except ValidationError:
        return None


def _meaning(table: Table) -> Iterator[tuple[Path_, str]]:
    """What the types cannot say: names that must exist, here and in the registries."""
    yield from _columns(table)
    yield from _rows(table)
    for row, values in table.published.values.items():
        if row not in table.rows:
            yield (
                ("published", "values", row),
                f"a published value for no row.{nearest(row, table.rows, what='rows are')}",
            )
        for column in values:
            if column not in table.columns:
                tail = nearest(column, table.columns, what="columns are")
                yield ("published", "values", row, column), f"no such column.{tail}"
    for i, claim in enumerate(table.claims):
        for key, name in (("better", claim.better), ("than", claim.than)):
            if name not in table.rows:
                yield ("claims", i, key), f"unknown row '{name}'.{nearest(name, table.rows, what='rows are')}"
        for column in () if claim.on == "all" else claim.on:
            if column not in table.columns:
                yield (
                    ("claims", i, "on"),
                    f"unknown column '{column}'.{nearest(column, table.columns, what='columns are')}",
                )


def _columns(table: Table) -> Iterator[tuple[Path_, str]]:
    for key, column in table.columns.items():
        path = ("columns", key)
        name = column.measure or table.measure or table.defaults.measure
        if name is None:
            yield path, f"says no 'measure' and the table has none.{nearest('', MEASURES)}"
            continue
        if name not in MEASURES:
            where = (*path, "measure") if column.measure else ("measure",)
            yield where, f"unknown measure '{name}'.{nearest(name, MEASURES)}"
            continue
        if name == "flops" and column.convention not in CONVENTIONS:
            what = f"unknown convention '{column.convention}'" if column.convention else "FLOPs need a 'convention'"
            yield (*path, "convention"), f"{what}.{nearest(column.convention, CONVENTIONS)}"
        if column.relative_to is not None and column.relative_to not in table.rows:
            tail = nearest(column.relative_to, table.rows, what="rows are")
            yield (*path, "relative_to"), f"unknown row '{column.relative_to}'.{tail}"
        recipe = table.recipe_of(key)
        needs_recipe = MEASURES[name].kind in ("train", "evaluate") or table.input_of(key) is None
        if recipe is None and needs_recipe:
            yield path, f"a column of {MEASURES[name].title} needs a 'recipe' (python -m harness list recipes)"
        elif recipe is not None and needs_recipe:
            yield from _recipe_problems(table, recipe, (*path, "recipe"))


def _recipe_problems(table: Table, name: str, path: Path_) -> Iterator[tuple[Path_, str]]:
    try:
        recipe(name, near=Path(table.path).parent)
    except Problems as error:  # of the recipe's own file: named with its own lines, beside what is wrong here
        yield from ((path, str(problem)) for problem in error.problems)
    except UserError as error:
        yield path, str(error)


def _rows(table: Table) -> Iterator[tuple[Path_, str]]:
    from methods import registry

    for key, row in table.rows.items():
        path: Path_ = ("rows", key)
        said = [w for w, v in (("method", row.method), ("cited", row.cited), ("awaits", row.awaits)) if v is not None]
        if len(said) != 1 and not (said == [] and row.module is not None):
            found = " and ".join(said) or "none of them"
            yield (
                path,
                f"a row says one of 'method', 'cited' (quoted from there) or 'awaits' (why no method yet); found {found}",
            )
        if row.compared_with is not None and row.compared_with not in table.published.values:
            tail = nearest(row.compared_with, table.published.values, what="published rows are")
            yield (*path, "compared_with"), f"'{row.compared_with}' has no published values.{tail}"
        for column in row.cells:
            if column not in table.columns:
                tail = nearest(column, table.columns, what="columns are")
                yield (*path, "cells", column), f"no such column.{tail}"
        for ref_path, kind, ref in _references(path, row):
            try:
                entry = registry.find(ref.name, kind)
            except UserError as error:
                yield ref_path[: len(path) + 1], str(error)
                continue
            own = {"num_classes": 0} if kind == "context" and "num_classes" in (entry.options or {}) else {}
            for option, message in registry.check_options(entry, {**own, **ref.options}):
                yield (*ref_path, option), message


def _references(path: Path_, row: Row) -> Iterator[tuple[Path_, str, MethodRef | ModuleRef]]:
    """What a row names in the registry: (where, kind, reference with its options)."""
    if row.module is not None:
        yield (*path, "module"), "context", row.module
    if row.method is not None:
        yield (*path, "method"), "method", row.method
        for column, cell in row.cells.items():
            own = MethodRef(name=row.method.name, options={**row.method.options, **cell.options})
            yield (*path, "cells", column, "options"), "method", own
