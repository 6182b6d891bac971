"""Tables of tabularray (`tblr`, `longtblr`, `talltblr`): spans, rules and styles that stand in options beside the cells.

A cell that is covered by another one's span is written all the same, empty; what stands in it is not printed. Rows, columns and
rules are named by numbers from 1 on, ranges, `odd`, `even`, and X, Y, Z for the last three.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from harness.scaffold.grid import Cell, Remark

ENVIRONMENTS = frozenset({"tblr", "longtblr", "talltblr"})
# {command: arguments as pylatexenc writes them}; none is printed
COMMANDS = {
    **dict.fromkeys(("SetCell", "SetCells", "SetRow", "SetRows", "SetColumn", "SetColumns"), "[{"),
    **dict.fromkeys(("SetHline", "SetHlines", "SetVline", "SetVlines"), "[{{"),
    **dict.fromkeys(("hborder", "vborder"), "{"),
    **dict.fromkeys(("hline", "toprule", "midrule", "bottomrule", "hdashline", "vline"), "["),
}
WHOLE = {"SetCells": "cells", "SetRow": "row", "SetRows": "cells", "SetColumn": "column", "SetColumns": "cells"}
_LAYOUT = {  # keys that say how a table looks, and nothing of what it prints
    *("colspec", "rowspec", "width", "vlines", "vline", "hborder", "vborder", "stretch", "hspan", "vspan", "rulesep"),
    *("rowsep", "colsep", "abovesep", "belowsep", "leftsep", "rightsep", "baseline", "verb", "rowfoot", "measure"),
    *(
        "valign",
        "halign",
        "expand",
        "theme",
        "entry",
        "caption",
        "label",
        "long",
        "tall",
        "headsep",
        "footsep",
        "presep",
    ),
    *(
        "postsep",
        "t",
        "m",
        "b",
        "c",
        "l",
        "r",
        "h",
        "f",
        "belowsep+",
        "abovesep+",
        "remark",
        "note",
        "columns+",
        "debug",
    ),
}
_PRINTING = ("preto", "appto", "cmd", "process", "evaluate")  # keys of styles that change what cells print
_BOLD = re.compile(r"\\(?:bfseries|bf|textbf|boldmath)(?![a-zA-Z])")
_KEY = re.compile(r"\s*([A-Za-z]+\+?)\s*")
_LAST = {"Z": 0, "Y": 1, "X": 2}
_DIGITS = 6  # of a number in an index; a table has fewer rows


@dataclass
class Style:
    """What options and commands say of places, whose rows and columns count from 0."""

    spans: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)  # {(row, column): (rows, columns)}
    bold: set[tuple[int | None, int | None]] = field(default_factory=set)  # (row, column), None for all
    rules: set[int] = field(default_factory=set)  # rows above which a rule goes over all columns
    headings: int | None = None

    def is_bold(self, row: int, column: int) -> bool:
        return bool({(row, column), (row, None), (None, column), (None, None)} & self.bold)


@dataclass(frozen=True)
class Option:
    """`key{index}{index} = value`; `at`: its offset in the text of all options."""

    key: str
    indices: tuple[str, ...]
    value: str
    at: int


def options(text: str) -> Iterator[Option]:
    """The options in a text; one without `=` is a key, or the columns' letters."""
    for at, part in _split(text):
        match = _KEY.match(part)
        if match is None:
            if part.strip():
                yield Option("", (), part.strip(), at)
            continue
        indices, rest = _groups(part[match.end() :])
        equals, _, value = rest.partition("=")
        if equals.strip():
            yield Option("", (), part.strip(), at + match.start(1))
        else:
            yield Option(match[1], tuple(indices), value.strip(), at + match.start(1))


def _split(text: str) -> Iterator[tuple[int, str]]:
    """(offset, part) of the parts between commas that stand in no braces or brackets."""
    depth, start = 0, 0
    for match in re.finditer(r"\\.|[{}\[\],]", text, re.DOTALL):
        sign = match[0]
        depth += (sign in "{[") - (sign in "}]") if len(sign) == 1 else 0
        if sign == "," and depth <= 0:
            yield start, text[start : match.start()]
            start = match.end()
    yield start, text[start:]


def _groups(text: str) -> tuple[list[str], str]:
    """The `{…}` that a text begins with, without their braces, and the rest."""
    groups = []
    while (text := text.lstrip()).startswith("{"):
        depth = 0
        for match in re.finditer(r"\\.|[{}]", text, re.DOTALL):
            depth += {"{": 1, "}": -1}.get(match[0], 0)
            if depth == 0:
                groups.append(text[1 : match.start()])
                text = text[match.end() :]
                break
        else:
            return groups, text
    return groups, text


def indices(text: str, count: int) -> list[int] | None:
    """The places from 0 on that an index names among `count`; None where it cannot be read."""
    found: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        if part in ("odd", "even"):
            found |= set(range(part == "even", count, 2))
            continue
        first, dash, last = part.partition("-")
        begin, end = _place(first or "1", count), _place(last or "Z" if dash else first, count)
        if begin is None or end is None:
            return None
        found |= set(range(max(begin, 0), min(end, count - 1) + 1))
    return sorted(found)


def _place(text: str, count: int) -> int | None:
    text = text.strip()
    if text in _LAST:
        return count - 1 - _LAST[text]
    return int(text) - 1 if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


def span(text: str) -> tuple[int, int]:
    """(rows, columns) of `r=2, c=3`; 1 where it says none."""
    found = dict(re.findall(r"\b([rc])\s*=\s*\{?\s*(\d{1,9})", text))
    return max(int(found.get("r", 1)), 1), max(int(found.get("c", 1)), 1)


def is_bold(text: str) -> bool:
    """Whether a style prints bold."""
    return _BOLD.search(text) is not None


def printing(text: str) -> list[str]:
    """Keys of a style that change what a cell prints, which is not read; `cmd=\\textbf` is bold."""
    keys = [option for option in options(text) if option.key in _PRINTING]
    return [option.key for option in keys if not (option.key == "cmd" and is_bold(option.value))]


def style(inner: str, rows: int, columns: int, say: Callable[[int, str], None]) -> Style:
    """What the options of a table of this size say; `say(offset, text)` is called with what could not be read."""
    result = Style()
    for option in options(inner):
        if (
            option.key == ""
            or option.key in _LAYOUT
            or (not option.value and not option.indices and option.key != "hlines")
        ):
            continue  # `lcc` are the columns' letters
        places = [indices(text, count) for text, count in zip(option.indices, _counts(option.key, rows, columns))]
        if option.key not in _READERS:
            say(option.at, f"the option '{option.key}' of the table is not read")
        elif None in places or len(places) < len(_counts(option.key, rows, columns)):
            named = "".join(f"{{{text}}}" for text in option.indices)
            say(option.at, f"'{option.key}{named}' names places in a way that is not read: left out")
        else:
            for key in printing(option.value) + [k for group in _groups(option.value)[0] for k in printing(group)]:
                say(option.at, f"'{key}' in '{option.key}' changes what cells print and is not read")
            _READERS[option.key](result, [place or [] for place in places], option.value, rows)
    return result


def _counts(key: str, rows: int, columns: int) -> tuple[int, ...]:
    """How many there are of what each index of a key counts."""
    return {"cell": (rows, columns), "row": (rows,), "column": (columns,), "hline": (rows + 1,)}.get(key, ())


def _read_cell(result: Style, places: list[list[int]], value: str, rows: int) -> None:
    groups, _ = _groups(value)
    size = span(groups[0] if groups else value)
    for row in places[0]:
        for column in places[1]:
            if size != (1, 1):
                result.spans[row, column] = size
            result.bold |= {(row, column)} if is_bold(value) else set()


def _read_row(result: Style, places: list[list[int]], value: str, rows: int) -> None:
    result.bold |= {(row, None) for row in places[0]} if is_bold(value) else set()


def _read_column(result: Style, places: list[list[int]], value: str, rows: int) -> None:
    result.bold |= {(None, column) for column in places[0]} if is_bold(value) else set()


def _read_cells(result: Style, places: list[list[int]], value: str, rows: int) -> None:
    result.bold |= {(None, None)} if is_bold(value) else set()


def _read_rule(result: Style, places: list[list[int]], value: str, rows: int) -> None:
    groups, _ = _groups(value)
    over = groups[-2].strip() if len(groups) > 1 else "-"  # before the style; of a double rule its number comes first
    result.rules |= {*places[0]} if over in ("", "-", "1-Z") else set()  # else it goes over some columns


def _read_rules(result: Style, places: list[list[int]], value: str, rows: int) -> None:
    result.rules |= {*range(rows + 1)}


def _read_heading(result: Style, places: list[list[int]], value: str, rows: int) -> None:
    digits = value.strip("{} ")
    result.headings = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS else None


_READERS: dict[str, Callable[[Style, list[list[int]], str, int], None]] = {
    "cell": _read_cell,
    "row": _read_row,
    "column": _read_column,
    **dict.fromkeys(("cells", "rows", "columns"), _read_cells),
    "hline": _read_rule,
    "hlines": _read_rules,
    "rowhead": _read_heading,
}


def whole_style(command: str, row: int, column: int) -> tuple[int | None, int | None]:
    """The places, as in `Style.bold`, that a command such as \\SetRow in this cell speaks of."""
    kind = WHOLE[command]
    return (row if kind == "row" else None, column if kind == "column" else None)


# ------------------------------------------------------------------------------------------------------------ arranging


def arranged(
    rows: list[list[Cell]], headings: int, style: Style, covering: Iterable[Cell]
) -> tuple[list[list[Cell]], int, list[Remark]]:
    """(rows without the cells that spans of columns cover, number of heading rows, remarks).

    `rows` as they are written, empty ones too; `headings`: by the rules among them; `covering`: cells whose span was said by
    \\SetCell. A span of \\multicolumn covers cells where its row has as many as the table has columns.
    """
    width, spans = max(map(len, rows), default=0), {*covering}
    remarks: list[Remark] = []
    result, kept_below = [], 0
    left_out = []
    for number, row in enumerate(rows):
        styled = [_styled(cell, number, column, style, spans) for column, cell in enumerate(row)]
        placed = _without_covered(styled, width, spans, remarks)
        if kept_below or any(not cell.blank for cell in placed):
            result.append(placed)
            kept_below = max(kept_below - 1, *(cell.rows - 1 for cell in placed))
        else:
            left_out.append(number)
    inside = [row for row in style.rules if 0 < row < len(rows)]
    if style.headings is not None:
        headings = min(style.headings, len(rows))
    elif not headings and inside:
        headings = min(inside)
    return result, headings - sum(row < headings for row in left_out), remarks


def _styled(cell: Cell, row: int, column: int, style: Style, spans: set[Cell]) -> Cell:
    """The cell with what the options say of its place."""
    if style.is_bold(row, column):
        was = cell
        cell = replace(cell, runs=tuple(replace(run, bold=True) for run in cell.runs))
        spans |= {cell} if was in spans else set()
    if (row, column) in style.spans:
        rows, columns = style.spans[row, column]
        cell = replace(cell, rows=rows, columns=columns)
        spans.add(cell)
    return cell


def _without_covered(row: list[Cell], width: int, spans: set[Cell], remarks: list[Remark]) -> list[Cell]:
    result, at = [], 0
    while at < len(row):
        cell = row[at]
        after = row[at + 1 : at + cell.columns]
        covers = cell in spans or (len(row) == width and len(after) == cell.columns - 1 and all(c.blank for c in after))
        if covers and at + cell.columns > width:
            remarks.append(Remark(cell.line, f"'{cell.text}' spans more columns than there are", cell.file))
            cell = replace(cell, columns=width - at)
        if covers:
            text = f"stands where '{cell.text}' spans, and is not printed"
            remarks += [Remark(c.line, f"'{c.text}' {text}", c.file) for c in after if not c.blank]
        result.append(cell)
        at += cell.columns if covers else 1
    return result
