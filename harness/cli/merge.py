"""`merge`: the results of other results folders into this one."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.cli.output import print_lines
from harness.errors import Exit, UserError


@register(
    "merge",
    "../laptop/results --weights",
    notes="What is here stands: the other folder adds results, and replaces none; it is not changed.\n"
    "Exit code 1: records were damaged, or results are in conflict.",
)
@click.argument("others", metavar="RESULTS...", nargs=-1, required=True, type=options.PathType("dir"))
@click.option("--weights", is_flag=True, help="weights of trained models, too")
@options.results
def command(others: tuple[Path, ...], weights: bool, results: Path) -> Exit:
    from harness.bundles.merge import merge
    from harness.store.store import Store

    for other in others:
        if not (other / "jobs").is_dir():
            raise UserError(
                f"{other}: is no results folder, which has a folder 'jobs' (a bundle: python -m harness import)"
            )
        if other.resolve() == results.resolve():
            raise UserError(f"{other}: is the results folder itself; --results names where to, the argument where from")
    store = Store(results)
    store.prepare()
    trouble = False
    for other in others:
        done = merge(other, store, with_weights=weights, absence=f"not taken over from {other.name}")
        print_lines(done.lines(str(other)))
        trouble |= bool(done.damaged or done.conflicts)
    return Exit.FAILED if trouble else Exit.OK
