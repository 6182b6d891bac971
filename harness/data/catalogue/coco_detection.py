"""MS COCO 2017's instances."""

from __future__ import annotations

from harness.data.catalogue._coco import LICENCE, NAMES, THINGS
from harness.data.catalogue._notation import distinct, raw
from harness.data.layout import Dataset, Layout

DATASET = Dataset(
    name="coco_detection",
    title="MS COCO 2017, detection",
    classes=tuple(NAMES[k - 1] for k in THINGS),
    palette=distinct(80),
    splits={"train": 118287, "val": 5000},
    layouts=(
        Layout(
            "official",
            "{split}/{id}.jpg",
            "annotations/instances_{split}.json",
            raw(THINGS),
            {"train": "train2017", "val": "val2017"},
            ids="{number:012d}",
            annotations="harness.data.annotations.coco",
        ),
    ),
    folder="coco",
    licence=LICENCE,
    source="train2017.zip, val2017.zip, annotations_trainval2017.zip, https://cocodataset.org",
    note="80 categories with ids 1..90",
    task="detection",
)
