"""Pretrained weights of backbones that lie in a folder: HARNESS_WEIGHTS/BACKBONE.safetensors, .pth or .pt.

Where a recipe says `pretrained: true`, such a file comes before a download by timm. BACKBONE is the name that a table uses
(`resnet50`, `timm/convnext_tiny`); the file holds timm's or torchvision's weights of that model.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "HARNESS_WEIGHTS"
_SUFFIXES = (".safetensors", ".pth", ".pt")
_UNPUBLISHED = {
    "hfgd_resnet50": (
        "there are no pretrained weights of 'hfgd_resnet50' to download: its authors alone published any for this layout, in "
        "TensorFlow; timm's resnet50s.gluon_in1k has the same names and shapes, but was trained with the strides elsewhere"
    ),
}


def offline(backbone: str) -> Path | None:
    """The file of the weights folder for a backbone; None where there is none."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return None
    places = (Path(folder).expanduser() / f"{backbone}{suffix}" for suffix in _SUFFIXES)
    return next((place for place in places if place.is_file()), None)


def unpublished(backbone: str) -> str | None:
    """Why there is nothing to download for a backbone that timm does not know; None where there is."""
    return _UNPUBLISHED.get(backbone)


def advice(backbone: str) -> str:
    """Advice for an error about a backbone's absent weights."""
    folder = os.environ.get(VARIABLE)
    place = f"{folder or '$' + VARIABLE}/{backbone}.safetensors (or .pth)"
    return (
        f"Put a file of them at {place}{'' if folder else f', with {VARIABLE} set to a folder'}, name one in the recipe "
        "(pretrained: path/to/weights.pth), or train from random weights (pretrained: false)"
    )
