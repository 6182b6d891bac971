"""How often the audit notices a slip: one printed score changed by 0.7 points, in 200 seeded places of the shipped tables.

    python -m pytest benchmarks/test_audit.py

Slips that nothing else prints or speaks of are beyond any audit of printed numbers; they are the misses.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal

import pytest

from harness.table.load import load
from harness.table.paths import table_files
from harness.table.schema import Table, Value
from reports.audit import paper
from reports.audit.corpus import Subject
from reports.audit.findings import audit

CASES, SLIP, NOTICED = 200, Decimal("0.7"), 0.7
FINDINGS = (
    116  # before the audit was made to notice more: what it says of the papers as they are must not grow by noise
)


def published() -> list[Table]:
    return [table for table in map(load, table_files()) if table.published.source.table is not None]


def slips(tables: list[Table]) -> Iterator[list[Table]]:
    """The tables with one score changed, a few hundred times."""
    draw = random.Random(0)
    places = [
        (index, row, column)
        for index, table in enumerate(tables)
        for row, values in table.published.values.items()
        for column in values
        if table.column(column).metric.kind == "evaluate"
    ]
    for _ in range(CASES):
        index, row, column = draw.choice(places)
        table = tables[index]
        value = table.published.values[row][column]
        text = f"{Decimal(value.text) + draw.choice((SLIP, -SLIP)):.{value.decimals}f}"
        slipped: Value = value.model_copy(update={"value": float(text), "text": text})
        values = {**table.published.values, row: {**table.published.values[row], column: slipped}}
        changed = table.published.model_copy(update={"values": values})
        yield [*tables[:index], table.model_copy(update={"published": changed}), *tables[index + 1 :]]


@pytest.mark.slow
def test_slips_are_noticed() -> None:
    tables = published()
    papers, names = paper.papers({table.paper for table in tables}), paper.spellings()
    usual = {(f.rule, f.where, f.message) for f in audit(Subject(tables, papers, names))}
    assert len(usual) < FINDINGS
    noticed = sum(
        not {(f.rule, f.where, f.message) for f in audit(Subject(changed, papers, names))} <= usual
        for changed in slips(tables)
    )
    print(f"{noticed} of {CASES} slips of {SLIP} points are noticed; {len(usual)} findings without any")
    assert noticed >= NOTICED * CASES
