"""Rows counted by what can be done with them: in the list of tables, and in the summary file of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.plan.planner import Plan
    from harness.store.store import Store
    from harness.table.schema import Table

KINDS = ("runnable", "cited", "awaiting")


def row_kinds(table: Table) -> dict[str, str]:
    """{row: runnable | cited | awaiting}: runnable where at least one of its cells can be run, cited where it is quoted."""
    kinds = {}
    for key, row in table.rows.items():
        cells = [table.cell(key, column) for column in table.columns]
        runnable = any(not cell.cited and not cell.awaits for cell in cells)
        kinds[key] = "cited" if row.cited else "runnable" if runnable else "awaiting"
    return kinds


def count(kinds: Iterable[str]) -> dict[str, int]:
    """{runnable, cited, awaiting: number of rows}."""
    kinds = [*kinds]
    return {kind: kinds.count(kind) for kind in KINDS}


def run_summary(plan: Plan, store: Store) -> dict[str, Any]:
    """The rows of a run as JSON: counts over all tables and per table, and every failing row with its first reason.

    Runnable rows are those with a cell that the plan runs. Each of them is `measured` (every such cell has its value),
    `failing` (one of them failed) or `unfinished` (blocked, interrupted or not run).
    """
    from reports.status import ResultReader, cell_status

    reader = ResultReader(plan, store)
    tables: dict[str, Any] = {}
    for table in plan.tables:
        rows: dict[str, list[tuple[str, str]]] = {}
        states: dict[str, set[str]] = {}
        for planned in plan.of(table):
            states.setdefault(planned.row, set()).add(planned.state)
            if planned.state == "run":
                status, reason = cell_status(planned, reader)
                rows.setdefault(planned.row, []).append((str(status), f"{planned.column}: {reason}"))
        kinds = {row: _kind(among) for row, among in states.items()}
        tables[table.id] = count(kinds.values()) | _outcomes(rows)
    numbers = (*KINDS, "measured", "failing", "unfinished")
    total = {name: sum(entry[name] for entry in tables.values()) for name in numbers}
    return {"profile": plan.profile.name, "rows": total, "tables": tables}


def _kind(states: set[str]) -> str:
    if states & {"run", "on request"}:
        return "runnable"
    return "cited" if "cited" in states else "awaiting"


def _outcomes(rows: dict[str, list[tuple[str, str]]]) -> dict[str, Any]:
    failing = {
        row: next(reason for status, reason in cells if status == "failed")
        for row, cells in rows.items()
        if any(status == "failed" for status, _ in cells)
    }
    measured = sum(all(status == "measured" for status, _ in cells) for cells in rows.values())
    unfinished = len(rows) - measured - len(failing)
    return {"measured": measured, "failing": len(failing), "unfinished": unfinished, "failures": failing}
