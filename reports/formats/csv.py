"""The report as CSV, one line per cell: for spreadsheets, scripts and diffs."""

from __future__ import annotations

import csv
import io

from harness.text import spreadsheet_cell
from reports import completeness
from reports.cell_report import CellReport
from reports.table_report import TableReport

HEADER = (
    "table",
    "row",
    "column",
    "measured",
    "published",
    "difference",
    "unit",
    "convention",
    "verdict",
    "n",
    "profile",
    "seeds",
    "keys",
    "commit",
    "device",
    "packages",
    "data",
    "recipe",
    "warning",
)
_NAMED_BY_NONE = "named by no cell"


def render(report: TableReport, header: bool = True) -> str:
    """CSV text, a line per cell (RFC 4180 quoting, `\\n` line ends); see `spreadsheet_cell` for texts like formulas.

    `header=False` leaves the first line out, to append to another table's. `measured` and `difference` have all their
    digits, `published` those that the paper prints; `verdict` is the cell's state where nothing was measured, and a stale
    value is not given. A last line without row and column counts, as `n`, the finished jobs in the store that no cell is
    about.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if header:
        writer.writerow(HEADER)
    writer.writerows(map(spreadsheet_cell, _line(report, shown)) for shown in report)
    if report.other_jobs:
        blank = dict.fromkeys(HEADER, "")
        told = {
            "table": report.table.id,
            "verdict": _NAMED_BY_NONE,
            "n": str(report.other_jobs),
            "profile": report.profile.name,
        }
        writer.writerow(map(spreadsheet_cell, (blank | told).values()))
    return out.getvalue()


def _line(report: TableReport, shown: CellReport) -> tuple[str, ...]:
    return (
        report.table.id,
        shown.row,
        shown.column,
        _number(shown.mean) if shown.values else "",
        shown.published.printed if shown.published is not None else "",
        _number(shown.difference) if shown.difference is not None else "",
        shown.metric.unit,
        shown.convention,
        shown.outcome,
        str(len(shown.values)),
        report.profile.name,
        *_origin(report, shown),
    )


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
        *("; ".join(map(str, dict.fromkeys(values))) for values in (shown.seeds, (r.job.key for r in results))),
        *("; ".join(dict.fromkeys(values)) for values in (commits, devices, packages, data)),
        f"{shown.cell.recipe}{differs}" if recipe is not None else "",
        "; ".join(completeness.warnings([shown], report.table)),
    )


def _number(value: float) -> str:
    return format(value, ".12g")
