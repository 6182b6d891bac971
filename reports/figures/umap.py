"""Features of single pixels in two dimensions, a colour and a marker per class (HFGD, Fig. 4)."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import MissingError
from harness.stats.small_samples import mean
from reports.figures import style

if TYPE_CHECKING:
    import numpy as np

    from harness.store.features import Features

SETTINGS: dict[str, Any] = {"n_neighbors": 15, "min_dist": 0.1, "metric": "euclidean", "random_state": 0}
"""Of UMAP; its own defaults, with a fixed seed."""

_MARKERS = "osD^vP*X"
_LOOKS = len(style.COLOURS) * len(_MARKERS)
"""So many classes have a look of their own; the less frequent ones beyond are grey dots."""
_MAX_NAMES = 16  # number of the most frequent classes that are labelled in the panel
_MAX_LISTED = 60  # largest number of classes listed in the legend


def embed(features: np.ndarray) -> np.ndarray:
    """UMAP (McInnes et al. 2018) of features [N, C]: float32 [N, 2], the same for the same features on one machine.

    MissingError where the package is not installed, ValueError for fewer pixels than UMAP can place.
    """
    import numpy as np

    if len(features) < 4:
        raise ValueError(f"{len(features)} pixels are too few for UMAP")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a fixed seed takes one thread, and about disconnected neighbours
        try:
            from umap import UMAP
        except ImportError as error:
            raise MissingError(
                "UMAP is not installed: pip install 'segmentation-harness[umap]' (in a checkout: pip install -e '.[umap]')"
            ) from error
        settings = {**SETTINGS, "n_neighbors": min(SETTINGS["n_neighbors"], len(features) - 1)}
        # spectral starting positions need more points than the eigenvectors they are made of
        embedding = UMAP(**settings, init="spectral" if len(features) > 20 else "random").fit_transform(features)
    return np.asarray(embedding, np.float32)


def figure(rows: Mapping[str, Sequence[Features]], where: str) -> tuple[Any, str] | None:
    """(figure, text alternative): a panel per row, the same pixels in each; None where nothing is embedded.

    `rows` are {label: features of each seed}; the first seed is drawn, numbers are means over seeds. Rows with
    another sample of pixels than most are left out and named.
    """
    embedded_rows = {label: seeds for label, seeds in rows.items() if len(seeds[0].embedding)}
    if not embedded_rows:
        return None
    sample_rows, omitted = _of_one_sample(embedded_rows)
    first = next(iter(sample_rows.values()))[0]
    classes = _by_frequency(first)
    looks = {k: _look(i) for i, k in enumerate(classes)}
    across = min(len(sample_rows), 2 if len(sample_rows) == 4 else 3)
    down = math.ceil(len(sample_rows) / across)
    has_list = len(classes) <= _MAX_LISTED
    lines = math.ceil(len(classes) / (3 * across)) if has_list else 1
    canvas = style.canvas(max(4.4, 3.7 * across), 3.75 * down + 0.16 * lines + 0.5)
    for i, (label, seeds) in enumerate(sample_rows.items()):
        ax = canvas.add_subplot(down, across, i + 1)
        _panel(ax, seeds[0], classes, looks)
        ax.set_title(f"{style.label(label, 36)}\n{_numbers(seeds)}", fontsize=8.5)
    _legend(canvas, first, classes, looks, 3 * across if across > 1 else 4)
    settings = first.settings
    method = (
        f"UMAP ({SETTINGS['n_neighbors']} neighbours, minimal distance {SETTINGS['min_dist']}, {SETTINGS['metric']}, seed "
        f"{SETTINGS['random_state']}) of the inputs of the final classifier at {len(first.labels)} pixels of "
        f"{len(first.images)} images ({settings.get('split', 'test')}), at most {settings.get('per_class', '?')} a class"
    )
    absent = [str(first.classes[k]) for k in settings.get("asked", []) if k not in classes]
    tail = f"; no pixel of: {', '.join(absent)}" if absent else ""
    tail += f"; not drawn, as they look at other pixels: {', '.join(omitted)}" if omitted else ""
    canvas.supxlabel(
        "\n".join(textwrap.wrap(f"{method}.", 64 * across)), fontsize=6.5, x=0.01, ha="left", color=style.INK
    )
    words = "; ".join(f"{style.plain(label)}: {_numbers(seeds)}" for label, seeds in sample_rows.items())
    return canvas, (
        f"{method}: {style.plain(where)}, a panel per row, a colour and marker per class. In the original space, "
        f"distances within classes over those between, and silhouette: {words}{tail}"
    )


def _of_one_sample(rows: Mapping[str, Sequence[Features]]) -> tuple[dict[str, Sequence[Features]], list[str]]:
    """The rows with the most common sample of pixels (of equals: the largest), and the names of the other rows."""
    groups: list[dict[str, Sequence[Features]]] = []
    for label, seeds in rows.items():
        group = next((g for g in groups if next(iter(g.values()))[0].same_pixels(seeds[0])), None)
        if group is None:
            groups.append({label: seeds})
        else:
            group[label] = seeds
    best = max(groups, key=lambda g: (len(g), len(next(iter(g.values()))[0].labels)))
    return best, [label for label in rows if label not in best]


def _by_frequency(features: Features) -> list[int]:
    """Classes that the sample has pixels of, those with the most pixels in the images first."""
    present = sorted(set(features.labels.tolist()))
    return sorted(present, key=lambda k: -int(features.counts[k]))


def _look(rank: int) -> dict[str, Any]:
    """A pair of colour and marker that no other class has; grey dots when the pairs are used up."""
    if rank >= _LOOKS:
        return {"color": "#BBBBBB", "marker": ".", "s": 5}
    colours = len(style.COLOURS)
    # beyond the first eight the marker says what a colour no longer does
    return {"color": style.COLOURS[rank % colours], "marker": _MARKERS[rank // colours], "s": 9}


def _numbers(seeds: Sequence[Features]) -> str:
    ratio, silhouette = (
        mean([float(features.numbers.get(name, math.nan)) for features in seeds]) for name in ("ratio", "silhouette")
    )
    texts = ("–" if math.isnan(value) else f"{value:.2f}".replace("-", "−") for value in (ratio, silhouette))
    return "within / between {}, silhouette {}".format(*texts)


def _panel(ax: Any, features: Features, classes: Sequence[int], looks: Mapping[int, dict[str, Any]]) -> None:
    import numpy as np

    for k in reversed(classes):  # the most frequent on top
        x, y = features.embedding[features.labels == k].T
        ax.scatter(x, y, linewidths=0, alpha=0.75, rasterized=True, zorder=2, **looks[k])
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(visible=False)
    ax.margins(0.08)
    low, high = features.embedding.min(axis=0), features.embedding.max(axis=0)
    span = np.maximum(high - low, 1e-6)
    occupied: list[tuple[float, float, float, float]] = []
    for k in classes[:_MAX_NAMES]:
        text = style.label(str(features.classes[k]), 16)
        place = (_centre(features.embedding[features.labels == k]) - low) / span
        x, y = _free(place, 0.024 * len(text) + 0.02, 0.05, occupied)
        anchor, at = low + place * span, low + np.array([x, y]) * span
        line = {"arrowstyle": "-", "color": style.INK, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0}
        is_moved = abs(x - place[0]) + abs(y - place[1]) > 0.06
        note = ax.annotate(
            text, anchor, xytext=at, ha="center", va="center", fontsize=7, zorder=5, arrowprops=line if is_moved else None,
        )  # fmt: skip
        note.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8})


def _centre(points: np.ndarray) -> np.ndarray:
    """The point with the smallest summed distance to the others: unlike the mean it is a point of the class."""
    import numpy as np

    few = points[:: max(1, len(points) // 200)]
    return few[np.abs(few[:, None] - few).sum(axis=(1, 2)).argmin()]


def _free(
    place: Sequence[float], width: float, height: float, occupied: list[tuple[float, float, float, float]]
) -> tuple[float, float]:
    """The nearest place for a box of this size that overlaps none of those taken, all in parts of the panel; takes it."""
    steps = [(0.0, 0.0)]
    for reach in range(1, 9):
        steps += [(reach * dx * 0.06, reach * dy * 0.052) for dx in (0, -1, 1) for dy in (1, -1, 0) if dx or dy]
    for dx, dy in steps:
        x = min(max(place[0] + dx, width / 2), 1 - width / 2)
        y = min(max(place[1] + dy, 0), 1)
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        if not any(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in occupied):
            break
    occupied.append(box)
    return x, y


def _legend(
    canvas: Any, features: Features, classes: Sequence[int], looks: Mapping[int, dict[str, Any]], columns: int
) -> None:
    from matplotlib.lines import Line2D

    def handle(k: int, text: str) -> Any:
        look = looks[k]
        return Line2D([], [], linestyle="", color=look["color"], marker=look["marker"], markersize=4, label=text)

    if len(classes) <= _MAX_LISTED:
        handles = [handle(k, style.label(str(features.classes[k]), 20)) for k in classes]
    else:
        name_count = min(len(classes), _LOOKS)
        text = f"the {name_count} most frequent classes: eight colours × eight markers; the others grey"
        handles = [Line2D([], [], linestyle="", marker="o", color=style.COLOURS[0], markersize=4, label=text)]
        columns = 1
    canvas.legend(
        handles=handles, loc="outside upper left", ncols=columns, fontsize=7, handletextpad=0.1, columnspacing=0.8
    )
