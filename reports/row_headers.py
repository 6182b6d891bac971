"""Row headers as the paper prints them: the row's label, its backbone, its crop …"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.table.schema import Table

OURS = "Not in the paper's table, ours"


def heads(table: Table) -> dict[str, str]:
    """{descriptor: heading} in the paper's order; one column of labels without a heading where the table names none."""
    return dict(table.descriptors) or {"label": ""}


def names(table: Table, row: str, heads: Sequence[str]) -> list[str]:
    """What a row prints in these columns; a row of ours, which the paper does not describe, has its label first."""
    spec = table.rows[row]
    label = spec.label or row
    texts = [label if head == "label" else spec.descriptors.get(head, "") for head in heads]
    return [label, *texts[1:]] if spec.extra and not texts[0] else texts


def with_unit(label: str, unit: str) -> str:
    """A column's label and its unit in brackets: once, where the label ends in it already."""
    return label if not unit or label.rstrip().endswith(f"({unit})") else f"{label} ({unit})"


@dataclass(frozen=True)
class Line:
    """A row with the heading that stands above it, "" where none does. `ours`: it is the heading of our own rows."""

    row: str
    heading: str = ""
    ours: bool = False


def lines(table: Table, rows: Sequence[str]) -> Iterator[Line]:
    """The rows in the table's order with the headings of their groups, and one above the first that is not the paper's."""
    group, extra = "", False
    for row in rows:
        spec = table.rows[row]
        first_of_ours = spec.extra and not extra
        new_group = spec.group if spec.group != group else ""
        yield Line(row, OURS if first_of_ours else new_group, first_of_ours)
        group, extra = spec.group, extra or spec.extra
