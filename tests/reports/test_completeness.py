"""Numbers of an incomplete dataset: said in the plan and in every format, and judged only where the table accepts it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from harness.cli.progress import plan_lines
from harness.data.completeness import gaps
from harness.data.synthetic import synthesize
from harness.plan.durations import Estimate
from harness.recipes.profile import Profile, Synthetic
from harness.scheduler.run import queue
from reports import claims, verdict
from reports.formats import csv as csv_format
from reports.formats import latex, markdown, terminal
from reports.site import table_view
from tests.support.report_bench import RECIPE, TABLE, Make, ReportBench

REAL = Profile(name="paper", about="as published")
REASON = "the 24 images that may be shared"
PARTS = ("camvid train: 24 of 367 images", "camvid val: 4 of 101 images")


@pytest.fixture(scope="module")
def part_of_camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CamVid with 24 of 367 training and 4 of 101 validation images."""
    folder = tmp_path_factory.mktemp("data")
    synthesize("camvid", folder, scenes=Synthetic(train_images=24, test_images=4, size=(32, 32)))
    return folder


def measured(make: Make, data: Path, **changes: object) -> ReportBench:
    bench = make(profile=REAL, data_dir=data, seeds=3, **changes)
    bench.measure("ppm", "score", 42.6, 42.7, 42.5)
    bench.measure("aspp", "score", 43.2, 43.1, 43.3)
    bench.measure("ppm", "params", 23.07)
    return bench


def test_each_job_knows_the_splits_that_it_reads(make: Make, part_of_camvid: Path):
    bench = make(profile=REAL, data_dir=part_of_camvid)
    (test,) = bench.jobs("ppm", "score")
    train = bench.plan.jobs[test.needs[0]]
    assert [str(gap) for gap in gaps(train)] == [PARTS[0]]
    assert [str(gap) for gap in gaps(test)] == [PARTS[1]]
    lines = plan_lines(bench.plan, queue(bench.plan, bench.store), Estimate(0, 0, 0), 1)
    assert f"warning: incomplete data, {PARTS[0]}; its numbers are not comparable with the paper" in lines


def test_what_rests_on_it_is_not_comparable_and_every_format_says_so(make: Make, part_of_camvid: Path):
    report = measured(make, part_of_camvid).report()
    cell = report.cells["ppm", "score"]
    assert (cell.verdict.word, cell.verdict.reason) == (verdict.NOT_COMPARABLE, f"incomplete data: {'; '.join(PARTS)}")
    assert report.cells["ppm", "params"].verdict.word == verdict.REPRODUCED  # a count rests on no data
    assert [judged.outcome for judged in claims.judge_claims(report)] == [claims.NOT_JUDGED]
    (warning,) = report.warnings
    assert warning.startswith(f"incomplete data, {'; '.join(PARTS)}: what rests on it is not comparable with the paper")
    for text in (terminal.render(report), markdown.render(report), latex.render(report)):
        words = " ".join(text.replace("\n", " ").split())
        assert all(part in words for part in PARTS), text
    (row,) = [
        line
        for line in csv.DictReader(io.StringIO(csv_format.render(report)))
        if (line["row"], line["column"]) == ("ppm", "score")
    ]
    assert row["verdict"] == verdict.NOT_COMPARABLE
    assert row["warning"] == warning
    assert table_view.table(report, (), (), ())["warnings"] == [warning]


def test_a_table_may_accept_it_in_words_and_every_format_says_that(make: Make, part_of_camvid: Path):
    report = measured(make, part_of_camvid, incomplete_data={"camvid": REASON}).report()
    assert report.cells["ppm", "score"].verdict.word == verdict.REPRODUCED
    assert [judged.outcome for judged in claims.judge_claims(report)] != [claims.NOT_JUDGED]
    assert report.warnings == [f"incomplete data, {part}, accepted: {REASON}" for part in PARTS]
    for text in (terminal.render(report), markdown.render(report), latex.render(report), csv_format.render(report)):
        assert REASON in " ".join(text.replace("\n", " ").split())


def test_acceptance_is_in_no_key(make: Make, part_of_camvid: Path):
    plain = make(profile=REAL, data_dir=part_of_camvid).plan
    accepted = make(profile=REAL, data_dir=part_of_camvid, incomplete_data={"camvid": REASON}).plan
    assert plain.jobs.keys() == accepted.jobs.keys()


def test_fewer_images_than_a_batch_cannot_run_here(make: Make, tmp_path: Path):
    synthesize("camvid", tmp_path / "few", scenes=Synthetic(train_images=5, test_images=2, size=(32, 32)))
    bench = make(profile=REAL, data_dir=tmp_path / "few")
    (test,) = bench.jobs("ppm", "score")
    assert RECIPE["scenes"].get("batch_size", 16) == 16
    expected = "dataset 'camvid', split 'train': 5 images are fewer than one batch of 16"
    assert bench.plan.reason(test) == expected


def test_an_unknown_dataset_cannot_be_accepted(make: Make):
    with pytest.raises(Exception, match=r"incomplete_data\.camvd: unknown dataset 'camvd'\. Did you mean 'camvid'\?"):
        make(incomplete_data={"camvd": REASON})
    assert "incomplete_data" not in TABLE
