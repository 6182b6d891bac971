"""COCO-Stuff 10k with all 182 ids, as IDRNet counts."""

from __future__ import annotations

from harness.data.catalogue._coco import LICENCE, NAMES, SOURCE_10K, layouts_10k
from harness.data.catalogue._notation import distinct, raw
from harness.data.layout import Dataset

DATASET = Dataset(
    name="coco_stuff10k",
    title="COCO-Stuff 10k (182 ids)",
    classes=NAMES,
    palette=distinct(182),
    splits={"train": 9000, "test": 1000},
    layouts=layouts_10k(raw(range(1, 183), ignore=(0, 255))),
    folder="coco_stuff10k",
    licence=LICENCE,
    source=SOURCE_10K,
    note="IDRNet's convention: all 182 ids, 11 of which never occur; raw 0 and 255 are ignored",
)
