"""Dark Zurich: Cityscapes' classes at night."""

from __future__ import annotations

from harness.data.catalogue._cityscapes import COLOURS, NAMES, TRAIN_IDS
from harness.data.layout import Dataset, Layout

DATASET = Dataset(
    name="dark_zurich",
    title="Dark Zurich",
    classes=NAMES,
    palette=COLOURS,
    splits={"val": 50},
    layouts=(
        Layout(
            "official",
            "rgb_anon/{split}/night/{id}_rgb_anon.png",
            "gt/{split}/night/{id}_gt_labelTrainIds.png",
            TRAIN_IDS,
            ids="GOPR0000/GOPR0000_frame_{number:06d}",
        ),
    ),
    folder="dark_zurich",
    licence="CC BY-NC 4.0",
    source="Dark_Zurich_val_anon.zip, https://www.trace.ethz.ch/publications/2019/GCMA_UIoU",
)
