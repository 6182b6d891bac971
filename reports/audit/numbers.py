"""Rules over printed numbers: gains, one quantity in several places, conventions, rounding, units."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations

from harness.table.metrics import CONVENTIONS
from harness.table.schema import Table, Value
from harness.text import number
from reports.audit.corpus import Finding, Subject
from reports.audit.formula import printed
from reports.audit.paper import ExternalValue, Paper, Recount
from reports.audit.systems import Printed, place

GIGA = 1e9


def gains(subject: Subject) -> Iterator[Finding]:
    """A printed gain that no row of the column differs by; the nearest difference stands beside it."""
    for table in subject.tables:
        for column in table.columns:
            values = printed(table, column)
            for row, value in values.items():
                if value.gain is None or any(_is_gain(value, base) for key, base in values.items() if key != row):
                    continue
                others = [(Fraction(value.text) - Fraction(v.text), k) for k, v in values.items() if k != row]
                near, base = min(others, key=lambda o: abs(o[0] - Fraction(value.gain_text)), default=(None, ""))
                told = (
                    f"; over {_label(table, base)} it is {float(near):+.{value.decimals}f}" if near is not None else ""
                )
                yield Finding(
                    "gain", place(table, row, column), f"printed gain {float(value.gain):+g}{told}", (table.id,)
                )


def _is_gain(value: Value, base: Value) -> bool:
    step = Fraction(1, 10 ** len(value.gain_text.partition(".")[2]))
    coarse = len(value.gain_text.partition(".")[2]) < max(value.decimals, base.decimals)
    off = abs(Fraction(value.text) - Fraction(base.text) - Fraction(value.gain_text))
    return off <= (step / 2 if coarse else 0)


def same(a: str, b: str) -> bool:
    """Whether two printed numbers can be one: equal to the decimals of the coarser one, rounded or cut."""
    fine, coarse = sorted((a, b), key=lambda t: -_decimals(t))
    step = Fraction(1, 10 ** _decimals(coarse))
    off = Fraction(fine) - Fraction(coarse)
    return off == 0 if _decimals(a) == _decimals(b) else abs(off) <= step / 2 or 0 <= off < step


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])


def two_values(subject: Subject) -> Iterator[Finding]:
    """One system, one quantity, two values: within a paper, between papers, and in what others print."""
    by: dict[tuple[str, ...], list[Printed]] = defaultdict(list)
    for score in subject.scores:
        q = score.quantity
        for system in score.systems:
            by[system, q.metric, q.base, q.split, q.scales].append(score)
    told_of: set[tuple[str, str]] = set()
    for (system, *_), group in by.items():
        for first, second in _apart(group):
            if (first.place, second.place) in told_of:
                continue  # under another of its names
            told_of.add((first.place, second.place))
            about = f"{system}, {first.quantity}: {first.value.text} here, {second.value.text} in {second.place}"
            if first.quantity.dataset != second.quantity.dataset:
                about += f" (there on {second.quantity.dataset})"
            yield Finding("two values", first.place, about, (first.table.id, second.table.id))
    for paper, told in subject.papers.items():
        cells = subject.cells(paper)
        for entry in told.elsewhere:
            yield from _elsewhere(entry, *cells.place(entry.cell), subject)


def _apart(group: list[Printed]) -> Iterator[tuple[Printed, Printed]]:
    """Pairs of different tables that differ, each pair of values once. Two rows of one table are two things."""
    seen: set[tuple[str, str, str, str]] = set()
    for first, second in combinations(group, 2):
        pair = (first.table.paper, first.value.text, second.table.paper, second.value.text)
        if first.table.id != second.table.id and not same(first.value.text, second.value.text) and pair not in seen:
            seen.add(pair)
            yield first, second


def _elsewhere(entry: ExternalValue, table: Table, row: str, column: str, subject: Subject) -> Iterator[Finding]:
    value = table.published.values.get(row, {}).get(column)
    where, ids = place(table, row, column), (table.id,)
    if value is None:
        return
    here = next(
        (s.quantity.dataset for s in subject.scores if (s.table.id, s.row, s.column) == (table.id, row, column)), ""
    )
    other = entry.dataset if entry.dataset not in (None, here) else None
    if not same(value.text, entry.value):
        if other is None:
            yield Finding("two values", where, f"printed {value.text}; {entry.where} has {entry.value}", ids)
        return
    if other is not None:
        about = f"{value.text} stands in a column on {here}; {entry.where} has {entry.value} on {other}"
        yield Finding("two datasets", where, about, ids)
    for name, text in entry.details.items():
        ours = _detail(table, row, name)
        if ours is not None and ours != text:
            about = f"{value.text} stands with {name} {ours}; {entry.where} has {entry.value} with {name} {text}"
            yield Finding("details", where, about, ids)


def _detail(table: Table, row: str, name: str) -> str | None:
    """What a row says of itself: a descriptor, or a printed number of another column."""
    if name in table.rows[row].descriptors:
        return table.rows[row].descriptors[name]
    value = table.published.values.get(row, {}).get(name)
    return value.text if value is not None else None


def two_datasets(subject: Subject) -> Iterator[Finding]:
    """The same number for one system on two versions of a dataset."""
    by: dict[tuple[str, ...], list[Printed]] = defaultdict(list)
    for score in subject.scores:
        for system in score.systems:
            by[system, score.quantity.metric, score.quantity.family, score.quantity.scales].append(score)
    for (system, *_), group in by.items():
        seen: set[frozenset[str]] = set()
        for first, second in combinations(group, 2):
            names = frozenset((first.place, second.place))
            if first.quantity.base == second.quantity.base or names in seen:
                continue
            if same(first.value.text, second.value.text):
                seen.add(names)
                about = (
                    f"{system}: {first.value.text} on {first.quantity.dataset} here, {second.value.text} on"
                    f" {second.quantity.dataset} in {second.place}"
                )
                yield Finding("two datasets", first.place, about, (first.table.id, second.table.id))


# ------------------------------------------------------------------------------------------------ recounted counts


def conventions(subject: Subject) -> Iterator[Finding]:
    """A count that another way of counting prints, and columns whose cells need different ways."""
    for paper, told in subject.papers.items():
        columns: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for recount, table, row, column in _recounts(subject, paper, told):
            value = table.published.values[row][column]
            printing = [name for name, count in recount.counts.items() if _cut(count, value)]
            named, *_ = recount.counts
            if len(recount.counts) > 1:
                columns[table.id, column][printing[0] if printing else "none"].append(_label(table, row))
            if named not in printing:
                counted = "; ".join(f"{name}: {number(count, 6)}" for name, count in recount.counts.items())
                which = f"that is {', '.join(printing)}" if printing else "no reading prints it"
                about = f"printed {value.text}, {which} ({counted})"
                yield Finding("convention", place(table, row, column), about, (table.id,))
        for (ident, column), ways in columns.items():
            if len(ways) > 1:
                table = next(t for t in subject.of(paper) if t.id == ident)
                text = "; ".join(f"{way}: {', '.join(rows)}" for way, rows in ways.items())
                yield Finding("convention", place(table, None, column), f"counted in several ways ({text})", (ident,))


def rounding(subject: Subject) -> Iterator[Finding]:
    """A paper whose own counts are printed by truncation, where rounding prints some of them otherwise."""
    for paper, told in subject.papers.items():
        cut: list[tuple[Table, str]] = []
        rounded = every = 0
        for recount, table, row, column in _recounts(subject, paper, told):
            value, count = table.published.values[row][column], next(iter(recount.counts.values()))
            if table.rows[row].cited is not None or table.rows[row].rounding is not None:
                continue
            ways = _ways(count, value)
            every += bool(ways)
            rounded += ways == {"round"}
            if ways == {"truncate"}:
                cut.append((table, f"{value.text} is {number(count, 7)}"))
        if cut and not rounded:
            tables = tuple(dict.fromkeys(table.id for table, _ in cut))
            places = ", ".join(dict.fromkeys(f"Table {table.table}" for table, _ in cut))
            text = "; ".join(told for _, told in cut)
            about = f"all {every} counts print by cutting the decimals, {every - len(cut)} by rounding ({text})"
            yield Finding("rounding", f"{paper}, {places}", about, tables)


def _recounts(subject: Subject, paper: str, told: Paper) -> Iterator[tuple[Recount, Table, str, str]]:
    cells = subject.cells(paper)
    for recount in told.recounts:
        table, row, column = cells.place(recount.cell)
        if column in table.published.values.get(row, {}):
            yield recount, table, row, column


def _ways(count: float, value: Value) -> set[str]:
    off = Fraction(repr(count)) - Fraction(value.text)
    step = Fraction(1, 10**value.decimals)
    return ({"round"} if abs(off) <= step / 2 else set()) | ({"truncate"} if 0 <= off < step else set())


def _cut(count: float, value: Value) -> bool:
    return bool(_ways(count, value))


def units(subject: Subject) -> Iterator[Finding]:
    """A column of FLOPs whose convention's G is not 10⁹."""
    for table in subject.tables:
        for key, column in table.columns.items():
            found = CONVENTIONS.get(column.convention or "")
            if (
                table.column(key).metric.name == "flops"
                and found is not None
                and found.giga != GIGA
                and printed(table, key)
            ):
                about = f"a G is {found.giga:.0f} here, not 10⁹ ({found.name}: {found.about})"
                yield Finding("unit", place(table, None, key), about, (table.id,))


def _label(table: Table, row: str) -> str:
    return table.row(row).name


RULES = (gains, two_values, two_datasets, conventions, rounding, units)
