"""LIP: names of the challenge's label list."""

from __future__ import annotations

from harness.data.catalogue._human_parsing import BODY_SIDES
from harness.data.catalogue._notation import distinct, names, raw
from harness.data.layout import Dataset, Layout

NAMES = """
Background, Hat, Hair, Glove, Sunglasses, UpperClothes, Dress, Coat, Socks, Pants, Jumpsuits, Scarf, Skirt, Face,
Left-arm, Right-arm, Left-leg, Right-leg, Left-shoe, Right-shoe
"""

DATASET = Dataset(
    name="lip",
    title="LIP",
    classes=names(NAMES),
    palette=distinct(20),
    splits={"train": 30462, "val": 10000},
    layouts=(
        Layout("flat", "{split}_images/{id}.jpg", "{split}_segmentations/{id}.png", raw(range(20))),
        Layout(
            "official",
            "{split}_images/{id}.jpg",
            "TrainVal_parsing_annotations/{split}_segmentations/{id}.png",
            raw(range(20)),
        ),
    ),
    folder="lip",
    licence="non-commercial research",
    source="TrainVal_images.zip and TrainVal_parsing_annotations.zip, https://lip.sysuhcp.com",
    note="background is class 0; no void",
    mirror_pairs=BODY_SIDES,
)
