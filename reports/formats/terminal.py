"""The report as plain text for a terminal: measured beside published, a mark per verdict, as many columns as there are.

Rows are never wrapped: what does not fit beside the rows' labels stands in a further block of columns below. Sentences are
wrapped and never cut. Colour is for marks alone, and asked for by who knows that there is a terminal.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from harness.text import duration, line, plural, shorten
from reports import advice, claims, reproduce, row_headers, verdict
from reports.cell_report import CellReport
from reports.status import CellStatus
from reports.table_report import TableReport, counts

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = 160  # of a file or a pipe, which have no width of their own
_NARROW, _SHORT_LABEL = 100, 28  # below so many columns labels are cut to this
GAP = "   "  # between two columns of the table
OURS = "not in the paper's table:"
_LABEL, _TITLE = 36, 24  # a row's label is cut to this, a column's where the column is no wider

MARKS = {
    verdict.REPRODUCED: "✓",
    verdict.INFERRED: "≈",
    verdict.FITTED: "f",
    verdict.AS_ONE_RUN: "○",
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


COLOURS = {
    **dict.fromkeys("✓○", "green"),
    **dict.fromkeys("≈f", "cyan"),
    **dict.fromkeys("✗!", "red"),
    **dict.fromkeys("?s", "yellow"),
    "▸": "blue",
}
_ANSI = {"green": 32, "cyan": 36, "red": 31, "yellow": 33, "blue": 34}


def render(report: TableReport, width: int = COLUMNS, *, colour: bool = False) -> str:
    """Text that ends in a newline, at most `width` columns wide (where a label and one column of numbers fit in that).

    All of it is printable, but for the escape sequences of `colour`.
    """
    table = report.table
    lines = ["", *_wrapped(f"{table.name}: {table.title}", width)]
    if not report.comparable:
        lines += _wrapped(f"profile {report.profile.name}: {report.profile.about}", width)
    lines += [part for text in report.warnings for part in _wrapped(f"! {text}", width)]
    return (
        "\n".join(
            [
                *lines,
                *_blocks(report, width, colour),
                *_legend(report, width, colour),
                *_headline(report, width),
                *_claims(report, width),
                *_steps(report, width),
                *_origin(report, width),
            ]
        )
        + "\n"
    )


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """A sentence as lines, those after the first indented by two more blanks; long names in it are broken."""
    return textwrap.wrap(
        line(text), width, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False
    )


def _blocks(report: TableReport, width: int, colour: bool) -> Iterator[str]:
    """The table as lines: as many columns side by side as there is room for, then the others below."""
    from rich.console import Console
    from rich.measure import Measurement

    system: Literal["standard"] | None = "standard" if colour else None
    console = Console(width=10 * COLUMNS, file=io.StringIO(), color_system=system, force_terminal=colour)
    labels = _labels(report, _LABEL if width >= _NARROW else _SHORT_LABEL)
    room = width - Measurement.get(console, console.options, labels).maximum
    groups: list[list[Table]] = [[]]
    used = 0
    for column in report.columns:
        block = _block(report, column)
        needed = Measurement.get(console, console.options, block).maximum + len(GAP)
        if groups[-1] and used + needed > room:
            groups.append([])
            used = 0
        groups[-1].append(block)
        used += needed
    for group in groups:
        with console.capture() as capture:
            console.print(_side_by_side([labels, *group]), highlight=False)
        yield ""
        yield from (text.rstrip() for text in capture.get().splitlines())
    yield ""


def _side_by_side(blocks: Sequence[Table]) -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, len(GAP), 0, 0))
    for _ in blocks:
        grid.add_column(no_wrap=True)
    grid.add_row(*blocks)
    return grid


def _labels(report: TableReport, length: int) -> Table:
    """The column of the rows' labels, each cut to this length."""
    texts = [shorten(line(report.table.row(row).name), length) for row in report.rows]
    return _table(report, "", ("",), [(text,) for text in texts], between=OURS)


def _block(report: TableReport, column: str) -> Table:
    """One column: its label, its sub-headings, then its cells."""
    spec, metric = report.table.columns[column], report.table.column(column).metric
    related = spec.relative_to is not None
    heads = ("measured", "paper") + (("ratio", "paper") if related else ()) + ("",)
    rows = [_fields(report.cells.get((row, column)), related) for row in report.rows]
    if not any(row[1] for row in rows):  # nothing published in this column
        heads, rows = (heads[0], *heads[2:]), [(row[0], *row[2:]) for row in rows]
    title = row_headers.with_unit(line(spec.label or column), metric.unit)
    return _table(report, title, heads, rows)


def _table(
    report: TableReport, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], between: str = ""
) -> Table:
    """Lines under their heads and a title; `between` stands above the first row that is not the paper's."""
    from rich.table import Table
    from rich.text import Text

    inner = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, show_header=True, header_style="")
    for i, head in enumerate(heads):
        inner.add_column(Text(head), justify="right" if i < len(heads) - 1 else "left", no_wrap=True)
    for entry, texts in zip(row_headers.lines(report.table, report.rows), rows):
        if entry.ours:
            inner.add_row(Text(between))
        inner.add_row(*map(Text, texts[:-1]), Text(texts[-1], style=COLOURS.get(texts[-1], "")))
    outer = Table.grid()
    outer.add_column(no_wrap=True)
    outer.add_row(Text(shorten(title, max(_TITLE, _width(heads, rows)))))
    outer.add_row(inner)
    return outer


def _width(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Terminal columns of these fields, a blank between two."""
    from rich.cells import cell_len

    return sum(max(cell_len(row[i]) for row in (heads, *rows)) for i in range(len(heads))) + len(heads) - 1


def _fields(cell: CellReport | None, related: bool) -> tuple[str, ...]:
    if cell is None:
        return ("", "") + (("", "") if related else ()) + ("",)
    published = cell.published.printed if cell.published is not None else ""
    value = cell.text if cell.values else ""
    if len(cell.values) > 1:
        value += f" ±{cell.deviation:.{cell.decimals}f}"
    ratios: tuple[str, ...] = ()
    if related:
        pair = (cell.ratio.measured, cell.ratio.published) if cell.ratio is not None else (None, None)
        ratios = tuple(f"×{ratio:.2f}" if ratio is not None else "" for ratio in pair)
    return (value, published, *ratios, MARKS.get(cell.outcome, ""))


def _legend(report: TableReport, width: int, colour: bool) -> list[str]:
    lines = []
    for whose, cells in (("cells", report.own_cells()), ("ours", report.added_cells())):
        found = counts(cells)
        parts = [f"{MARKS.get(outcome, '')} {outcome} {count}".strip() for outcome, count in found.items()]
        texts = _wrapped(f"{whose}: {' · '.join(parts)}", width) if parts else []
        lines += [_painted(text, found) for text in texts] if colour else texts
    lines = lines or ["no cell is selected"]
    reasons = dict.fromkeys(cell.reason for cell in report if cell.status in _EXPLAINED)
    lines += [part for reason in list(reasons)[:5] for part in _wrapped(reason, width, "  ")]
    return lines + ([f"  and {plural(len(reasons) - 5, 'reason')} more"] if len(reasons) > 5 else [])


def _painted(text: str, outcomes: Iterable[str]) -> str:
    """A line of the legend with its marks in colour."""
    for outcome in outcomes:
        mark = MARKS.get(outcome, "")
        if mark in COLOURS:
            text = text.replace(f"{mark} {outcome}", f"\x1b[{_ANSI[COLOURS[mark]]}m{mark}\x1b[0m {outcome}")
    return text


def _headline(report: TableReport, width: int) -> list[str]:
    """The table's result with what chance would give, and how it depends on what the paper does not say."""
    texts = (report.headline, report.sensitivity)
    return [part for text in texts for part in _wrapped(text, width)]


def _claims(report: TableReport, width: int) -> list[str]:
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
        lines += _wrapped(text, width)
    return lines


def _steps(report: TableReport, width: int) -> list[str]:
    steps = advice.steps(report)
    if not steps:
        return []
    first = steps[0]
    others = f"; more for {plural(len(steps) - 1, 'other cell')}" if len(steps) > 1 else ""
    with_ = f"with {plural(first.seeds, 'more seed')}, about {duration(first.seconds)}"
    text = f"cheapest verdict to be had: {first.row} / {first.column} {with_}{others}"
    return _wrapped(text, width)


def _origin(report: TableReport, width: int) -> list[str]:
    texts = reproduce.summary(reproduce.record(report), report.other_jobs)
    return [part for text in texts for part in _wrapped(text, width)]
