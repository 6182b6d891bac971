"""Leaderboards: every score on one dataset once, ranked, and mIoU against FLOPs only where both are of one model."""

from __future__ import annotations

import re

import pytest

from harness.recipes.profile import Profile, Synthetic
from reports.audit.paper import Names
from reports.site import boards
from reports.site.cost_chart import Cost, Point, chart
from tests.reports.test_site import Page, made
from tests.support.report_bench import TABLE, Make, ReportBench

IMAGE = [[1, 3, 64, 64]]


def found(bench: ReportBench) -> list[boards.Entry]:
    return list(boards.entries(bench.report(), Names()))


def test_a_score_stands_with_its_source_and_measured_ones_are_ranked_by_what_was_measured(make: Make) -> None:
    bench = make(seeds=2)
    bench.measure("ppm", "score", 44.5, 44.6)  # published 42.64
    (board,) = boards.boards(found(bench), comparable=True)
    assert board["title"] == "CamVid, val"
    assert [(e["name"], e["published"], e["measured"]) for e in board["entries"]] == [
        ("PPM", "42.64", "44.55"),
        ("Later", "44.0", ""),
        ("ASPP", "43.19", ""),
        ("OCR", "42.47", ""),
        ("Quoted", "41.5", ""),
    ]  # the row of ours has no score
    assert board["entries"][0]["difference"] == "+1.91"
    assert [e["cited"] for e in board["entries"]] == [False, False, False, False, True]
    assert board["best_published"]["value"] == "44.00"
    assert board["best_measured"]["value"] == "44.55"
    assert board["measured"] == 1


def test_what_several_tables_print_of_one_system_stands_once(make: Make) -> None:
    bench = make()
    bench.measure("ppm", "score", 42.7)
    first = found(bench)
    again = found(bench)
    for entry in again:
        entry.places = {"Another": "tables/another.html"}
        entry.measured = None
    again[-1].system = "another system"
    merged = boards.merged([*again, *first])
    assert len(merged) == len(first) + 1
    ppm = next(e for e in merged if e.name == "PPM")
    assert ppm.measured is not None
    assert set(ppm.places) == {"pspnet, Table 5", "Another"}


def test_flops_count_where_they_are_the_whole_models(make: Make) -> None:
    rows = {key: {k: v for k, v in row.items() if k != "module"} for key, row in TABLE["rows"].items()}
    modules = make()
    modules.measure("ppm", "flops", 309.45)
    assert all(entry.cost is None for entry in found(modules))  # of the module alone, on a feature map
    bench = make(rows=rows, defaults={**TABLE["defaults"], "input": IMAGE})
    bench.measure("ppm", "flops", 300.0)
    costs = {entry.name: entry.cost for entry in found(bench)}
    assert costs["PPM"] == Cost(300.0, "mmcv-hooks, 64 × 64", True)
    assert costs["ASPP"] == Cost(674.47, "mmcv-hooks, 64 × 64", False)  # as printed
    assert costs["Quoted"] is None
    (board,) = boards.boards(found(bench), comparable=True)
    assert board["chart"]["kinds"] == ["mmcv-hooks, 64 × 64"]
    page = Page(made(bench) / "boards" / "camvid--val.html")
    assert page.tags.count("circle") == 3


def test_a_profile_that_does_not_compare_ranks_by_the_published_values(make: Make) -> None:
    bench = make(profile=Profile(name="smoke", about="x", comparable=False, synthetic=Synthetic()))
    bench.measure("ppm", "score", 99.0)
    (board,) = boards.boards(found(bench), comparable=False)
    assert board["entries"][0]["name"] == "Later"
    assert board["best_measured"] is None
    assert all(entry["difference"] == "" for entry in board["entries"])


def test_every_dataset_has_its_page(make: Make) -> None:
    folder = made(make())
    overview = Page(folder / "boards.html")
    assert "boards/camvid--val.html" in overview.links
    assert "5 values, 0 measured here" in Page(folder / "boards" / "camvid--val.html").text


@pytest.mark.parametrize(("lowest", "highest"), [(0.4, 3.0), (97.0, 99.9)])
def test_no_axis_leaves_what_a_score_can_be(lowest: float, highest: float) -> None:
    points = [
        Point(f"p{i}", "cells/x.html", score, False, Cost(10.0 + i, "fvcore", False))
        for i, score in enumerate((lowest, 50.0, highest))
    ]
    drawing = str((chart(points, "x") or {})["drawing"])
    labels = [
        float(text.replace("−", "-")) for text in re.findall(r'text-anchor="end" class="soft">([−0-9.]+)<', drawing)
    ]
    assert labels
    assert all(0 <= label <= 100 for label in labels)


def test_labels_of_points_never_cover_each_other() -> None:
    points = [
        Point(f"a long name {i}", "cells/x.html", 50 + 0.01 * i, False, Cost(100.0 + 0.1 * i, "fvcore", False))
        for i in range(12)
    ]
    points.append(Point("far", "cells/x.html", 60, False, Cost(10.0, "fvcore", False)))
    drawing = str((chart(points, "x") or {})["drawing"])
    assert drawing.count("<circle") == 13
    assert 1 < drawing.count("soft name") < 8
    assert chart(points[:2], "x") is None
