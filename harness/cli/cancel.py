"""`cancel`: takes a plan's jobs back from Slurm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.cli import options
from harness.cli.group import command as register
from harness.cli.output import print_lines
from harness.errors import Exit

if TYPE_CHECKING:
    from harness.plan.request import PlanRequest


@register("cancel", "tables/idrnet_table2.yaml --profile smoke")
@options.plan_request
def command(request: PlanRequest) -> Exit:
    from harness.cli.inspection import plan_to_read
    from harness.scheduler.slurm.remote import cancel

    plan, store = plan_to_read(request)
    there = store.root.is_dir()  # what was submitted is recorded there
    print_lines(cancel(plan, store) if there else ["nothing of this plan is with Slurm"])
    return Exit.OK
