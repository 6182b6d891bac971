"""Writes a report's report: TABLE.md, TABLE.csv and, with figures, the folder TABLE/. Each file aside, then renamed."""

from __future__ import annotations

import os
from pathlib import Path

from reports.formats import csv, markdown
from reports.table_report import TableReport


def write(report: TableReport, folder: Path, *, figures: bool = True) -> Path:
    """Writes the report into `folder` and returns the Markdown file; OSError where the folder or the disk refuses.

    The file of profile `paper` is TABLE.md, of any other TABLE.PROFILE.md, so that neither overwrites the other.
    """
    profile = report.profile.name
    stem = report.table.id if profile == "paper" else f"{report.table.id}.{profile}"
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, str] = {}
    if figures:
        from reports.figures.table import draw  # loads matplotlib

        for figure in draw(report):
            replace_file(folder / stem / figure.name, figure.svg)
            drawn[figure.alternative] = f"{stem}/{figure.name}"
    replace_file(folder / f"{stem}.csv", csv.render(report))
    path = folder / f"{stem}.md"
    replace_file(path, markdown.render(report, figures=drawn))
    return path


def replace_file(path: Path, text: str) -> None:
    """Writes the text aside, then renames: the file is there in full or as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8", newline="\n")
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
