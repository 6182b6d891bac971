"""`new table --from FILE`: a table file with the numbers that a paper prints."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from harness.cli.options import PathType
from harness.errors import Exit, UserError, nearest


@dataclass(frozen=True)
class PrintedTable:
    """Which table of which file, and what a person says of it."""

    source: Path
    label: str | None = None
    paper: str | None = None
    metrics: tuple[str, ...] = ()
    transpose: bool = False

    def write(self, name: str | None, out: Path | None) -> Exit:
        """Writes the table file and lists what was not read or assumed; lists the tables where several could be meant."""
        from harness.cli.new import checked_name, write_new
        from harness.scaffold import formats, layout, write

        metrics = _by_column(self.metrics)
        grid = formats.read(self.source, self.label)
        if grid is None:
            return self._list()
        reading = layout.read(grid.transposed() if self.transpose else grid, metrics, str(self.source))
        content = write.table_text(reading, write.Heading(self.paper or self.source.stem, self.source.name))
        file = out or Path(f"{checked_name(name or layout.slug(self.source.stem) or 'my_table')}.yaml")
        write.check(content, file)
        write_new(file, content)
        for kind, remarks in (("not read", reading.unread), ("assumed", reading.assumed)):
            for remark in sorted(remarks):
                print(f"{kind}: {remark.at(str(self.source))}", file=sys.stderr)
        print(write.summary(reading))
        print(f"next: python -m harness plan {file}; python -m harness audit {file}")
        return Exit.OK

    def _list(self) -> Exit:
        from harness.cli.output import print_lines
        from harness.scaffold import formats

        found = formats.tables(self.source)
        width = max(len(name) for name, _ in found)
        print_lines([f"{name:<{width}}  {about}".rstrip() for name, about in found])
        raise UserError(f"{self.source} holds {len(found)} tables; choose one, e.g. --label {found[0][0]}")


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the options that name a printed table, handed on as one `printed`; None without --from."""

    @click.option(
        "--from", "source", type=PathType(), metavar="FILE", help="a paper: LaTeX, HTML (also arXiv's), Markdown, CSV"
    )
    @click.option("--label", metavar="LABEL", help="which table of it: label, id or number; without it they are listed")
    @click.option("--paper", metavar="NAME", help="short name of the paper (the name of FILE)")
    @click.option(
        "--metric",
        "metrics",
        multiple=True,
        metavar="[COLUMN=]METRIC",
        help="of columns whose heading tells none; repeats",
    )
    @click.option("--transpose", is_flag=True, help="its rows are columns")
    @functools.wraps(function)
    def call(
        source: Path | None,
        label: str | None,
        paper: str | None,
        metrics: tuple[str, ...],
        transpose: bool,
        **others: Any,
    ) -> Any:
        if source is None and (label or paper or metrics or transpose):
            raise UserError("--label, --paper, --metric and --transpose are about the file of --from FILE")
        if source is not None and (others["recipe"] or others["method"] or others["backbone"]):
            raise UserError("the rows of --from FILE await their methods; leave --recipe, --method and --backbone out")
        printed = PrintedTable(source, label, paper, metrics, transpose) if source is not None else None
        return function(printed=printed, **others)

    return call


def _by_column(given: tuple[str, ...]) -> dict[str, str]:
    """{pattern of column keys, '' for all others: metric} of `--metric`."""
    from harness.table.metrics import METRICS

    found = {}
    for text in given:
        pattern, _, metric = text.rpartition("=")
        metric = metric.lower()
        if metric not in METRICS:
            raise UserError(f"--metric {text}: unknown metric '{metric}'.{nearest(metric, METRICS)}")
        found[pattern] = metric
    return found
