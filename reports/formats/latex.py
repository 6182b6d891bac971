"""The report as LaTeX: the paper's table in the paper's column order (booktabs), measured values with the published in brackets.

Compiles with pdflatex and its usual packages. Verdicts are daggers; text that others wrote is escaped, characters that
pdflatex has no glyph for become their code point.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from harness.text import line, sentence, shorten
from reports import reproduce, row_headers, verdict
from reports.cell_report import CellReport
from reports.formats.templates import latex_templates
from reports.status import CellStatus
from reports.table_report import TableReport

LABEL = 120  # characters of a label; a longer one is cut

MARKS = {
    verdict.REPRODUCED: "",
    verdict.INFERRED: r"\S",
    verdict.FITTED: r"\S",
    verdict.AS_ONE_RUN: r"\circ",
    verdict.NOT_REPRODUCED: r"\dagger",
    verdict.INCONCLUSIVE: r"\ddagger",
    verdict.INVALID: r"\dagger",
}
_MEANINGS = {
    r"\circ": "agrees as one run can",
    r"\dagger": "not reproduced",
    r"\ddagger": "inconclusive",
    r"\S": "prints the published digits, but the module was inferred or fitted",
}

_PLAIN = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "-": "-{}",  # no ligature: two hyphens stay two
    "?": "?{}",  # nor ?` an inverted mark
    "!": "!{}",
    "–": "--{}",
    "—": "---{}",
    "−": "$-$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "→": r"$\to$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "∞": r"$\infty$",
    "✓": r"$\checkmark$",
    "✗": r"$\times$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "…": r"\dots{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}",
    "°": r"$^\circ$",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "ø": r"\o{}",
    "ł": r"\l{}",
}
_POWERS = {"⁰": "0", "¹": "1", "²": "2", "³": "3", "⁴": "4", "⁵": "5", "⁶": "6", "⁷": "7", "⁸": "8", "⁹": "9"}
_SMALL = "αβγδεζηθικλμνξπρστυφχψω"
_CAPITAL = "ΓΔΘΛΞΠΣΦΨΩ"
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u0304": "=", "\u0307": ".",
    "\u0306": "u", "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c", "\u0328": "k",
}  # fmt: skip


def fragment(reports: Iterable[TableReport]) -> str:
    """A `table` environment per report, for `\\input` in a paper; a comment says what packages it needs."""
    head = r"% \usepackage{amssymb,booktabs,graphicx}; \usepackage[T1]{fontenc} for what is quoted" + "\n"
    return head + "\n".join(render(report) for report in reports)


def document(reports: Iterable[TableReport]) -> str:
    """A whole document with a table per report."""
    template = latex_templates(escape).get_template("document.tex.jinja")
    return template.render(tables=[render(report) for report in reports])


def render(report: TableReport) -> str:
    """One `table` environment, to be copied into a paper that loads booktabs, graphicx and amssymb."""
    heads = row_headers.heads(report.table)
    headings = [shorten(heading, LABEL) for heading in heads.values()]
    headings += [_heading(report, column) for column in report.columns]
    record = reproduce.record(report)
    comments = [*(line(text) for text in reproduce.summary(record, report.other_jobs)), reproduce.embed_latex(record)]
    return (
        latex_templates(escape)
        .get_template("table.tex.jinja")
        .render(
            comments=[text.encode("ascii", "backslashreplace").decode() for text in comments],
            caption=_caption(report),
            label=_key(report.table.id),
            headings=headings,
            row_headings=len(heads),
            lines=list(_lines(report, list(heads))),
            legend=_legend(report),
            remarks=[text for text in (*report.warnings, report.headline, report.sensitivity) if text],
        )
    )


def escape(text: str) -> str:
    """Text as LaTeX that prints exactly that text, on one line."""
    return "".join(_character(char) for char in unicodedata.normalize("NFC", line(text)))


def _character(char: str) -> str:
    if char in _PLAIN:
        return _PLAIN[char]
    if char.isascii():
        return char
    if char in _SMALL or char in _CAPITAL:
        name = unicodedata.name(char).rpartition(" ")[2].replace("LAMDA", "LAMBDA")
        return f"$\\{name.lower() if char in _SMALL else name.capitalize()}$"
    if char in _POWERS:
        return f"$^{_POWERS[char]}$"
    base, *marks = list(unicodedata.normalize("NFD", char))
    if base.isascii() and base.isalpha() and len(marks) == 1 and marks[0] in _ACCENTS:
        stem = {"i": r"\i", "j": r"\j"}.get(base, base) if marks[0] not in ("\u0327", "\u0328") else base
        return f"\\{_ACCENTS[marks[0]]}{{{stem}}}"
    if char in "\u2068\u2069":  # isolates that keep right-to-left text in its place; code points need none
        return ""
    return f"\\texttt{{U+{ord(char):04X}}}"


def _key(text: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c == "-") else "-" for c in text)


def _heading(report: TableReport, column: str) -> str:
    spec, metric = report.table.columns[column], report.table.column(column).metric
    return row_headers.with_unit(shorten(spec.label or column, LABEL), metric.unit)


def _lines(report: TableReport, heads: Sequence[str]) -> Iterator[dict[str, object]]:
    """The table's rows, each with the heading above it."""
    for entry in row_headers.lines(report.table, report.rows):
        heading = entry.heading if entry.ours else escape(shorten(entry.heading, LABEL))
        names = [escape(shorten(name, LABEL)) for name in row_headers.names(report.table, entry.row, heads)]
        cells = [_cell(report.cells.get((entry.row, column))) for column in report.columns]
        yield {"heading": heading, "ours": entry.ours, "cells": [*names, *cells]}


def _cell(cell: CellReport | None) -> str:
    if cell is None:
        return ""
    paper = escape(cell.published.printed) if cell.published is not None else ""
    if not cell.measured:
        return f"\\textit{{{paper}}}" if cell.status == CellStatus.CITED else f"-- ({paper})" if paper else "--"
    mark = MARKS.get(cell.verdict.word, "")
    value = escape(cell.text) + (f"$^{{{mark}}}$" if mark else "")
    return f"{value} ({paper})" if paper else value


def _caption(report: TableReport) -> str:
    table, source = report.table, report.table.published.source
    where = f" (arXiv {source.arxiv})" if source.arxiv else ""
    difference = "" if report.comparable else ": not comparable with the paper"
    profile = "" if report.profile.name == "paper" else f" Profile {report.profile.name}{difference}."
    brackets = " Published values in brackets." if table.published.values else ""
    return f"{table.name}{where}: {sentence(shorten(table.title, 300))}{brackets}{profile}"


def _legend(report: TableReport) -> list[str]:
    marks = dict.fromkeys(MARKS.get(cell.verdict.word, "") for cell in report if cell.measured)
    texts = [f"$^{{{mark}}}$ {escape(_MEANINGS[mark])}" for mark in marks if mark]
    cited = any(cell.status == CellStatus.CITED for cell in report)
    return texts + ([r"\textit{italic}: quoted, never run"] if cited else [])
