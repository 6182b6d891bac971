"""`audit`: what does not fit in the published numbers; nothing is measured."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.errors import Exit

if TYPE_CHECKING:
    from harness.table.schema import Table
    from reports.audit.corpus import Finding

_FORMATS = ("text", "markdown", "csv")


@register(
    "audit",
    "tables/ecenet_table1.yaml",
    notes="Without TABLE the findings are about all tables.\n\n"
    "exit codes: 0 nothing found, 1 there are findings, 2 a file is wrong",
)
@options.optional_tables
@click.option(
    "--format", "format_name", type=options.Choice(_FORMATS), default="text", help="how to print the findings (text)"
)
def command(tables: tuple[str, ...], format_name: str) -> Exit:
    from harness.table.load import load_all
    from reports.audit.findings import as_csv, as_markdown, text

    findings, scope = audit_findings(load_all(tables))
    if format_name == "csv":
        sys.stdout.write(as_csv(findings))
    else:
        sys.stdout.write((text if format_name == "text" else as_markdown)(findings, scope))
    return Exit.FAILED if findings else Exit.OK


def audit_findings(tables: Sequence[Table]) -> tuple[list[Finding], str]:
    """(findings, what was checked) about these tables, or about all published ones where there is none."""
    from harness.table import paths
    from harness.table.load import load_all
    from harness.text import plural
    from reports.audit import findings, paper
    from reports.audit.corpus import Subject

    ids = {table.id for table in tables}
    others = load_all(str(path) for path in paths.table_files() if path.stem not in ids)
    corpus = [*tables, *(table for table in others if table.published.source.table is not None)]
    subject = Subject(corpus, paper.papers({table.paper for table in corpus}), paper.spellings())
    return findings.audit(subject, only=ids), plural(len(tables) or len(corpus), "table")
