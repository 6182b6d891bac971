"""Rules over facts, references, factors and what is left unsaid."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from harness.errors import UserError
from harness.table.recipes import recipe
from harness.table.schema import Table
from reports.audit.corpus import Finding, Subject
from reports.audit.systems import fold, place

_REFERENCE = re.compile(r"\[([\d,\s]+)\]")

_THOUSANDS = re.compile(r"(\d+(?:\.\d+)?)(K?)")

CHECKLIST = (
    "optimizer",
    "learning rate",
    "learning-rate schedule",
    "weight decay",
    "batch size",
    "crop",
    "training length",
    "augmentation",
    "loss weights",
    "test protocol",
    "runs behind a value",
)
"""What a reader needs to train and test again; a paper file's `settings` answers each, or says null."""


def facts(subject: Subject) -> Iterator[Finding]:
    """One thing stated in several ways, in one paper or in several."""
    stated: dict[tuple[str, str], list[tuple[str, str, str]]] = defaultdict(list)
    for name, paper in subject.papers.items():
        for fact in paper.facts:
            stated[fact.about, fact.what].append((fact.value, name, fact.where))
    for (about, what), entries in stated.items():
        values = dict.fromkeys(value for value, _, _ in entries)
        if not _one(list(values)):
            values_said = "; ".join(
                f"{value} ({', '.join(f'{p}, {where}' for v, p, where in entries if v == value)})" for value in values
            )
            papers = dict.fromkeys(name for _, name, _ in entries)
            tables = tuple(table.id for name in papers for table in subject.of(name))
            yield Finding("fact", ", ".join(papers), f"{what} of {about}: {values_said}", tables)


def _one(values: Sequence[str]) -> bool:
    """Whether all say the same; 20K is 20210 to its last digit."""
    for first, second in combinations(values, 2):
        sizes = [_THOUSANDS.fullmatch(value) for value in (first, second)]
        rough = [size for size in sizes if size is not None and size[2]]
        if first != second and not (all(sizes) and rough and abs(_size(sizes[0]) - _size(sizes[1])) <= 500):
            return False
    return True


def _size(found: re.Match[str] | None) -> float:
    assert found is not None
    return float(found[1]) * (1000 if found[2] else 1)


def unlike(subject: Subject) -> Iterator[Finding]:
    """Cells whose recipe trains on something else, longer, or otherwise than their column's."""
    for table in subject.tables:
        for row, spec in table.rows.items():
            for column, cell in spec.cells.items():
                if cell.recipe is None or column not in table.published.values.get(row, {}):
                    continue
                usual, own = (_training(table, name) for name in (table.column(column).recipe, cell.recipe))
                differs = [f"{k}: {own[k]} here, {usual[k]} in the column" for k in usual if own.get(k) != usual[k]]
                if differs:
                    about = f"{table.published.values[row][column].text} is trained otherwise ({'; '.join(differs)})"
                    yield Finding("unlike", place(table, row, column), about, (table.id,))


def _training(table: Table, name: str | None) -> dict[str, object]:
    try:
        found = recipe(name or "", Path(table.path).parent)
    except UserError:
        return {}
    length = f"{found.epochs} epochs" if found.epochs else f"{found.iterations} iterations"
    crop = " × ".join(map(str, found.augmentation.crop))
    return {"dataset": found.dataset, "length": length, "batch": found.batch_size, "crop": crop}


def citations(subject: Subject) -> Iterator[Finding]:
    """Names with several reference numbers, in labels and backbones of tables and where the paper file lists them."""
    for paper in dict.fromkeys([*subject.papers, *(t.paper for t in subject.tables)]):
        cited: dict[str, dict[int, list[tuple[str, str, tuple[str, ...]]]]] = defaultdict(lambda: defaultdict(list))
        for table in subject.of(paper):
            for key, row in table.rows.items():
                for text in (row.label, *row.descriptors.values()):
                    for name, number in _references(text):
                        cited[fold(name)][number].append((name, place(table, key), (table.id,)))
        told = subject.papers.get(paper)
        for entry in told.citations if told is not None else ():
            cited[fold(entry.name)][entry.number].append((entry.name, f"{paper}, {entry.where}", ()))
        yield from _several(paper, cited)


def _references(text: str) -> Iterator[tuple[str, int]]:
    """`SETR [41]` is (SETR, 41); of several numbers only a single one names the method itself."""
    found = _REFERENCE.search(text)
    if found is not None and found[1].strip().isdigit():
        yield text[: found.start()].strip(), int(found[1])


def _several(paper: str, cited: dict[str, dict[int, list[tuple[str, str, tuple[str, ...]]]]]) -> Iterator[Finding]:
    """A name's rarer numbers are the slips; who else has the number says what was cited instead."""
    for name, numbers in cited.items():
        usual = max(numbers, key=lambda n: (len(numbers[n]), -n))
        for number, uses in numbers.items():
            if number == usual:
                continue
            others = [other[number][0][0] for key, other in cited.items() if key != name and number in other]
            owner = f", which is {', '.join(dict.fromkeys(others))}" if others else ""
            for shown, where, tables in uses:
                about = f"{shown} is cited as [{number}]{owner}; elsewhere it is [{usual}]"
                yield Finding("citation", where, about, tables)


def ablations(subject: Subject) -> Iterator[Finding]:
    """A marked factor (✓) that every row of a table has: nothing is said of going without it."""
    for table in subject.tables:
        rows = [row for row in table.rows.values() if not row.extra]
        for name, heading in table.descriptors.items():
            marks = [row.descriptors.get(name, "") for row in rows]
            factors = [d for d in table.descriptors if any(r.descriptors.get(d) == "✓" for r in rows)]
            varies = any(len({r.descriptors.get(d, "") for r in rows}) > 1 for d in factors)
            if len(rows) > 1 and varies and set(marks) == {"✓"}:
                about = f"“{heading}” is marked in every row: it is not ablated"
                yield Finding("ablation", place(table), about, (table.id,))


def missing(subject: Subject) -> Iterator[Finding]:
    """Tables without values, and settings that no text states."""
    for table in subject.tables:
        if table.published.source.table is not None and not table.published.values:
            yield Finding("missing", place(table), "no printed value is known", (table.id,))
    for paper, told in subject.papers.items():
        asked = dict.fromkeys([*CHECKLIST, *told.settings])
        unsaid = [name for name in asked if told.settings.get(name) is None]
        tables = tuple(table.id for table in subject.of(paper))
        for name in unsaid:
            yield Finding("missing", paper, f"{name}: not stated", tables)


RULES = (facts, unlike, citations, ablations, missing)
