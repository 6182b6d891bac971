"""`run`: plan, measure, report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.cli.output import load_reports, print_lines, print_wrapped, write_reports
from harness.errors import Exit, MissingError, UserError, nearest

if TYPE_CHECKING:
    from harness.plan.request import PlanRequest

LOGGERS = ("tensorboard", "wandb", "mlflow")
"""What harness.training.loggers knows, which loads too much to be asked here."""

jobs = click.option(
    "--jobs", type=options.PositiveInt(), metavar="N", help="jobs at once (default: one per GPU, or per CPU)"
)
budget = click.option("--budget", type=options.Hours(), metavar="HOURS", help="refuse a plan that needs more GPU-hours")


@register("run", "tables/idrnet_table5.yaml --rows '*net' --columns flops")
@options.plan_request
@options.cluster
@options.gpus_per_job
@click.option("--retry-failed", is_flag=True, help="repeat jobs that failed before")
@click.option(
    "--logger",
    "loggers",
    multiple=True,
    metavar="NAME",
    help="tensorboard, wandb, mlflow or file.py:Class, beside curve.jsonl; repeats",
)
@click.option("--keep-weights", is_flag=True, help="keep those of smoke trainings, too: for `panels` and `features`")
@click.option("--detach", is_flag=True, help="with --on: submit, and return at once")
@jobs
@budget
@click.option("--summary", type=options.PathType(), metavar="FILE", help="write rows by outcome to FILE, as JSON")
@options.no_figures
def command(
    request: PlanRequest,
    retry_failed: bool,
    loggers: tuple[str, ...],
    keep_weights: bool,
    detach: bool,
    jobs: int | None,
    budget: float | None,
    summary: Path | None,
    no_figures: bool,
) -> Exit:
    from harness.cli import cluster, progress
    from harness.cli.row_summary import run_summary
    from harness.files import write_json
    from harness.plan.cost import unasked_cpu
    from harness.plan.durations import estimate
    from harness.plan.request import plan_of
    from harness.plan.shares import warnings
    from harness.scheduler import run
    from harness.scheduler.slurm.transport import Slurm

    if detach and request.cluster is None:
        raise UserError("--detach leaves jobs with Slurm: say which cluster with --on")
    if detach and summary is not None:
        raise UserError("--summary counts rows that have run, and --detach waits for none")
    set_loggers(loggers or request.resolve_profile().loggers)
    slots = request.slots(jobs)
    plan, store = plan_of(request)
    store.prepare()
    todo = run.queue(plan, store, retry_failed=retry_failed, keep_weights=keep_weights)
    transport = cluster.transport(request, store, slots)
    print_wrapped(progress.plan_lines(plan, todo, estimate(todo.run, store), transport.slots))
    print_wrapped(warnings(todo.run, request.processes))
    print_wrapped(cluster.cost(request, plan, todo.run, store, transport.slots, budget))
    if not plan.cells_to_measure():
        return Exit.NOTHING
    if todo.blocked and not todo.run and len(todo.blocked) == len(plan.jobs_to_run(store)):
        raise MissingError("nothing can be measured until the above is there")
    if request.cluster is None and (text := unasked_cpu(todo.run, request.asked_device, request.resolve_device())):
        raise UserError(text)
    if detach and isinstance(transport, Slurm):
        run.reopen_without_weights(todo.run, store)
        return cluster.detach(transport, todo.run, plan.jobs)
    load_reports()
    with progress.Console(plan, store, todo) as listener:
        how = {"retry_failed": retry_failed, "keep_weights": keep_weights}
        outcome = run.run(plan, store, transport, listener, **how)
    if not keep_weights:
        run.drop_scene_weights(plan, store, outcome)
    print_lines(["", *progress.closing(plan, store, outcome)])
    if summary is not None:
        write_json(summary, run_summary(plan, store))
    write_reports(plan, store, figures=not no_figures, show_tables=True)
    return outcome.exit(plan, store)


def set_loggers(names: Sequence[str], argument: str = "--logger ") -> None:
    """Lets this command's jobs log to these, too; HARNESS_LOGGERS holds where none is named. UserError for an unknown one, which
    `argument` named."""
    for name in names:
        if ".py:" not in name and name not in LOGGERS:
            raise UserError(f"{argument}{name}: not known.{nearest(name, LOGGERS)}, or path/to/file.py:Class")
    if names:
        absolute = (str(Path(name).expanduser().absolute()) if ".py:" in name else name for name in names)
        os.environ["HARNESS_LOGGERS"] = ",".join(absolute)
