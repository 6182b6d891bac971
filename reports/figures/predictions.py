"""Images, ground truth and predictions of rows, with marks where rows differ; and contact sheets of datasets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from harness.files import atomic_file
from harness.spec import IGNORE
from reports.figures import style

MENDED, SPOILT, WRONG = style.COLOURS[0], style.COLOURS[3], "#7A7A7A"
"""Right where the first row is wrong; wrong where it is right; wrong in both (in the first row: wrong)."""

_MOST = 640  # pixels of the longer side of one picture; larger ones are thinned
_SIDE, _OPACITY = 3.0, 0.6  # of a contact sheet: inches of a picture's width, weight of its labels
_ACROSS = 9  # classes in a line of the legend
_TITLE, _LETTER = 0.2, 0.062  # inches: the height of a picture's title, the width of a letter in it


class Scene(Protocol):
    """One image uint8 [H, W, 3] with its truth and the rows' predictions, training ids uint8 [H, W] (255: ignored)."""

    @property
    def id(self) -> str: ...

    @property
    def image(self) -> np.ndarray: ...

    @property
    def truth(self) -> np.ndarray: ...

    @property
    def predictions(self) -> Mapping[str, np.ndarray]: ...


def accuracy(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Share of the valid pixels that are right, in %; NaN where none is valid."""
    valid = truth != IGNORE
    return float(100 * (prediction == truth)[valid].mean()) if valid.any() else float("nan")


def differences(prediction: np.ndarray, first: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Per pixel uint8 [H, W]: 0 right in both or ignored, 1 mended, 2 spoilt, 3 wrong in both; of the first row itself 3
    where it is wrong."""
    valid = truth != IGNORE
    right, before = prediction == truth, first == truth
    return np.where(valid, np.select([right & ~before, ~right & before, ~right & ~before], [1, 2, 3], 0), 0).astype(
        np.uint8
    )


def coloured(label: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """Training ids as colours uint8 [H, W, 3]; ignored pixels are white."""
    table = np.full((256, 3), 255, np.uint8)
    table[: len(palette)] = palette
    return table[label]


def mark_pixels(image: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """The image in pale grey with the marks of `differences` in colour, uint8 [H, W, 3]."""
    grey = image.mean(axis=2, keepdims=True).astype(np.float32)
    picture = np.repeat(255 - 0.3 * (255 - grey), 3, axis=2)
    for value, colour in enumerate((MENDED, SPOILT, WRONG), start=1):
        picture[marks == value] = tuple(bytes.fromhex(colour[1:]))
    return picture.astype(np.uint8)


def draw(scenes: Sequence[Scene], labels: Mapping[str, str], classes: Sequence[str], palette: Any) -> Any:
    """A figure with two lines per image: the image above its truth, each row's prediction above where it differs.

    `labels` are the rows in order with what to call them; the first is what the others are compared with.
    """
    rows = list(labels)
    side = min(
        3.2, max(1.3, 12.5 / (1 + len(rows)))
    )  # inches; many rows make the figure wider, not the pictures smaller
    heights = [side * scene.truth.shape[0] / scene.truth.shape[1] + _TITLE for scene in scenes for _ in range(2)]
    figure = style.canvas(side * (1 + len(rows)), sum(heights) + 0.9)
    figure.get_layout_engine().set(h_pad=0.01, w_pad=0.03, hspace=0.0, wspace=0.0)
    grid = figure.subplots(len(heights), 1 + len(rows), squeeze=False, gridspec_kw={"height_ratios": heights})
    for ax in grid.flat:
        ax.set_axis_off()
    room = int(side / _LETTER)
    for i, scene in enumerate(scenes):
        above, below = grid[2 * i], grid[2 * i + 1]
        _picture(above[0], scene.image, style.label(scene.id.rpartition("/")[2], room))
        _picture(below[0], coloured(scene.truth, palette), "truth")
        for ax, mark, row in zip(above[1:], below[1:], rows):
            prediction = scene.predictions[row]
            right = f" · {accuracy(prediction, scene.truth):.1f} %"
            _picture(ax, coloured(prediction, palette), style.label(labels[row], room - len(right)) + right)
            marks = differences(prediction, scene.predictions[rows[0]], scene.truth)
            against = "where it is wrong" if row == rows[0] else f"against {labels[rows[0]]}"
            _picture(mark, mark_pixels(scene.image, marks), style.label(against, room))
    _name_classes(figure, [m for scene in scenes for m in (scene.truth, *scene.predictions.values())], classes, palette)
    _name_marks(figure, several=len(rows) > 1)
    return figure


def contact_sheet(scenes: Sequence[Scene], classes: Sequence[str], palette: Any) -> Any:
    """A figure of images, two to a line, each beside itself with its labels laid over it: to check that both match."""
    lines = [scenes[i : i + 2] for i in range(0, len(scenes), 2)]
    heights = [_SIDE * max(s.truth.shape[0] / s.truth.shape[1] for s in line) + _TITLE for line in lines]
    present = len(set().union(*(np.unique(scene.truth).tolist() for scene in scenes)))
    figure = style.canvas(4 * _SIDE, sum(heights) + 0.25 + 0.15 * math.ceil(present / _ACROSS))
    figure.get_layout_engine().set(h_pad=0.01, w_pad=0.03, hspace=0.0, wspace=0.0)
    grid = figure.subplots(len(lines), 4, squeeze=False, gridspec_kw={"height_ratios": heights})
    for ax in grid.flat:
        ax.set_axis_off()
    for ax, beside, scene in zip(grid[:, ::2].flat, grid[:, 1::2].flat, scenes):
        _picture(ax, scene.image, style.label(scene.id, int(_SIDE / _LETTER)))
        laid_over = _OPACITY * coloured(scene.truth, palette) + (1 - _OPACITY) * scene.image
        _picture(beside, laid_over.astype(np.uint8), "labels")
    _name_classes(figure, [scene.truth for scene in scenes], classes, palette, most=len(classes))
    return figure


def _picture(ax: Any, image: np.ndarray, title: str) -> None:
    step = max(1, -(-max(image.shape[:2]) // _MOST))
    ax.imshow(image[::step, ::step], interpolation="nearest")
    ax.set_title(title, fontsize=7.5, fontweight="normal", pad=2)


def _name_classes(
    figure: Any, maps: Sequence[np.ndarray], classes: Sequence[str], palette: Any, *, most: int = 36
) -> None:
    """A legend of the classes that occur, at most so many of them, and of ignored pixels."""
    from matplotlib.patches import Patch

    values = set().union(*(np.unique(m).tolist() for m in maps))
    present, has_ignored = sorted(values - {IGNORE}), IGNORE in values
    handles = [
        Patch(color=tuple(v / 255 for v in palette[k]), label=style.label(classes[k], 18)) for k in present[:most]
    ]
    handles += [Patch(color="none", label=f"and {len(present) - most} more")] if len(present) > most else []
    handles += [Patch(facecolor="white", edgecolor=style.PUBLISHED, label="ignored")] if has_ignored else []
    figure.legend(
        handles=handles, loc="outside lower left", ncols=_ACROSS, fontsize=6.5, handlelength=1, columnspacing=1
    )


def _name_marks(figure: Any, *, several: bool) -> None:
    """A legend of what `differences` marks. The first row's name stands above each of its pictures."""
    from matplotlib.patches import Patch

    marks = [Patch(color=WRONG, label="wrong in both" if several else "wrong")]
    if several:
        marks += [Patch(color=MENDED, label="right, the first row wrong")]
        marks += [Patch(color=SPOILT, label="wrong, the first row right")]
    figure.legend(handles=marks, loc="outside upper left", ncols=3, fontsize=7.5, handlelength=1)


def write(figure: Any, path: Path) -> Path:
    """Writes the figure as PNG; OutputError (nothing changed) when the folder or the disk refuses."""
    with atomic_file(path, advice="make room or choose another file with --out") as file:
        figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    return path
