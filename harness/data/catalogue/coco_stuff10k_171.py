"""COCO-Stuff 10k with the 171 ids that occur, as HFGD and mmsegmentation count."""

from __future__ import annotations

from harness.data.catalogue._coco import LICENCE, SOURCE_10K, USED_IDS, USED_NAMES, layouts_10k
from harness.data.catalogue._notation import distinct, raw
from harness.data.layout import Dataset

DATASET = Dataset(
    name="coco_stuff10k_171",
    title="COCO-Stuff 10k (171 classes)",
    classes=USED_NAMES,
    palette=distinct(171),
    splits={"train": 9000, "test": 1000},
    layouts=layouts_10k(raw(USED_IDS, ignore=(0, 255))),
    folder="coco_stuff10k",
    licence=LICENCE,
    source=SOURCE_10K,
    note="HFGD's and mmsegmentation's convention: the 171 ids that occur",
)
