"""`why`: whether a cell is measured, and what changed if it no longer is."""

from __future__ import annotations

from pathlib import Path

from harness.cli import options
from harness.cli.group import command as register
from harness.cli.output import print_lines
from harness.errors import Exit


@register("why", "idrnet_table2/fcn_idrnet/ade20k --profile smoke")
@options.cell
@options.profile_and_repetitions
@options.settings
@options.folders_and_device
def command(
    cell: str,
    profile: str,
    repetitions: int,
    settings: tuple[str, ...],
    data: Path | None,
    results: Path,
    device: str,
) -> Exit:
    from harness.cli.inspection import plan_to_read, why_lines
    from harness.scheduler.slurm import remote

    request = options.cell_request(
        *options.cell_of(cell),
        profile=profile,
        repetitions=repetitions,
        settings=settings,
        data=data,
        results=results,
        device=device,
    )
    plan, store = plan_to_read(request)
    print_lines(why_lines(plan, store, remote.queue_states(plan.jobs.values(), store), cell))
    return Exit.OK
