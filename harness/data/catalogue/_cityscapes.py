"""What Cityscapes and the datasets with its classes share. Source: cityscapesScripts/labels.py."""

from __future__ import annotations

from harness.data.catalogue._notation import colours, names, raw

NAMES = names(
    """
road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation, terrain, sky, person, rider,
car, truck, bus, train, motorcycle, bicycle
"""
)
COLOURS = colours(
    "804080f423e846464666669cbe9999999999faaa1edcdc006b8e2398fb984682b4dc143cff000000008e000046003c640050640000e6770b20"
)

# ids that have a trainId, in the order of trainIds
_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
LABEL_IDS = raw(_IDS, ignore=(*(k for k in range(34) if k not in _IDS), 255))
TRAIN_IDS = raw(range(19), ignore=(255,))
