"""`report`: the tables as measured so far."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.cli.output import reports_of, write_reports
from harness.errors import Exit
from harness.text import printable

if TYPE_CHECKING:
    from harness.plan.request import PlanRequest

_FORMATS = ("markdown", "csv", "text", "latex")


@register("report", "tables/idrnet_table5.yaml --format csv")
@options.plan_request
@click.option(
    "--format",
    "format_name",
    type=options.Choice(_FORMATS),
    default="markdown",
    help="markdown writes files, the others print",
)
@options.no_figures
def command(request: PlanRequest, format_name: str, no_figures: bool) -> Exit:
    from harness.plan.request import plan_of
    from reports.status import ResultReader

    plan, store = plan_of(request)
    if format_name == "markdown":
        write_reports(plan, store, figures=not no_figures, show_tables=False)
    else:
        from reports.formats import csv, latex, terminal

        reports = reports_of(plan, store)
        if format_name == "latex":
            sys.stdout.write(latex.document(reports))
        elif format_name == "csv":
            sys.stdout.writelines(csv.render(report, header=i == 0) for i, report in enumerate(reports))
        else:
            sys.stdout.writelines(printable(terminal.render(report)) for report in reports)
    reader = ResultReader(plan, store)
    measured = any(reader.result(job) is not None for cell in plan.cells for job in cell.jobs)
    return Exit.OK if measured else Exit.NOTHING
