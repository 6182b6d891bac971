"""`why`: whether a cell is measured, and what changed if it no longer is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.cli import options
from harness.cli.group import command as register
from harness.cli.output import print_lines
from harness.errors import Exit

if TYPE_CHECKING:
    from harness.plan.request import PlanRequest


@register("why", "idrnet_table2/fcn_idrnet/ade20k --profile smoke")
@options.cell_plan_request
def command(cell: str, request: PlanRequest) -> Exit:
    from harness.cli.inspection import plan_to_read, why_lines
    from harness.scheduler.slurm import remote

    plan, store = plan_to_read(request)
    print_lines(why_lines(plan, store, remote.queue_states(plan.jobs.values(), store), cell))
    return Exit.OK
