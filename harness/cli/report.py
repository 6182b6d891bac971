"""`report`: the tables as measured so far."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.cli.output import reports_of, table_text, write_reports
from harness.errors import Exit, UserError

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
@click.option("--standalone", is_flag=True, help="of latex: a whole document, instead of what a paper takes by \\input")
@options.no_figures
def command(request: PlanRequest, format_name: str, standalone: bool, no_figures: bool) -> Exit:
    from harness.cli.inspection import plan_to_read
    from reports.status import ResultReader

    if standalone and format_name != "latex":
        raise UserError("--standalone goes with --format latex")
    plan, store = plan_to_read(request)
    if format_name == "markdown":
        write_reports(plan, store, figures=not no_figures, show_tables=False)
    else:
        from reports.formats import csv, latex

        reports = reports_of(plan, store)
        if format_name == "latex":
            sys.stdout.write(latex.document(reports) if standalone else latex.fragment(reports))
        elif format_name == "csv":
            sys.stdout.writelines(csv.render(report, header=i == 0) for i, report in enumerate(reports))
        else:
            sys.stdout.writelines(map(table_text, reports))
    reader = ResultReader(plan, store)
    measured = any(reader.result(job) is not None for cell in plan.cells for job in cell.jobs)
    return Exit.OK if measured else Exit.NOTHING
