"""The sheet as CSV, one line per cell: for spreadsheets, scripts and diffs."""

from __future__ import annotations

import csv
import io

from reports.sheet import Sheet, Shown

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
)


def render(sheet: Sheet, header: bool = True) -> str:
    """CSV text (RFC 4180 quoting, `\\n` line ends); `header=False` leaves the first line out, to append to another table's.

    `measured` and `difference` have all their digits, `published` those that the paper prints; `verdict` is the cell's
    state where nothing was measured, and a stale value is not given.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if header:
        writer.writerow(HEADER)
    writer.writerows(_line(sheet, shown) for shown in sheet)
    return out.getvalue()


def _line(sheet: Sheet, shown: Shown) -> tuple[str, ...]:
    return (
        sheet.table.id,
        shown.row,
        shown.column,
        _number(shown.mean) if shown.values else "",
        shown.published.printed if shown.published is not None else "",
        _number(shown.difference) if shown.difference is not None else "",
        shown.measure.unit,
        shown.convention,
        shown.outcome,
        str(len(shown.values)),
        sheet.profile.name,
    )


def _number(value: float) -> str:
    return format(value, ".12g")
