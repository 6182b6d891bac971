"""A `Reading` as a table file: valid as it stands, its rows await their methods, its comments say what a person must decide."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.errors import UserError
from harness.scaffold.layout import ColumnReading, Reading, RowReading, slug
from harness.scaffold.value import Printed
from harness.table import recipes
from harness.table.metrics import METRICS
from harness.text import plural, printable, shorten

_WIDTH = 110  # of a mapping in one line
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.+/() †‡×*-]*|[0-9]+×[0-9]*|[✓✗]")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"}
AWAITS = "no method was named yet"


@dataclass(frozen=True)
class Heading:
    """What the file says of the paper; `source` is the name of the file that was read."""

    paper: str
    source: str
    table: str | None = None
    title: str | None = None


def table_text(reading: Reading, heading: Heading) -> str:
    """The table file."""
    shared = {column.meaning.metric for column in reading.columns}
    metric = next(iter(shared)) if len(shared) == 1 else None
    number = heading.table or (str(reading.grid.number) if reading.grid.number is not None else None)
    title = heading.title or _title(reading.grid.caption) or f"{heading.paper}, table {reading.grid.name}"
    lines = [*_about(reading, heading), f"paper: {text(slug(heading.paper) or 'paper')}"]
    place = "  # its place among the captions" if reading.grid.counted and not heading.table else ""
    lines += [f"table: {number if number.isdecimal() else text(number)}{place}"] if number else []
    lines += [f"title: {text(title)}", *([f"metric: {metric}"] if metric else [])]
    described = {"label": reading.label_heading} if reading.label_heading else {}
    described |= reading.descriptors
    lines += [f"descriptors: {_flow(described)}"] if described else []
    lines += ["columns:", *_columns(reading, metric), "rows:", *_rows(reading), "published:"]
    source = {"table": number} if number else {}
    source |= {"arxiv": reading.grid.arxiv} if reading.grid.arxiv else {}
    entries = ", ".join(f"{k}: {v if k == 'table' and v.isdecimal() else text(v)}" for k, v in source.items())
    lines += [f"  source: {{{entries}}}  # name, arxiv, doi, table, venue"]
    lines += ["  statistic: unknown  # single, best, median or mean where the paper says it", "  values:"]
    lines += [entry for row in reading.rows for entry in _values(reading, row)] or ["    {}"]
    return "\n".join(lines) + "\n"


def summary(reading: Reading) -> str:
    """`8 rows × 4 columns, 32 numbers; 2 not read, 3 assumed`."""
    numbers = sum(len(row.values) for row in reading.rows)
    size = f"{plural(len(reading.rows), 'row')} × {plural(len(reading.columns), 'column')}, {plural(numbers, 'number')}"
    return f"{size}; {len(reading.unread)} not read, {len(reading.assumed)} assumed"


def text(value: str) -> str:
    """A text as YAML takes it back."""
    value = _one_line(value)
    plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS and value == value.strip()
    return value if plain else json.dumps(value, ensure_ascii=False)


def _one_line(value: str) -> str:
    return printable(" ".join(value.split()))


def _comment(value: str) -> str:
    return f"# {_one_line(value)}"


def _title(caption: str) -> str:
    """The first sentence of a caption."""
    first = re.split(r"(?<=\w\w[\w)\]%])\.(?=\s+[A-Z]|\s*$)", caption.strip(), maxsplit=1)[0]
    return shorten(_one_line(first), 110)


def _about(reading: Reading, heading: Heading) -> list[str]:
    grid = reading.grid
    lines = [
        f"Read from {grid.file or heading.source}, lines {grid.first_line} to {grid.last_line} ({grid.name}): "
        f"{summary(reading)}.",
        "Each row awaits its method: in the place of `awaits`, `method: NAME` (python -m harness list methods), or "
        "`cited: PAPER`.",
    ]
    for title, remarks in (("not read:", reading.unread), ("assumed, to be checked:", reading.assumed)):
        lines += [title, *(f"  {remark.at(heading.source)}" for remark in sorted(remarks))] if remarks else []
    return [f"# {_indented(entry)}" for entry in lines]


def _indented(entry: str) -> str:
    return (len(entry) - len(entry.lstrip())) * " " + _one_line(entry)


def _flow(entries: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {text(value)}" for key, value in entries.items()) + "}"


# -------------------------------------------------------------------------------------------------------------- columns


def _columns(reading: Reading, shared: str | None) -> list[str]:
    lines = []
    for column in reading.columns:
        meaning = column.meaning
        entries = {"label": column.label or column.key}
        entries |= {"metric": meaning.metric or ""} if shared is None else {}
        entries |= {"convention": meaning.convention} if meaning.convention else {}
        entries |= {"split": meaning.split} if meaning.split else {}
        entries |= {"protocol": meaning.protocol} if meaning.protocol else {}
        lines += [f"  {column.key}: {_flow(entries)}", *(f"    {_comment(advice)}" for advice in _advice(column))]
    for column in reading.unknown:
        metrics = ", ".join(METRICS)
        lines.append(f"  {_comment(f'{column.key}: {{label: {text(column.label)}, metric: ?}}')}")
        lines.append(f"    {_comment(f'{column.meaning.problem}; metrics are {metrics}')}")
    return lines


def _advice(column: ColumnReading) -> list[str]:
    """What a person must add before the column is run."""
    meaning = column.meaning
    metric = METRICS[meaning.metric or ""]
    advice = [f"{metric.title}, by {meaning.words}" + (f"; {meaning.assumed}" if meaning.assumed else "")]
    if metric.trains:
        known = _recipes_of(meaning.datasets) if meaning.datasets else []
        more = f" and {len(known) - 3} more" if len(known) > 3 else ""
        of = (
            f"; of {', '.join(meaning.datasets)}: {', '.join(known[:3]) or 'none yet'}{more}"
            if meaning.datasets
            else ""
        )
        advice.append(f"recipe: PAPER/ENTRY, before a row is run (python -m harness list recipes{of})")
    else:
        advice.append("input: [[1, 3, HEIGHT, WIDTH]], before a row is run")
    return advice


@cache
def _recipes_of(datasets: tuple[str, ...]) -> list[str]:
    """The recipes that train on one of these datasets."""
    names = []
    for name in recipes.recipe_names():
        try:
            if recipes.recipe(name).dataset in datasets:
                names.append(name)
        except UserError:  # an entry that others extend
            continue
    return names


# ------------------------------------------------------------------------------------------------------ rows and values


def _rows(reading: Reading) -> list[str]:
    lines = []
    for i, row in enumerate(reading.rows):
        entries = [f"label: {text(row.label)}"]
        entries += [f"group: {text(row.group)}"] if row.group else []
        entries += [f"descriptors: {_flow(row.descriptors)}"] if row.descriptors else []
        entries += [f"awaits: {'*method' if i else f'&method {text(AWAITS)}'}"]
        cites = f"  {_comment('cites ' + ', '.join(row.cites))}" if row.cites else ""
        lines += _mapping(row.key, entries, "  ", cites)
    return lines


def _mapping(key: str, entries: Sequence[str], indent: str, comment: str = "") -> list[str]:
    """A mapping in one line where it fits."""
    whole = f"{indent}{key}: {{{', '.join(entries)}}}"
    if len(whole) <= _WIDTH:
        return [whole + comment]
    return [f"{indent}{key}:{comment}", *(f"{indent}  {entry}" for entry in entries)]


def _values(reading: Reading, row: RowReading) -> list[str]:
    known = [column.key for column in reading.columns]
    entries = [f"{key}: {_value(row.values[key])}" for key in known if key in row.values]
    lines = _mapping(row.key, entries, "    ") if entries else []
    remarks = [
        f"{style}: {', '.join(k for k in keys if k in known)}" for style, keys in _styles(row) if set(keys) & set(known)
    ]
    remarks += [f"{key}: {what}" for key in known if key in row.values for what in _beside(row.values[key])]
    remarks += [f"{key}: {printed}" for key, printed in row.unknown.items()]
    if not remarks:
        return lines
    if len(lines) == 1 and len(lines[0]) + sum(map(len, remarks)) < _WIDTH:
        return [f"{lines[0]}  {_comment('; '.join(remarks))}"]
    return [*lines, *(f"      {_comment(remark)}" for remark in remarks)]


def _styles(row: RowReading) -> Iterable[tuple[str, list[str]]]:
    return (("bold", row.bold), ("underlined", row.underlined))


def _value(printed: Printed) -> str:
    extra = [f'bound: "{printed.bound}"'] if printed.bound else []
    extra += [f"gain: {printed.gain}"] if printed.gain else []
    return f"{{{', '.join([f'value: {printed.text}', *extra])}}}" if extra else printed.text


def _beside(printed: Printed) -> list[str]:
    """What is printed beside a number and has no place in a table file."""
    return [f"± {printed.spread}"] * bool(printed.spread) + [f"marked {printed.marks}"] * bool(printed.marks)


def check(content: str, path: Path) -> None:
    """Problems where the file would not load: nothing unreadable is written."""
    from harness.table.load import check as check_table
    from harness.yamlfile import parse

    check_table(parse(content, str(path)))
