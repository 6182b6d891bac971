"""Rules over printed numbers: gains, one quantity in several places, conventions, rounding, units."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from harness.errors import UserError
from harness.table.metrics import CONVENTIONS
from harness.table.recipes import recipe
from harness.table.schema import Table, Value
from harness.text import number
from reports.audit.corpus import Finding, Subject
from reports.audit.formula import printed
from reports.audit.paper import ExternalValue, Paper, Recount
from reports.audit.systems import Printed, place

GIGA = 1e9
LAST_DIGITS = Fraction(1, 10)
"""Points below which two prints of one value differ by a slip of the last digits: nothing is concluded from less."""


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
    told_of: set[frozenset[str]] = set()
    for (system, *_), group in by.items():
        several = _several_values(group)
        places = frozenset(score.place for score in several)
        if not several or any(places <= others for others in told_of):
            continue  # under another of its names
        told_of.add(places)
        first, *others = several
        about = f"{system}, {first.quantity}: {first.value.text} here, " + ", ".join(
            f"{other.value.text} in {other.place}" + _on(other, first) for other in others
        )
        yield Finding("two values", first.place, about, tuple(dict.fromkeys(score.table.id for score in several)))
    for paper, told in subject.papers.items():
        cells = subject.cells(paper)
        for entry in told.elsewhere:
            yield from _elsewhere(entry, *cells.place(entry.cell), subject)


def _several_values(group: list[Printed]) -> list[Printed]:
    """The places of different tables that print different values; two rows of one table are two things."""
    kept = []
    for score in group:
        others = [other for other in group if other.table.id != score.table.id]
        if any(not same(score.value.text, other.value.text) for other in others):
            kept.append(score)
    return kept


def _on(score: Printed, first: Printed) -> str:
    return f" (there on {score.quantity.dataset})" if score.quantity.dataset != first.quantity.dataset else ""


def _elsewhere(entry: ExternalValue, table: Table, row: str, column: str, subject: Subject) -> Iterator[Finding]:
    value = table.published.values.get(row, {}).get(column)
    where, ids = place(table, row, column), (table.id,)
    if value is None:
        return
    here = _dataset_of_column(table, column)
    other = entry.dataset if entry.dataset not in (None, here) else None
    printed_text = value.text.rstrip("0") if other is not None else value.text  # 47.80 may stand for 47.8
    if not same(printed_text, entry.value):
        if other is None:
            slip = abs(Fraction(value.text) - Fraction(entry.value)) < LAST_DIGITS
            about = f"printed {value.text}; {entry.where} has {entry.value}"
            yield Finding("two values", where, about, ids, trivial=slip)
        return
    if other is not None:
        about = (
            f"{value.text} stands in a column that is run here on {here}; {entry.where} has {entry.value} on {other}"
        )
        yield Finding("two datasets", where, about, ids)
    for name, text in entry.details.items():
        ours = _detail(table, row, name)
        if ours is not None and ours != text:
            about = f"{value.text} stands with {name} {ours}; {entry.where} has {entry.value} with {name} {text}"
            yield Finding("details", where, about, ids)


def _dataset_of_column(table: Table, column: str) -> str:
    """What the column's scores are of; "" where its recipe does not say."""
    try:
        return recipe(table.columns[column].recipe or table.defaults.recipe or "", Path(table.path).parent).dataset
    except UserError:
        return ""


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
    told_of: set[frozenset[str]] = set()
    for (system, *_), group in by.items():
        for text in dict.fromkeys(score.value.text for score in group):
            alike = [score for score in group if same(score.value.text, text)]
            places = frozenset(score.place for score in alike)
            if len({score.quantity.base for score in alike}) < 2 or any(places <= others for others in told_of):
                continue
            told_of.add(places)
            first, *others = alike
            about = f"{system}: {first.value.text} on {first.quantity.dataset} here, " + ", ".join(
                f"{other.value.text} on {other.quantity.dataset} in {other.place}" for other in others
            )
            yield Finding("two datasets", first.place, about, tuple(dict.fromkeys(s.table.id for s in alike)))


# ------------------------------------------------------------------------------------------------ recounted counts


def conventions(subject: Subject) -> Iterator[Finding]:
    """Columns whose cells need different ways of counting, and single counts that only another way prints."""
    for paper, told in subject.papers.items():
        columns: dict[tuple[str, str], list[tuple[Table, str, Recount, list[str]]]] = defaultdict(list)
        for recount, table, row, column in _recounts(subject, paper, told):
            value = table.published.values[row][column]
            printing = [name for name, count in recount.counts.items() if _ways(count, value)]
            columns[table.id, column].append((table, row, recount, printing))
        for (ident, column), cells in columns.items():
            table = cells[0][0]
            ways: dict[str, list[str]] = defaultdict(list)
            for _, row, recount, printing in cells:
                if len(recount.counts) > 1:
                    ways[printing[0] if printing else "none"].append(_counted(table, row, column, recount))
            if len(ways) > 1:
                text = "; ".join(f"{way}: {', '.join(rows)}" for way, rows in ways.items())
                yield Finding("convention", place(table, None, column), f"counted in several ways ({text})", (ident,))
                continue
            for _, row, recount, printing in cells:
                if next(iter(recount.counts)) not in printing:
                    which = f"that is {', '.join(printing)}" if printing else "no reading prints it"
                    about = f"{_counted(table, row, column, recount)}: {which}"
                    yield Finding("convention", place(table, row, column), about, (ident,))


def _counted(table: Table, row: str, column: str, recount: Recount) -> str:
    counts = "; ".join(f"{name} {number(count, 6)}" for name, count in recount.counts.items())
    return f"{_label(table, row)} {table.published.values[row][column].text} ({counts})"


def rounding(subject: Subject) -> Iterator[Finding]:
    """A paper whose own counts are printed by truncation, where rounding prints some of them otherwise; each number once."""
    for paper, told in subject.papers.items():
        ways: dict[tuple[str, float], set[str]] = {}
        tables: dict[tuple[str, float], dict[str, Table]] = defaultdict(dict)
        for recount, table, row, column in _recounts(subject, paper, told):
            value, count = table.published.values[row][column], next(iter(recount.counts.values()))
            if table.rows[row].quoted is None and table.rows[row].rounding is None and _ways(count, value):
                ways[value.text, count] = _ways(count, value)
                tables[value.text, count][table.id] = table
        cut = {which: of for which, of in tables.items() if ways[which] == {"truncate"}}
        if cut and {"round"} not in ways.values():
            places = {table.id: f"Table {table.table}" for of in cut.values() for table in of.values()}
            text = "; ".join(f"{printed_text} is {number(count, 7)}" for printed_text, count in cut)
            about = f"all {len(ways)} counts print by cutting the decimals, {len(ways) - len(cut)} by rounding ({text})"
            yield Finding("rounding", f"{paper}, {', '.join(places.values())}", about, tuple(places))


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


def claims(subject: Subject) -> Iterator[Finding]:
    """A claim that the table's own printed values contradict."""
    for table in subject.tables:
        for claim in table.claims:
            for column in table.columns if claim.on == "all" else claim.on:
                for better, than in claim.steps:
                    values = printed(table, column)
                    if better not in values or than not in values:
                        continue
                    sign = 1 if table.column(column).metric.better == "higher" else -1
                    if sign * (Fraction(values[better].text) - Fraction(values[than].text)) <= 0:
                        about = f"{values[better].text} is not better than {_label(table, than)}'s {values[than].text}"
                        yield Finding("claim", place(table, better, column), about, (table.id,))


RULES = (gains, claims, two_values, two_datasets, conventions, rounding, units)
