"""A contact sheet: images with their labels laid over them, to see with one's own eyes that both belong together."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from harness.data.annotations.label_maps import LabelReader, read_pair
from harness.data.files import locate, pairs
from harness.data.layout import IGNORE, Dataset
from harness.errors import OutputError
from harness.jobs.kinds import Data
from harness.recipes.profile import Synthetic
from harness.tasks.segmentation.augment import resize_image, resize_label

_TILE = (180, 240)  # height, width of one picture
_MARGIN = 6
_LINE = 18
_OPACITY = 0.6
_WHITE = (255, 255, 255)


def show(
    name: str,
    split: str,
    out: Path,
    *,
    data_dir: Path | None,
    cache: Path,
    images: int = 12,
    synthetic: Synthetic | None = None,
) -> Path:
    """Writes a PNG with `images` images spread over `split`, each beside itself with its labels, and a legend."""
    root = locate(Data(name=name, synthetic=synthetic), data_dir=data_dir, cache=cache)
    everything = pairs(root, split)
    chosen = [everything[i] for i in np.linspace(0, len(everything) - 1, min(images, len(everything))).astype(int)]
    reader = LabelReader(root.layout)
    tiles, present = [], np.zeros(256, bool)
    for pair in chosen:
        image, label = read_pair(pair, reader)
        present[np.unique(label)] = True
        tiles.append(_tile(image, label, root.dataset, pair.id))
    sheet = _grid(tiles, columns=2)
    legend = _legend(root.dataset, present, sheet.shape[1])
    done, data = cv2.imencode(".png", np.vstack([sheet, legend]))
    assert done
    out = Path(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(data.tobytes())
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}") from error
    return out


def colours(dataset: Dataset) -> np.ndarray:
    """Training id -> colour (blue, green, red), uint8 [256, 3]; ignored pixels are white."""
    table = np.full((256, 3), IGNORE, np.uint8)
    table[: dataset.num_classes] = np.array(dataset.palette, np.uint8)[:, ::-1]
    return table


def _tile(image: np.ndarray, label: np.ndarray, dataset: Dataset, id: str) -> np.ndarray:
    scale = min(_TILE[0] / image.shape[0], _TILE[1] / image.shape[1])
    size = (max(1, int(image.shape[0] * scale)), max(1, int(image.shape[1] * scale)))
    small = resize_image(image, size)
    coloured = colours(dataset)[resize_label(label, size)]
    mixed = cv2.addWeighted(coloured, _OPACITY, small, 1 - _OPACITY, 0)
    tile = np.full((_TILE[0] + _LINE, 2 * _TILE[1] + _MARGIN, 3), 255, np.uint8)
    tile[: size[0], : size[1]] = small
    tile[: size[0], _TILE[1] + _MARGIN : _TILE[1] + _MARGIN + size[1]] = mixed
    _write(tile, id[-60:], (0, _TILE[0] + _LINE - 5))
    return tile


def _grid(tiles: list[np.ndarray], columns: int) -> np.ndarray:
    tiles = [cv2.copyMakeBorder(t, *(_MARGIN,) * 4, cv2.BORDER_CONSTANT, value=_WHITE) for t in tiles]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def _legend(dataset: Dataset, present: np.ndarray, width: int) -> np.ndarray:
    """The classes that occur on the sheet, and void."""
    entries = [(dataset.classes[k], colours(dataset)[k]) for k in range(dataset.num_classes) if present[k]]
    entries += [("ignored", colours(dataset)[IGNORE])] if present[IGNORE] else []
    column = 180
    per_line = max(1, width // column)
    lines = -(-len(entries) // per_line)
    legend = np.full((lines * (_LINE + 4) + _MARGIN, width, 3), 255, np.uint8)
    for i, (label, colour) in enumerate(entries):
        x, y = _MARGIN + i % per_line * column, i // per_line * (_LINE + 4)
        cv2.rectangle(legend, (x, y), (x + 20, y + _LINE), colour.tolist(), -1)
        cv2.rectangle(legend, (x, y), (x + 20, y + _LINE), (0, 0, 0), 1)
        _write(legend, label, (x + 26, y + _LINE - 5))
    return legend


def _write(image: np.ndarray, text: str, at: tuple[int, int]) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(image, plain, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
