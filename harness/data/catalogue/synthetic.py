"""Scenes that the harness draws itself (harness/data/scenes.py)."""

from __future__ import annotations

from harness.data.catalogue._notation import distinct, names, raw
from harness.data.layout import Dataset, Layout

NAMES = """
sky, aeroplane, road, car, water, boat, grass, cow, wall, painting, floor, table
"""

DATASET = Dataset(
    name="synthetic",
    title="Synthetic scenes",
    classes=names(NAMES),
    palette=distinct(12),
    splits={"train": None, "val": None, "test": None},
    layouts=(
        Layout("camvid", "images/{split}/{id}.jpg", "annotations/{split}/{id}.png", raw(range(12), ignore=(255,))),
    ),
    folder="synthetic",
    licence="none: generated",
    source="written by the harness itself (harness/data/scenes.py)",
)
