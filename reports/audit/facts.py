"""Rules over facts, references, factors and what is left unsaid."""

from __future__ import annotations

import importlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations

from harness.errors import UserError
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
    trivial: set[tuple[str, str]] = set()
    for name, paper in subject.papers.items():
        for fact in paper.facts:
            stated[fact.about, fact.what].append((fact.value, name, fact.where))
            trivial |= {(fact.about, fact.what)} if fact.trivial else set()
    for (about, what), entries in stated.items():
        values = dict.fromkeys(value for value, _, _ in entries)
        if not _one(list(values)):
            values_said = "; ".join(
                f"{value} ({', '.join(f'{p}, {where}' for v, p, where in entries if v == value)})" for value in values
            )
            papers = dict.fromkeys(name for _, name, _ in entries)
            tables = tuple(table.id for name in papers for table in subject.of(name))
            slip = (about, what) in trivial
            yield Finding("fact", ", ".join(papers), f"{what} of {about}: {values_said}", tables, slip)


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


def releases(subject: Subject) -> Iterator[Finding]:
    """What a paper's text describes and its authors' code does otherwise, as the method's options know it."""
    for paper, told in subject.papers.items():
        if told.method is None:
            continue
        try:
            differences = importlib.import_module(f"methods.{told.method}.differences")
        except ModuleNotFoundError:
            raise UserError(f"tables/papers/{paper}.yaml: method '{told.method}' has no differences.py") from None
        ids = tuple(table.id for table in subject.of(paper))
        for name, point in differences.OPTIONS.items():
            if point.where == differences.NOT_SAID:
                continue
            released = differences.clause(name, differences.DIFFERENCES[name][0])
            about = f"{point.topic}: {point.paper}; in the authors' code {released}"
            yield Finding("release", f"{paper}, {point.where}", about, ids)


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
                yield Finding("citation", where, about, tables, trivial=True)


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


RULES = (facts, releases, citations, ablations, missing)
