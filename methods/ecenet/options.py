"""ECENet's options: what an ablation varies, and every point where the paper and the released code differ.

Paper: Liu et al. 2023, arXiv 2308.12894. Released code: the authors' port of the Swin-B head to MindSpore, which only
predicts. The preset `paper` follows the text wherever the published complexity allows; `release` follows the port. They
differ in nothing that counts: both have the same parameters and FLOPs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from harness.errors import UserError, nearest

CHOICES: dict[str, tuple[Any, ...]] = {
    "preset": ("paper", "release"),
    "reconstruction": (True, False),
    "updater": ("gated", "plus"),
    "recalibration": ("sigmoid", "none"),
    "attention": ("softmax", "inverted"),
    "query_activation": ("none", "relu"),
    "supervised_masks": ("all", "coarse"),
}

# name: (paper, released code)
DIFFERENCES: dict[str, tuple[Any, Any]] = {
    # gate of squeeze-and-excitation: a sigmoid, as in the SE paper that Sec. 3.2 cites | none
    "recalibration": ("sigmoid", "none"),
    # weights of the classes at a pixel: softmax(S) (Eq. 7) | softmax(max S - S)
    "attention": ("softmax", "inverted"),
    # between the two convolutions of the query projection: none | a ReLU (what the port's default means there)
    "query_activation": ("none", "relu"),
    # masks whose sum the mask loss sees: all four (Sec. 3.5) | all but the finest
    "supervised_masks": ("all", "coarse"),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """A complete, checked choice; built by `resolve`."""

    preset: str
    channels: int  # C: width after unification, of embeddings and of the fusion
    heads: int  # of attention, and groups of the first mask convolution
    alpha: float  # the finest pooling grid has α·√N cells a side: 1 on ADE20K, √2 on PASCAL-Context, 3 on Cityscapes
    reconstruction: bool  # Feature Reconstruction (Table 4); without it there is no diverse half and no diversity loss
    updater: str  # Table 6
    diversity_weight: float  # λ_div (Table 5)
    focal_weight: float  # λ_focal, from the released configuration; the paper gives none
    dice_weight: float  # λ_dice, likewise
    dropout: float  # of whole channels before the classifier
    recalibration: str
    attention: str
    query_activation: str
    supervised_masks: str


def resolve(given: Mapping[str, Any]) -> Options:
    """Fills what is None from the preset and checks every choice; raises UserError naming the option and what it takes."""
    values = {f.name: given[f.name] for f in fields(Options)}
    _check("preset", values["preset"])
    column = CHOICES["preset"].index(values["preset"])
    for name, difference in DIFFERENCES.items():
        values[name] = difference[column] if values[name] is None else values[name]
    for name in CHOICES:
        _check(name, values[name])
    for name in ("channels", "heads"):
        if not isinstance(values[name], int) or isinstance(values[name], bool) or values[name] < 1:
            raise UserError(f"ecenet: option '{name}' must be a positive whole number, not {values[name]!r}")
    if values["channels"] % values["heads"]:
        raise UserError(f"ecenet: {values['heads']} heads do not divide {values['channels']} channels")
    if not _is_number(values["alpha"]) or values["alpha"] <= 0:
        raise UserError(f"ecenet: option 'alpha' must be a positive number, not {values['alpha']!r}")
    for name in ("diversity_weight", "focal_weight", "dice_weight"):
        if not _is_number(values[name]) or values[name] < 0:
            raise UserError(f"ecenet: option '{name}' must be a number of at least 0, not {values[name]!r}")
    return Options(**values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check(name: str, value: Any) -> None:
    allowed = CHOICES[name]
    if value in allowed and type(value) is type(allowed[0]):  # True is not 1 here
        return
    tail = nearest(str(value), [str(a) for a in allowed], label="allowed are")
    raise UserError(f"ecenet: option '{name}' cannot be {value!r}.{tail}")
