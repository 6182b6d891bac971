"""The report as CSV, one line per cell: for spreadsheets, scripts and diffs."""

from __future__ import annotations

import csv
import io
import math

from harness.stats.small_samples import t_quantile
from harness.text import spreadsheet_cell
from reports import completeness
from reports.cell_report import CellReport
from reports.table_report import TableReport

HEADER = (
    "table",
    "row",
    "column",
    "measured",
    "sd",
    "low",
    "high",
    "published",
    "difference",
    "difference_low",
    "difference_high",
    "unit",
    "convention",
    "verdict",
    "n",
    "profile",
    "seeds",
    "values",
    "keys",
    "commit",
    "device",
    "packages",
    "data",
    "recipe",
    "warning",
)
NUMBERS = ("measured", "sd", "low", "high", "difference", "difference_low", "difference_high", "n")
"""The columns that hold a number or nothing; `published` may hold a bound, such as `>80`."""

CONFIDENCE = 0.90


def render(report: TableReport, header: bool = True) -> str:
    """CSV text, a line per cell (RFC 4180 quoting, `\\n` line ends); see `spreadsheet_cell` for texts like formulas.

    `header=False` leaves the first line out, to append to another table's. `measured`, `sd` (between repetitions), `low` and
    `high` (90 % interval of the mean by Student's t), `difference` (measured less published), `difference_low` and
    `difference_high` (the interval that the verdict rests on) and `values` (one per repetition, in the order of `seeds`) have all
    their digits, `published` those that the paper prints; `verdict` is the cell's state where nothing was measured, and a stale
    value is not given.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if header:
        writer.writerow(HEADER)
    writer.writerows(map(spreadsheet_cell, _line(report, shown)) for shown in report)
    return out.getvalue()


def _line(report: TableReport, shown: CellReport) -> tuple[str, ...]:
    return (
        report.table.id,
        shown.row,
        shown.column,
        _number(shown.mean) if shown.values else "",
        _number(shown.deviation) if len(shown.values) > 1 else "",
        *_ends(_interval(shown)),
        shown.published.printed if shown.published is not None else "",
        _number(shown.difference) if shown.difference is not None else "",
        *_ends(shown.verdict.interval),
        shown.metric.unit,
        shown.convention,
        shown.outcome,
        str(len(shown.values)),
        report.profile.name,
        *_origin(report, shown),
    )


def _interval(shown: CellReport) -> tuple[float, float] | None:
    """The 90 % interval of the mean by Student's t; None below two repetitions, or where one is not finite."""
    count = len(shown.values)
    if count < 2 or not all(map(math.isfinite, shown.values)):
        return None
    half = t_quantile((1 + CONFIDENCE) / 2, count - 1) * shown.deviation / math.sqrt(count)
    return shown.mean - half, shown.mean + half


def _ends(interval: tuple[float, float] | None) -> tuple[str, str]:
    return (_number(interval[0]), _number(interval[1])) if interval is not None else ("", "")


def _origin(report: TableReport, shown: CellReport) -> tuple[str, ...]:
    """Where a cell's numbers come from; entries of one field are set apart by `; `."""
    results = {r.job.key: r for r in (*shown.trainings, *shown.results)}.values()
    told = [r.environment for r in results]
    commits = (f"{e.get('commit') or 'unknown'}{' with uncommitted changes' if e.get('dirty') else ''}" for e in told)
    devices = (", driver ".join(str(e[k]) for k in ("device", "driver") if e.get(k)) for e in told)
    packages = (f"{name} {version}" for e in told for name, version in (e.get("packages") or {}).items())
    data = (f"{name} {digest}" for r in results for name, digest in r.job.data_digests.items())
    recipe = report.recipes.get(shown.cell.recipe or "") if shown.jobs and shown.metric.trains else None
    differs = "".join(f"; {key}: {why}" for key, why in recipe.differs.items()) if recipe is not None else ""
    return (
        "; ".join(map(str, shown.seeds)),
        "; ".join(map(_number, shown.values)),
        "; ".join(dict.fromkeys(r.job.key for r in results)),
        *("; ".join(dict.fromkeys(values)) for values in (commits, devices, packages, data)),
        f"{shown.cell.recipe}{differs}" if recipe is not None else "",
        "; ".join([*report.deviations, *completeness.warnings([shown], report.table)]),
    )


def _number(value: float) -> str:
    return format(value, ".12g")
