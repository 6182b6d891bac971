"""Dependencies between the class tokens of trained models (HFGD, Fig. 6)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.stats.small_samples import mean
from reports.figures import style

if TYPE_CHECKING:
    import numpy as np

_MAX_NAMES = 60  # largest number of classes whose names are all on the axes; of more, every second, third, …


def dependencies(tokens: np.ndarray) -> np.ndarray:
    """Attention among class tokens [K, C] -> [K, K]: row i is softmax over j of (t_i · t_j) / √C.

    HFGD (App. C.1) shows what CAR shows of class centres, and CAR's relation between classes is this one.
    """
    import numpy as np

    tokens = np.asarray(tokens, np.float64)
    energy = tokens @ tokens.T / math.sqrt(tokens.shape[1])
    raised = np.exp(energy - energy.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def diagonal(matrix: np.ndarray) -> tuple[float, int]:
    """The mean of the diagonal, and for how many classes it is the largest entry of the row."""
    import numpy as np

    self_attention = np.diag(matrix)
    return float(self_attention.mean()), int((self_attention >= matrix.max(axis=1)).sum())


def figure(rows: Mapping[str, Sequence[np.ndarray]], classes: Sequence[str], where: str) -> tuple[Any, str]:
    """(figure, text alternative): a square per row on one colour scale. `rows` are {label: tokens [K, C] of each seed}.

    The first seed is drawn; numbers are means over seeds.
    """
    matrices = {label: [dependencies(tokens) for tokens in seeds] for label, seeds in rows.items()}
    first_seeds = {label: seeds[0] for label, seeds in matrices.items()}
    count = len(classes)
    across = min(len(rows), 2 if len(rows) == 4 or count > 30 else 3)
    down = math.ceil(len(rows) / across)
    label_positions, size = _label_positions(count)
    side = min(max(2.6, 0.115 * len(label_positions) * size / 6), 7.2)
    longest = max(len(style.label(classes[k], 16)) for k in label_positions)
    edge = 0.011 * size * longest
    canvas = style.canvas(across * (side + 0.35) + edge + 0.7, down * (side + 0.55) + edge + 0.3)
    canvas.set_layout_engine("compressed")  # squares side by side
    low, high = min(m.min() for m in first_seeds.values()), max(m.max() for m in first_seeds.values())
    for i, (label, matrix) in enumerate(first_seeds.items()):
        ax = canvas.add_subplot(down, across, i + 1)
        image = ax.imshow(matrix, vmin=low, vmax=max(high, low + 1e-3), cmap="cividis", interpolation="nearest")
        names = [style.label(classes[k], 16) for k in label_positions]
        ax.set_xticks(label_positions, names if i + across >= len(rows) else [], rotation=90, fontsize=size)
        ax.set_yticks(label_positions, names if i % across == 0 else [], fontsize=size)
        ax.tick_params(length=0 if count <= _MAX_NAMES else 2, pad=2)
        ax.grid(visible=False)
        weight, first = _diagonal_summary(matrices[label])
        ax.set_title(
            f"{style.label(label, 34)}\ndiagonal {weight:.3f} ({weight * count:.2f} × equal), first in {first:g} of {count}",
            fontsize=8,
        )
    bar = canvas.colorbar(image, ax=canvas.axes, shrink=0.7, aspect=30, pad=0.015)
    bar.ax.axhline(1 / count, color="white", linewidth=1.5)
    bar.set_label(f"dependency (equal shares: {1 / count:.3f}, white line)")
    words = "; ".join(
        f"{style.plain(label)} {weight:.3f}, the most of its row for {first:g} of {count} classes"
        for label, (weight, first) in ((label, _diagonal_summary(seeds)) for label, seeds in matrices.items())
    )
    seeds = max(len(seed_list) for seed_list in rows.values())
    tail = f", means over {seeds} seeds, of which the first is drawn" if seeds > 1 else ""
    return canvas, (
        f"Dependencies between class tokens, {style.plain(where)}: softmax over the columns of a row of token · token / √C, a "
        f"panel per row of the table on one colour scale. Mean of the diagonal (equal shares would be {1 / count:.3f}): "
        f"{words}{tail}"
    )


def _diagonal_summary(matrices: Sequence[np.ndarray]) -> tuple[float, float]:
    values = [diagonal(matrix) for matrix in matrices]
    return mean([weight for weight, _ in values]), mean([float(first) for _, first in values])


def _label_positions(count: int) -> tuple[list[int], float]:
    """Which classes have their names on the axes, and the size of those."""
    step = math.ceil(count / _MAX_NAMES)
    return list(range(0, count, step)), 8.0 if count <= 12 else 7.0 if count <= 24 else 5.5
