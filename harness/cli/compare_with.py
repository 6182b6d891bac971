"""`compare-with`: rows trained and tested by another toolbox, too, and its numbers beside ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.cli.output import print_lines, print_wrapped, terminal_width
from harness.cli.run import jobs
from harness.errors import Exit, UserError, nearest

if TYPE_CHECKING:
    from harness.plan.request import PlanRequest


@register(
    "compare-with",
    "mmsegmentation examples/mmsegmentation.yaml --profile smoke",
    notes="Both train from the same first weights by the same recipe; order of the images, transforms, loop and test are\n"
    "the toolbox's own. Jobs are stored like any others: the same command measures nothing twice.",
)
@click.argument("peer", metavar="TOOLBOX")
@options.plan_request
@click.option("--retry-failed", is_flag=True, help="repeat jobs that failed before")
@jobs
def command(request: PlanRequest, peer: str, retry_failed: bool, jobs: int | None) -> Exit:
    from harness.cli import cluster, progress
    from harness.files import write_text
    from harness.plan.cost import unasked_cpu
    from harness.plan.durations import estimate
    from harness.plan.peers import add_peers, peer_names
    from harness.plan.request import plan_of
    from harness.scheduler import run
    from reports.peer_comparison import comparison_rows, markdown_lines, terminal_lines

    if peer not in peer_names():
        raise UserError(f"unknown toolbox '{peer}'.{nearest(peer, peer_names())}")
    plan, store = plan_of(request)
    store.prepare()
    peers, reasons = add_peers(plan, request, store, peer)
    print_wrapped(f"not by {peer}: {reason}" for reason in reasons)
    if not peers:
        return Exit.NOTHING
    todo = run.queue(plan, store, retry_failed=retry_failed)
    transport = cluster.transport(request, store, jobs)
    print_wrapped(progress.plan_lines(plan, todo, estimate(todo.run, store), transport.slots))
    if text := unasked_cpu(todo.run, request.asked_device, request.resolve_device()):
        raise UserError(text)
    with progress.Console(plan, store, todo) as listener:
        outcome = run.run(plan, store, transport, listener, retry_failed=retry_failed)
    rows = comparison_rows(plan, store, peer, peers)
    print_lines(["", *progress.closing(plan, store, outcome), "", *terminal_lines(rows, terminal_width())])
    file = store.reports / f"compare-with-{peer}" / f"{'+'.join(table.id for table in plan.tables)[:100]}.md"
    write_text(file, "\n".join(markdown_lines(rows)) + "\n")
    print_lines([f"report: {file}"])
    return outcome.exit(plan, store)
