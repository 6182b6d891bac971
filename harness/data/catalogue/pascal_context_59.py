"""PASCAL-Context with 59 classes; everything else is ignored."""

from __future__ import annotations

from harness.data.catalogue._notation import distinct
from harness.data.catalogue._pascal_context import NAMES, SOURCE, layouts
from harness.data.layout import IGNORE, Dataset

DATASET = Dataset(
    name="pascal_context_59",
    title="PASCAL-Context (59 classes)",
    classes=NAMES,
    palette=distinct(59),
    splits={"train": 4998, "val": 5105},
    layouts=layouts(IGNORE),
    folder="pascal_context",
    licence="Flickr's terms of use, research",
    source=SOURCE,
    note="background (everything outside the 59 classes) is ignored; ECENet prints 4,996 / 5,104 images",
)
