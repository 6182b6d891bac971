"""Writes the report of a table: TABLE.md, TABLE.csv and, with figures, the folder TABLE/."""

from __future__ import annotations

import hashlib
from pathlib import Path

from harness.files import write_text
from reports.formats import csv, markdown
from reports.table_report import TableReport


def write(report: TableReport, folder: Path, *, figures: bool = True) -> Path:
    """Writes the report into `folder` and returns the Markdown file; OutputError where the folder or the disk refuses.

    The file of profile `paper` is TABLE.md, of any other TABLE.PROFILE.md, and with something set on the command line there is
    a digest of it behind (TABLE.set-1a2b3c4d.md), so that none overwrites another.
    """
    profile = report.profile.name
    stem = report.table.id if profile == "paper" else f"{report.table.id}.{profile}"
    if report.settings:
        stem += f".set-{hashlib.sha256(chr(10).join(report.settings).encode()).hexdigest()[:8]}"
    drawings: dict[str, str] = {}
    if figures:
        from reports.figures.table import draw  # loads matplotlib

        for figure in draw(report):
            write_text(folder / stem / figure.name, figure.svg)
            drawings[figure.alternative] = f"{stem}/{figure.name}"
    write_text(folder / f"{stem}.csv", csv.render(report))
    path = folder / f"{stem}.md"
    write_text(path, markdown.render(report, figures=drawings))
    return path
