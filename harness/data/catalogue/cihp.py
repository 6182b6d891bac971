"""CIHP: names of the challenge's label list."""

from __future__ import annotations

from harness.data.catalogue._human_parsing import BODY_SIDES
from harness.data.catalogue._notation import distinct, names, raw
from harness.data.layout import Dataset, Layout

NAMES = """
Background, Hat, Hair, Glove, Sunglasses, UpperClothes, Dress, Coat, Socks, Pants, Torso-skin, Scarf, Skirt, Face,
Left-arm, Right-arm, Left-leg, Right-leg, Left-shoe, Right-shoe
"""

DATASET = Dataset(
    name="cihp",
    title="CIHP",
    classes=names(NAMES),
    palette=distinct(20),
    splits={"train": 28280, "val": 5000},
    layouts=(
        Layout(
            "official",
            "{split}/Images/{id}.jpg",
            "{split}/Category_ids/{id}.png",
            raw(range(20)),
            {"train": "Training", "val": "Validation"},
            top="instance-level_human_parsing",
        ),
    ),
    folder="cihp",
    licence="non-commercial research",
    source="instance-level_human_parsing.zip, https://lip.sysuhcp.com",
    note="as LIP, except that 10 is torso skin where LIP has jumpsuits",
    mirror_pairs=BODY_SIDES,
)
