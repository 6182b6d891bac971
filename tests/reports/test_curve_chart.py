"""Training curves on a cell's page: the neighbours' beside its own, one quantity for all, and they zoom in a browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reports.figures import curves
from reports.site.curve_chart import TableCurves
from tests.reports.test_site import CHROMIUM, browse, made
from tests.support.report_bench import Make, ReportBench


def write(folder: Path, terms: dict[str, float], tested: float | None = None, length: int = 10) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    records = [
        {"iteration": i, "loss": sum(terms.values()) / i, "terms": {k: v / i for k, v in terms.items()}}
        for i in range(1, length + 1)
    ]
    scores = (
        [{"iteration": i, "miou": tested * i / length} for i in (length // 2, length)] if tested is not None else []
    )
    (folder / "curve.jsonl").write_text("".join(json.dumps(r) + "\n" for r in [*records, *scores]), encoding="utf-8")
    return folder


def test_losses_are_compared_by_what_all_of_them_have(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain", {"main": 2.0})
    deep = write(tmp_path / "deep", {"main": 2.0, "auxiliary": 4.0})
    other = write(tmp_path / "other", {"classes": 1.0, "dice": 1.0})
    same = write(tmp_path / "same", {"auxiliary": 1.0, "main": 1.0})
    assert curves.comparable_loss([plain, plain]) == curves.Loss("loss", "Training loss")
    assert curves.comparable_loss([deep, same]) == curves.Loss("loss", "Training loss, main + auxiliary")
    shared = curves.comparable_loss([plain, deep])
    assert shared == curves.Loss("terms/main", "Training loss, term “main” alone")
    assert curves.points(deep, shared.key)[0] == (1, 2.0)
    assert "different terms" in curves.comparable_loss([plain, other]).words
    assert curves.comparable_loss([]).key == "loss"
    (plain / "curve.jsonl").write_text('{"iteration": 1, "loss": 2.0, "terms": 5}\n', encoding="utf-8")
    assert curves.points(plain, "terms/main") == []
    assert curves.comparable_loss([plain]).key == "loss"


def trained(make: Make) -> ReportBench:
    bench = make(seeds=2)
    for row, terms in (("ppm", {"main": 3.0}), ("aspp", {"main": 2.0, "auxiliary": 9.0}), ("ocr", {"main": 1.0})):
        bench.measure(row, "score", 42.0, 42.5)
        for k, job in enumerate(bench.jobs(row, "score")):
            for key in job.needs:
                write(bench.store.folder(bench.plan.jobs[key]), {n: v + k for n, v in terms.items()}, tested=40.0)
    return bench


def test_a_cells_curves_stand_beside_those_of_its_neighbours(make: Make) -> None:
    report = trained(make).report()
    loss, score = TableCurves(report).charts(report.cells["aspp", "score"])
    lines = json.loads(loss["data"])["lines"]
    assert [line["name"] for line in lines] == ["ASPP", "PPM", "OCR"]  # its own first
    assert lines[0]["y"][0] == 2.5  # the main term alone, mean of 2 and 3
    assert lines[0]["low"][0] == 2.0
    assert "term “main” alone" in loss["words"]
    assert "2 seeds" in loss["words"]
    assert json.loads(score["data"])["lines"][0]["y"] == [20.0, 40.0]
    assert json.loads(score["data"])["least"] == 0.0
    assert score["words"].startswith("mIoU")
    assert loss["drawing"].count("<polyline") == 3
    assert TableCurves(report).charts(report.cells["ppm", "params"]) == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_in_a_browser_curves_zoom_and_hide(make: Make, tmp_path: Path) -> None:
    folder = made(trained(make))
    page = next((folder / "cells").glob("*aspp--score*"))
    script = folder / "assets" / "charts.js"
    drag = """
      const svg = document.querySelector("figure.chart svg"), box = svg.getBoundingClientRect();
      svg.setPointerCapture = () => {};
      const pointer = (share) => ({clientX: box.left + box.width * share, pointerId: 1});
      const at = (kind, share) => svg.dispatchEvent(new PointerEvent(kind, pointer(share)));
      const labels = () => [...svg.querySelectorAll("text")].map((t) => t.textContent).join(" ");
      const before = labels(); at("pointerdown", 0.6); at("pointermove", 0.9); at("pointerup", 0.9);
      const zoomed = labels(); svg.dispatchEvent(new MouseEvent("dblclick"));
      const back = labels() === before;
      document.querySelector("figure.chart .l1 input").click();
      document.title = `zoomed ${zoomed !== before}, back ${back}, lines ${svg.querySelectorAll("polyline").length}`;
    """
    script.write_text(script.read_text(encoding="utf-8") + drag, encoding="utf-8")
    assert "<title>zoomed true, back true, lines 2</title>" in browse(page.as_uri(), tmp_path / "p")
