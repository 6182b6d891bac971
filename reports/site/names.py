"""What pages are called, and texts as they stand on them: one line, cut, without control characters."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

from harness.text import line, shorten
from reports.cell_report import CellReport
from reports.table_report import TableReport

LABEL = 120


def short(text: str, length: int = LABEL) -> str:
    return shorten(line(text), length)


def file_name(*keys: str) -> str:
    """A file's name for keys that may hold anything: readable where they are plain, never the same for two."""
    plain = "--".join(re.sub(r"[^A-Za-z0-9_.-]", "-", key)[:60].strip(".") or "-" for key in keys)
    if plain != "--".join(keys) or "--" in "".join(keys):
        plain += "-" + hashlib.sha256("\0".join(keys).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain}.html"


def cell_page(report: TableReport, cell_report: CellReport) -> str:
    return f"cells/{file_name(report.table.id, cell_report.row, cell_report.column)}"


def table_page(report: TableReport) -> str:
    return file_name(report.table.id)


def when(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, OSError, ValueError):
        return "unknown"


def table_name(report: TableReport) -> str:
    table = report.table
    return short(table.name)
