"""Grids of texts with spans as LaTeX, HTML, Markdown and CSV, so that what is read can be compared with what was written."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "×": r"$\times$",
    "✓": r"\checkmark{}",
}
_LATEX |= {sign: f"\\{sign}" for sign in "&%$#_{}"} | {
    "†": r"$^{\dagger}$",
    "±": r"$\pm$",
    "-": "-{}",
    "'": "'{}",
    "`": "`{}",
}


@dataclass(frozen=True)
class Block:
    """A text that stands in a rectangle of the grid."""

    text: str
    row: int
    column: int
    rows: int = 1
    columns: int = 1
    bold: bool = False


@dataclass(frozen=True)
class Sheet:
    """Blocks that cover a rectangle without overlap, in the order of reading."""

    rows: int
    columns: int
    blocks: tuple[Block, ...]

    def at(self, row: int, column: int) -> Block:
        return next(b for b in self.blocks if 0 <= row - b.row < b.rows and 0 <= column - b.column < b.columns)

    def texts(self) -> list[list[str]]:
        return [[self.at(r, c).text for c in range(self.columns)] for r in range(self.rows)]

    def bold(self) -> list[list[bool]]:
        return [
            [self.at(r, c).bold and bool(self.at(r, c).text) for c in range(self.columns)] for r in range(self.rows)
        ]


def latex(sheet: Sheet) -> str:
    lines = []
    for r in range(sheet.rows):
        cells, c = [], 0
        while c < sheet.columns:
            block = sheet.at(r, c)
            text = "".join(_LATEX.get(char, char) for char in block.text) if block.row == r else ""
            text = f"\\textbf{{{text}}}" if block.bold and text else text
            text = f"\\multirow{{{block.rows}}}{{*}}{{{text}}}" if block.rows > 1 and block.row == r else text
            cells.append(f"\\multicolumn{{{block.columns}}}{{c}}{{{text}}}" if block.columns > 1 else text)
            c += block.columns
        lines.append("{}" + " & ".join(cells) + r" \\" + (" \\hline % no cell & here" if r == 0 else ""))
    body = "\n".join(lines)
    return f"\\begin{{tabular}}{{{'c' * sheet.columns}}}\n{body}\n\\end{{tabular}}\n"


def html_page(sheet: Sheet) -> str:
    lines = []
    for r in range(sheet.rows):
        row = ""
        for block in sheet.blocks:
            if block.row == r:
                spans = f' rowspan="{block.rows}"' * (block.rows > 1) + f' colspan="{block.columns}"' * (
                    block.columns > 1
                )
                text = html.escape(block.text)
                row += f"<td{spans}>{f'<b>{text}</b>' if block.bold else text}</td>"
        lines.append(f"<tr>{row}</tr>")
    return "<html><body><table>" + "\n".join(lines) + "</table></body></html>"


def markdown(sheet: Sheet) -> str:
    rows = []
    for r in range(sheet.rows):
        blocks = [sheet.at(r, c) for c in range(sheet.columns)]
        texts = [re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", block.text) for block in blocks]
        rows.append("| " + " | ".join(f"**{t}**" if b.bold and t else t for t, b in zip(texts, blocks)) + " |")
    return "\n".join([rows[0], "|" + "---|" * sheet.columns, *rows[1:]]) + "\n"


def csv_file(sheet: Sheet) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(sheet.texts())
    return out.getvalue()


# characters that mean something in one of the formats, and some of other scripts
_CHARACTERS = st.sampled_from([*"abcXYZ019.,;:+-*/=()[]{}<>|&%$#_^~\\\"'`!?@ ", *"×✓†±éßλ中"])
_TEXTS = st.text(_CHARACTERS, max_size=8).map(lambda text: " ".join(text.split()))


@st.composite
def sheets(draw: Callable, *, spans: bool, bold: bool = True) -> Sheet:
    """Sheets whose first column has a text in every row, and a number of words in their first row."""
    rows, columns = draw(st.integers(2, 5)), draw(st.integers(2, 5))
    taken: set[tuple[int, int]] = set()
    blocks = []
    for r in range(rows):
        for c in range(columns):
            if (r, c) in taken:
                continue
            height = width = 1
            if spans and c > 0:
                height, width = draw(st.integers(1, rows - r)), draw(st.integers(1, columns - c))
                if any((i, j) in taken for i in range(r, r + height) for j in range(c, c + width)):
                    height = width = 1
            taken |= {(i, j) for i in range(r, r + height) for j in range(c, c + width)}
            text = f"r{r}" if c == 0 else draw(_TEXTS)
            blocks.append(Block(text, r, c, height, width, bold and draw(st.booleans())))
    return Sheet(rows, columns, tuple(blocks))
