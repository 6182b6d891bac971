"""`clean`: deletes what is not needed for any number."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.cli.output import print_lines
from harness.errors import Exit
from harness.text import plural


@register(
    "clean",
    "--yes",
    notes="Sizes are shown first, and nothing is deleted before you say so. Measurements, curves and matrices stay, and so does\n"
    "what a stopped training goes on from. Where a test still needs weights that are gone, its training runs again.",
)
@click.option(
    "--superseded", is_flag=True, help="also weights of trainings measured again since, with other code or data"
)
@click.option("--yes", is_flag=True, help="delete without asking")
@options.results
def command(superseded: bool, yes: bool, results: Path) -> Exit:
    from harness.store import cleaning
    from harness.store.store import Store

    heaps = cleaning.deletable(Store(results), superseded=superseded)
    total = sum(heap.size for heap in heaps.values())
    lines = [f"{_size(heap.size):>10}  {plural(len(heap.files), 'file')}: {why}" for why, heap in heaps.items()]
    print_lines(lines or [f"{results}: nothing that can go"])
    if not heaps:
        return Exit.OK
    if not yes:
        if not sys.stdin.isatty():
            print(f"{_size(total)} can go; --yes deletes them")
            return Exit.OK
        if not click.confirm(f"delete {_size(total)}?"):
            return Exit.OK
    print(f"deleted: {_size(cleaning.delete(heaps.values()))}")
    return Exit.OK


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 1 << 30 else f"{count / 2**20:.1f} MiB"
