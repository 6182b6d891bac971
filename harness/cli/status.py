"""`status`: one line per cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.cli import options
from harness.cli.group import command as register
from harness.cli.output import print_lines
from harness.errors import Exit

if TYPE_CHECKING:
    from harness.plan.request import PlanRequest


@register(
    "status",
    "tables/idrnet_table2.yaml --profile smoke",
    notes="Exit code 0: every cell that can be run is measured; 1: a run would still have something to measure.",
)
@options.plan_request
def command(request: PlanRequest) -> Exit:
    from harness.cli.inspection import plan_to_read, status_lines
    from harness.scheduler.slurm.remote import queue_states

    plan, store = plan_to_read(request)
    lines, unmeasured = status_lines(plan, store, queue_states(plan.jobs.values(), store))
    print_lines(lines)
    return Exit.FAILED if unmeasured else Exit.OK
