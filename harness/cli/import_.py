"""`import`: the results of a bundle into this results folder."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.cli.output import print_lines
from harness.errors import Exit


@register(
    "import",
    "camvid.zip",
    notes="What is here stands: a bundle adds results, and replaces none. Damaged records are put aside as NAME.damaged.\n"
    "Exit code 1: records were damaged, or results are in conflict.",
)
@click.argument("bundles", metavar="BUNDLE...", nargs=-1, required=True, type=options.PathType())
@options.results
def command(bundles: tuple[Path, ...], results: Path) -> Exit:
    from harness.bundles.merge import merge
    from harness.bundles.read import opened
    from harness.store.store import Store

    store = Store(results)
    store.prepare()
    trouble = False
    for bundle in bundles:
        with opened(bundle, store.root) as content:
            absence = f"not in the bundle {bundle.name}"
            done = merge(content.root, store, with_weights=True, damaged=content.damaged, absence=absence)
        print_lines(done.lines(str(bundle)))
        trouble |= bool(done.damaged or done.conflicts)
    return Exit.FAILED if trouble else Exit.OK
