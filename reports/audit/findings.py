"""Runs every rule over tables and papers, and prints what they find."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from harness.text import line, markdown, plural, sentence
from reports.audit import facts, numbers, statements
from reports.audit.corpus import Finding, Subject

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


def audit(subject: Subject, only: Iterable[str] = ()) -> list[Finding]:
    """Everything that the rules find; `only`: about these tables (by id) or the papers they belong to."""
    rules = (*numbers.RULES, *statements.RULES, *facts.RULES)
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
    count = plural(len(findings), "finding") if findings else "nothing found"
    return "\n".join([*lines, f"{count} in {checked}", ""])


def as_markdown(findings: Sequence[Finding], checked: str) -> str:
    """As a Markdown document, a section per rule."""
    count = plural(len(findings), "finding") if findings else "Nothing found"
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
