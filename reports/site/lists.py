"""The first page and the list of all cells, as plain data: control characters are removed here, HTML is escaped there."""

from __future__ import annotations

import math
from typing import Any

from harness.text import signed
from reports.cell_report import CellReport
from reports.site.names import cell_page, short, table_page
from reports.site.outcomes import tone
from reports.table_report import TableReport


def summary(report: TableReport, findings: int) -> dict[str, Any]:
    """A table's row of the status matrix."""
    counts = report.counts()
    total = sum(counts.values()) or 1
    by_tone = {name: sum(n for o, n in counts.items() if tone(o) == name) for name in ("good", "weak", "bad", "none")}
    parts, x = [], 0.0
    for name, count in by_tone.items():
        if count:
            words = ", ".join(f"{n} {o}" for o, n in counts.items() if tone(o) == name)
            parts.append({"tone": name, "x": f"{x:.2f}", "width": f"{100 * count / total:.2f}", "words": words})
            x += 100 * count / total
    number_ = str(report.table.table) if report.table.table is not None else ""
    return {
        "id": report.table.id,
        "paper": short(report.table.published.source.name or report.table.paper, 40),
        "number": number_,
        "name": f"Table {number_}" if number_ else short(report.table.id, 24),
        "title": short(report.table.title),
        "page": table_page(report),
        "counts": counts,
        "parts": parts,
        "measured": sum(s.measured for s in report),
        "share": f"{sum(s.measured for s in report) / total:.4f}",
        "words": ", ".join(f"{n} {o}" for o, n in counts.items()),
        "findings": findings,
    }


def list_entry(report: TableReport, cell_report: CellReport) -> dict[str, Any]:
    """A cell's row in the list of all cells."""
    value = cell_report.mean if cell_report.values else math.nan
    gap = cell_report.difference
    return {
        "table": report.table.id,
        "row": short(report.table.row(cell_report.row).name, 60),
        "column": short(report.table.columns[cell_report.column].label or cell_report.column, 40),
        "href": cell_page(report, cell_report),
        "value": repr(value) if math.isfinite(value) else "",
        "measured": cell_report.text,
        "paper": cell_report.published.text if cell_report.published is not None else "",
        "published": cell_report.published.printed if cell_report.published is not None else "",
        "gap": repr(gap) if gap is not None and math.isfinite(gap) else "",
        "difference": signed(gap, cell_report.decimals) if gap is not None and report.comparable else "",
        "outcome": cell_report.outcome,
        "n": len(cell_report.values) or "",
    }
