"""Runs every rule over tables and papers, and prints what they find."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.table import Table
from reports.audit.formula import Cells
from reports.audit.names import Printed, scores
from reports.audit.paper import Names, Paper
from reports.text import line, markdown, sentence

RULES = {
    "gain": "a printed gain (+x) is the difference of two rows",
    "statement": "a number in the text is what the tables give, and comparisons in the text hold in them",
    "significance": "a difference called significant exceeds the margin below which two trainings count as equal",
    "scope": "what the text restricts to one dataset is printed for no other",
    "state of the art": "a claimed best value is above what any table here prints for the same quantity, at whatever date",
    "two values": "one system has one value of one quantity, in whatever table, paper or release it is printed",
    "two datasets": "one system has different values on different versions of a dataset, and a value stands under its own",
    "unlike": "the rows of a column are trained on one dataset, for one length, with one batch and one crop",
    "details": "a quoted value stands with the settings that its source has",
    "convention": "counts of one column are counted in one way, the one that the column names",
    "rounding": "counts are rounded to their printed decimals",
    "unit": "a G is 10⁹",
    "fact": "a paper, its release and other papers state the same thing in the same way",
    "citation": "one name has one reference number and one number one name",
    "ablation": "a factor that a table lists varies in it",
    "missing": "a table has values; settings that training and testing need are stated",
}


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that does not fit: which rule, where in the papers, what. `tables`: ids of the tables it is about."""

    rule: str
    where: str
    message: str
    tables: tuple[str, ...] = ()


@dataclass
class Subject:
    """What is audited: tables of one or more papers, and what the papers say outside them."""

    tables: Sequence[Table]
    papers: Mapping[str, Paper]
    names: Names

    @cached_property
    def scores(self) -> list[Printed]:
        """Every printed score of every table."""
        return [found for table in self.tables for found in scores(table, self.names)]

    def of(self, paper: str) -> list[Table]:
        return [table for table in self.tables if table.paper == paper]

    def cells(self, paper: str) -> Cells:
        """The paper's tables for formulas, `t9` being Table 9."""
        return Cells({f"t{table.table}": table for table in self.of(paper) if table.table is not None})


Rule = Callable[[Subject], Iterator[Finding]]


def audit(subject: Subject, only: Iterable[str] = ()) -> list[Finding]:
    """Everything that the rules find; `only`: about these tables (by id) or the papers they belong to."""
    from reports.audit import numbers, sayings, wording

    rules: list[Rule] = [*numbers.RULES, *sayings.RULES, *wording.RULES]
    found = dict.fromkeys(finding for rule in rules for finding in rule(subject))
    chosen = set(only)
    order = list(RULES)
    kept = [f for f in found if not chosen or chosen & set(f.tables)]
    return sorted(kept, key=lambda f: (order.index(f.rule), f.where, f.message))


def text(findings: Sequence[Finding], checked: str) -> str:
    """For a terminal: findings under the rule that they break."""
    lines = []
    for rule, about in RULES.items():
        broken = [f for f in findings if f.rule == rule]
        if broken:
            lines += [f"{rule}: {about}", *(f"  {line(f.where)}: {line(f.message)}" for f in broken), ""]
    count = f"{len(findings)} finding{'' if len(findings) == 1 else 's'}" if findings else "nothing found"
    return "\n".join([*lines, f"{count} in {checked}", ""])


def as_markdown(findings: Sequence[Finding], checked: str) -> str:
    """As a Markdown document, a section per rule."""
    count = f"{len(findings)} findings" if findings else "Nothing found"
    parts = ["# Audit of the published numbers\n", f"{count} in {markdown(checked)}.\n"]
    for rule, about in RULES.items():
        broken = [f for f in findings if f.rule == rule]
        if broken:
            parts.append(f"## {rule.capitalize()} ({len(broken)})\n\n{sentence(about)}\n")
            parts.append("| Where | Finding |\n|---|---|")
            parts += [f"| {markdown(f.where)} | {markdown(f.message)} |" for f in broken]
            parts.append("")
    return "\n".join(parts)


def as_csv(findings: Sequence[Finding]) -> str:
    """One line per finding: rule, where, message, tables."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("rule", "where", "finding", "tables"))
    writer.writerows((f.rule, f.where, f.message, " ".join(f.tables)) for f in findings)
    return out.getvalue()
