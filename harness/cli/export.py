"""`export`: results that travel, as a bundle; or all measurements as one table, for pandas and spreadsheets."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.errors import Exit, UserError
from harness.text import plural

_FORMATS = ("csv", "parquet")


@register(
    "export",
    "camvid.zip",
    notes="BUNDLE is a new .zip archive of measurements, confusion matrices, curves, manifests of the data and\n"
    "environments; `import` reads it elsewhere. Without BUNDLE: one row per measurement, whatever its table, profile and\n"
    "code, as --format csv (printed, or to --out FILE) or --format parquet --out FILE; in Python: harness.results().\n"
    "Exit code 5: nothing is measured.",
)
@click.argument("bundle", metavar="[BUNDLE]", required=False, type=options.PathType())
@click.option("--weights", is_flag=True, help="weights of trained models in the bundle, too")
@click.option("--format", "file_format", type=options.Choice(_FORMATS), help="a table instead of a bundle (csv)")
@click.option("--out", type=options.PathType(), metavar="FILE", help="where the table goes; needed for parquet")
@options.results
def command(bundle: Path | None, weights: bool, file_format: str | None, out: Path | None, results: Path) -> Exit:
    from harness.cli.inspection import warn_of_absence

    if bundle is not None:
        if file_format is not None or out is not None:
            raise UserError("a bundle has its own format: leave --format and --out away, or leave BUNDLE away")
        warn_of_absence(results)
        return _export_bundle(bundle, weights, results)
    if weights:
        raise UserError(
            "--weights goes with a bundle: say which file, as in python -m harness export results.zip --weights"
        )
    warn_of_absence(results)
    return _export_table(file_format or "csv", out, results)


def _export_bundle(bundle: Path, weights: bool, results: Path) -> Exit:
    from harness.bundles.write import write
    from harness.store.store import Store

    written = write(Store(results), bundle, with_weights=weights)
    parts = [f"{plural(written.jobs, 'job')} with {plural(written.measurements, 'measurement')}"]
    parts += [f"{plural(written.failed, 'failed job')}"] if written.failed else []
    without = "no weights, of which there are none here" if weights else "no weights (--weights adds them)"
    parts += [f"weights of {plural(written.weights, 'training')}" if written.weights else without]
    parts += [f"{plural(written.damaged, 'damaged record')} left out"] if written.damaged else []
    print(f"written: {bundle} ({bundle.stat().st_size / 2**20:.1f} MiB: {', '.join(parts)})")
    return Exit.OK if written.jobs else Exit.NOTHING


def _export_table(file_format: str, out: Path | None, results: Path) -> Exit:
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
