"""A table's cells, rows and columns with all defaults filled in.

`Table.cells()` resolves every cell once; the planner turns cells into jobs and the reports put results beside them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.table.metrics import METRICS, Metric

if TYPE_CHECKING:
    from harness.recipes.profile import ModelChanges
    from harness.table.schema import Column, ModuleRef, Published, Rounding, Row, Shapes, Statistic, Table, Value


@dataclass(frozen=True)
class ResolvedColumn:
    """One quantity: what it measures and, where the columns of a row do not differ, how.

    `recipe` and `shapes` are those that hold for a row that says nothing else; `convention` is '' for all but FLOPs.
    """

    key: str
    label: str
    metric: Metric
    recipe: str | None
    shapes: Shapes | None
    convention: str


@dataclass(frozen=True)
class ResolvedRow:
    """One line: `name` is its label, with what tells it apart where another row has the same label.

    `rounding` is how the paper cuts the counts of the row to its decimals.
    """

    key: str
    name: str
    rounding: Rounding


@dataclass(frozen=True)
class Cell:
    """One number of a table with everything the table states about it.

    `cited`: quoted from there and never run; `awaits`: why there is nothing to run; '' otherwise.
    `method` and its `options`, or the `module` that is counted; `shapes`: of its input, where the table says them.
    `checkpoint`: file of weights that is tested instead of a training. `tested_on`, `test`: dataset and protocol of the
    test where they differ from the recipe's. `published` is what the number is compared with, and `compared_row` the name of
    the row that prints it where that is not this row. `provenance` says where the published value comes from and how it
    is to be read; {} where the paper prints none.
    """

    table: Table = field(repr=False)
    row: str
    column: str
    metric: Metric
    recipe: str | None
    method: str | None
    options: Mapping[str, Any]
    module: ModuleRef | None
    model: ModelChanges
    shapes: Shapes | None
    convention: str
    rounding: Rounding
    published: Value | None
    compared_row: str
    provenance: Mapping[str, Any]
    cited: str
    awaits: str
    checkpoint: Path | None
    tested_on: str | None
    test: Mapping[str, Any]
    on_request: bool

    @property
    def name(self) -> str:
        """`TABLE/ROW/COLUMN`, as the commands take it."""
        return f"{self.table.id}/{self.row}/{self.column}"

    @property
    def backbone(self) -> str | None:
        """The backbone that the table gives the row, whatever a profile builds in its place."""
        return self.model.explicit_fields().get("backbone", self.table.defaults.backbone)

    @property
    def comparable(self) -> Value | None:
        """The published value, where a comparison means something: a time of another module on another machine does not."""
        return self.published if self.metric.portable or not self.compared_row else None


def resolve_column(table: Table, key: str) -> ResolvedColumn:
    """A column with the table's defaults; KeyError for a metric that `load` refuses."""
    spec, defaults = table.columns[key], table.defaults
    metric = METRICS[spec.metric or table.metric or defaults.metric or ""]
    recipe, shapes = spec.recipe or defaults.recipe, spec.input or defaults.input
    return ResolvedColumn(key, spec.label or key, metric, recipe, shapes, spec.convention or "")


def resolve_row(table: Table, key: str) -> ResolvedRow:
    """A row with its name among the table's rows."""
    spec = table.rows[key]
    label = spec.label or key
    name = label
    if sum((other.label or other_key) == label for other_key, other in table.rows.items()) > 1:
        said = label.split(" · ")
        found = (spec.descriptors.get(heading) for heading in table.descriptors)
        descriptors = list(dict.fromkeys(text for text in found if text and text not in said))
        name = " · ".join(part for part in (label, *(descriptors or [spec.group])) if part)
    return ResolvedRow(key, name, spec.rounding or table.published.rounding)


def resolve_cell(table: Table, row: str, column: str) -> Cell:
    """One cell with the defaults of its table, row and column."""
    across, down = resolve_row(table, row), resolve_column(table, column)
    row_spec, column_spec = table.rows[row], table.columns[column]
    cell_spec = row_spec.cells.get(column)
    checkpoint = _checkpoint(table, row, column)
    own_convention = row_spec.convention if down.metric.kind == "complexity" else None
    return Cell(
        table=table,
        row=row,
        column=column,
        metric=down.metric,
        recipe=(cell_spec.recipe if cell_spec is not None else None) or down.recipe,
        method=row_spec.method.name if row_spec.method is not None else None,
        options={
            **(row_spec.method.options if row_spec.method is not None else {}),
            **(cell_spec.options if cell_spec is not None else {}),
        },
        module=row_spec.module,
        model=row_spec.model,
        shapes=row_spec.input or down.shapes,
        convention=own_convention or down.convention,
        rounding=across.rounding if down.metric.exact else "round",
        published=table.published.values.get(row_spec.compared_with or row, {}).get(column),
        compared_row=resolve_row(table, row_spec.compared_with).name if row_spec.compared_with else "",
        provenance=_provenance(table, across, down),
        cited=row_spec.cited or "",
        awaits=_awaits(table, row, down, checkpoint),
        checkpoint=checkpoint,
        tested_on=column_spec.tested_on,
        test=column_spec.test,
        on_request=column_spec.on_request,
    )


def resolve_statistic(row: Row, column: Column, published: Published) -> tuple[Statistic, int | None]:
    """What a score is of several runs, and of how many: as its row says, else its column, else the table.

    A number of runs goes with the statistic beside it, so a place that says another statistic ends the search for one.
    """
    statistic = row.statistic or column.statistic or published.statistic
    for place in (row, column, published):
        count = place.of if statistic == "best" else place.runs if statistic in ("mean", "median") else None
        if count is not None or place.statistic is not None:
            return statistic, count
    return statistic, None


def _awaits(table: Table, row: str, column: ResolvedColumn, checkpoint: Path | None) -> str:
    """Why there is nothing to run in a cell, as far as its table tells."""
    spec = table.rows[row]
    cell_spec = spec.cells.get(column.key)
    reason = spec.awaits or (cell_spec.awaits if cell_spec is not None else None)
    if reason or not column.metric.trains:
        return reason or ""
    if spec.method is None:
        return "the row names a module to count and no method to train"
    if checkpoint is not None and column.metric.kind == "train":
        return "the row tests given weights and trains nothing"
    return ""


def _checkpoint(table: Table, row: str, column: str) -> Path | None:
    """The absolute path of the file of weights that a cell names."""
    spec = table.rows[row]
    cell_spec = spec.cells.get(column)
    file = cell_spec.checkpoint if cell_spec is not None else None
    file = file or (spec.checkpoint.replace("{column}", column) if spec.checkpoint else None)
    return Path(os.path.abspath(Path(table.path).parent / Path(file).expanduser())) if file else None


def _provenance(table: Table, row: ResolvedRow, column: ResolvedColumn) -> dict[str, Any]:
    spec, metric, published = table.columns[column.key], column.metric, table.published
    value = published.values.get(table.rows[row.key].compared_with or row.key, {}).get(column.key)
    if value is None:
        return {}
    row_spec = table.rows[row.key]
    evidence = row_spec.module.evidence if row_spec.module is not None else row_spec.evidence or ""
    own_convention = row_spec.convention if metric.kind == "complexity" else None
    statistic, runs = resolve_statistic(table.rows[row_spec.compared_with or row.key], spec, published)
    return {
        "paper": table.paper,
        **{k: v for k, v in published.source.model_dump().items() if v is not None},
        "row": row.name,
        "column": column.label,
        "printed": value.printed,
        "decimals": value.decimals,
        "statistic": "single" if metric.exact else statistic,
        "runs": None if metric.exact else runs,
        "split": spec.split or "",
        "protocol": spec.protocol or published.protocol or "",
        "unit": metric.unit,
        "convention": own_convention or column.convention,
        "rounding": row.rounding if metric.exact else "round",
        "evidence": "" if metric.trains else evidence,
    }
