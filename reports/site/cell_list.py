"""The list of all cells, as plain data: control characters are removed here, HTML is escaped there."""

from __future__ import annotations

import math
from typing import Any

from harness.text import signed
from reports.cell_report import CellReport
from reports.site.front import paper_of
from reports.site.names import cell_page, short
from reports.table_report import TableReport


def entry(report: TableReport, cell_report: CellReport) -> dict[str, Any]:
    """A cell's row in the list of all cells."""
    value = cell_report.mean if cell_report.values else math.nan
    gap = cell_report.difference
    return {
        "table": report.table.id,
        "paper": paper_of(report, cell_report),
        "row": short(report.table.row(cell_report.row).name, 60),
        "column": short(report.table.columns[cell_report.column].label or cell_report.column, 40),
        "href": cell_page(report, cell_report),
        "value": repr(value) if math.isfinite(value) else "",
        "measured": cell_report.text,
        "published_value": cell_report.published.text if cell_report.published is not None else "",
        "published": cell_report.published.printed if cell_report.published is not None else "",
        "gap": repr(gap) if gap is not None and math.isfinite(gap) else "",
        "difference": signed(gap, cell_report.decimals) if gap is not None and report.comparable else "",
        "outcome": cell_report.outcome,
        "n": len(cell_report.values) or "",
    }
