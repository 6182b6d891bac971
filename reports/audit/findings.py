"""Runs every rule over tables and papers, and prints what they find."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from harness.text import line, markdown, plural, sentence, spreadsheet_cell
from reports.audit import facts, numbers, statements
from reports.audit.corpus import Finding, Subject

RULES = {  # by weight: what bears on a conclusion first, then what numbers mean, then what a repetition needs
    "statement": "a number in the text is what the tables give, and comparisons in the text hold in them",
    "claim": "what a table is said to show holds in its printed values",
    "state of the art": "a claimed best value is above what was known: its own table's rows and earlier papers here",
    "gain": "a printed gain (+x) is the difference of two rows",
    "two datasets": "one system has different values on different versions of a dataset, and a value stands under its own",
    "scope": "what the text restricts to one dataset is printed for no other",
    "fact": "a paper, its release and other papers state the same thing in the same way",
    "release": "the text describes what the authors' code does",
    "convention": "counts of one column are counted in one way, the one that the column names",
    "details": "a quoted value stands with the settings that its source has",
    "two values": "one system has one value of one quantity, in whatever table, paper or release it is printed",
    "significance": "a difference called significant exceeds the margin below which this harness counts trainings as equal",
    "ablation": "a factor that a table lists varies in it",
    "missing": "a table has values; settings that training and testing need are stated",
    "unit": "a G is 10⁹",
    "rounding": "counts are rounded to their printed decimals",
    "citation": "one name has one reference number and one number one name",
}
TRIVIAL = "Trivial"


def audit(subject: Subject, only: Iterable[str] = ()) -> list[Finding]:
    """Everything that the rules find, by weight; `only`: about these tables (by id) or the papers they belong to."""
    rules = (*numbers.RULES, *statements.RULES, *facts.RULES)
    found = dict.fromkeys(finding for rule in rules for finding in rule(subject))
    chosen = set(only)
    order = list(RULES)
    kept = [f for f in found if not chosen or chosen & set(f.tables)]
    return sorted(kept, key=lambda f: (f.trivial, order.index(f.rule), f.where, f.message))


def _sections(findings: Sequence[Finding]) -> Iterator[tuple[str, str, list[Finding]]]:
    """(title, what the rule asks, findings) of each rule that is broken; what is trivial comes last, whatever the rule."""
    for rule, about in RULES.items():
        broken = [f for f in findings if f.rule == rule and not f.trivial]
        if broken:
            yield rule, about, broken
    trivial = [f for f in findings if f.trivial]
    if trivial:
        yield (
            TRIVIAL.lower(),
            "slips of last digits, reference numbers and symbols, from which nothing follows",
            trivial,
        )


def text(findings: Sequence[Finding], checked: str) -> str:
    """For a terminal: findings under the rule that they break."""
    lines = []
    for title, about, broken in _sections(findings):
        lines += [f"{title}: {about}", *(f"  {line(f.where)}: {line(f.message)}" for f in broken), ""]
    count = plural(len(findings), "finding") if findings else "nothing found"
    return "\n".join([*lines, f"{count} in {checked}", ""])


def as_markdown(findings: Sequence[Finding], checked: str) -> str:
    """As a Markdown document, a section per rule."""
    count = plural(len(findings), "finding") if findings else "Nothing found"
    parts = ["# Audit of the published numbers\n", f"{count} in {markdown(checked)}.\n"]
    for title, about, broken in _sections(findings):
        parts.append(f"## {title.capitalize()} ({len(broken)})\n\n{sentence(about)}\n")
        parts.append("| Where | Finding |\n|---|---|")
        parts += [f"| {markdown(f.where)} | {markdown(f.message)} |" for f in broken]
        parts.append("")
    return "\n".join(parts)


def as_csv(findings: Sequence[Finding]) -> str:
    """One line per finding, by weight: rule, where, message, tables, whether it is trivial."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("rule", "where", "finding", "tables", "trivial"))
    for f in findings:
        told = (f.rule, f.where, f.message, " ".join(f.tables), "yes" if f.trivial else "")
        writer.writerow(map(spreadsheet_cell, told))
    return out.getvalue()
