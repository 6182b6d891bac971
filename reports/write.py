"""Writes the report of a table: TABLE.md, TABLE.csv and, with figures, the folder TABLE/."""

from __future__ import annotations

import csv as csv_file
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

from harness.files import write_text
from reports.formats import csv, markdown
from reports.table_report import TableReport


def write(report: TableReport, folder: Path, *, figures: bool = True) -> Path:
    """Writes the report into `folder` and returns the Markdown file; OutputError where the folder or the disk refuses.

    The file of profile `paper` is TABLE.md, of any other TABLE.PROFILE.md, and with something set on the command line there is
    a digest of it behind (TABLE.set-1a2b3c4d.md), so that none overwrites another. A report of some rows or columns is
    TABLE.part-1a2b3c4d.md where the file there has numbers of others: no report loses its numbers to a narrower one.
    """
    profile = report.profile.name
    stem = report.table.id if profile == "paper" else f"{report.table.id}.{profile}"
    if report.settings:
        stem += f".set-{_digest(report.settings)}"
    table = csv.render(report)
    if _is_part(report) and _measured(folder / f"{stem}.csv") - _places(table):
        stem += f".part-{_digest((*report.rows, '', *report.columns))}"
    drawings: dict[str, str] = {}
    if figures:
        from reports.figures.table import draw  # loads matplotlib

        for figure in draw(report):
            write_text(folder / stem / figure.name, figure.svg)
            drawings[figure.alternative] = f"{stem}/{figure.name}"
    write_text(folder / f"{stem}.csv", table)
    path = folder / f"{stem}.md"
    write_text(path, markdown.render(report, figures=drawings))
    return path


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:8]


def _is_part(report: TableReport) -> bool:
    """Whether rows or columns were selected."""
    return set(report.rows) != set(report.table.rows) or set(report.columns) != set(report.table.columns)


def _places(text: str, *, measured: bool = False) -> set[tuple[str, str]]:
    """(row, column) of the cells in a report's CSV; `measured`: only of those with a number."""
    lines = csv_file.DictReader(io.StringIO(text))
    return {(line.get("row") or "", line.get("column") or "") for line in lines if not measured or line.get("measured")}


def _measured(file: Path) -> set[tuple[str, str]]:
    """The cells that an older report has numbers of; none where there is no such file, or it is no CSV."""
    try:
        return _places(file.read_text(encoding="utf-8"), measured=True)
    except (OSError, UnicodeDecodeError, csv_file.Error):
        return set()
