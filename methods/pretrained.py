"""Pretrained weights of backbones, without torch: the file that lies in a folder, or in the cache that timm downloads to.

Where a recipe says `pretrained: true`, HARNESS_WEIGHTS/BACKBONE.safetensors (.pth, .pt) comes first. BACKBONE is the name that
a table uses (`resnet50`, `timm/convnext_tiny.fb_in1k`); the file holds timm's or torchvision's weights of that model. Of a
method that builds its backbone itself it is METHOD/CONFIGURATION, and the names are that library's. Else it is timm's, of the tag
that the backbone's family names, from Hugging Face's cache.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import MissingError
from methods.backbones import family_of, short_name

VARIABLE = "HARNESS_WEIGHTS"
_SUFFIXES = (".safetensors", ".pth", ".pt")
_CACHED = ("model.safetensors", "pytorch_model.bin")  # in the order in which timm takes them
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
    places = (Path(folder).expanduser() / f"{short_name(backbone)}{suffix}" for suffix in _SUFFIXES)
    return next((place for place in places if place.is_file()), None)


def own_name(method: str, options: Mapping[str, Any]) -> str:
    """The name of the weights of a method that builds its backbone itself: METHOD, and what its options name."""
    return "/".join([method.rpartition(":")[2], *(value for value in options.values() if isinstance(value, str))])


def own_file(method: str, options: Mapping[str, Any]) -> Path:
    """The file of the weights folder for a method that builds its backbone itself; MissingError where there is none."""
    name = own_name(method, options)
    file = offline(name)
    if file is None:
        raise MissingError(f"the pretrained weights of the backbone of '{name}' are not here")
    return file


def timm_weights(backbone: str) -> str | None:
    """timm's name of a backbone's weights, MODEL.TAG, read from the source of its family; None where it names none."""
    if backbone.startswith("timm/"):
        weights = backbone.removeprefix("timm/")
        return weights if "." in weights else None
    family = family_of(backbone)
    return family.weights.get(short_name(backbone)) if family is not None else None


def cached(weights: str) -> Path | None:
    """The file of timm's MODEL.TAG in Hugging Face's cache; None where it was never downloaded."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    folder = Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub")).expanduser() / f"models--timm--{weights}"
    try:
        commit = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    places = (folder / "snapshots" / commit / name for name in _CACHED)
    return next((place for place in places if place.is_file()), None)


def unpublished(backbone: str) -> str | None:
    """Why there is nothing to download for a backbone that timm does not know; None where there is."""
    return _UNPUBLISHED.get(backbone)


def untagged(backbone: str) -> str:
    """What is wrong with a backbone of timm's that is to start from pretrained weights, and does not say which."""
    return (
        f"backbone '{backbone}' does not say which of timm's weights: name their tag too, as in timm/convnext_tiny.fb_in1k, "
        "since timm's own choice changes from version to version"
    )


def not_downloaded(backbone: str, weights: str) -> str:
    """What is missing where timm's weights are not in the cache, and the command that fetches them."""
    return (
        f"the pretrained weights of '{backbone}' (timm's {weights}) are not here; where there is a network, "
        f"python -m harness weights download {backbone} fetches them"
    )


def advice(backbone: str) -> str:
    """Advice for an error about a backbone's absent weights."""
    folder = os.environ.get(VARIABLE)
    place = f"{folder or '$' + VARIABLE}/{short_name(backbone)}.safetensors (or .pth)"
    return (
        f"Put a file of them at {place}{'' if folder else f', with {VARIABLE} set to a folder'}, name one in the recipe "
        "(pretrained: path/to/weights.pth), or train from random weights (pretrained: false)"
    )
