"""What several tables call the same: systems (a method on a backbone), and quantities (a metric of it on a dataset)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError
from harness.table.recipes import recipe
from harness.table.schema import Table, Value
from reports.audit.paper import Names

_REMARKS = re.compile(r"\[[^\]]*\]|\(ours\)|[*†‡]", re.IGNORECASE)
_VARIANT = re.compile(r"_\d+$")  # of one dataset with another number of classes


@dataclass(frozen=True)
class Quantity:
    """What a score column states, whatever the paper: metric, dataset, split, one scale or several."""

    metric: str
    dataset: str
    split: str
    scales: str

    @property
    def base(self) -> str:
        """The dataset whatever its number of classes."""
        return _VARIANT.sub("", self.dataset)

    @property
    def family(self) -> str:
        """The name that several versions of one dataset share: COCO-Stuff of its 10k and its 164k."""
        return re.sub(r"_?\d+k$", "", self.base)

    def __str__(self) -> str:
        return f"{self.metric} on {self.dataset}, {self.split}, {self.scales}"


@dataclass(frozen=True)
class Printed:
    """One printed score with its names."""

    table: Table
    row: str
    column: str
    value: Value
    quantity: Quantity
    systems: tuple[str, ...]

    @property
    def place(self) -> str:
        return place(self.table, self.row, self.column)

    @property
    def cited(self) -> bool:
        return self.table.rows[self.row].quoted is not None


def place(table: Table, row: str | None = None, column: str | None = None) -> str:
    """`hfgd, Table 5, row SFPN · Our CAE · + AA, mIoU`: where a number stands in a paper."""
    parts = [table.paper, f"Table {table.table}" if table.table is not None else table.id]
    parts += [f"row {table.row(row).name}"] if row is not None else []
    parts += [table.columns[column].label or column] if column is not None else []
    return ", ".join(parts)


def scores(table: Table, names: Names) -> Iterator[Printed]:
    """The printed scores of a table whose column says on what they were measured."""
    for row, values in table.published.values.items():
        for column, value in values.items():
            found = quantity(table, row, column)
            if found is not None:
                yield Printed(table, row, column, value, found, tuple(systems(table, row, column, names)))


def quantity(table: Table, row: str, column: str) -> Quantity | None:
    """What a cell states; None where it is no score or has no recipe."""
    cell = table.cell(row, column)
    metric, name = cell.metric, cell.recipe
    if metric.kind != "evaluate" or name is None:
        return None
    try:
        found = recipe(name, Path(table.path).parent)
        test = found.with_test_changes(cell.test)
    except (UserError, ValueError):
        return None
    several = len(test.scales) > 1 or test.flip
    dataset = cell.tested_on or found.dataset
    trained = f"{found.dataset} → " if dataset != found.dataset else ""
    return Quantity(metric.name, f"{trained}{dataset}", test.split, "several scales" if several else "one scale")


def systems(table: Table, row: str, column: str, names: Names) -> Iterator[str]:
    """The names under which a row's system may stand in other tables: by its label and backbone, and by what it runs."""
    spec = table.rows[row]
    if spec.system is not None:
        yield spec.system
        return
    backbone = spec.descriptors.get("backbone") or spec.model.backbone or spec.group.partition(",")[0]
    backbone = _known(backbone or table.defaults.backbone or "", names.backbones)
    method = _known(spec.label or row, names.methods)
    if backbone:
        yield f"{method}/{backbone}"
    if spec.method is not None and backbone:
        yield f"{spec.method.name} {json.dumps(table.cell(row, column).options, sort_keys=True)}/{backbone}"


def _known(text: str, spellings: dict[str, tuple[str, ...]]) -> str:
    """The canonical name of a spelling, else the text itself, folded."""
    folded = fold(text)
    return next((name for name, known in spellings.items() if folded in {fold(name), *map(fold, known)}), folded)


def fold(text: str) -> str:
    """A label without reference numbers, `(Ours)`, marks, case and blanks."""
    return re.sub(r"[\s_]+", "", _REMARKS.sub("", text)).lower()
