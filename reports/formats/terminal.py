"""The report as plain text for a terminal: measured beside published, a mark per verdict, at most 160 columns."""

from __future__ import annotations

from collections.abc import Sequence

from harness.text import duration, line, pad, plural, shorten, width
from reports import advice, claims, reproduce, verdict
from reports.status import CellStatus
from reports.table_report import CellReport, TableReport

COLUMNS = 160
_LABEL, _TITLE = 36, 24  # a row's label is cut to this, a column's where the column is no wider

MARKS = {
    verdict.REPRODUCED: "✓",
    verdict.INFERRED: "≈",
    verdict.FITTED: "f",
    verdict.NOT_REPRODUCED: "✗",
    verdict.INCONCLUSIVE: "?",
    verdict.NOT_COMPARABLE: "~",
    verdict.INVALID: "!",
    CellStatus.RUNNING: "▸",
    CellStatus.SUBMITTED: "q",
    CellStatus.FAILED: "!",
    CellStatus.STALE: "s",
    CellStatus.BLOCKED: "b",
    CellStatus.UNREADABLE: "!",
    CellStatus.INTERRUPTED: "‖",
    CellStatus.ABSENT: "–",
    CellStatus.NOT_RUN: "–",
    CellStatus.ON_REQUEST: "–",
    CellStatus.CITED: "c",
    CellStatus.AWAITS: "w",
}
_EXPLAINED = (CellStatus.FAILED, CellStatus.BLOCKED, CellStatus.STALE, CellStatus.UNREADABLE)
"""What the legend gives the reasons of: something went wrong, or something is missing."""


def render(report: TableReport) -> str:
    """Text that ends in a newline; wide tables are printed in blocks of columns that repeat the rows' labels."""
    table = report.table
    lines = ["", shorten(line(f"{table.name}: {table.title}"), COLUMNS)]
    if not report.comparable:
        lines.append(shorten(f"profile {report.profile.name}: {line(report.profile.about)}", COLUMNS))
    labels = [shorten(line(table.row(row).name), _LABEL) for row in report.rows]
    label_width = max((width(label) for label in labels), default=0)
    blocks = [_block(report, column) for column in report.columns]
    for group in _groups(blocks, COLUMNS - label_width):
        lines.append("")
        for i, label in enumerate(("", "", *labels)):
            lines.append((pad(label, label_width) + "".join(block[i] for block in group)).rstrip())
            if i == 1 + sum(not table.rows[row].extra for row in report.rows) and i < len(labels) + 1:
                lines.append("not in the paper's table:")
    return "\n".join([*lines, "", *_legend(report), *_claims(report), *_decide(report), *_origin(report)]) + "\n"


def _block(report: TableReport, column: str) -> list[str]:
    """The lines of one column: its label, its sub-headings, then its cells, all of one width."""
    spec, metric = report.table.columns[column], report.table.column(column).metric
    related = spec.relative_to is not None
    heads = ("measured", "paper") + (("ratio", "paper") if related else ()) + ("",)
    rows = [heads, *(_fields(report.cells.get((row, column)), related) for row in report.rows)]
    if not any(row[1] for row in rows[1:]):  # nothing published in this column
        rows = [(row[0], *row[2:]) for row in rows]
    widths = [max(width(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "   " + " ".join(pad(text, widths[i], right=i < len(widths) - 1) for i, text in enumerate(row)) for row in rows
    ]
    unit = f" ({metric.unit})" if metric.unit else ""
    title = shorten(line(spec.label or column) + unit, max(_TITLE, width(lines[0]) - 3))
    full = max(width(title) + 3, width(lines[0]))
    return [pad(text, full) for text in ("   " + title, *lines)]


def _fields(shown: CellReport | None, related: bool) -> tuple[str, ...]:
    if shown is None:
        return ("", "") + (("", "") if related else ()) + ("",)
    published = shown.published.printed if shown.published is not None else ""
    value = shown.text if shown.values else ""
    if len(shown.values) > 1:
        value += f" ±{shown.deviation:.{shown.decimals}f}"
    ratios: tuple[str, ...] = ()
    if related:
        pair = (shown.ratio.measured, shown.ratio.published) if shown.ratio is not None else (None, None)
        ratios = tuple(f"×{ratio:.2f}" if ratio is not None else "" for ratio in pair)
    return (value, published, *ratios, MARKS.get(shown.outcome, ""))


def _groups(blocks: Sequence[list[str]], room: int) -> list[list[list[str]]]:
    groups: list[list[list[str]]] = [[]]
    used = 0
    for block in blocks:
        needed = max(width(text) for text in block)
        if groups[-1] and used + needed > room:
            groups.append([])
            used = 0
        groups[-1].append(block)
        used += needed
    return groups


def _legend(report: TableReport) -> list[str]:
    parts = []
    for outcome, count in report.counts().items():
        mark = MARKS.get(outcome, "")
        parts.append(f"{mark} {outcome} {count}".strip())
    lines = ["cells: " + " · ".join(parts)] if parts else ["no cell is selected"]
    reasons = dict.fromkeys(shown.reason for shown in report if shown.status in _EXPLAINED)
    lines += [f"  {shorten(line(reason), COLUMNS - 2)}" for reason in list(reasons)[:5]]
    return lines + ([f"  and {plural(len(reasons) - 5, 'reason')} more"] if len(reasons) > 5 else [])


def _claims(report: TableReport) -> list[str]:
    lines = []
    for judgement in claims.judge_claims(report):
        parts = "; ".join(
            f"{part.column} {part.difference:+.2f}" + (f" (paper {part.published:+.2f})" if part.published else "")
            for part in judgement.parts
            if part.difference is not None
        )
        text = f"claim: {claims.claim_text(judgement.claim, str)}: {judgement.outcome}" + (
            f" · {parts}" if parts else ""
        )
        lines.append(shorten(line(text), COLUMNS))
    return lines


def _decide(report: TableReport) -> list[str]:
    steps = advice.steps(report)
    if not steps:
        return []
    first = steps[0]
    others = f"; more for {plural(len(steps) - 1, 'other cell')}" if len(steps) > 1 else ""
    with_ = f"with {plural(first.seeds, 'more seed')}, about {duration(first.seconds)}"
    text = f"cheapest verdict to be had: {first.row} / {first.column} {with_}{others}"
    return [shorten(line(text), COLUMNS)]


def _origin(report: TableReport) -> list[str]:
    return [shorten(line(text), COLUMNS) for text in reproduce.summary(reproduce.record(report), report.others)]
