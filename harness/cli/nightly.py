"""`nightly`: one night from its file to its page and exit code."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.errors import Exit


@register("nightly", "slurm/nightly.yaml")
@click.argument("file", metavar="FILE", type=options.PathType())
@click.option("--date", metavar="YYYY-MM-DD", help="the night's date (today)")
@options.folders_and_device
def command(file: Path, date: str | None, data: Path | None, results: Path, device: str) -> Exit:
    from harness.nightly.run import run

    return run(file, date, data_dir=data, results=results, device=device)
