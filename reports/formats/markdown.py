"""The report as Markdown that renders on a code host: the published table with the measured numbers in it, and their grounds.

The document itself is templates/report.md.jinja; here are the texts that stand in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from harness.table.schema import Table
from harness.text import duration, format_decimals, markdown, number, plural, shorten, signed
from reports import advice, claims, commands, reproduce, row_headers, verdict
from reports.cell_report import CellReport
from reports.formats import details
from reports.formats.templates import markdown_templates
from reports.meanings import MEANINGS
from reports.status import CellStatus
from reports.table_report import TableReport, counts

LABEL = 120  # characters of a label shown in the table; the whole of it stands under "Rows"


def render(report: TableReport, *, figures: Mapping[str, str] | None = None) -> str:
    """The report. `figures` maps a text alternative to the figure's path relative to the report."""
    notes = _Footnotes()
    headings, lines = _headings(report, notes), list(_lines(report, notes))
    environments = [result.environment for result in report.results().values()]
    document = markdown_templates().get_template("report.md.jinja")
    text = document.render(
        report=report,
        table=report.table,
        profile=report.profile,
        places=_places(report.table),
        measured=_measured(report.own_cells()),
        added=_measured(report.added_cells()) if report.added_cells() else "",
        outcomes=_outcomes(report),
        headline=report.headline,
        sensitivity=report.sensitivity,
        dependent=list(_dependent(report)),
        unnamed=reproduce.unreported_jobs(report.other_jobs) if report.other_jobs else "",
        headings=headings,
        lines=lines,
        footnotes=notes.texts,
        meanings=MEANINGS,
        medians=any(cell.quartiles is not None for cell in report),
        claims=list(_claims(report)),
        steps=list(_steps(report)),
        gains=_gains(report),
        rankings=list(_rankings(report)),
        figures=figures or {},
        uncommitted=any(environment.get("dirty") for environment in environments),
        commits=list({str(environment["commit"]) for environment in environments if environment.get("commit")}),
        command=commands.run_command(report),
        record=reproduce.embed(reproduce.record(report)),
        **details.sections(report),
    )
    return text.rstrip("\n") + "\n"


def _measured(cells: Sequence[CellReport]) -> str:
    """`3 of 20 cells measured: 2 reproduced · 1 not reproduced · 17 not run`."""
    by_outcome = " · ".join(f"{count} {outcome}" for outcome, count in counts(cells).items())
    text = f"{sum(cell.measured for cell in cells)} of {plural(len(cells), 'cell')} measured"
    return f"{text}: {by_outcome}" if by_outcome else text


def _outcomes(report: TableReport) -> dict[str, str]:
    """{outcome: how many cells have it}; those of rows that we added are named apart."""
    own, added = counts(report.own_cells()), counts(report.added_cells())
    return {
        outcome: " + ".join(
            [
                *([str(own[outcome])] if outcome in own else []),
                *([f"{added[outcome]} of ours"] if outcome in added else []),
            ]
        )
        for outcome in {**own, **added}
    }


class _Footnotes:
    """Numbers footnotes in the order in which cells first need them."""

    def __init__(self) -> None:
        self.texts: dict[str, int] = {}

    def mark(self, texts: Sequence[str]) -> str:
        numbers = [str(self.texts.setdefault(text, len(self.texts) + 1)) for text in texts]
        return f"<sup>{', '.join(numbers)}</sup>" if numbers else ""


def _places(table: Table) -> list[str]:
    """Where the table is published."""
    source = table.published.source
    places = []
    if source.arxiv:
        places.append(f"[arXiv {markdown(source.arxiv)}](https://arxiv.org/abs/{quote(source.arxiv)})")
    places += [f"doi {markdown(source.doi)}"] if source.doi else []
    places += [markdown(source.venue)] if source.venue else []
    places += [f"Table {markdown(str(source.table))}"] if source.table is not None else []
    return places


# ----------------------------------------------------------------------------------------------------- the table


def _headings(report: TableReport, notes: _Footnotes) -> list[str]:
    titles = [markdown(shorten(title, LABEL)) for title in row_headers.heads(report.table).values()]
    return [*titles, *(_heading(report, column, notes) for column in report.columns)] if report.rows else []


def _lines(report: TableReport, notes: _Footnotes) -> Iterator[dict[str, Any]]:
    """The table's rows, each with the heading above it."""
    heads = list(row_headers.heads(report.table))
    for line in row_headers.lines(report.table, report.rows):
        heading = markdown(shorten(line.heading, LABEL)) if not line.ours else f"*{line.heading}*"
        names = [markdown(shorten(name, LABEL)) for name in row_headers.names(report.table, line.row, heads)]
        reports = (report.cells.get((line.row, column)) for column in report.columns)
        cells = [_cell(cell, notes) if cell is not None else "" for cell in reports]
        bold = f"**{heading}**" if heading and not line.ours else heading
        yield {"heading": bold, "cells": [*names, *cells]}


def _heading(report: TableReport, column: str, notes: _Footnotes) -> str:
    spec, resolved = report.table.columns[column], report.table.column(column)
    label, unit = shorten(spec.label or column, LABEL), resolved.metric.unit
    about = [unit] if row_headers.with_unit(label, unit) != label else []
    about += [markdown(resolved.convention)] if resolved.metric.name == "flops" else []
    about += [f"ratio to {_label(report.table, spec.relative_to)}"] if spec.relative_to else []
    head = markdown(label) + (f" ({'; '.join(about)})" if about else "")
    others = {cell.convention for cell in report if cell.column == column and cell.measured}
    others -= {"", resolved.convention}
    texts = [spec.note] if spec.note else []
    return head + notes.mark(texts + ([f"measured: {'; '.join(sorted(others))}"] if others else []))


def _label(table: Table, row: str) -> str:
    return markdown(shorten(table.row(row).name, 40))


def _column_label(report: TableReport, column: str, length: int = 40) -> str:
    return markdown(shorten(report.table.columns[column].label or column, length))


def _cell(cell: CellReport, notes: _Footnotes) -> str:
    """`42.21 · paper 42.21 · **reproduced**`, or what stands in the place of a value, with its footnotes."""
    mark = notes.mark(cell.footnotes)
    paper = f"paper {markdown(cell.published.printed)}" if cell.published is not None else ""
    ratio = cell.ratio
    if not cell.measured:
        paper += f", {ratio.published:.2f} ×" if paper and ratio is not None and ratio.published is not None else ""
        word = "" if cell.status == CellStatus.NOT_RUN else f"*{cell.status}*{mark}"
        return " · ".join(part for part in ("–", paper, word) if part)
    parts = [_value(cell)]
    if ratio is not None and ratio.measured is not None:
        parts.append(f"{ratio.measured:.2f} ×")
    if paper:
        paper += f", {ratio.published:.2f} ×" if ratio is not None and ratio.published is not None else ""
        parts.append(paper + _difference(cell))
    parts += [word] if (word := _verdict(cell)) else []
    return " · ".join(parts) + mark


def _verdict(cell: CellReport) -> str:
    """The verdict's word, bold where it is certain; "" for what is said once, above the table or in a heading."""
    word = cell.verdict.word
    if not word or word in (verdict.UNPUBLISHED, verdict.OTHER_MACHINE, verdict.NOT_COMPARABLE):
        return ""
    weak = word in (verdict.FITTED, verdict.INFERRED, verdict.INCONCLUSIVE)
    if word == verdict.INCONCLUSIVE and cell.verdict.more is not None:
        word += f" ({plural(cell.verdict.more, 'more seed')})"
    return f"*{word}*" if weak else f"**{word}**"


def _value(cell: CellReport) -> str:
    if len(cell.values) > 1:
        return f"{cell.text} ± {number(cell.deviation, 2)} (n = {len(cell.values)})"
    if cell.quartiles is not None:
        low, high = (format_decimals(q, cell.decimals) for q in cell.quartiles)
        return f"{cell.text} ({low} … {high})"
    return cell.text


def _difference(cell: CellReport) -> str:
    """The difference where it says something: not for equal digits, nor between machines or profiles."""
    silent = (verdict.OTHER_MACHINE, verdict.NOT_COMPARABLE, verdict.INVALID)
    if cell.difference is None or cell.verdict.word in silent:
        return ""
    text = signed(cell.difference, cell.decimals)
    return "" if text.startswith("±") else f" ({text})"


# ---------------------------------------------------------------------------------------------- below the table


def _dependent(report: TableReport) -> Iterator[dict[str, str]]:
    """Judged cells whose word depends on what the paper does not say of its values."""
    for cell in report.judged():
        if any(word != cell.verdict.word for _, word in cell.verdict.others):
            name = f"{_label(report.table, cell.row)}, {_column_label(report, cell.column)}"
            yield {"cell": name, "word": cell.verdict.word, "sensitivity": markdown(cell.verdict.sensitivity)}


def _claims(report: TableReport) -> Iterator[dict[str, Any]]:
    for judgement in claims.judge_claims(report):
        measured = judgement.outcome != claims.UNMEASURED
        several = len(judgement.claim.steps) > 1
        yield {
            "text": claims.claim_text(judgement.claim, lambda row: _label(report.table, row)),
            "outcome": judgement.outcome,
            "parts": [_part(report, part, measured=measured, named=several) for part in judgement.parts],
        }


def _part(report: TableReport, part: claims.Part, *, measured: bool, named: bool) -> str:
    """`ADE20K: holds, +6.40 [+5.91, +6.89], paper +6.65 (3 seeds, paired)`; `named`: with the row of the step."""
    texts = [part.outcome] if measured else []
    if part.difference is not None:
        texts.append(_signed(report, part.column, part.difference))
    if part.interval is not None:
        low, high = (_signed(report, part.column, end) for end in part.interval)
        texts[-1] += f" [{low}, {high}]"
    if part.published is not None:
        texts.append(f"paper {_signed(report, part.column, part.published)}")
    label = _column_label(report, part.column)
    label += f" · {_label(report.table, part.better)}" if named else ""
    return f"{label}: {', '.join(texts)}" + (f" ({markdown(part.reason)})" if part.reason and measured else "")


def _signed(report: TableReport, column: str, value: float) -> str:
    return signed(value, report.table.column(column).metric.decimals)


def _steps(report: TableReport) -> Iterator[dict[str, Any]]:
    """What would decide a cell or a claim."""
    for step in advice.steps(report):
        cell = f"{_label(report.table, step.row)}, {_column_label(report, step.column)}"
        yield {"cell": cell, "seeds": step.seeds, "time": duration(step.seconds)}


def _gains(report: TableReport) -> dict[str, Any]:
    """The gains that the paper prints beside its values: measured ones, and those that start from no row of the table."""
    printed_gains = claims.gains(report)
    measured = [gain for gain in printed_gains if gain.measured is not None]
    return {
        "measured": [_gain(report, gain) for gain in measured],
        "without_base": [_gain(report, gain) for gain in printed_gains if gain.base is None],
        "same_sign": sum((gain.measured or 0.0) * gain.printed > 0 for gain in measured),
    }


def _gain(report: TableReport, gain: claims.Gain) -> dict[str, str]:
    return {
        "cell": f"{_label(report.table, gain.row)}, {_column_label(report, gain.column)}",
        "base": _label(report.table, gain.base) if gain.base is not None else "",
        "paper": _signed(report, gain.column, gain.printed),
        "here": _signed(report, gain.column, gain.measured or 0.0),
    }


def _rankings(report: TableReport) -> Iterator[dict[str, Any]]:
    for ranking in claims.rankings(report):
        interval = f" [{ranking.interval[0]:.2f}, {ranking.interval[1]:.2f}]" if ranking.interval is not None else ""
        yield {
            "column": _column_label(report, ranking.column, LABEL),
            "rows": ranking.rows,
            "tau": f"{ranking.tau:.2f}{interval}",
        }
