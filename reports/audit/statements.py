"""Rules over what a paper's text says of its tables."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator
from fractions import Fraction

from harness.errors import UserError
from harness.jobs.tasks import SEGMENTATION
from harness.table.metrics import MARGINS
from harness.table.schema import Table
from reports.audit.corpus import Finding, Subject
from reports.audit.formula import Cells, NoPrintedValue
from reports.audit.numbers import same
from reports.audit.paper import Statement
from reports.audit.systems import Printed, quantity

Told = Iterator[tuple[str, str]]
Check = Callable[[Statement, Cells, Subject], Told]


def statements(subject: Subject) -> Iterator[Finding]:
    """Every statement of every paper, checked by its formulas; one finding per statement and rule."""
    for paper, told in subject.papers.items():
        cells = subject.cells(paper)
        for statement in told.statements:
            messages: dict[str, list[str]] = {}
            tables: dict[str, dict[str, None]] = {}
            for check in (_numbers, _holds, _significant, _only_on, _one_row, _best):
                cells.used.clear()
                for rule, message in _checked(check, statement, cells, subject, paper):
                    messages.setdefault(rule, []).append(message)
                    tables.setdefault(rule, {}).update(dict.fromkeys(table.id for table, _, _ in cells.used))
            for rule, each in messages.items():
                about = f"{statement.says}: {'; '.join(dict.fromkeys(each))}"
                yield Finding(rule, f"{paper}, {statement.where}", about, tuple(tables[rule]) or _ids(subject, paper))


def _checked(check: Check, statement: Statement, cells: Cells, subject: Subject, paper: str) -> Told:
    """What a check finds; an error in a formula names the paper's file and the statement."""
    try:
        yield from check(statement, cells, subject)
    except UserError as error:
        raise UserError(f"tables/papers/{paper}.yaml: statement '{statement.says}': {error}") from None


def _ids(subject: Subject, paper: str) -> tuple[str, ...]:
    return tuple(table.id for table in subject.of(paper))


def _numbers(statement: Statement, cells: Cells, subject: Subject) -> Told:
    if statement.number is None:
        return
    results = []
    for formula in statement.is_:
        try:
            results.append((formula, Fraction(cells.value(formula))))
        except NoPrintedValue as missing:
            yield "missing", f"{statement.number} cannot be checked, {missing} has no printed value"
    right = [formula for formula, value in results if _prints(value, statement.number)]
    for formula, value in results:
        if formula not in right:
            decimals = max(2, len(statement.number.partition(".")[2]))
            spelled = cells.spelled(formula)
            shown = _shown(value, decimals)
            told = f"{spelled} is {shown}" if not _is_number(spelled) else f"it is {spelled}"
            told += f", not {statement.number} ({_read(cells, formula)})"
            if right:  # the words fit several places, and one of them has the number
                told = f"{statement.number} is {', '.join(map(cells.spelled, right))}, and {told}"
            yield "statement", told


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def _read(cells: Cells, formula: str) -> str:
    """Whose the numbers of a formula are: `47.88 SFPN · + AA, mIoU in Table 3`."""
    cells.used.clear()
    cells.value(formula)
    return "; ".join(
        f"{table.published.values[row][column].text} {table.row(row).name},"
        f" {table.columns[column].label or column} in Table {table.table}"
        for table, row, column in _used(cells)
    )


def _prints(value: Fraction, number: str) -> bool:
    step = Fraction(1, 10 ** len(number.partition(".")[2]))
    return abs(value - Fraction(number)) <= step / 2


def _shown(value: Fraction, decimals: int) -> str:
    return (
        f"{float(value):.{decimals}f}".rstrip("0").rstrip(".")
        if value.denominator == 1
        else f"{float(value):.{decimals}f}"
    )


def _holds(statement: Statement, cells: Cells, subject: Subject) -> Told:
    for formula in statement.holds:
        cells.used.clear()  # what is read out is of the comparison that fails
        try:
            true = cells.value(formula)
        except NoPrintedValue as missing:
            yield "missing", f"cannot be checked, {missing} has no printed value"
            continue
        if not true:
            yield "statement", f"{cells.spelled(formula)} does not hold ({_read(cells, formula)})"


def _used(cells: Cells) -> list[tuple[Table, str, str]]:
    # each place once; tables themselves are no keys
    return list({(t.id, r, c): (t, r, c) for t, r, c in cells.used}.values())


def _significant(statement: Statement, cells: Cells, subject: Subject) -> Told:
    for formula in statement.significant:
        value = abs(Fraction(cells.value(formula)))
        margin = Fraction(str(MARGINS[SEGMENTATION.headline]))
        if value <= margin:
            margin_text = f"the {float(margin):g} points below which trainings count as equal here"
            about = f"{cells.spelled(formula)} is {float(value):.2f}, not above {margin_text}"
            yield "significance", f"{about} ({_read(cells, formula)})"


def _only_on(statement: Statement, cells: Cells, subject: Subject) -> Told:
    for glob, dataset in statement.only_on.items():
        for table in cells.tables.values():
            for row, values in table.published.values.items():
                for column in values if fnmatch.fnmatchcase(row, glob) else ():
                    found = quantity(table, row, column)
                    if found is not None and dataset not in (found.dataset, found.base):
                        cells.used.append((table, row, column))
                        about = f"{table.row(row).name} has {values[column].text} on {found.dataset}"
                        yield "scope", f"{about} (Table {table.table})"


def _one_row(statement: Statement, cells: Cells, subject: Subject) -> Told:
    """Numbers that are said of one thing and that no row has together."""
    if not statement.of_one_row:
        return
    holders: dict[str, list[str]] = {}
    for name, text in statement.of_one_row.items():
        key, _, column = name.partition(".")
        if key not in cells.tables or column not in cells.tables[key].columns:
            raise UserError(f"'{name}' is no column: TABLE.COLUMN, tables are {', '.join(cells.tables)}")
        for row, values in cells.tables[key].published.values.items():
            if column in values and same(values[column].text, text):
                holders.setdefault(name, []).append(row)
                cells.used.append((cells.tables[key], row, column))
    if len(holders) < len(statement.of_one_row) or not set.intersection(*map(set, holders.values())):
        told = "; ".join(
            f"{text} is {' and '.join(_label(cells, n, r) for r in holders.get(n, [])) or 'no row'}'s"
            for n, text in statement.of_one_row.items()
        )
        yield "statement", f"no row has them together: {told}"


def _label(cells: Cells, name: str, row: str) -> str:
    return cells.tables[name.partition(".")[0]].row(row).name


def _best(statement: Statement, cells: Cells, subject: Subject) -> Told:
    for cell in statement.best:
        table, row, column = cells.place(cell)
        cells.used.append((table, row, column))
        own = (s for s in subject.scores if (s.table.id, s.row, s.column) == (table.id, row, column))
        claimed = next(own, None)
        if claimed is None:
            raise UserError(f"'{cell}' is no printed score, so it cannot be the best one")
        known = (claimed.table.paper, *subject.papers[claimed.table.paper].follows)
        above = [s for s in subject.scores if s.table.paper in known and _rivals(s, claimed)]
        names: dict[tuple[str, str], Printed] = {}
        for score in above:
            names.setdefault((score.systems[0] if score.systems else score.place, score.value.text), score)
        if names:
            told = "; ".join(f"{s.table.row(s.row).name} {s.value.text} in {s.place}" for s in names.values())
            yield "state of the art", f"{claimed.value.text} is not above {told}"


def _rivals(score: Printed, claimed: Printed) -> bool:
    """Another row's value for the same quantity that is as good or better; the same system in another table is none."""
    a, b = score.quantity, claimed.quantity
    alike = (a.metric, a.base, a.split, a.scales) == (b.metric, b.base, b.split, b.scales)
    other = score.place != claimed.place and not set(score.systems) & set(claimed.systems)
    own = score.table.paper == claimed.table.paper and not score.cited
    return alike and other and not own and Fraction(score.value.text) >= Fraction(claimed.value.text)


RULES = (statements,)
