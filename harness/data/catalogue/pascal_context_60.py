"""PASCAL-Context with 60 classes, the first of which is everything else."""

from __future__ import annotations

from harness.data.catalogue._notation import distinct
from harness.data.catalogue._pascal_context import NAMES, SOURCE, layouts
from harness.data.layout import Dataset

DATASET = Dataset(
    name="pascal_context_60",
    title="PASCAL-Context (60 classes)",
    classes=("background", *NAMES),
    palette=distinct(60),
    splits={"train": 4998, "val": 5105},
    layouts=layouts(0),
    folder="pascal_context",
    licence="Flickr's terms of use, research",
    source=SOURCE,
    note="background is class 0",
)
