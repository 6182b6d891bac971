"""Pretrained weights of backbones that lie in a folder: HARNESS_WEIGHTS/BACKBONE.safetensors, .pth or .pt.

Where a recipe says `pretrained: true`, such a file comes before a download by timm. BACKBONE is the name that a table uses
(`resnet50`, `timm/convnext_tiny`); the file holds timm's or torchvision's weights of that model.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "HARNESS_WEIGHTS"
_SUFFIXES = (".safetensors", ".pth", ".pt")


def offline(backbone: str) -> Path | None:
    """The file of the weights folder for a backbone; None where there is none."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return None
    places = (Path(folder).expanduser() / f"{backbone}{suffix}" for suffix in _SUFFIXES)
    return next((place for place in places if place.is_file()), None)


def advice(backbone: str) -> str:
    """Advice for an error about a backbone's absent weights."""
    folder = os.environ.get(VARIABLE)
    place = f"{folder or '$' + VARIABLE}/{backbone}.safetensors (or .pth)"
    return (
        f"Put a file of them at {place}{'' if folder else f', with {VARIABLE} set to a folder'}, name one in the recipe "
        "(pretrained: path/to/weights.pth), or train from random weights (pretrained: false)"
    )
