"""`list`: names of what there is. Plain lines, `NAME  ABOUT`, to be read by programs too."""

from __future__ import annotations

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.cli.listing import LISTS, list_lines
from harness.cli.output import print_lines
from harness.errors import Exit


@register("list", "methods", notes=f"WHAT is one of {', '.join(LISTS)}; without it all are listed.")
@click.argument("what", metavar="[WHAT]", required=False, type=options.Choice([*LISTS]))
def command(what: str | None) -> Exit:
    print_lines(list_lines(what))
    return Exit.OK
