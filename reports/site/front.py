"""The first page: a card per paper, and one for tables of ours. Plain data: HTML is escaped in the template."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.table.schema import Source, Table
from harness.text import line, plural
from reports import verdict
from reports.audit.paper import Paper
from reports.cell_report import CellReport
from reports.site.names import short, table_page
from reports.site.outcomes import ORDER, bar, counts, folded, runnable
from reports.status import CellStatus
from reports.table_report import TableReport, is_published

OURS = "ours"
"""What stands in a paper's place for cells that no paper prints: extra rows, and tables without a source."""
_ARXIV = re.compile(r"[0-9]{4}\.[0-9]{4,5}(v[0-9]+)?")
_DOI = re.compile(r"10\.[0-9]{4,9}/[A-Za-z0-9._;()/:-]+")


def paper_of(report: TableReport, cell: CellReport) -> str:
    """Whose number a cell is: the paper's short name, or `ours`."""
    extra = report.table.rows[cell.row].extra
    return paper_name(report.table) if is_published(report.table) and not extra else OURS


def paper_name(table: Table) -> str:
    return short(table.published.source.name or table.paper, 40)


def links(source: Source) -> list[tuple[str, str]]:
    """(text, address) of where a paper can be read; nothing is loaded from there."""
    found = []
    if source.arxiv and _ARXIV.fullmatch(source.arxiv):
        found.append((f"arXiv {source.arxiv}", f"https://arxiv.org/abs/{source.arxiv}"))
    if source.doi and _DOI.fullmatch(source.doi):
        found.append((f"doi {source.doi}", f"https://doi.org/{source.doi}"))
    return found


def summary(report: TableReport, findings: int) -> dict[str, Any]:
    """A table as the first page lists it. `findings`: how many there are about it alone."""
    cells = list(report)
    own = report.own_cells()
    counted = counts(own)
    number = str(report.table.table) if report.table.table is not None else ""
    return {
        "id": report.table.id,
        "paper": paper_name(report.table) if is_published(report.table) else OURS,
        "number": number,
        "name": f"Table {number}" if number else short(report.table.id, 24),
        "title": short(report.table.title),
        "page": table_page(report),
        "counts": counted,
        "bar": bar(runnable(counted)),
        "measured": sum(cell.measured for cell in own),
        "total": len(own),
        "runnable": sum(runnable(counted).values()),
        "folded": sum(folded(counted).values()),
        "extra": len(cells) - len(own),
        "findings": findings,
        "evidence": _evidence(own),
        "source": report.table.published.source,
        "key": report.table.paper,
    }


def order(summary: Mapping[str, Any]) -> tuple[bool, str, bool, int, str]:
    """Papers by name and their tables by number, then ours."""
    number = summary["number"]
    return (
        summary["paper"] == OURS,
        summary["paper"].casefold(),
        not number.isdigit(),
        int(number) if number.isdigit() else 0,
        summary["id"],
    )


def cards(
    summaries: Sequence[Mapping[str, Any]], papers: Mapping[str, Paper], comparable: bool
) -> list[dict[str, Any]]:
    """The cards in the order of their first tables; in each, measured tables first and the others folded."""
    by_paper: dict[str, list[Mapping[str, Any]]] = {}
    for entry in summaries:
        by_paper.setdefault(entry["paper"], []).append(entry)
    found = []
    for paper, tables in by_paper.items():
        counted = _added([table["counts"] for table in tables])
        about = papers.get(tables[0]["key"])
        found.append(
            {
                "paper": paper,
                "heading": paper if paper != OURS else "Ours, nothing published",
                "title": line(about.title) if about is not None and paper != OURS else "",
                "links": links(tables[0]["source"]),
                "venue": line(tables[0]["source"].venue or ""),
                "counts": runnable(counted),
                "folded": folded(counted),
                "bar": bar(runnable(counted)),
                "sentence": sentence(_added([table["evidence"] for table in tables]), comparable),
                "extra": sum(table["extra"] for table in tables),
                "measured_tables": [table for table in tables if table["measured"]],
                "other_tables": [table for table in tables if not table["measured"]],
            }
        )
    return found


def _added(counted: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """The sum of counts, in the site's order where they are of outcomes."""
    total: dict[str, int] = {}
    for counts_of_one in counted:
        for name, n in counts_of_one.items():
            total[name] = total.get(name, 0) + n
    ranks = {str(outcome): rank for rank, outcome in enumerate(ORDER)}
    return {name: total[name] for name in sorted(total, key=lambda name: ranks.get(name, len(ranks)))}


# ---------------------------------------------------------------------------------------------- what is reproduced


def _evidence(cells: Sequence[CellReport]) -> dict[str, int]:
    """{`count reproduced`: how many}: judged counts and trained scores by verdict, and scores that nobody measured."""
    found: dict[str, int] = {}
    for cell in cells:
        if cell.status in (CellStatus.CITED, CellStatus.AWAITS) or cell.published is None:
            continue
        kind = "count" if cell.metric.exact else "score" if cell.metric.kind == "evaluate" else ""
        if kind:
            name = f"{kind} {cell.verdict.word if cell.measured else ''}"
            found[name] = found.get(name, 0) + 1
    return found


def sentence(evidence: Mapping[str, int], comparable: bool) -> str:
    """One sentence or two on what of a paper is reproduced: its counts, then its scores. '' where nothing is published."""
    if not comparable:
        measured = sum(n for name, n in evidence.items() if name.split(" ", 1)[1])
        return f"{plural(measured, 'cell')} measured under a profile that judges nothing." if measured else ""
    return " ".join(part for part in (_counts_sentence(evidence), _scores_sentence(evidence)) if part)


def _counts_sentence(evidence: Mapping[str, int]) -> str:
    words = {w: evidence.get(f"count {w}", 0) for w in (verdict.REPRODUCED, verdict.INFERRED, verdict.FITTED)}
    different = sum(evidence.get(f"count {w}", 0) for w in (verdict.NOT_REPRODUCED, verdict.INVALID))
    total = sum(words.values()) + different
    if not total:
        return "No count has been measured." if "count " in evidence else ""
    texts = [
        f"{words[verdict.REPRODUCED]} of {plural(total, 'measured count')} of parameters and FLOPs print the published digits"
    ]
    if words[verdict.INFERRED]:
        texts.append(f"{words[verdict.INFERRED]} more on partly inferred modules")
    if words[verdict.FITTED]:
        texts.append(f"{words[verdict.FITTED]} on modules fitted to do so, which is no evidence")
    if different:
        texts.append(f"{different} {'differs' if different == 1 else 'differ'}")
    return "; ".join(texts) + "."


def _scores_sentence(evidence: Mapping[str, int]) -> str:
    agree = [evidence.get(f"score {w}", 0) for w in (verdict.REPRODUCED, verdict.AS_ONE_RUN)]
    rest = {w: evidence.get(f"score {w}", 0) for w in (verdict.INCONCLUSIVE, verdict.NOT_REPRODUCED, verdict.INVALID)}
    total, waiting = sum(agree) + sum(rest.values()), evidence.get("score ", 0)
    if not total:
        return f"None of the {plural(waiting, 'score')} has been measured yet." if waiting else ""
    texts = [f"{sum(agree)} of {plural(total, 'judged score')} agree{' within the margin' if not agree[1] else ''}"]
    texts += [f"{n} {'is' if n == 1 else 'are'} {word}" for word, n in rest.items() if n]
    texts += [f"{waiting} not measured yet"] if waiting else []
    return ", ".join(texts) + "."
