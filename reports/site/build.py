"""Builds the site: one report at a time, so that memory does not grow with the store."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import environment
from harness.errors import UserError
from harness.files import atomic_folder
from harness.plan.planner import Plan
from harness.store.nights import History
from harness.store.store import Store, read_result
from harness.text import line, sentence
from reports import spreads
from reports.audit.corpus import Finding
from reports.audit.findings import RULES
from reports.meanings import MEANINGS
from reports.site import cell_view, lists, names, table_view
from reports.site.outcomes import OUTCOMES, brief, tone
from reports.table_report import build as build_report
from reports.table_report import headline_of

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
    if (
        folder.exists()
        and not (folder / "assets" / "site.js").is_file()
        and (folder.is_file() or any(folder.iterdir()))
    ):
        raise UserError(f"{folder} holds something that is no site and would be replaced; choose a new or empty folder")
    with atomic_folder(folder, replace=True, advice="make room or choose another folder with --out DIR") as aside:
        (aside / "cells").mkdir()
        (aside / "tables").mkdir()
        shutil.copytree(_FOLDER / "assets", aside / "assets")
        _Site(plan, store, aside, findings, figures=figures, queue_states=queue_states or {}).write()
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
    ) -> None:
        import jinja2  # loads slowly: only for a site

        self.plan, self.store, self.folder = plan, store, folder
        self.findings, self.figures, self.queue_states = findings, figures, queue_states
        loader = jinja2.FileSystemLoader(_FOLDER / "templates")
        self.templates = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
        self.templates.filters |= {"tone": tone, "brief": brief, "sentence": sentence}
        self.other_jobs = list(_other_jobs(plan, store))
        self.nights = History(store.root).nights()
        commit, dirty = environment.commit()
        at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        self.common = {
            "profile": line(plan.profile.name),
            "made": f"Made {at} from commit {commit[:12] or 'unknown'}{', with uncommitted changes' if dirty else ''}.",
            "unnamed": sum(job["jobs"] for job in self.other_jobs),
        }

    def write(self) -> None:
        summaries, cells, words = [], [], []
        samples = spreads.samples(self.plan, self.store)
        for table in self.plan.tables:
            report = build_report(self.plan, table, self.store, self.queue_states, samples)
            words += report.judged_words()
            about = [finding for finding in self.findings if table.id in finding.tables]
            table_findings = sum(len(finding.tables) <= 2 for finding in about)  # the others are about whole papers
            about.sort(key=lambda finding: len(finding.tables) > 2)
            summaries.append(lists.summary(report, table_findings))
            self.page(
                f"tables/{names.table_page(report)}",
                "table.html",
                names.table_name(report),
                table_view.table(report, about, list(self._figures(report))),
            )
            for cell in report:
                cells.append(lists.list_entry(report, cell))
                self._cell(report, cell)
        summaries.sort(key=_order)
        self._index(summaries, headline_of(words))
        outcomes = [o for o in OUTCOMES if any(c["outcome"] == o for c in cells)]
        ids = [s["id"] for s in summaries]
        self.page("cells.html", "cells.html", "Cells", {"cells": cells, "tables": ids, "outcomes": outcomes})
        rules = {rule: about for rule, about in RULES.items() if any(f.rule == rule for f in self.findings)}
        safe = [Finding(f.rule, line(f.where), line(f.message), f.tables) for f in self.findings]
        self.page("audit.html", "audit.html", "Audit", {"findings": safe, "rules": rules})
        if self.other_jobs:
            self.page("other.html", "other.html", "Other jobs", _other_page(self.other_jobs))

    def _cell(self, report: Any, cell: Any) -> None:
        view = {**cell_view.cell(report, cell, self.store), "nights": self._nights(report, cell)}
        self.page(names.cell_page(report, cell), "cell.html", f"{view['row']}, {view['column']}", view)

    def _nights(self, report: Any, cell: Any) -> Mapping[str, str] | None:
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

    def _figures(self, report: Any) -> Iterator[Mapping[str, str]]:
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
        totals: Counter[str] = Counter()
        for summary in summaries:
            totals.update(summary["counts"])
        profile = self.plan.profile
        context = {
            "tables": summaries,
            "outcomes": [o for o in OUTCOMES if o in totals],
            "headline": headline,
            "totals": dict(totals.most_common()),
            "total": sum(totals.values()),
            "measured": sum(summary["measured"] for summary in summaries),
            "findings": len(self.findings),
            "comparable": profile.comparable,
            "about": line(profile.about),
        }
        self.page("index.html", "index.html", "Published tables, measured", context)

    def page(self, name: str, template: str, title: str, context: Mapping[str, Any]) -> None:
        root = "../" * name.count("/")
        variables = {**self.common, "title": title, "root": root, "meanings": MEANINGS, **context}
        text = self.templates.get_template(template).render(variables)
        (self.folder / name).write_text(text, encoding="utf-8", errors="replace")


def _order(summary: Mapping[str, Any]) -> tuple[bool, str, int, str]:
    """Published tables by paper and number, then the others."""
    number = summary["number"]
    return not number, summary["paper"], int(number) if number.isdigit() else 0, summary["id"]


# ------------------------------------------------------------------------------------------------------ other jobs


def _other_jobs(plan: Plan, store: Store) -> Iterator[dict[str, Any]]:
    """Results that no cell of the plan shows, by what they measured: counted, with the folder of one."""
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    for folder in store.results_outside(
        plan.jobs.values()
    ):  # results under another key of a planned job are in their cell's history
        result = read_result(folder)
        readable = result is not None
        kind = folder.parent.parent.name
        description = _describe(result.job.config) if result is not None else ("unreadable by this version", "", "")
        group = groups.setdefault((kind, *description), {"jobs": 0, "measurements": 0, "started": 0.0, "folder": ""})
        group["jobs"] += 1
        if result is not None:
            group["measurements"] += len(result.measurements)
            group["started"] = max(group["started"], result.started)
        group["folder"] = group["folder"] or line(str(folder.relative_to(store.root)))
        group["readable"] = readable
    for (kind, method, dataset, profile), group in sorted(groups.items()):
        newest = names.when(group["started"]) if group["started"] else ""
        yield {"kind": kind, "method": method, "dataset": dataset, "profile": profile, "newest": newest, **group}


def _describe(config: Mapping[str, Any]) -> tuple[str, str, str]:
    """(method, dataset, profile) of a stored configuration, '' where it does not say."""

    def of(value: Any, key: str) -> Any:
        return value.get(key, "") if isinstance(value, Mapping) else ""

    return tuple(names.short(str(text), 60) for text in (  # type: ignore[return-value]
        of(of(config, "model"), "name"), of(of(config, "data"), "name"), of(config, "profile")
    ))  # fmt: skip


def _other_page(jobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "jobs": jobs,
        "count": sum(job["jobs"] for job in jobs),
        "measurements": sum(job["measurements"] for job in jobs),
        "unreadable": sum(job["jobs"] for job in jobs if not job["readable"]),
    }
