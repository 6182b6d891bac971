"""The headline of a table and how it depends on what the paper does not say, in every format; spreads pooled over tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from harness.cli.inspection import status_lines
from harness.environment import Device
from harness.plan.planner import Planner, Selection
from harness.store.store import Store
from harness.table.load import load
from reports import spreads, verdict
from reports.formats import latex, markdown, terminal
from reports.site import build as site
from reports.table_report import table_reports
from tests.support.report_bench import PAPER, RECIPE, TABLE, Make, ReportBench

ROWS = ("ppm", "aspp", "ocr", "other")
PUBLISHED = {"ppm": 42.64, "aspp": 43.19, "ocr": 42.47, "other": 43.19}


def trained(make: Make, **changes: object) -> ReportBench:
    """Four rows of three seeds, the last of ours: one far off, the others where the paper is."""
    bench = make(seeds=3, **changes)
    for row in ROWS:
        centre = PUBLISHED[row] - (5 if row == "aspp" else 0)
        bench.measure(row, "score", centre - 0.1, centre, centre + 0.1)
    return bench


def test_the_headline_counts_trained_cells_and_what_chance_would_give(make: Make) -> None:
    published = {**TABLE["published"], "statistic": "mean", "runs": 50}
    columns = {**TABLE["columns"], "score": {k: v for k, v in TABLE["columns"]["score"].items() if k != "statistic"}}
    bench = trained(make, published=published, columns=columns)
    bench.measure("ppm", "params", 23.073792)  # a count has no error rate
    report = bench.report()
    expected = (
        "2 of 3 judged cells reproduced; expected by chance 0.15, at most 1 with 95 %, so at least 1 is no accident"
    )
    assert report.headline == expected
    assert f"**{expected}.**" in markdown.render(report)
    assert expected in terminal.render(report)
    assert latex.escape(f"{expected}.") in latex.render(report)
    lines, _ = status_lines(bench.plan, bench.store)
    assert f"pspnet_table5: {expected}" in lines


def test_the_site_prints_the_headline_on_its_first_page_and_the_tables(make: Make, tmp_path: Path) -> None:
    bench = trained(make)
    folder = site.build(bench.plan, bench.store, tmp_path / "site", figures=False).parent
    for page in ("index.html", "tables/pspnet_table5.html"):
        assert "of 3 judged cells reproduced; expected by chance 0.15" in (folder / page).read_text(encoding="utf-8")
    cell = (folder / "cells" / "pspnet_table5--ppm--score.html").read_text(encoding="utf-8")
    assert "Under other assumptions on what the paper does not say" in cell


def test_nothing_is_said_of_chance_where_no_cell_can_be_judged(make: Make) -> None:
    bench = make(seeds=2)
    bench.measure("ppm", "params", 23.073792)
    bench.measure("ppm", "score", 42.64, 42.7)  # two seeds know no spread
    report = bench.report()
    assert (report.headline, report.sensitivity) == ("", "")
    for text in (markdown.render(report), terminal.render(report), latex.render(report)):
        assert "by chance" not in text
    assert not any("by chance" in line for line in status_lines(bench.plan, bench.store)[0])
    other_profile = trained(make, profile=PAPER.model_copy(update={"comparable": False}))
    assert other_profile.report().headline == ""


def test_a_line_says_how_the_verdicts_depend_on_what_the_paper_does_not_say(make: Make) -> None:
    unknown = {**TABLE["columns"], "score": {**TABLE["columns"]["score"], "statistic": "unknown"}}
    bench = trained(make, columns=unknown)
    bench.measure("ppm", "score", 42.1, 42.64, 43.2)
    report = bench.report()
    start = "of 3 judged cells these agree if the paper's values are: 1 as assumed · 2 a mean of many runs"
    assert report.sensitivity.startswith(start)
    for name in ("the best of 3", "the best of 10", "of runs with half our spread", "of runs with twice our spread"):
        assert f" {name}" in report.sensitivity
    document = markdown.render(report)
    assert "Of 3 judged cells these agree if" in document
    assert "| Cell | Verdict | Under other assumptions |" in document
    assert "of 3 judged cells these agree if" in terminal.render(report)
    assert "Of 3 judged cells these agree if" in latex.render(report)


def test_an_assumption_that_changes_nothing_is_said_to(make: Make) -> None:
    found = trained(make).report().cells["aspp", "score"].verdict
    assert found.word == verdict.NOT_REPRODUCED
    assert found.sensitivity.startswith("the same as the mean of 2, the mean of 3")


# ------------------------------------------------------------------------------------------------- pooled spreads


@pytest.fixture
def two_tables(tmp_path: Path, code_cache: Path) -> tuple[ReportBench, ReportBench]:
    """Two tables with different rows of one recipe, in one plan and store; both have a column on several scales."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mini.yaml").write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    score = TABLE["columns"]["score"]
    columns = {"score": score, "several": {**score, "label": "ms", "test": {"scales": [0.5, 1.0]}}}
    tables = []
    for number, rows in ((5, ("ppm", "aspp")), (6, ("ocr", "other"))):
        values = {row: dict.fromkeys(columns, PUBLISHED[row]) for row in rows}
        content = {
            **TABLE,
            "table": number,
            "columns": columns,
            "rows": {r: TABLE["rows"][r] for r in rows},
            "claims": [],
        }
        content["rows"] = {
            r: {k: v for k, v in row.items() if k != "compared_with"} for r, row in content["rows"].items()
        }
        file = tmp_path / f"pspnet_table{number}.yaml"
        file.write_text(yaml.safe_dump({**content, "published": {"values": values}}, sort_keys=False), encoding="utf-8")
        tables.append(load(file))
    planner = Planner(PAPER, (0, 1, 2, 3), cache=code_cache, device=Device("cpu", "Test CPU", 2))
    plan, store = planner.plan(tables, Selection()), Store(tmp_path / "results")
    first, second = (ReportBench(tmp_path, table, plan, store) for table in tables)
    for bench, rows in ((first, ("ppm", "aspp")), (second, ("ocr", "other"))):
        for row in rows:
            for column, step in (("score", 0.1), ("several", 0.2)):
                plan_values = [PUBLISHED[row] + step * k for k in (-1, 0, 0, 1)]
                bench_of(bench).measure(row, column, *plan_values)
    return first, second


def bench_of(bench: ReportBench) -> ReportBench:
    """The bench with its own table's cells alone, so that a row is found by its name."""
    return replace(bench, plan=replace(bench.plan, cells=bench.plan.of(bench.table)))


def test_spreads_are_pooled_over_tables_and_cells_of_the_same_trainings_count_once(
    two_tables: tuple[ReportBench, ReportBench],
) -> None:
    first, _ = two_tables
    reports = list(table_reports(first.plan, first.store))
    assert len(reports) == 2
    reason = reports[0].cells["ppm", "score"].verdict.reason
    assert "pooled with 3 other models trained by mini/scenes in pspnet_table5, pspnet_table6" in reason
    # three other trainings of four seeds, each seen by two columns, and its own: 4 × 3
    assert "over 12 degrees of freedom" in reason
    assert "±0.1" in reason


def test_a_plan_of_one_table_pools_over_its_own_rows(two_tables: tuple[ReportBench, ReportBench]) -> None:
    alone = bench_of(two_tables[0])
    (report,) = table_reports(alone.plan, alone.store)
    assert "pooled" not in report.cells["ppm", "score"].verdict.reason  # three degrees of freedom elsewhere are too few


def test_what_has_no_verdict_is_not_read_for_a_spread(make: Make) -> None:
    bench = trained(make)
    found = spreads.samples(bench.plan, bench.store)
    assert {kind: len(cells) for kind, cells in found.items()} == {("mini/scenes", "miou"): 4}
    smoke = replace(bench.plan, profile=PAPER.model_copy(update={"comparable": False}))
    assert not spreads.samples(smoke, Store(bench.folder / "nowhere"))
