"""Nighttime Driving: Cityscapes' classes at night."""

from __future__ import annotations

from harness.data.catalogue._cityscapes import COLOURS, NAMES, TRAIN_IDS
from harness.data.layout import Dataset, Layout

DATASET = Dataset(
    name="nighttime_driving",
    title="Nighttime Driving",
    classes=NAMES,
    palette=COLOURS,
    splits={"test": 50},
    layouts=(
        Layout(
            "official",
            "leftImg8bit/{split}/night/{id}_leftImg8bit.png",
            "gtCoarse_daytime_trainvaltest/{split}/night/{id}_gtCoarse_labelTrainIds.png",
            TRAIN_IDS,
            top="NighttimeDrivingTest",
        ),
    ),
    folder="nighttime_driving",
    licence="research use",
    source="NighttimeDrivingTest.zip, http://people.ee.ethz.ch/~daid/NightDriving",
)
