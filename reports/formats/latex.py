"""The report as LaTeX: the paper's table in the paper's column order (booktabs), measured values with the published in brackets.

Compiles with pdflatex and its usual packages. Verdicts are daggers; text that others wrote is escaped, characters that
pdflatex has no glyph for become their code point.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from harness.text import line, sentence, shorten
from reports import reproduce, row_headers, verdict
from reports.status import CellStatus
from reports.table_report import CellReport, TableReport

LABEL = 120  # characters of a label; a longer one is cut

MARKS = {
    verdict.REPRODUCED: "",
    verdict.INFERRED: r"\S",
    verdict.FITTED: r"\S",
    verdict.NOT_REPRODUCED: r"\dagger",
    verdict.INCONCLUSIVE: r"\ddagger",
    verdict.INVALID: r"\dagger",
}
_MEANINGS = {
    r"\dagger": "not reproduced",
    r"\ddagger": "inconclusive",
    r"\S": "prints the published digits, but the module was inferred or fitted",
}

_PREAMBLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{lmodern}
\usepackage{amssymb}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage[margin=20mm]{geometry}
"""

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


def document(sheets: Iterable[TableReport]) -> str:
    """A whole document with a table per report."""
    body = "\n\\clearpage\n".join(render(report) for report in sheets)
    return f"{_PREAMBLE}\\begin{{document}}\n{body}\\end{{document}}\n"


def render(report: TableReport) -> str:
    """One `table` environment, to be copied into a paper that loads booktabs, graphicx and amssymb."""
    heads = row_headers.heads(report.table)
    columns = len(heads) + len(report.columns)
    names = [escape(shorten(heading, LABEL)) for heading in heads.values()]
    tabular = [
        f"\\begin{{tabular}}{{{'l' * len(heads)}{'r' * len(report.columns)}}}",
        r"\toprule",
        " & ".join([*names, *(_heading(report, column) for column in report.columns)]) + r" \\",
        r"\midrule",
        *_body(report, list(heads), columns),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    inner = "\n".join(tabular)
    scaled = f"\\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%\n{inner}}}"
    parts = [
        r"\begin{table}[tp]",
        r"\centering",
        f"\\caption{{{_caption(report)}}}",
        f"\\label{{tab:{_key(report.table.id)}}}",
        scaled,
        *_legend(report),
        r"\end{table}",
    ]
    told = reproduce.record(report)
    about = [line(text) for text in reproduce.summary(told, report.others)]
    comments = [f"% {text.encode('ascii', 'backslashreplace').decode()}" for text in (*about, reproduce.embed(told))]
    return "\n".join([*comments, *parts]) + "\n"


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
    base, *marks = unicodedata.normalize("NFD", char)
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
    unit = f" ({metric.unit})" if metric.unit else ""
    return escape(shorten(spec.label or column, LABEL) + unit)


def _body(report: TableReport, heads: Sequence[str], columns: int) -> Iterator[str]:
    group, extra = "", False
    for key in report.rows:
        row = report.table.rows[key]
        if row.extra and not extra:
            extra = True
            yield r"\midrule"
            yield f"\\multicolumn{{{columns}}}{{l}}{{\\textit{{Not in the paper's table, ours}}}} \\\\"
        elif row.group and row.group != group:
            yield r"\addlinespace"
            yield f"\\multicolumn{{{columns}}}{{l}}{{\\textit{{{escape(shorten(row.group, LABEL))}}}}} \\\\"
        group = row.group
        names = [escape(shorten(name, LABEL)) for name in row_headers.names(report.table, key, heads)]
        cells = [_cell(report.cells.get((key, column))) for column in report.columns]
        yield " & ".join([*names, *cells]) + r" \\"


def _cell(shown: CellReport | None) -> str:
    if shown is None:
        return ""
    paper = escape(shown.published.printed) if shown.published is not None else ""
    if not shown.measured:
        return f"\\textit{{{paper}}}" if shown.status == CellStatus.CITED else f"-- ({paper})" if paper else "--"
    mark = MARKS.get(shown.verdict.word, "")
    value = escape(shown.text) + (f"$^{{{mark}}}$" if mark else "")
    return f"{value} ({paper})" if paper else value


def _caption(report: TableReport) -> str:
    table, source = report.table, report.table.published.source
    where = f" (arXiv {source.arxiv})" if source.arxiv else ""
    profile = (
        "" if report.profile.name == "paper" else f" Profile {report.profile.name}: not comparable with the paper."
    )
    brackets = " Published values in brackets." if table.published.values else ""
    return escape(f"{table.name}{where}: {sentence(shorten(table.title, 300))}{brackets}{profile}")


def _legend(report: TableReport) -> Iterator[str]:
    used = dict.fromkeys(MARKS.get(s.verdict.word, "") for s in report if s.measured)
    told = [f"$^{{{mark}}}$ {escape(_MEANINGS[mark])}" for mark in used if mark]
    told += [r"\textit{italic}: quoted, never run"] if any(s.status == CellStatus.CITED for s in report) else []
    if told:
        yield r"\par\smallskip\footnotesize " + "; ".join(told) + "."
