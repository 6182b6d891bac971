"""What several commands print or write: lines, and the reports of a plan's tables."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from harness.errors import OutputError

if TYPE_CHECKING:
    from harness.plan.planner import Plan
    from harness.store.store import Store


def print_lines(lines: Iterable[str]) -> None:
    """Prints lines and flushes them."""
    for line in lines:
        print(line)
    sys.stdout.flush()


def write_reports(plan: Plan, store: Store, *, figures: bool, show_tables: bool) -> None:
    """Writes the report of every table of the plan; `show_tables` prints each as text first. OutputError where it cannot."""
    from reports import table_report, write
    from reports.formats import terminal

    for report in table_report.table_reports(plan, store):
        if show_tables:
            sys.stdout.write("\n" + terminal.render(report))
        try:
            print(f"report: {write.write(report, store.reports, figures=figures)}")
        except OSError as error:
            raise OutputError(f"the report cannot be written to {store.reports}: {error.strerror}") from error
