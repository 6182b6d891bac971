"""Builds the site: one report at a time, so that memory does not grow with the store."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import environment
from harness.errors import UserError
from harness.files import atomic_folder
from harness.plan.planner import Plan
from harness.store.nights import History
from harness.store.store import Store
from harness.table.schema import Table
from harness.text import line, sentence
from reports import spreads
from reports.audit import paper
from reports.audit.corpus import Finding
from reports.audit.findings import RULES
from reports.cell_report import CellReport
from reports.formats import csv, latex, markdown
from reports.meanings import MEANINGS
from reports.site import boards, cell_list, cell_view, findings_view, front, names, other_jobs, profiles, table_view
from reports.site.curve_chart import TableCurves
from reports.site.outcomes import ORDER, brief, tone
from reports.table_report import TableReport, headline_of
from reports.table_report import build as build_report

_FOLDER = Path(__file__).parent


def build(
    plan: Plan,
    store: Store,
    folder: Path,
    findings: Sequence[Finding] = (),
    *,
    figures: bool = True,
    queue_states: Mapping[str, str] | None = None,
) -> Path:
    """Writes the site of the plan's tables to `folder` and returns its first page; OutputError where the disk refuses.

    `queue_states`: states of jobs submitted to a cluster, by key.
    An older site in `folder` is replaced only when the new one is whole. UserError where `folder` holds anything else.
    """
    if folder.exists() and not profiles.is_site(folder) and (folder.is_file() or any(folder.iterdir())):
        raise UserError(f"{folder} holds something that is no site and would be replaced; choose a new or empty folder")
    with atomic_folder(folder, replace=True, advice="make room or choose another folder with --out DIR") as aside:
        for name in ("boards", "cells", "tables"):
            (aside / name).mkdir()
        shutil.copytree(_FOLDER / "assets", aside / "assets")
        others = profiles.other_sites(folder, plan.profile.name)
        _Site(plan, store, aside, findings, figures=figures, queue_states=queue_states or {}, others=others).write()
    profiles.link_back(others)
    return folder / "index.html"


class _Site:
    def __init__(
        self,
        plan: Plan,
        store: Store,
        folder: Path,
        findings: Sequence[Finding],
        *,
        figures: bool,
        queue_states: Mapping[str, str],
        others: profiles.Sites,
    ) -> None:
        import jinja2  # loads slowly: only for a site

        self.plan, self.store, self.folder = plan, store, folder
        self.findings, self.figures, self.queue_states, self.others = findings, figures, queue_states, others
        loader = jinja2.FileSystemLoader(_FOLDER / "templates")
        self.templates = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
        self.templates.filters |= {"tone": tone, "brief": brief, "sentence": sentence}
        self.other_jobs = list(other_jobs.groups(plan, store))
        self.nights = History(store.root).nights()
        self.places = findings_view.Places(plan.cells)
        self.cell_findings = findings_view.by_cell(findings, self.places)
        commit, dirty = environment.commit()
        at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        unnamed = sum(job["jobs"] for job in self.other_jobs)
        self.common = {
            "profile": line(plan.profile.name),
            "comparable": plan.profile.comparable,
            "made": f"Made {at} from commit {commit[:12] or 'unknown'}{', with uncommitted changes' if dirty else ''}.",
            "navigation": [
                ("Papers", "index.html", "index"),
                ("Leaderboards", "boards.html", "boards"),
                ("Cells", "cells.html", "cells"),
                ("Audit", "audit.html", "audit"),
                *([(f"Other jobs ({unnamed})", "other.html", "other")] if unnamed else []),
            ],
        }

    def write(self) -> None:
        summaries, cells, words = [], [], []
        scores: list[boards.Entry] = []
        spellings = paper.spellings()
        samples = spreads.samples(self.plan, self.store)
        for table in self.plan.tables:
            report = build_report(self.plan, table, self.store, self.queue_states, samples)
            words += report.judged_words()
            about = [finding for finding in self.findings if table.id in finding.tables]
            table_findings = sum(len(finding.tables) <= 2 for finding in about)  # the others are about whole papers
            about.sort(key=lambda finding: len(finding.tables) > 2)
            summaries.append(front.summary(report, table_findings))
            scores += boards.entries(report, spellings)
            self._table(report, about)
            table_curves = TableCurves(report)
            for cell in report:
                cells.append(cell_list.entry(report, cell))
                self._cell(report, cell, table_curves)
        summaries.sort(key=front.order)
        self._index(summaries, headline_of(words))
        self._boards(scores)
        self._lists(summaries, cells)

    def _lists(self, summaries: Sequence[Mapping[str, Any]], cells: Sequence[Mapping[str, Any]]) -> None:
        """The pages of all cells, all findings and all other jobs."""
        outcomes = [o for o in ORDER if any(c["outcome"] == o for c in cells)]
        papers = list(dict.fromkeys(s["paper"] for s in summaries))
        papers += [front.OURS] if front.OURS not in papers and any(c["paper"] == front.OURS for c in cells) else []
        context = {"cells": cells, "tables": [s["id"] for s in summaries], "papers": papers, "outcomes": outcomes}
        self.page("cells.html", "cells.html", "Cells", context)
        rules = {rule: about for rule, about in RULES.items() if any(f.rule == rule for f in self.findings)}
        self.page("audit.html", "audit.html", "Audit", {"findings": self._linked(self.findings), "rules": rules})
        if self.other_jobs:
            self.page("other.html", "other.html", "Other jobs", other_jobs.page(self.other_jobs))

    def _boards(self, scores: Sequence[boards.Entry]) -> None:
        made = boards.boards(scores, self.plan.profile.comparable)
        self.page("boards.html", "boards.html", "Leaderboards", {"boards": made})
        for board in made:
            self.page(board["page"], "board.html", board["title"], {"board": board})

    def _linked(self, findings: Sequence[Finding]) -> list[dict[str, Any]]:
        return [self.places.view(finding) for finding in findings]

    def _table(self, report: TableReport, about: Sequence[Finding]) -> None:
        figures = list(self._figures(report))
        downloads = list(self._downloads(report))
        view = table_view.table(report, self._linked(about), figures, downloads)
        self.page(f"tables/{names.table_page(report)}", "table.html", names.table_name(report), view)

    def _downloads(self, report: TableReport) -> Iterator[tuple[str, str]]:
        """(what, file beside the page) of the table in other formats."""
        stem = names.table_page(report).removesuffix(".html")
        for what, ending, render in (
            ("CSV", "csv", csv.render),
            ("LaTeX", "tex", latex.render),
            ("Markdown", "md", markdown.render),
        ):
            text = render(report)
            (self.folder / "tables" / f"{stem}.{ending}").write_text(text, encoding="utf-8", errors="replace")
            yield what, f"{stem}.{ending}"

    def _cell(self, report: TableReport, cell: CellReport, table_curves: TableCurves) -> None:
        about = self.cell_findings.get(cell.cell.name, ())
        view = {
            **cell_view.cell(report, cell, self.store, table_curves),
            "nights": self._nights(report, cell),
            "findings": self._linked(about),
        }
        self.page(names.cell_page(report, cell), "cell.html", f"{view['row']}, {view['column']}", view)

    def _nights(self, report: TableReport, cell: CellReport) -> Mapping[str, str] | None:
        """The figure of the cell's nightly history under this profile."""
        nights = self.nights.get(f"{report.table.id}/{cell.row}/{cell.column}") if self.figures else None
        if not nights:
            return None
        from reports.figures import night_history  # loads matplotlib

        drawing = night_history.draw(f"{report.table.id}/{cell.row}/{cell.column}", nights)
        if drawing is None or night_history.profile(nights, self.store.root) != report.profile.name:
            return None
        name = Path(names.cell_page(report, cell)).stem + ".svg"
        (self.folder / "figures" / "nights").mkdir(parents=True, exist_ok=True)
        (self.folder / "figures" / "nights" / name).write_text(drawing[0], encoding="utf-8")
        return {"href": f"../figures/nights/{name}", "alternative": drawing[1]}

    def _figures(self, report: TableReport) -> Iterator[Mapping[str, str]]:
        if not self.figures or not any(cell.measured for cell in report):
            return
        from reports.figures.table import draw  # loads matplotlib

        stem = names.table_page(report).removesuffix(".html")
        for figure in draw(report):
            file = self.folder / "figures" / stem / figure.name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(figure.svg, encoding="utf-8")
            yield {"href": f"../figures/{stem}/{figure.name}", "alternative": figure.alternative}

    def _index(self, summaries: Sequence[Mapping[str, Any]], headline: str) -> None:
        profile = self.plan.profile
        papers = paper.papers({table.paper for table in self.plan.tables})
        context = {
            "tables": summaries,
            "cards": front.cards(summaries, papers, profile.comparable),
            "outcomes": [o for o in ORDER if any(o in summary["counts"] for summary in summaries)],
            "headline": headline,
            "total": sum(summary["total"] for summary in summaries),
            "measured": sum(summary["measured"] for summary in summaries),
            "findings": len(self.findings),
            "about": line(profile.about),
        }
        self.page("index.html", "index.html", "Published tables, measured", context)

    def page(self, name: str, template: str, title: str, context: Mapping[str, Any]) -> None:
        root = "../" * name.count("/")
        here = template.removesuffix(".html")
        section = {"table": "index", "cell": "cells", "board": "boards"}.get(here, "")
        switch = profiles.links(name, line(self.plan.profile.name), self.others)
        places = {
            "profile_links": switch,
            "title": title,
            "root": root,
            "here": here,
            "section": section,
            "meanings": MEANINGS,
        }
        text = self.templates.get_template(template).render({**self.common, **places, **context})
        (self.folder / name).write_text(text, encoding="utf-8", errors="replace")


def other_tables(folder: Path, tables: Iterable[Table]) -> set[str]:
    """The pages of tables in the site at `folder` that a site of these tables would not have; none where there is no site."""
    pages = {page.name for page in (folder / "tables").glob("*.html")} if profiles.is_site(folder) else set()
    return pages - {names.file_name(table.id) for table in tables}
