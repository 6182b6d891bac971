"""Inputs and weights of a trained model's final classifier, as a file of arrays beside its evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.files import atomic_file

FILE = "features.npz"
_ARRAYS = ("classes", "images", "tokens", "features", "labels", "places", "counts", "embedding")


@dataclass(frozen=True)
class Features:
    """A sample of pixels of a test split and the class tokens of one trained model. K classes, C channels, N pixels.

    `settings` say how the sample was drawn, `numbers` what was computed of it; both hold JSON values by name.
    """

    classes: np.ndarray  # str [K]
    images: np.ndarray  # str: ids of the the sampled images
    tokens: np.ndarray  # float32 [K, C]: rows of the final classifier's weight
    features: np.ndarray  # float32 [N, C]: its input at the sampled pixels
    labels: np.ndarray  # uint8 [N]: their true classes
    places: np.ndarray  # int32 [N, 3]: image, row, column in the label map
    counts: np.ndarray  # int64 [K]: how many pixels of the images have which true class
    embedding: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.float32))  # [N, 2], or empty
    settings: Mapping[str, Any] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def same_pixels(self, other: Features) -> bool:
        """Whether both sample the same pixels of the same images, so that their features are comparable."""
        return np.array_equal(self.images, other.images) and np.array_equal(self.places, other.places)

    def with_embedding(self, embedding: np.ndarray, **numbers: Any) -> Features:
        return replace(self, embedding=embedding, numbers={**self.numbers, **numbers})


def write(features: Features, folder: Path) -> Path:
    """Writes the arrays to the job's folder; OutputError (nothing changed) when the folder or the disk refuses."""
    path = folder / FILE
    notes = json.dumps({"settings": dict(features.settings), "numbers": dict(features.numbers)})
    arrays = {name: getattr(features, name) for name in _ARRAYS}
    with atomic_file(path) as file:
        np.savez_compressed(file, allow_pickle=False, told=np.array(notes), **arrays)
    return path


def read(folder: Path) -> Features | None:
    """The arrays in a job's folder; None where there are none, or none that this version can read."""
    try:
        with np.load(folder / FILE, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS}
            notes = json.loads(str(file["told"]))
        features = Features(**arrays, settings=notes["settings"], numbers=notes["numbers"])
        return features if _is_whole(features) else None
    except Exception:  # whatever a damaged archive makes of its readers
        return None


def _is_whole(features: Features) -> bool:
    """Whether shapes and classes fit each other."""
    classes, pixels = len(features.classes), len(features.labels)
    return (
        features.tokens.shape == (classes, features.features.shape[-1])
        and features.features.shape[0] == pixels
        and features.places.shape == (pixels, 3)
        and features.counts.shape == (classes,)
        and features.embedding.shape in {(pixels, 2), (0, 2)}
        and (not pixels or int(features.labels.max()) < classes)
    )
