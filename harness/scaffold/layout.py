"""Headings, labels, descriptors and numbers of a grid: a `Reading`, which says what a table file will hold and what not."""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.errors import UserError
from harness.scaffold import value
from harness.scaffold.columns import Meaning, given, is_descriptor, recognise
from harness.scaffold.grid import Cell, Grid, Remark, words
from harness.scaffold.value import Printed, Unreadable
from harness.table.metrics import METRICS
from harness.text import shorten

_METHOD = re.compile(
    r"method|model|approach|network|architecture|framework|module|variant|algorithm|^name", re.IGNORECASE
)
_SIGNS = {"√": "✓", "✔": "✓", "☑": "✓", "✘": "✗", "✕": "✗", "×": "✗"}


@dataclass
class ColumnReading:
    """A column of numbers, at `position` of the grid."""

    key: str
    label: str
    position: int
    meaning: Meaning


@dataclass
class RowReading:
    """A line of the table."""

    key: str
    label: str
    line: int
    group: str = ""
    descriptors: dict[str, str] = field(default_factory=dict)
    cites: tuple[str, ...] = ()
    values: dict[str, Printed] = field(default_factory=dict)
    bold: list[str] = field(default_factory=list)
    underlined: list[str] = field(default_factory=list)
    unknown: dict[str, str] = field(default_factory=dict)  # {column without a metric: what is printed}


@dataclass
class Reading:
    """What was read of a table; `unread`: what was not, `assumed`: what no word of the table says."""

    grid: Grid
    label_heading: str = ""
    descriptors: dict[str, str] = field(default_factory=dict)  # {key: heading}
    columns: list[ColumnReading] = field(default_factory=list)
    unknown: list[ColumnReading] = field(default_factory=list)
    rows: list[RowReading] = field(default_factory=list)
    unread: list[Remark] = field(default_factory=list)
    assumed: list[Remark] = field(default_factory=list)


def read(grid: Grid, metrics: Mapping[str, str], file: str) -> Reading:
    """The reading of a grid. `metrics`: {pattern of column keys: metric} that a person named; UserError where no column
    of numbers has a known metric."""
    headings = _headings(grid)
    stacked = _stacked(grid, headings)
    reading = Reading(stacked, unread=list(grid.remarks))
    if stacked is not grid:
        text = f"blocks of {stacked.width} columns stand side by side: put one below the other"
        reading.assumed.append(Remark(grid.first_line, text, grid.file))
    grid = stacked
    body = _body(reading, headings)
    if not body:
        raise UserError(f"{file}:{grid.first_line}: the table has no rows of numbers below its heading")
    heads = [words(row[c] for row in grid.cells[:headings]) for c in range(grid.width)]
    described = _columns(reading, heads, [row for _, row in body], metrics, file)
    labels = _labels(reading, heads, described, [row for _, row in body])
    for (group, cells), label in zip(body, labels):
        cites = tuple(dict.fromkeys(key for cell in cells for key in cell.cites))
        line = next((cell.line for cell in cells if cell.line and not cell.blank), 0)
        row = RowReading("", label, line, group, cites=cites)
        for key, position in described.items():
            text = _setting(cells[position])
            if key in reading.descriptors and text and text != label:
                row.descriptors[key] = text
        reading.rows.append(row)
    _name_rows(reading.rows)
    above: list[Cell] = []
    for row, (_, cells) in zip(reading.rows, body):
        _read_values(reading, row, cells, above)
        above = cells
    _write_in_percent(reading)
    return reading


# ------------------------------------------------------------------------------------------------------ heading and body


def _headings(grid: Grid) -> int:
    """How many rows are the heading: as rules or tags tell, and rows after them that name columns of numbers."""
    numbers = [[value.looks_like_number(cell) for cell in row] for row in grid.cells]
    decimal = [[n and "." in cell.text for n, cell in zip(ns, row)] for ns, row in zip(numbers, grid.cells)]
    first = next((r for r, row in enumerate(decimal) if r and any(row[1:])), len(grid.cells))
    count = min(grid.headings, first) or (first if first < len(grid.cells) else 1)
    below = [c for c in range(grid.width) if any(row[c] for row in decimal[count:])]
    below = below or [
        c for c in range(grid.width) if sum(row[c] for row in numbers[count:]) * 2 > len(numbers) - count - 1
    ]
    while count < len(grid.cells) - 1:
        above, row = grid.cells[count - 1], grid.cells[count]
        names = any(not value.is_blank(row[c]) for c in below) and not any(numbers[count][c] for c in below)
        begins = not row[0].blank and row[0] is not above[0] and len(set(map(id, above))) > 1  # a row of its own
        if not names or begins or _group(row) is not None:
            break
        count += 1
    return min(count, len(grid.cells))


def _stacked(grid: Grid, headings: int) -> Grid:
    """Blocks that stand side by side under the same heading, one below the other."""
    heads = [[cell.text for cell in column] for column in grid.transposed().cells] if grid.cells else []
    heads = [head[:headings] for head in heads]
    width = next(
        (w for w in range(2, len(heads) // 2 + 1) if len(heads) % w == 0 and heads == heads[:w] * (len(heads) // w)), 0
    )
    if not width or not _METHOD.search(" ".join(heads[0])):
        return grid
    rows = [row[c : c + width] for c in range(0, grid.width, width) for row in grid.cells[headings:]]
    return replace(grid, cells=[*(row[:width] for row in grid.cells[:headings]), *rows], headings=headings)


def _group(row: Sequence[Cell]) -> str | None:
    """The words of a row that is a heading of the rows below it: one text, alone in its row."""
    printed = {id(cell): cell for cell in row if not cell.blank}
    if len(printed) != 1 or len(row) < 2:
        return None
    (cell,) = printed.values()
    return cell.text if not value.looks_like_number(cell) and abs(cell.rows) == 1 else None


def _body(reading: Reading, headings: int) -> list[tuple[str, list[Cell]]]:
    """(group, cells) of every row below the heading."""
    grid, group, body = reading.grid, "", []
    heading = [cell.text for cell in grid.cells[headings - 1]] if headings else []
    for row in grid.cells[headings:]:
        texts = [cell.text for cell in row]
        if not any(texts):
            continue
        if (name := _group(row)) is not None:
            group = name
            (cell,) = {id(cell): cell for cell in row if not cell.blank}.values()
            if cell.columns == 1:
                text = f"'{name}' stands alone in its row: taken for a heading of the rows below it"
                reading.assumed.append(Remark(cell.line, text, cell.file))
        elif headings and texts == heading:
            reading.unread.append(Remark(row[0].line, "a second heading, left out", row[0].file))
        else:
            body.append((group, row))
    return body


def _setting(cell: Cell) -> str:
    """What a cell says of its row: its text, ticks and crosses written in one way; '' for a dash."""
    text = _SIGNS.get(cell.text, cell.text)
    return text if text == "✗" or not value.is_blank(cell) else ""


# -------------------------------------------------------------------------------------------------------------- columns


def _columns(
    reading: Reading, heads: Sequence[list[str]], body: Sequence[Sequence[Cell]], metrics: Mapping[str, str], file: str
) -> dict[str, int]:
    """Sorts columns into numbers with a metric, numbers without, and descriptors; the last as {key: position}."""
    grid, described = reading.grid, dict[str, int]()
    keys = _column_keys(heads)
    numeric = [_is_numeric([row[c] for row in body]) for c in range(grid.width)]
    meanings = [_meaning(keys[c], heads[c], grid.caption, metrics, numeric[c]) for c in range(grid.width)]
    dashes = [all(value.is_blank(r[c]) for r in body) and any(r[c].text for r in body) for c in range(grid.width)]
    is_value = [m.metric is not None and (n or d) for m, n, d in zip(meanings, numeric, dashes)]
    first = is_value.index(True) if True in is_value else grid.width
    line = next((cell.line for cell in grid.cells[0] if cell.line), 0)

    def remark(text: str) -> Remark:
        return Remark(line, text, grid.file)

    for c, (key, head, meaning) in enumerate(zip(keys, heads, meanings)):
        column = ColumnReading(key, " ".join(head), c, meaning)
        if is_value[c]:
            reading.columns.append(column)
        elif numeric[c] and (c > first or meaning.is_result) and not is_descriptor(head):
            reading.unknown.append(column)
            reading.unread.append(remark(f"column '{column.label}' has no known metric: {meaning.problem}"))
        elif any(not row[c].blank for row in body):
            described[key] = c
            if meaning.metric is not None and not _METHOD.search(column.label):
                reading.unread.append(remark(f"column '{column.label}' holds hardly a number; taken for a text"))
            elif numeric[c] and not is_descriptor(head) and first < grid.width:
                reading.assumed.append(remark(f"column '{column.label}': taken for a setting of the rows, no result"))
    for assumed in dict.fromkeys(column.meaning.assumed for column in reading.columns if column.meaning.assumed):
        which = ", ".join(f"'{column.label}'" for column in reading.columns if column.meaning.assumed == assumed)
        reading.assumed.append(remark(f"column {which}: {assumed}"))
    if not reading.columns:
        raise UserError(_no_column(reading, keys, heads, numeric, body, file))
    return described


def _column_keys(heads: Sequence[list[str]]) -> list[str]:
    """Keys from headings, without what stands in brackets where they differ without it."""
    taken: set[str] = set()
    long = [slug(" ".join(head)) for head in heads]
    short = [slug(re.sub(r"\([^()]*\)", "", " ".join(head))) for head in heads]
    chosen = [s if s and short.count(s) == 1 else name for s, name in zip(short, long)]
    return [unique(key or f"column_{c + 1}", taken) for c, key in enumerate(chosen)]


def _meaning(key: str, head: Sequence[str], caption: str, metrics: Mapping[str, str], numeric: bool) -> Meaning:
    for pattern, metric in metrics.items():
        if pattern and numeric and fnmatch.fnmatchcase(key, pattern):
            return given(metric, head, caption)
    meaning = recognise(head, caption)
    if meaning.metric is None and numeric and "" in metrics and not is_descriptor(head):
        return given(metrics[""], head, caption)
    return meaning


def _is_numeric(cells: Iterable[Cell]) -> bool:
    """Whether at least half of what a column prints are numbers."""
    printed = [cell for cell in cells if not value.is_blank(cell)]
    return bool(printed) and 2 * sum(
        bool(re.search(r"[0-9]", c.text) and _starts_as_number(c)) for c in printed
    ) >= len(printed)


def _starts_as_number(cell: Cell) -> bool:
    """A number, or a number and something that cannot be read: both belong to a column of numbers."""
    return bool(re.match(r"[(<>≥≤~≈]?\s*[-+−]?[0-9.]+(?![0-9]*[×x]\s*[0-9]|×|[a-zA-Z]{3})", cell.text))


def _no_column(
    reading: Reading,
    keys: Sequence[str],
    heads: Sequence[list[str]],
    numeric: Sequence[bool],
    body: Sequence[Sequence[Cell]],
    file: str,
) -> str:
    """The error of a table none of whose columns is known: what they are called and how to say what they hold."""
    grid = reading.grid
    listing = ", ".join(f"{key} ('{' '.join(head)}')" for key, head, n in zip(keys, heads, numeric) if n) or "none"
    labels = [recognise([row[0].text], grid.caption).metric for row in body]
    turned = sum(metric is not None for metric in labels) * 2 >= len(labels)
    advice = (
        "its rows look like metrics or datasets: say --transpose"
        if turned
        else f"say --metric COLUMN=METRIC (or --metric METRIC for all), METRIC being one of {', '.join(METRICS)}"
    )
    return f"{file}:{grid.first_line}: no column names a metric; columns of numbers: {shorten(listing, 600)}; {advice}"


# --------------------------------------------------------------------------------------------------------- rows and keys


def _labels(
    reading: Reading, heads: Sequence[list[str]], described: Mapping[str, int], body: Sequence[Sequence[Cell]]
) -> list[str]:
    """The rows' labels: of the column of methods, else of the first column that tells rows apart, else of all settings."""
    texts = {key: [_setting(row[c]) for row in body] for key, c in described.items()}
    ticked = {key for key, column in texts.items() if any(text in ("✓", "✗") for text in column)}
    wordy = [key for key in texts if key not in ticked]
    chosen = next((key for key in wordy if any(_METHOD.search(text) for text in heads[described[key]])), None)
    if chosen is None:
        chosen = next((key for key in wordy[:2] if all(texts[key]) and len(set(texts[key])) == len(body)), None)
    reading.descriptors = {
        key: " ".join(heads[c]) or f"column {c + 1}" for key, c in described.items() if key != chosen
    }
    if chosen is not None:
        reading.label_heading = " ".join(heads[described[chosen]])
        return [text or f"row {i + 1}" for i, text in enumerate(texts[chosen])]
    labels = []
    for i in range(len(body)):
        parts = []
        for key, column in texts.items():
            if len(set(column)) > 1 or key in ticked or len(texts) == 1:
                text, heading = column[i], reading.descriptors[key]
                number = bool(re.match(r"[0-9.]", text))
                parts.append(
                    heading
                    if text == "✓"
                    else ""
                    if text == "✗" or not text
                    else f"{heading} {text}"
                    if number
                    else text
                )
        labels.append(", ".join(filter(None, parts)) or ("none" if texts else f"row {i + 1}"))
    if texts:
        reading.assumed.append(
            Remark(reading.grid.first_line, "no column of labels: rows are called by their settings", reading.grid.file)
        )
    return labels


def _name_rows(rows: Sequence[RowReading]) -> None:
    """Keys from labels, and from the descriptors that differ where a label stands in several rows."""
    taken: set[str] = set()
    for row in rows:
        same = [other for other in rows if other.label == row.label]
        differing = [k for k in row.descriptors if len({other.descriptors.get(k) for other in same}) > 1]
        extra = [row.descriptors[k] for k in differing] if len(same) > 1 else []
        extra += [row.group] if len({other.group for other in same}) > 1 else []
        row.key = unique(slug(" ".join([row.label, *extra])) or f"row_{len(taken) + 1}", taken)


def slug(text: str) -> str:
    """`DeepLabV3+ (R-50)` as `deeplabv3plus_r_50`: what a key of a file is made of; '' where nothing of it is left."""
    plain = unicodedata.normalize("NFKD", text.replace("×", "x")).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"[^a-z0-9+]+", "_", plain)
    plain = re.sub(r"\+(?![a-z0-9_])", "plus", plain).replace("+", "_")
    plain = re.sub(r"_+", "_", plain).strip("_")[:48].strip("_")
    return f"n_{plain}" if plain[:1].isdigit() else plain


def unique(name: str, taken: set[str]) -> str:
    """The name, with a number where it is taken; takes it."""
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found


# --------------------------------------------------------------------------------------------------------------- values


def _read_values(reading: Reading, row: RowReading, cells: Sequence[Cell], above: Sequence[Cell]) -> None:
    """The numbers of a row; what is none goes to `unread`."""
    for column in reading.unknown:
        if not value.is_blank(cells[column.position]):
            row.unknown[column.key] = cells[column.position].text
    positions = [column.position for column in reading.columns]
    for column in reading.columns:
        cell = cells[column.position]

        def unread(why: str, cell: Cell = cell, column: ColumnReading = column) -> None:
            text = f"'{shorten(cell.text, 60)}' in column '{column.label}' of row '{row.label}': {why}"
            reading.unread.append(Remark(cell.line or row.line, text, cell.file))

        if sum(cells[c] is cell for c in positions) > 1 and not value.is_blank(cell):
            unread("one cell for several columns")
            continue
        try:
            printed = value.parse(cell)
        except Unreadable as error:
            unread(str(error))
            continue
        if printed is None:
            if "✗" in cell.text or "×" in cell.text:
                unread("a cross, taken for no value")
            continue
        if printed.unit and printed.unit not in column.meaning.units:
            unread(f"in {printed.unit}, but the column is in {column.meaning.units[0]}")
            continue
        if printed.text.startswith("+"):
            unread("a number with a + is a difference")
            continue
        if METRICS[column.meaning.metric or ""].unit == "%" and not 0 <= float(printed.text) <= 100:
            unread("not between 0 and 100 %")
            continue
        if above and above[column.position] is cell:
            reading.assumed.append(
                Remark(
                    cell.line, f"'{cell.text}' in column '{column.label}' stands for row '{row.label}', too", cell.file
                )
            )
        row.values[column.key] = printed
        row.bold += [column.key] if cell.bold else []
        row.underlined += [column.key] if cell.underlined else []


def _write_in_percent(reading: Reading) -> None:
    """Scores that are all printed as fractions of 1, by moving their decimal point; a number with one decimal is left out."""
    for column in reading.columns:
        rows = [row for row in reading.rows if column.key in row.values]
        numbers = [row.values[column.key].text for row in rows]
        if METRICS[column.meaning.metric or ""].unit != "%" or not rows or not all(map(value.is_fraction, numbers)):
            continue
        text = f"column '{column.label}': fractions of 1, written in % ({numbers[0]} as {value.in_percent(numbers[0])})"
        reading.assumed.append(Remark(reading.grid.first_line, text, reading.grid.file))
        for row in rows:
            printed = row.values[column.key]
            moved = {name: value.in_percent(getattr(printed, name)) for name in ("text", "gain", "spread")}
            row.values[column.key] = replace(printed, **moved)
