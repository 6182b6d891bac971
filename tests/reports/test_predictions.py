"""Panels of images: what is marked, and that the picture is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from reports.figures import predictions, style


@dataclass
class Scene:
    id: str
    image: np.ndarray
    truth: np.ndarray
    predictions: dict[str, np.ndarray]


def label(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.uint8)


TRUTH = label([0, 1, 2], [2, 1, 255])
FIRST = label([0, 0, 1], [2, 0, 0])
SECOND = label([0, 1, 0], [1, 1, 1])


def test_pixels_in_which_rows_differ():
    """Right in both, mended, wrong in both; spoilt, mended, ignored."""
    assert predictions.differences(SECOND, FIRST, TRUTH).tolist() == [[0, 1, 3], [2, 1, 0]]
    assert predictions.differences(FIRST, FIRST, TRUTH).tolist() == [[0, 3, 3], [0, 3, 0]]


def test_accuracy_leaves_ignored_pixels_out():
    assert predictions.accuracy(SECOND, TRUTH) == pytest.approx(60)
    assert np.isnan(predictions.accuracy(SECOND, np.full_like(TRUTH, 255)))


def test_colours_of_classes_and_of_marks():
    painted = predictions.coloured(TRUTH, [(1, 2, 3), (4, 5, 6), (7, 8, 9)])
    assert painted[0].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert painted[1, 2].tolist() == [255, 255, 255]
    image = np.zeros((2, 3, 3), np.uint8)
    shown = predictions.mark_pixels(image, predictions.differences(SECOND, FIRST, TRUTH))
    assert tuple(shown[0, 1]) == tuple(bytes.fromhex(predictions.MENDED[1:]))
    assert tuple(shown[1, 0]) == tuple(bytes.fromhex(predictions.SPOILT[1:]))
    assert tuple(shown[0, 2]) == tuple(bytes.fromhex(predictions.WRONG[1:]))
    assert len(set(shown[0, 0].tolist())) == 1  # right in both: grey, as everything unmarked


@pytest.mark.slow
@pytest.mark.parametrize("rows", [["a"], ["a", "b"], list("abcdef")])
def test_a_picture_has_every_row_and_image(tmp_path: Path, rows: list[str]):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (20, 30), dtype=np.uint8)
    made = [
        Scene(f"image_{i}", rng.integers(0, 255, (20, 30, 3), dtype=np.uint8), truth, dict.fromkeys(rows, truth))
        for i in range(2)
    ]
    with style.styled():
        figure = predictions.draw(made, {r: f"Row ${r}$" for r in rows}, ["sky", "road", "car"], [(0, 0, 0)] * 3)
        file = predictions.write(figure, tmp_path / "deep" / "x.png")
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles.count("truth") == 2
    assert sum("100.0 %" in title for title in titles) == 2 * len(rows)
    assert file.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in file.parent.iterdir()] == ["x.png"]


def test_pictures_fill_the_figure_and_long_names_leave_the_score_readable():
    """Wide and tall images in one figure: hardly any of it is empty, and no title is cut before its number."""
    sizes = [(20, 40), (50, 30)]
    rows = {"a": "A", "b": "a name that is " + "much " * 20 + "too long"}
    truths = [np.zeros(s, np.uint8) for s in sizes]
    made = [Scene("city/x", np.zeros((*t.shape, 3), np.uint8), t, dict.fromkeys(rows, t)) for t in truths]
    with style.styled():
        figure = predictions.draw(made, rows, ["sky"], [(0, 0, 0)])
        figure.draw_without_rendering()
    assert sum(ax.get_position().width * ax.get_position().height for ax in figure.axes) > 0.75
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert sum(title.endswith("… · 100.0 %") for title in titles) == 2
    assert titles.count("x") == 2


@pytest.mark.slow
def test_images_of_different_sizes_and_large_ones_are_drawn(tmp_path: Path):
    sizes = [(20, 30), (1500, 700)]
    made = [Scene("x", np.zeros((*s, 3), np.uint8), np.zeros(s, np.uint8), {"a": np.ones(s, np.uint8)}) for s in sizes]
    with style.styled():
        figure = predictions.draw(made, {"a": "A"}, ["sky", "road"], [(0, 0, 0), (9, 9, 9)])
        file = predictions.write(figure, tmp_path / "x.png")
    assert file.stat().st_size < 2_000_000


def test_many_rows_make_a_wider_figure_and_many_classes_are_counted():
    truth = np.arange(60, dtype=np.uint8).reshape(6, 10)
    rows = [f"r{i}" for i in range(21)]
    scene = Scene("x", np.zeros((6, 10, 3), np.uint8), truth, dict.fromkeys(rows, truth))
    with style.styled():
        figure = predictions.draw([scene], {r: r for r in rows}, [f"c{k}" for k in range(60)], [(0, 0, 0)] * 60)
    assert figure.get_size_inches()[0] > 25
    assert "and 24 more" in [text.get_text() for legend in figure.legends for text in legend.get_texts()]


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_contact_sheet_lays_labels_over_images_and_names_what_occurs(count: int):
    image, truth = np.full((2, 3, 3), 100, np.uint8), TRUTH
    with style.styled():
        sheet = predictions.contact_sheet(
            [Scene(f"s{i}", image, truth, {}) for i in range(count)], "abcd", [(0, 0, 200)] * 4
        )
        sheet.draw_without_rendering()
    pictures = [ax for ax in sheet.axes if ax.get_images()]
    assert [ax.get_title(loc="left") for ax in pictures] == [t for i in range(count) for t in (f"s{i}", "labels")]
    laid_over = pictures[1].get_images()[0].get_array()
    assert laid_over[0, 0].tolist() == [40, 40, 160]
    assert laid_over[1, 2].tolist() == [193, 193, 193]
    assert [text.get_text() for text in sheet.legends[0].get_texts()] == ["a", "b", "c", "ignored"]
