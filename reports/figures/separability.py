"""Compactness and separation of classes in the classifier's input space, which a two-dimensional map distorts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

_BLOCK = 512  # pixels whose distances to all others are held at once


class Separability(NamedTuple):
    """Euclidean distances between features of single pixels.

    `ratio`: mean distance between two pixels of one class, over that between two pixels of different classes; every class
    and every pair of classes counts the same, however many pixels there are. Below 1: compact against separate.
    `silhouette`: mean of (b - a) / max(a, b) over pixels, a the mean distance to the others of its class and b that to
    the nearest other class (Rousseeuw 1987); from -1 to 1. NaN without scikit-learn, which the extra `umap` brings. Both
    are NaN where fewer than two classes have two pixels.
    """

    ratio: float
    silhouette: float


def separability(features: np.ndarray, labels: np.ndarray) -> Separability:
    """Of features float [N, C] with classes int [N]; classes of a single pixel have no distance inside and are left out."""
    import numpy as np

    names, place, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    repeated = sizes[place] > 1
    features, place = np.asarray(features, np.float32)[repeated], place[repeated]
    names, place = np.unique(place, return_inverse=True)
    if len(names) < 2:
        return Separability(float("nan"), float("nan"))
    features = features - features.mean(axis=0)  # distances stay; squares lose fewer digits
    sizes = np.bincount(place)
    member = np.zeros((len(place), len(names)), np.float32)
    member[np.arange(len(place)), place] = 1
    squares = (features**2).sum(axis=1)
    between = np.zeros((len(names), len(names)))  # sums of distances of class i's pixels to class j's
    for start in range(0, len(place), _BLOCK):
        part = slice(start, start + _BLOCK)
        square = squares[part, None] + squares - 2 * features[part] @ features.T
        np.maximum(square, 0, out=square)
        block = np.arange(start, min(start + _BLOCK, len(place)))
        square[block - start, block] = 0
        sums = (np.sqrt(square) @ member).astype(np.float64)  # [block, classes]
        np.add.at(between, place[part], sums)
    inside = np.diag(between) / (sizes * (sizes - 1))
    across = (between / np.outer(sizes, sizes))[~np.eye(len(names), dtype=bool)]
    ratio = inside.mean() / across.mean() if across.mean() > 0 else np.nan
    return Separability(float(ratio), _silhouette(features, place))


def _silhouette(features: np.ndarray, classes: np.ndarray) -> float:
    try:
        from sklearn.metrics import silhouette_score
    except ImportError:
        return float("nan")
    return float(silhouette_score(features, classes))
