"""Files: whole or not at all, one set per profile; figures of what was measured, and only of that."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from harness import ROOT
from harness.errors import OutputError
from harness.jobs.job import Measurement
from harness.recipes.profile import Profile, Synthetic
from harness.store import curve
from reports.figures import curves, per_class, style
from reports.figures.table import draw
from reports.write import write
from tests.support.report_bench import TABLE, Make, ReportBench

SMOKE = Profile(name="smoke", about="a check", comparable=False, synthetic=Synthetic())


def filled(make: Make, **changes: object) -> ReportBench:
    bench = make(seeds=2, **changes)
    for row, value in (("ppm", 23.07), ("aspp", 42.21)):
        bench.measure(row, "params", value)
        bench.measure(row, "time", value, latency_q25=value - 1, latency_q75=value + 1)
        bench.measure(row, "score", value, value + 0.5)
    return bench


def words(svg: str) -> str:
    """All text in an SVG; fails where it is not well-formed."""
    return " ".join(" ".join(element.itertext()) for element in ElementTree.fromstring(svg).iter())


def test_a_report_is_markdown_csv_and_figures(make: Make) -> None:
    bench = filled(make)
    path = write(bench.report(), bench.store.reports)
    assert path == bench.store.reports / "pspnet_table5.md"
    made = {str(p.relative_to(bench.store.reports)) for p in bench.store.reports.rglob("*") if p.is_file()}
    assert made == {
        "pspnet_table5.md", "pspnet_table5.csv", "pspnet_table5/measured.svg", "pspnet_table5/curves.svg",
    }  # fmt: skip
    document = path.read_text(encoding="utf-8")
    for name in ("pspnet_table5/measured.svg", "pspnet_table5/curves.svg"):
        assert f"]({name})" in document


def test_profiles_do_not_overwrite_each_other(make: Make) -> None:
    bench = make(profile=SMOKE)
    assert write(bench.report(), bench.store.reports, figures=False).name == "pspnet_table5.smoke.md"
    assert (bench.store.reports / "pspnet_table5.smoke.csv").exists()


def test_a_narrower_report_takes_no_numbers_away(make: Make) -> None:
    bench = make(select_columns=["params", "flops"])
    bench.measure("ppm", "params", 23.07)
    bench.measure("aspp", "flops", 674.47)
    path = write(bench.report(), bench.store.reports, figures=False)
    assert path.name == "pspnet_table5.md"
    before = path.read_text(encoding="utf-8")
    narrow = make(select_columns=["params"], select_rows=["ppm"])
    other = write(narrow.report(), bench.store.reports, figures=False)
    assert path.read_text(encoding="utf-8") == before
    assert re.fullmatch(r"pspnet_table5\.part-[0-9a-f]{8}\.md", other.name)
    assert other.with_suffix(".csv").is_file()
    for bench in (make(select_columns=["params", "flops"]), make()):  # the same cells, all cells
        assert write(bench.report(), bench.store.reports, figures=False) == path


def test_a_refused_write_leaves_the_old_report_whole(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make()
    path = write(bench.report(), bench.store.reports, figures=False)
    before = path.read_text(encoding="utf-8")
    bench.measure("ppm", "params", 23.07)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="the disk is full"):
        write(bench.report(), bench.store.reports, figures=False)
    assert path.read_text(encoding="utf-8") == before
    assert not [p for p in bench.store.reports.iterdir() if p.name.startswith(".")]


# ---------------------------------------------------------------------------------------------------------- figures


def test_nothing_is_drawn_of_an_empty_store(make: Make) -> None:
    assert draw(make().report()) == []


def test_figures_name_rows_columns_and_what_is_fitted(make: Make) -> None:
    measured, losses = draw(filled(make).report())
    told = words(measured.svg)
    for name in ("PPM", "ASPP", "Params (M)", "Time (× PPM)", "mIoU (%)", "published", "fitted reconstruction"):
        assert name in told
    assert "iteration" in words(losses.svg)
    assert "bands over 2 seeds" in losses.alternative
    assert "Params, Time, mIoU" in measured.alternative


@pytest.mark.slow
def test_scores_of_trainings_that_tested_themselves_are_drawn_beside_their_losses(make: Make) -> None:
    bench = filled(make)
    (plain,) = [f for f in draw(bench.report()) if f.name == "curves.svg"]
    assert "mIoU, %" not in words(plain.svg)
    for file in bench.store.root.rglob(curve.FILE):
        tests = "".join(json.dumps({"iteration": i, "miou": 10.0 + i}) + "\n" for i in (3, 6))
        file.write_text(file.read_text(encoding="utf-8") + tests, encoding="utf-8")
    (tested,) = [f for f in draw(bench.report()) if f.name == "curves.svg"]
    assert "training loss" in words(tested.svg)
    assert "mIoU, %" in words(tested.svg)
    assert "tested while training" in tested.alternative


def test_smoke_figures_stand_beside_no_published_value(make: Make) -> None:
    measured = draw(filled(make, profile=SMOKE).report())[0]
    assert "published" not in words(measured.svg)
    assert "published" not in measured.alternative


@pytest.mark.slow
def test_the_same_sheet_gives_the_same_bytes(make: Make) -> None:
    report = filled(make).report()
    assert [f.svg for f in draw(report)] == [f.svg for f in draw(report)]


def test_hostile_labels_and_values_are_drawn(make: Make) -> None:
    rows = {**TABLE["rows"], "ppm": {**TABLE["rows"]["ppm"], "label": "$\\frac{ <b> & 变 שלום" + "x" * 1000}}
    bench = filled(make, rows=rows)
    bench.measure("aspp", "flops", float("nan"))
    bench.measure("ocr", "flops", float("inf"))
    for figure in draw(bench.report()):
        assert "<b>" in words(figure.svg)


# ----------------------------------------------------------------------------------------------------------- curves


def test_a_curve_is_read_as_far_as_it_is_whole(tmp_path: Path) -> None:
    lines = [json.dumps({"iteration": i, "loss": 1 / i}) for i in range(1, 4)]
    (tmp_path / curve.FILE).write_text("\n".join([*lines, "[]", '{"iteration": 4, "lo']), encoding="utf-8")
    assert curves.points(tmp_path) == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert curves.points(tmp_path / "nowhere") == []


def test_a_band_is_mean_and_range_over_seeds(tmp_path: Path) -> None:
    folders = []
    for seed, factor in enumerate((1, 3)):
        folders.append(tmp_path / str(seed))
        folders[-1].mkdir()
        text = "".join(json.dumps({"iteration": i, "loss": factor * i}) + "\n" for i in range(1, 6 - seed))
        (folders[-1] / curve.FILE).write_text(text, encoding="utf-8")
    band = curves.band(folders)
    assert band is not None
    assert band.iterations == (1, 2, 3, 4)  # as far as both go
    assert (band.mean, band.low, band.high) == ((2, 4, 6, 8), (1, 2, 3, 4), (3, 6, 9, 12))


def test_a_long_curve_is_averaged_not_sampled() -> None:
    points = [(i, float(i % 2)) for i in range(10_000)]
    thinned = curves.thin(points, 100)
    assert len(thinned) == 100
    assert {y for _, y in thinned} == {0.5}


# ------------------------------------------------------------------------------------------------------------ imports


def test_a_report_without_figures_loads_nothing_heavy() -> None:
    code = (
        "import sys; from reports import table_report, write; from reports.formats import csv, markdown, terminal\n"
        "print([m for m in ('torch', 'cv2', 'pandas', 'numpy', 'matplotlib', 'seaborn') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"


# ----------------------------------------------------------------------------------------------- classes and cost


def test_class_differences_are_paired_over_seeds_and_sorted(make: Make) -> None:
    bench = make(seeds=2)
    for row, ious in (("ppm", [(50.0, 20.0), (52.0, 22.0)]), ("aspp", [(51.0, 25.0), (53.0, 29.0)])):
        for job, (sky, car) in zip(bench.jobs(row, "score"), ious):
            names = {"miou": 40.0 + sky / 10, "iou/sky": sky, "iou/car": car, "iou/pole": float("nan")}
            bench.store.finish(job, [Measurement(n, v) for n, v in names.items()], {}, started=0.0)
    report = bench.report()
    found = per_class.class_differences(report.cells["aspp", "score"], report.cells["ppm", "score"])
    assert found == {"car": 6.0, "sky": 1.0}
    assert list(found) == ["car", "sky"]
    figures = {figure.name: figure for figure in draw(report)}
    told = words(figures["classes.svg"].svg)
    assert told.index("car") < told.index("sky")
    assert "ASPP − PPM, mIoU" in figures["classes.svg"].alternative
    assert "− PPM, mIoU" in told


def test_only_the_largest_of_many_classes_are_drawn(make: Make) -> None:
    bench = make()
    for row, sign in (("ppm", 0), ("aspp", 1)):
        names = {f"iou/c{i:03d}": sign * float(i - 75) for i in range(150)}
        for job in bench.jobs(row, "score"):
            measured = [Measurement(n, v) for n, v in {"miou": 40.0, **names}.items()]
            bench.store.finish(job, measured, {}, started=0.0)
    told = words(next(f.svg for f in draw(bench.report()) if f.name == "classes.svg"))
    assert "c149" in told
    assert "c000" in told
    assert "c075" not in told


def test_which_rows_a_panel_compares_is_told_however_long_their_names(make: Make) -> None:
    long = "with a name that is much longer than a panel is wide, $and more"
    rows = {**TABLE["rows"], **{r: {**TABLE["rows"][r], "label": f"{r.upper()} {long}"} for r in ("ppm", "aspp")}}
    bench = make(rows=rows)
    for row in ("ppm", "aspp"):
        for job in bench.jobs(row, "score"):
            measured = [Measurement("miou", 40.0), Measurement("iou/sky", 50.0), Measurement("iou/car", 20.0)]
            bench.store.finish(job, measured, {}, started=0.0)
    figure = next(f for f in draw(bench.report()) if f.name == "classes.svg")
    for name in ("ASPP", "− PPM", ", mIoU"):
        assert name in words(figure.svg)
    assert "\\" not in figure.alternative


def test_cost_names_every_row_of_a_long_table_inside_the_figure(make: Make) -> None:
    numbers = {f"r{i}": {"name": "ppm", "options": {"channels": 8 + i}} for i in range(21)}
    rows = {r: {"label": f"Row {r}", "method": "pspnet", "module": module} for r, module in numbers.items()}
    columns = {name: TABLE["columns"][name] for name in ("flops", "score")}
    bench = make(rows=rows, columns=columns, published={}, claims=[])
    for i, row in enumerate(rows):
        bench.measure(row, "score", 40.0 + i)
        bench.measure(row, "flops", 300.0 + i)
    with style.styled():
        made = per_class.cost(bench.report())
        assert made is not None
        made[0].canvas.draw()
    (legend,) = made[0].legends
    box = legend.get_window_extent()
    assert len(legend.get_texts()) == 21
    assert box.y0 >= 0
    assert box.y1 <= made[0].bbox.height


@pytest.mark.slow
def test_cost_leaves_out_the_flops_of_a_fitted_reconstruction(make: Make) -> None:
    bench = make()
    for row, value in (("ppm", 309.0), ("aspp", 674.0), ("ocr", 242.0), ("other", 300.0)):
        bench.measure(row, "score", 42.0)
        bench.measure(row, "flops", value)
    told = words(next(f.svg for f in draw(bench.report()) if f.name == "cost.svg"))
    assert "OCR" in told
    assert "ASPP, wider" in told
    assert told.replace("ASPP, wider", "").count("ASPP") == 0
