"""`reproduce`: the commands that make a report again."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.cli.output import print_lines
from harness.errors import Exit


@register("reproduce", "results/reports/camvid.md", notes="REPORT is a Markdown report.")
@click.argument("report", metavar="REPORT", type=options.PathType())
def command(report: Path) -> Exit:
    from harness import environment
    from reports import reproduce

    print_lines(reproduce.lines(reproduce.read(report), environment.packages()))
    return Exit.OK
