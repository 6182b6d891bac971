"""Selection of images of a split for display, with their ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.data.annotations.label_maps import LabelReader, read_pair
from harness.data.layout import Pair, Root
from harness.errors import UserError, nearest


@dataclass(frozen=True)
class Scene:
    """One image uint8 [H, W, 3] (RGB), its ground truth and the rows' predictions: training ids uint8 [H, W] (255: ignored)."""

    id: str
    image: np.ndarray
    truth: np.ndarray
    predictions: dict[str, np.ndarray] = field(default_factory=dict)


def choose(pairs: Sequence[Pair], count: int, ids: Iterable[str] = ()) -> list[Pair]:
    """The images called `ids` where there are some, else `count` evenly spread ones, independent of their content.

    UserError for an image that the split does not have.
    """
    by_id = {pair.id: pair for pair in pairs}
    remaining_ids = list(ids)
    for name in remaining_ids:
        if name not in by_id:
            raise UserError(f"--image {name}: the split has no such image.{nearest(name, by_id, label='images are')}")
    if remaining_ids:
        return [by_id[name] for name in remaining_ids]
    return [pairs[i] for i in np.linspace(0, len(pairs) - 1, min(count, len(pairs))).astype(int)]


def read_scenes(root: Root, pairs: Sequence[Pair]) -> list[Scene]:
    """The images and label maps of these pairs, without predictions. DataError for a file that cannot be read."""
    reader = LabelReader(root.layout)
    files = [read_pair(pair, reader) for pair in pairs]  # OpenCV's order of colours
    return [Scene(pair.id, image[:, :, ::-1], truth) for pair, (image, truth) in zip(pairs, files)]
