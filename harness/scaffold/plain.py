"""Tables of CSV and Markdown files as grids."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterator
from pathlib import Path

from harness.errors import UserError
from harness.scaffold.grid import Cell, Grid, Run, check_size, with_covered_cells
from harness.scaffold.source import read_text

_DELIMITERS = ",;\t|"
_DELIMITER_ROW = re.compile(r"\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*")
_CAPTION = re.compile(r"(?:\*\*|_|\*)?\s*Table\s+(\d{1,4})\s*[:.]?\s*(.*)", re.IGNORECASE)
_INLINE = re.compile(
    r"(?P<escape>\\[!-/:-@\[-`{-~])|(?P<bold>\*\*|__)|(?P<open><(?:b|strong|u|ins|sub|sup|br)\s*/?>)"
    r"|(?P<close></(?:b|strong|u|ins|sub|sup)>)|(?P<link>!?\[(?P<label>[^\]\[]*)\]\([^()\s]*\))|(?P<code>`+)|(?P<entity>&#?\w{1,20};)|(?P<other><[^<>]*>)",
    re.IGNORECASE,
)


# --------------------------------------------------------------------------------------------------------------- CSV


def csv_tables(path: Path) -> list[tuple[str, str]]:
    """A CSV file is one table."""
    return [("#1", path.name)]


def read_csv(path: Path, name: str) -> Grid:
    """The file as one table whose first row is its heading; fields are separated by the sign that the first row has most."""
    if name != "#1":
        raise KeyError(name)
    text = read_text(path)
    check_size(max(map(text.partition("\n")[0].count, _DELIMITERS)) + 1, 0, f"{path}:1")
    delimiter = _delimiter(text)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    rows: list[list[Cell]] = []
    try:
        for row in reader:
            if any(field.strip() for field in row):
                rows.append([Cell((Run(field),), reader.line_num) for field in row])
                check_size(len(row), len(rows) * len(row), f"{path}:{reader.line_num}")
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: cannot be parsed as CSV: {error}") from None
    cells, remarks = with_covered_cells(rows, str(path))
    return Grid("#1", cells, 1, first_line=1, last_line=reader.line_num, remarks=remarks)


def _delimiter(text: str) -> str:
    """The first sign that divides all of the first rows into as many fields; else the most frequent one of the first row."""
    for sign in _DELIMITERS:
        try:
            rows = [
                row for row, _ in zip(csv.reader(io.StringIO(text), delimiter=sign, strict=True), range(20)) if any(row)
            ]
        except csv.Error:
            continue
        if len({len(row) for row in rows}) == 1 and len(rows[0]) > 1:
            return sign
    return max(_DELIMITERS, key=text.partition("\n")[0].count)


# ---------------------------------------------------------------------------------------------------------- Markdown


def markdown_tables(path: Path) -> list[tuple[str, str]]:
    """(name, a line on it) of the tables of a Markdown file."""
    return [(t.name, f"{path.name}:{t.first_line}  {t.caption[:70]}".rstrip()) for t in _markdown(path)]


def read_markdown(path: Path, name: str) -> Grid:
    """The table of this name; KeyError for an unknown one."""
    return {grid.name: grid for grid in _markdown(path)}[name]


def _markdown(path: Path) -> Iterator[Grid]:
    lines = read_text(path).split("\n")
    number, fenced, i = 0, False, 0
    while i < len(lines):
        fenced ^= lines[i].lstrip().startswith(("```", "~~~"))
        below = lines[i + 1] if i + 1 < len(lines) else ""
        if fenced or "|" not in lines[i] or "|" not in below + lines[i] or not _is_delimiter_row(below):
            i += 1
            continue
        start, rows = i, [_markdown_row(lines[i], path, i + 1)]
        i += 2
        while i < len(lines) and "|" in lines[i]:
            rows.append(_markdown_row(lines[i], path, i + 1))
            i += 1
        number += 1
        caption, printed = _markdown_caption(lines, start)
        cells, remarks = with_covered_cells(rows, f"{path}:{start + 1}")
        yield Grid(f"#{number}", cells, 1, caption, printed, first_line=start + 1, last_line=i, remarks=remarks)


def _is_delimiter_row(line: str) -> bool:
    return len(line) < 5000 and "-" in line and not set(line) - set(" \t|:-") and bool(_DELIMITER_ROW.fullmatch(line))


def _markdown_caption(lines: list[str], start: int) -> tuple[str, int | None]:
    """The words above a table (its caption or the heading that it stands under), and its number where they say one."""
    for line in reversed(lines[max(0, start - 3) : start]):
        text = line.strip().lstrip("#").strip()
        if text and "|" not in text:
            match = _CAPTION.match(text)
            return (match[2].strip("*_ "), int(match[1])) if match else (text.strip("*_ "), None)
    return "", None


def _markdown_row(line: str, path: Path, number: int) -> list[Cell]:
    line = line.strip()
    line = line.removeprefix("|")
    fields = re.split(r"(?<!\\)(?:\\\\)*\|", line)
    if len(fields) > 1 and not fields[-1].strip():
        fields.pop()
    check_size(len(fields), 0, f"{path}:{number}")
    return [Cell(tuple(_inline(field.strip())), number) for field in fields]


def _inline(text: str) -> Iterator[Run]:
    """A field's text in its styles: `**bold**`, the few tags that such tables hold, links by their text."""
    bold = underlined = False
    script, position = "", 0
    for match in _INLINE.finditer(text):
        if match.start() > position:
            yield Run(text[position : match.start()], script, bold, underlined)
        position = match.end()
        tag = (match["open"] or match["close"] or "").strip("</> ").lower()
        if match["escape"]:
            yield Run(match[0][1:], script, bold, underlined)
        elif match["bold"] or tag in ("b", "strong"):
            bold = not bold if match["bold"] else bool(match["open"])
        elif tag in ("u", "ins"):
            underlined = bool(match["open"])
        elif tag in ("sub", "sup"):
            script = tag if match["open"] else ""
        elif tag == "br":
            yield Run(" ", script, bold, underlined)
        elif match["entity"]:
            yield Run(html.unescape(match[0]), script, bold, underlined)
        elif match["link"]:
            yield Run(match["label"], script, bold, underlined)
    if position < len(text):
        yield Run(text[position:], script, bold, underlined)
