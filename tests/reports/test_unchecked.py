"""A store read where the data are not: its numbers stand and say so; what changed besides the data is still stale."""

from __future__ import annotations

import csv
import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from harness.bundles.merge import merge
from harness.bundles.read import opened
from harness.bundles.write import write
from harness.cli.inspection import status_lines, why_lines
from harness.cli.main import main
from harness.data.synthetic import synthesize
from harness.plan.planner import Plan
from harness.recipes.profile import Profile, Synthetic
from harness.store.store import Store
from reports import verdict
from reports.formats import csv as csv_format
from reports.formats import latex, markdown, terminal
from reports.site import table_view
from reports.status import CellStatus
from tests.support.report_bench import Make, ReportBench

UNCHECKED = "data not here, key not checked"
REAL = Profile(name="paper", about="as published")
SCENES = Synthetic(train_images=24, test_images=4, size=(32, 32))
ACCEPTED = {"camvid": "scenes that stand in for it"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    synthesize("camvid", folder, scenes=SCENES)
    return folder


@pytest.fixture
def measured(make: Make, data: Path) -> ReportBench:
    """Measured where the data are."""
    bench = make(profile=REAL, data_dir=data, incomplete_data=ACCEPTED)
    bench.measure("ppm", "score", 42.63)
    bench.measure("aspp", "score", 43.2)
    return bench


@pytest.fixture
def elsewhere(make: Make, measured: ReportBench) -> ReportBench:
    """The same store where no data are."""
    return make(profile=REAL, incomplete_data=ACCEPTED)


def one(plan: Plan, row: str) -> Plan:
    return replace(plan, cells=[c for c in plan.cells if (c.row, c.column) == (row, "score")])


def test_the_numbers_stand_with_their_verdicts(measured: ReportBench, elsewhere: ReportBench):
    here, there = measured.report(), elsewhere.report()
    assert there.cells["ppm", "score"].jobs[0].key != here.cells["ppm", "score"].jobs[0].key
    for row in ("ppm", "aspp"):
        cell = there.cells[row, "score"]
        assert (cell.status, cell.reason) == (CellStatus.MEASURED, UNCHECKED)
        assert cell.values == here.cells[row, "score"].values
        assert cell.verdict == here.cells[row, "score"].verdict
        assert [t.job.key for t in cell.trainings] == [t.job.key for t in here.cells[row, "score"].trainings]
    assert here.cells["ppm", "score"].reason == ""
    assert there.cells["ocr", "score"].status == CellStatus.BLOCKED
    assert there.cells["ppm", "score"].verdict.word != verdict.NOT_COMPARABLE


def test_a_report_from_a_bundle_shows_the_numbers_and_says_so(
    measured: ReportBench, elsewhere: ReportBench, tmp_path: Path
):
    write(measured.store, tmp_path / "all.zip")
    store = Store(tmp_path / "laptop")
    store.prepare()
    with opened(tmp_path / "all.zip", store.root) as content:
        merge(content.root, store, with_weights=True, damaged=content.damaged)
    report = replace(elsewhere, store=store).report()
    assert report.warnings == [f"{UNCHECKED}: 2 of 2 measured cells", *measured.report().warnings]
    assert report.cells["ppm", "score"].values == (42.63,)
    assert report.cells["ppm", "score"].verdict == measured.report().cells["ppm", "score"].verdict


def test_every_format_says_that_it_was_not_checked(elsewhere: ReportBench):
    report = elsewhere.report()
    warning = f"{UNCHECKED}: 2 of 2 measured cells"
    assert report.warnings[0] == warning
    for text in (terminal.render(report), markdown.render(report), latex.render(report)):
        assert UNCHECKED in " ".join(text.split()).lower()
        assert "42.63" in text
    rows = {(r["row"], r["column"]): r for r in csv.DictReader(io.StringIO(csv_format.render(report)))}
    assert rows["ppm", "score"]["measured"] == "42.63"
    assert UNCHECKED in rows["ppm", "score"]["warning"]
    assert table_view.table(report, (), (), ())["warnings"][0] == warning


def test_status_and_why_say_it_too(elsewhere: ReportBench):
    lines, _ = status_lines(elsewhere.plan, elsewhere.store)
    assert any(re.search(rf"/ppm/score +measured: {UNCHECKED}$", line) for line in lines)
    why = why_lines(one(elsewhere.plan, "ppm"), elsewhere.store)
    assert why[0] == f"measured: {UNCHECKED}"
    assert why[1].startswith("measured on ")


def test_a_report_made_elsewhere_keeps_the_numbers(measured: ReportBench, data: Path):
    """The same file is written with and without the data: the numbers stay in it."""
    arguments = ["report", str(measured.folder / "pspnet_table5.yaml"), "--no-figures"]
    arguments += ["--results", str(measured.store.root)]
    assert main([*arguments, "--data", str(data)]) == 0
    (file,) = (measured.store.reports).glob("pspnet_table5*.md")
    assert "42.63" in file.read_text()
    assert UNCHECKED not in file.read_text()
    assert main(arguments) == 0
    assert "42.63" in file.read_text()
    assert f"{UNCHECKED}: 2 of 2 measured cells".capitalize() in file.read_text()


def test_data_that_are_here_and_other_than_before_are_stale(
    make: Make, measured: ReportBench, data: Path, tmp_path: Path
):
    other = tmp_path / "other"
    shutil.copytree(data, other)
    image = next((other / "camvid").rglob("*.jpg"))
    image.write_bytes(image.read_bytes() + b"\0")
    cell = make(profile=REAL, data_dir=other, incomplete_data=ACCEPTED).report().cells["ppm", "score"]
    assert cell.status == CellStatus.STALE
    assert "data files of camvid changed" in cell.reason


def test_code_that_changed_since_is_stale_without_the_data_too(measured: ReportBench, elsewhere: ReportBench):
    measured.outdate("ppm", "score")
    cells = elsewhere.report().cells
    assert cells["ppm", "score"].status == CellStatus.STALE
    assert cells["aspp", "score"].status == CellStatus.MEASURED


def test_a_training_that_changed_since_is_stale_without_the_data_too(measured: ReportBench, elsewhere: ReportBench):
    """The evaluation itself is as it was; the training that it was made with was another."""
    (test,) = measured.jobs("ppm", "score")
    result = measured.store.result(measured.plan.jobs[test.needs[0]])
    assert result is not None
    code = {**result.job.parts["code"], "methods.layers": "0" * 64}
    older = replace(result.job, parts={**result.job.parts, "code": code})
    measured.store.finish(older, result.measurements, {}, started=1.0)
    assert elsewhere.report().cells["ppm", "score"].status == CellStatus.STALE


def test_an_evaluation_whose_training_is_not_in_the_store_stands(measured: ReportBench, elsewhere: ReportBench):
    """As in a bundle of measurements without their trainings."""
    (test,) = measured.jobs("ppm", "score")
    shutil.rmtree(measured.store.folder(measured.plan.jobs[test.needs[0]]))
    assert elsewhere.report().cells["ppm", "score"].status == CellStatus.MEASURED


@pytest.fixture
def with_weights(make: Make, tmp_path: Path, data: Path):
    """Makes the table whose row starts from a file, with the data or without them."""
    file = tmp_path / "weights.pth"
    file.write_bytes(b"weights")
    rows = {"ppm": {"method": "pspnet", "model": {"pretrained": str(file)}}}
    columns = {"score": {"label": "mIoU", "metric": "miou", "recipe": "mini/scenes"}}
    options = {"profile": REAL, "incomplete_data": ACCEPTED, "rows": rows, "published": {"values": {}}, "claims": []}

    def bench(data_dir: Path | None = data) -> ReportBench:
        return make(data_dir=data_dir, columns=columns, **options)

    return file, bench


def test_weights_that_are_not_here_are_not_checked_either(with_weights, data: Path):
    file, bench = with_weights
    bench().measure("ppm", "score", 42.63)
    assert bench(None).report().cells["ppm", "score"].reason == "data not here, key not checked"
    file.unlink()
    cell = bench().report().cells["ppm", "score"]
    assert (cell.status, cell.reason) == (CellStatus.MEASURED, "weights not here, key not checked")
    assert bench().report().warnings[0] == "weights not here, key not checked: 1 of 1 measured cell"
    assert bench(None).report().cells["ppm", "score"].reason == "data and weights not here, key not checked"
    file.write_bytes(b"other")
    assert bench().report().cells["ppm", "score"].status == CellStatus.STALE


def test_a_report_made_where_the_weights_are_gone_keeps_the_numbers(with_weights, data: Path, capsys):
    file, bench = with_weights
    measured = bench()
    measured.measure("ppm", "score", 42.63)
    places = [str(measured.folder / "pspnet_table5.yaml"), "--results", str(measured.store.root), "--data", str(data)]
    assert main(["report", *places, "--no-figures"]) == 0
    (report,) = measured.store.reports.glob("pspnet_table5*.md")
    before = report.read_text()
    file.unlink()
    capsys.readouterr()
    assert main(["run", *places, "--no-figures"]) == 3
    assert "weights" in capsys.readouterr().out
    assert report.read_text() == before, "a run that can measure nothing leaves the report as it was"
    assert main(["report", *places, "--no-figures"]) == 0
    assert "42.63" in report.read_text()
    assert "Weights not here, key not checked" in report.read_text()
