"""What several commands print or write: lines, and the reports of a plan's tables."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from harness.text import printable

if TYPE_CHECKING:
    from harness.plan.planner import Plan
    from harness.store.store import Store
    from reports.table_report import TableReport


_NARROWEST = 60  # columns; nothing readable fits in fewer


def print_lines(lines: Iterable[str]) -> None:
    """Prints lines and flushes them; control characters in them are shown, not obeyed."""
    for line in lines:
        print(printable(line))
    sys.stdout.flush()


def print_wrapped(lines: Iterable[str]) -> None:
    """Prints lines of sentences: on a terminal those that are wider than it are broken between words and indented, and
    elsewhere each stays one line, to be searched."""
    width = max(_NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None
    print_lines(part for line in lines for part in (_broken(line, width) if width is not None else [line]))


def _broken(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def reports_of(plan: Plan, store: Store) -> Iterator[TableReport]:
    """The report of every table of the plan, its cells' status as the clusters know it."""
    from harness.scheduler.slurm import remote
    from reports.table_report import table_reports

    return table_reports(plan, store, remote.queue_states(plan.jobs.values(), store))


def has_colour() -> bool:
    """Whether standard output shows colour: a terminal that is not `dumb`, where NO_COLOR (no-color.org) does not forbid it."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_width() -> int:
    """Columns of the terminal; of a file or a pipe those that tables take."""
    from reports.formats import terminal

    return max(_NARROWEST, shutil.get_terminal_size((terminal.COLUMNS, 24)).columns)


def table_text(report: TableReport) -> str:
    """A report for standard output: as wide as the terminal, in colour where it has any."""
    from reports.formats import terminal

    width = terminal_width()
    return terminal.render(report, width, colour=True) if has_colour() else printable(terminal.render(report, width))


def write_reports(plan: Plan, store: Store, *, figures: bool, show_tables: bool) -> None:
    """Writes the report of every table of the plan; `show_tables` prints each as text first. OutputError where it cannot."""
    from reports import write

    for report in reports_of(plan, store):
        if show_tables:
            sys.stdout.write("\n" + table_text(report))
        print(f"report: {write.write(report, store.reports, figures=figures)}")


def load_reports() -> None:
    """Imports what writes reports, before a run of hours: what is edited in it meanwhile does not reach the run's end."""
    from harness.scheduler.slurm import remote  # noqa: F401
    from reports import table_report, write  # noqa: F401
    from reports.formats import terminal  # noqa: F401
