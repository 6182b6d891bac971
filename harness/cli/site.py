"""`site`: tables as pages that open from a folder."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.errors import Exit, UserError


@register(
    "site",
    "--profile smoke",
    notes="Without TABLE all tables are written. With TABLE, say --out DIR where a site with others lies: none of them is lost.",
)
@options.optional_tables
@click.option(
    "--out",
    type=options.PathType("dir"),
    metavar="DIR",
    help="where to (results/reports/site); what is there is replaced",
)
@options.no_figures
@options.profile_and_repetitions
@options.folders_and_device
def command(
    tables: tuple[str, ...],
    out: Path | None,
    no_figures: bool,
    profile: str,
    repetitions: int,
    data: Path | None,
    results: Path,
    device: str,
) -> Exit:
    from harness.cli.audit import audit_findings
    from harness.cli.inspection import plan_to_read
    from harness.plan.request import PlanRequest
    from harness.scheduler.slurm import remote
    from harness.table import paths
    from harness.text import plural
    from reports.site.build import build, other_tables

    named = bool(tables)
    tables = tables or tuple(str(path) for path in paths.table_files())
    plan, store = plan_to_read(PlanRequest(tables, (), (), profile, repetitions, data, results, device))
    folder = out or store.reports / ("site" if profile == "paper" else f"site.{profile}")
    if named and out is None and (others := other_tables(folder, plan.tables)):
        raise UserError(
            f"{folder} holds {plural(len(others), 'table')} more, which would be lost: "
            "choose another folder with --out DIR, or name no table to write all"
        )
    findings, _ = audit_findings(plan.tables)
    queued = remote.queue_states(plan.jobs.values(), store)
    print(f"site: {build(plan, store, folder, findings, figures=not no_figures, queue_states=queued)}")
    return Exit.OK
