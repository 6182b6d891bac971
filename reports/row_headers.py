"""The columns before the numbers, as the paper prints them: the row's label, its backbone, its crop …"""

from __future__ import annotations

from collections.abc import Sequence

from harness.table.schema import Table


def heads(table: Table) -> dict[str, str]:
    """{descriptor: heading} in the paper's order; one column of labels without a heading where the table names none."""
    return dict(table.descriptors) or {"label": ""}


def names(table: Table, row: str, heads: Sequence[str]) -> list[str]:
    """What a row prints in these columns; a row of ours, which the paper does not describe, has its label first."""
    spec = table.rows[row]
    label = spec.label or row
    found = [label if head == "label" else spec.descriptors.get(head, "") for head in heads]
    return [label, *found[1:]] if spec.extra and not found[0] else found
