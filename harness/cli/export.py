"""`export`: all measurements as one table, for pandas and spreadsheets."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.errors import Exit, UserError

_FORMATS = ("csv", "parquet")


@register(
    "export",
    "--format parquet --out measurements.parquet",
    notes="One row per measurement, whatever its table, profile and code; in Python: harness.results(). Without --out\n"
    "CSV is printed. Exit code 5: nothing is measured.",
)
@click.option("--format", "file_format", type=options.Choice(_FORMATS), default="csv", help="of the file (csv)")
@click.option("--out", type=options.PathType(), metavar="FILE", help="where to; needed for parquet")
@options.results
def command(file_format: str, out: Path | None, results: Path) -> Exit:
    from harness.store.export import as_csv, frame, write
    from harness.store.store import Store

    if file_format == "parquet" and out is None:
        raise UserError("parquet cannot be printed: say which file with --out FILE, or choose --format csv")
    measurements = frame(Store(results))
    if out is None:
        as_csv(measurements, sys.stdout)
    else:
        write(measurements, out, file_format)
        print(f"written: {out} ({len(measurements)} measurements)")
    return Exit.NOTHING if measurements.empty else Exit.OK
