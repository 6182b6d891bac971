"""`plan`: what `run` would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.cli.output import print_wrapped, reports_of
from harness.cli.run import budget, jobs
from harness.errors import Exit

if TYPE_CHECKING:
    from harness.plan.request import PlanRequest


@register("plan", "tables/idrnet_table2.yaml --repetitions 3")
@options.plan_request
@options.cluster
@options.gpus_per_job
@jobs
@budget
@click.option("--decide", is_flag=True, help="list the repetitions that would decide cells, cheapest first")
@click.option(
    "--gpu-memory",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GIB",
    help="count the trainings' memory, and say on how many GPUs of so many GiB each is cheapest; seconds per training",
)
def command(
    request: PlanRequest, jobs: int | None, budget: float | None, decide: bool, gpu_memory: float | None
) -> Exit:
    from harness.cli import cluster, footprints, progress
    from harness.cli.inspection import plan_to_read
    from harness.plan.cost import unasked_cpu
    from harness.plan.durations import estimate
    from harness.plan.shares import warnings
    from harness.scheduler.run import queue

    slots = request.slots(jobs)
    plan, store = plan_to_read(request, default=False)  # before the first run there is none
    todo = queue(plan, store)
    print_wrapped(progress.plan_lines(plan, todo, estimate(todo.run, store), slots))
    print_wrapped(warnings(todo.run, request.processes))
    if request.cluster is None and (text := unasked_cpu(todo.run, request.asked_device, request.resolve_device())):
        print_wrapped([f"run will ask: {text}"])
    print_wrapped(cluster.cost(request, plan, todo.run, store, slots, budget))
    print_wrapped(progress.job_lines(plan, todo.run, store))
    if gpu_memory is not None:  # also of jobs that lack their data here
        print_wrapped(footprints.lines(plan, plan.jobs_to_run(store), store, gpu_memory))
    if decide:
        from reports import advice

        print_wrapped(advice.lines([*reports_of(plan, store)]))
    if todo.blocked:
        return Exit.MISSING
    return Exit.OK if plan.cells_to_measure() else Exit.NOTHING
