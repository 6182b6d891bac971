"""`list`: names of what there is. Plain lines, `NAME  ABOUT`, to be read by programs too."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.cli.listing import LISTS, entry_lines, list_lines, tables
from harness.cli.output import print_lines, print_wrapped
from harness.errors import Exit, UserError


@register(
    "list",
    "methods",
    notes=f"WHAT is one of {', '.join(LISTS)}; without it all are listed.\n"
    "With a NAME of that list: what it is, of a method or context its options with their types and defaults, and of a "
    "dataset its classes, splits and files, where it is to be had, and whether it is here.",
)
@click.argument("what", metavar="[WHAT]", required=False, type=options.Choice([*LISTS]))
@click.argument("name", metavar="[NAME]", required=False)
@options.data_folder
@click.option("--json", "as_json", is_flag=True, help="tables with their rows counted: runnable, cited, awaiting")
def command(what: str | None, name: str | None, data: Path | None, as_json: bool) -> Exit:
    if as_json and what != "tables":
        raise UserError("--json counts the rows of tables: write `list tables --json`")
    if as_json:
        print(json.dumps([*tables()], ensure_ascii=False, indent=1))
    elif what == "datasets" and name is not None:
        from harness.cli import dataset_entry

        print_wrapped(dataset_entry.lines(name, data))
    elif what is not None and name is not None:
        print_lines(entry_lines(what, name))
    else:
        print_lines(list_lines(what))
    return Exit.OK
