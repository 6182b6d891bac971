"""The shell commands that measure a report's cells."""

from __future__ import annotations

import shlex
from pathlib import Path

from harness import SHIPPED
from harness.table.schema import Table
from harness.text import line
from reports.table_report import TableReport


def table_path(table: Table) -> str:
    """The table file's path relative to the checkout, which names it everywhere, without this machine's folders."""
    path = Path(table.path)
    try:
        return line(str(path.resolve().relative_to(SHIPPED)))
    except ValueError:
        return line(path.name)


def run_options(report: TableReport) -> str:
    """The options of the command that measures this report."""
    parts = [] if report.profile.name == "paper" else ["--profile", report.profile.name]
    parts += [part for text in report.settings for part in ("--set", text)]
    parts += ["--seeds", str(len(report.repetitions))] if len(report.repetitions) > 1 else []
    if set(report.rows) != set(report.table.rows):
        parts += [part for row in report.rows for part in ("--rows", row)]
    if set(report.columns) != set(report.table.columns):
        parts += [part for column in report.columns for part in ("--columns", column)]
    return "".join(f" {shlex.quote(line(part))}" for part in parts)


def run_command(report: TableReport) -> str:
    """`python -m harness run tables/idrnet_table2.yaml --seeds 3`."""
    return f"python -m harness run {table_path(report.table)}{run_options(report)}"
