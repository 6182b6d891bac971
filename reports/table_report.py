"""Joins a table, its plan and the stored results into the report that all formats render."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import UserError
from harness.plan.planner import Plan, PlannedCell
from harness.recipes.profile import Profile
from harness.recipes.segmentation import Recipe
from harness.stats.agreement import Word, headline
from harness.store.store import Result, Store
from harness.table.recipes import recipe as find_recipe
from harness.table.schema import Table
from harness.text import plural
from reports import completeness, spreads
from reports import verdict as judge
from reports.cell_report import CellReport, ratio, report_cell, with_pooled_spread
from reports.spreads import Samples
from reports.status import CellStatus, ResultReader


@dataclass(frozen=True)
class TableReport:
    """A table with its measurements under one profile. `rows` and `columns` are those selected, in table order."""

    table: Table
    profile: Profile
    repetitions: tuple[int, ...]
    cells: Mapping[tuple[str, str], CellReport]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    recipes: Mapping[str, Recipe]
    settings: tuple[str, ...] = ()  # what the command line set instead of a file
    other_jobs: int = 0  # finished jobs in the store that no cell of the plan is about

    @property
    def comparable(self) -> bool:
        return self.profile.comparable

    def __iter__(self) -> Iterator[CellReport]:
        """Cells row by row, in the order they are printed."""
        for row in self.rows:
            for column in self.columns:
                if (row, column) in self.cells:
                    yield self.cells[row, column]

    def own_cells(self) -> list[CellReport]:
        """The cells of the table's own rows: those that the paper prints; all of a table of ours."""
        return [cell for cell in self if not self._is_added(cell)]

    def added_cells(self) -> list[CellReport]:
        """The cells of rows that we added to a paper's table: in none of its counts."""
        return [cell for cell in self if self._is_added(cell)]

    def _is_added(self, cell: CellReport) -> bool:
        return self.table.rows[cell.row].extra and is_published(self.table)

    def judged(self) -> list[CellReport]:
        """The cells whose verdict has an error rate: trained here, with an interval, against a published value."""
        trained = (cell for cell in self if cell.metric.trains and not cell.cell.checkpoint)
        return [cell for cell in trained if cell.verdict.interval is not None and cell.verdict.word in set(Word)]

    def judged_words(self) -> list[JudgedWord]:
        """(the trainings it tests, its word) of every judged cell of the table's own rows."""
        cells = (cell for cell in self.judged() if not self._is_added(cell))
        return [(spreads.trainings(cell.jobs), Word(cell.verdict.word)) for cell in cells]

    @property
    def headline(self) -> str:
        return headline_of(self.judged_words())

    @property
    def sensitivity(self) -> str:
        """How many judged cells of the table's own rows agree under other assumptions on what the paper does not say; "" where
        none is judged."""
        agreeing: dict[str, list[bool]] = {}
        judged = [cell for cell in self.judged() if not self._is_added(cell)]
        for cell in judged:
            for assumption, word in (("as assumed", cell.verdict.word), *cell.verdict.others):
                agreeing.setdefault(assumption, []).append(word in (judge.REPRODUCED, judge.AS_ONE_RUN))
        total = len(judged)
        parts = [
            f"{sum(words)}{'' if len(words) == total else f' of {len(words)}'} {name}"
            for name, words in agreeing.items()
        ]
        return (
            f"of {plural(total, 'judged cell')} these agree if the paper's values are: {' · '.join(parts)}"
            if parts
            else ""
        )

    @property
    def warnings(self) -> list[str]:
        """What every format says above the table: settings and data that are not those of the paper."""
        return [*self.deviations, *completeness.warnings(self, self.table)]

    @property
    def deviations(self) -> list[str]:
        """What the command line set instead of the files, in a sentence; nothing where nothing was set."""
        texts = ", ".join(self.settings)
        return [f"set on the command line, instead of what the files say: {texts}"] if self.settings else []

    def results(self) -> dict[str, Result]:
        """Every result that the report rests on, trainings included, by job key."""
        by_key: dict[str, Result] = {}
        for cell_report in self:
            by_key |= {r.job.key: r for r in (*cell_report.trainings, *cell_report.results)}
        return by_key


def is_published(table: Table) -> bool:
    """Whether a table is a paper's, and not one of ours."""
    source = table.published.source
    return bool(source.name or source.arxiv or source.doi or table.published.values)


def counts(cells: Iterable[CellReport]) -> dict[str, int]:
    """How many of the cells have which outcome, most frequent first."""
    return dict(Counter(str(cell.outcome) for cell in cells).most_common())


JudgedWord = tuple[tuple[str, ...], Word]


def headline_of(words: Iterable[JudgedWord]) -> str:
    """How many judged cells are reproduced and how many chance would call so; "" where none is judged."""
    groups: dict[tuple[str, ...], list[Word]] = defaultdict(list)
    for trainings, word in words:
        groups[trainings].append(word)
    return headline(list(groups.values()))


def table_reports(plan: Plan, store: Store, queue_states: Mapping[str, str] | None = None) -> Iterator[TableReport]:
    """The report of every table of a plan, one after the other. `queue_states`: states of jobs submitted to a cluster, by key."""
    other_jobs = sum(1 for _ in store.results_outside(plan.jobs.values()))
    samples = spreads.samples(plan, store)
    for table in plan.tables:
        yield replace(build(plan, table, store, queue_states, samples), other_jobs=other_jobs)


def build(
    plan: Plan,
    table: Table,
    store: Store,
    queue_states: Mapping[str, str] | None = None,
    samples: Samples | None = None,
) -> TableReport:
    """The report of one table of a plan, from the stored results; `other_jobs` are not counted.

    `samples`: what the spreads are pooled from (`spreads.samples` of the plan), where several tables are reported.
    """
    reader = ResultReader(plan, store, queue_states)
    samples = spreads.samples(plan, store) if samples is None else samples
    planned_cells = plan.of(table)
    reported = (report_cell(c, reader, plan.profile) for c in planned_cells)
    cells = {(c.row, c.column): with_pooled_spread(c, plan.profile, samples) for c in reported}
    for place, cell_report in cells.items():
        cells[place] = replace(cell_report, ratio=ratio(table, cells, cell_report))
    order = sorted({c.row: table.rows[c.row].extra for c in planned_cells}.items(), key=lambda item: item[1])
    columns = dict.fromkeys(c for c in table.columns if any(c == p.column for p in planned_cells))
    rows = tuple(row for row, _ in order)
    recipes = _recipes(table, planned_cells)
    return TableReport(
        table, plan.profile, plan.repetitions, cells, rows, tuple(columns), recipes, settings=plan.settings
    )


def _recipes(table: Table, cells: Sequence[PlannedCell]) -> dict[str, Recipe]:
    """The recipes of trained cells, with their sources; one whose file is gone since is left out."""
    recipes: dict[str, Recipe] = {}
    for cell in cells:
        name = cell.cell.recipe
        has_no_recipe = cell.state in (CellStatus.CITED, CellStatus.AWAITS) or not cell.metric.trains
        if name is None or name in recipes or has_no_recipe:
            continue
        try:
            recipes[name] = find_recipe(name, Path(table.path).parent)
        except UserError:
            continue
    return recipes
