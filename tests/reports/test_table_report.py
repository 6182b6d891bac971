"""The join of table, plan and store says of every cell how it stands, and never passes off what is not current."""

from __future__ import annotations

import math

import pytest

from harness.recipes.profile import Profile, Synthetic
from harness.store.store import Failure
from reports import verdict
from reports.table_report import counts
from tests.support.report_bench import TABLE, Make


def test_a_measured_count_stands_in_the_printed_unit_with_its_provenance(make: Make) -> None:
    bench = make()
    bench.measure("ppm", "params", 23.073792)
    shown = bench.report().cells["ppm", "params"]
    assert (shown.status, shown.text, shown.values) == ("measured", "23.07", (23.073792,))
    assert shown.difference == pytest.approx(0.003792)
    assert shown.verdict.word == verdict.REPRODUCED
    assert shown.provenance["arxiv"] == "1612.01105"
    assert shown.provenance["evidence"] == "confirmed"


def test_a_fitted_module_is_never_called_reproduced(make: Make) -> None:
    bench = make()
    bench.measure("aspp", "params", 42.211328)
    bench.measure("ocr", "params", 15.124118)
    cells = bench.report().cells
    assert cells["aspp", "params"].verdict.word == verdict.FITTED
    assert any("reconstructed" in note for note in cells["aspp", "params"].footnotes)
    assert cells["ocr", "params"].verdict.word == verdict.INFERRED


def test_another_module_is_compared_with_the_row_it_names(make: Make) -> None:
    bench = make()
    bench.measure("other", "params", 27.45)
    bench.measure("other", "time", 30.0)
    cells = bench.report().cells
    shown = cells["other", "params"]
    assert shown.published is not None
    assert shown.published.text == "42.21"
    assert shown.verdict.word == verdict.NOT_REPRODUCED
    assert "another module" in shown.verdict.reason
    assert any("The released one." in note for note in shown.footnotes)
    assert cells["other", "time"].published is None  # its time on another machine compares with nothing


def test_extra_rows_come_last_and_the_others_in_the_papers_order(make: Make) -> None:
    assert make().report().rows == ("ppm", "aspp", "ocr", "quoted", "later", "other")


def test_times_show_ratios_and_no_verdict(make: Make) -> None:
    bench = make()
    bench.measure("ppm", "time", 10.0, latency_q25=9.0, latency_q75=12.0)
    bench.measure("aspp", "time", 25.0)
    cells = bench.report().cells
    shown = cells["aspp", "time"]
    assert shown.ratio is not None
    assert (shown.ratio.measured, shown.ratio.published) == (2.5, 2.0)
    assert shown.verdict.word == verdict.OTHER_MACHINE
    assert cells["ppm", "time"].quartiles == (9.0, 12.0)
    unmeasured = cells["ocr", "time"].ratio
    assert unmeasured is not None
    assert (unmeasured.measured, unmeasured.published) == (None, 0.8)


def test_a_time_taken_on_a_busy_machine_says_so(make: Make) -> None:
    bench = make()
    bench.measure("ppm", "time", 10.0, latency_others=36.4)
    bench.measure("aspp", "time", 25.0, latency_others=2.0)
    cells = bench.report().cells
    assert any("took 36 % of the CPUs" in note for note in cells["ppm", "time"].footnotes)
    assert not any("CPUs" in note for note in cells["aspp", "time"].footnotes)


def test_a_ratio_needs_its_reference(make: Make) -> None:
    bench = make()
    bench.measure("aspp", "time", 25.0)
    ratio = bench.report().cells["aspp", "time"].ratio
    assert ratio is not None
    assert ratio.measured is None


def test_a_stale_result_is_never_shown_as_measured(make: Make) -> None:
    bench = make()
    bench.measure("ppm", "flops", 309.4495)
    bench.outdate("ppm", "flops")
    shown = bench.report().cells["ppm", "flops"]
    assert (shown.status, shown.values, shown.difference, shown.verdict.word) == ("stale", (), None, "")
    assert shown.old == (pytest.approx(309.4495),)
    assert "methods/layers.py" in shown.reason


def test_a_stale_evaluation_says_what_changed_in_its_training(make: Make) -> None:
    bench = make()
    bench.measure("ppm", "score", 42.0)
    job = bench.jobs("ppm", "score")[0]
    bench.outdate("ppm", "score")
    assert "needs" not in bench.report().cells["ppm", "score"].reason
    assert bench.store.result(job) is None


def test_failures_are_told_also_those_of_the_training_that_a_cell_needs(make: Make) -> None:
    bench = make()
    bench.fail("ppm", "flops", Failure("out of memory", "needed 9 GB"))
    training = bench.plan.jobs[bench.jobs("ppm", "score")[0].needs[0]]
    bench.store.fail(training, Failure("error", "label 21 is outside 0..10"))
    cells = bench.report().cells
    assert cells["ppm", "flops"].status == "failed"
    assert "needed 9 GB" in cells["ppm", "flops"].reason
    assert cells["ppm", "score"].status == "failed"
    assert "label 21" in cells["ppm", "score"].reason


def test_some_of_the_repetitions_are_partly_measured(make: Make) -> None:
    bench = make(seeds=3)
    bench.measure("ppm", "score", 42.0, 43.0)
    bench.fail("ppm", "score", Failure("killed", "signal 9"), which=2)
    shown = bench.report().cells["ppm", "score"]
    assert (shown.status, len(shown.values), shown.mean) == ("partly", 2, 42.5)
    assert "2 of 3" in shown.reason
    assert "signal 9" in shown.reason
    assert len(set(shown.seeds)) == 2
    assert len(shown.trainings) == 2


def test_cited_awaiting_and_unasked_cells_say_so(make: Make) -> None:
    columns = {
        **TABLE["columns"],
        "extra": {"label": "mAcc", "metric": "macc", "recipe": "mini/scenes", "on_request": True},
    }
    bench = make(columns=columns)
    cells = bench.report().cells
    assert (cells["ppm", "extra"].status, cells["ppm", "extra"].reason) == ("on request", "run with --columns extra")
    bench.measure("ppm", "extra", 50.0)
    assert bench.report().cells["ppm", "extra"].status == "measured"
    assert (cells["quoted", "score"].status, cells["quoted", "score"].reason) == ("cited", "another paper")
    assert cells["later", "score"].status == "awaits"
    assert cells["ppm", "score"].status == "not run"


def test_a_job_that_finished_without_the_measure_is_absent(make: Make) -> None:
    bench = make()
    bench.store.finish(bench.jobs("ppm", "flops")[0], [], {}, started=0.0)
    assert bench.report().cells["ppm", "flops"].status == "absent"


def test_smoke_numbers_are_not_comparable_and_short_ones_only_judge_claims(make: Make) -> None:
    for claims_only in (False, True):
        about = "a check of the plumbing"
        profile = Profile(name="x", about=about, comparable=False, claims_only=claims_only, synthetic=Synthetic())
        bench = make(profile=profile)
        bench.measure("ppm", "params", 23.07)
        bench.measure("ppm", "score", 42.64)
        cells = bench.report().cells
        assert {cells["ppm", c].verdict.word for c in ("params", "score")} == {verdict.NOT_COMPARABLE}


def test_nothing_published_is_said_and_not_a_verdict(make: Make) -> None:
    bench = make(published={"values": {"aspp": {"params": 42.21}}})
    bench.measure("ppm", "score", 42.0)
    shown = bench.report().cells["ppm", "score"]
    assert (shown.verdict.word, shown.difference, shown.provenance) == (verdict.UNPUBLISHED, None, {})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_shown_as_such(make: Make, value: float) -> None:
    bench = make()
    bench.measure("ppm", "params", value)
    bench.measure("ppm", "score", value)
    for column in ("params", "score"):
        shown = bench.report().cells["ppm", column]
        assert shown.verdict.word == verdict.INVALID
        assert shown.text == {math.inf: "∞", -math.inf: "−∞"}.get(value, "NaN")


def test_a_selection_leaves_the_rest_of_the_table_out(make: Make) -> None:
    bench = make(select_rows=["ppm", "other"], select_columns=["flops"])
    report = bench.report()
    assert (report.rows, report.columns) == (("ppm", "other"), ("flops",))
    assert sum(counts(report).values()) == 2


def test_recipes_keep_their_source_and_differences(make: Make) -> None:
    recipe = make().report().recipes["mini/scenes"]
    assert recipe.source == "Sec. 4"
    assert recipe.differs == {"schedule.power": "the text says 1.0"}


@pytest.mark.parametrize("text", ['{"schema": 0}', '{"cut sho'])
def test_a_result_that_cannot_be_read_is_not_dropped_in_silence(make: Make, text: str) -> None:
    bench = make()
    bench.measure("ppm", "params", 23.07)
    (bench.store.folder(bench.jobs("ppm", "params")[0]) / "result.json").write_text(text, encoding="utf-8")
    shown = bench.report().cells["ppm", "params"]
    assert (shown.status, shown.values) == ("unreadable", ())
    assert any("another version" in note for note in shown.footnotes)
