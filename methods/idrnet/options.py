"""IDRNet's options: what an ablation varies, and every point where the paper and the released code differ.

Paper: Jin et al. 2023, arXiv 2310.10755. Released code: SegmentationBLWX/sssegmentation at eb1878c1, which made the
published numbers and is the preset `released`. The preset `paper` follows the text, Eq. 1-15.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from harness.errors import UserError, nearest

CHOICES: dict[str, tuple[Any, ...]] = {
    "preset": ("released", "paper"),
    "context": ("none", "ppm", "aspp", "uper"),
    "uper_top": ("ppm", "aspp"),
    "coarse_attention": ("none", "before", "after"),
    "stage1_from": ("coarse", "features"),
    "enhancement": ("memory", "orthogonal", "none"),
    "relations": ("both", "mean", "variance", "none"),
    "update": ("deletion", "backprop"),
    "sampling": ("balanced", "random"),
    "representation": ("bottleneck", "backbone"),
    "pooling": ("softmax", "probability"),
    "threshold": ("mean", "both", "none"),
    "zero_is_weak": (True, False),
    "diagnosis": ("class_mean", "image_sum"),
    "observed": ("truth", "reserved"),
    "refiner_input": ("features", "coarse"),
    "stage2_input": ("concatenation", "refined"),
    "classifier_layers": (1, 2),
    "deletion_moves_norm": (True, False),
    "reduction": ("released", "exact"),
}

# name: (released code, paper). Where the paper is silent its side keeps to the plainest reading. differences.py says each
# in words and where it stands.
DIFFERENCES: dict[str, tuple[Any, Any]] = {
    "representation": ("bottleneck", "backbone"),
    "pooling": ("softmax", "probability"),
    "threshold": ("mean", "both"),
    "zero_is_weak": (True, False),
    "diagnosis": ("class_mean", "image_sum"),
    "observed": ("truth", "reserved"),
    "refiner_input": ("features", "coarse"),
    "stage2_input": ("concatenation", "refined"),
    "classifier_layers": (2, 1),
    "auxiliary_weight": (0.4, 0.0),
    "deletion_moves_norm": (True, False),
    "reduction": ("released", "exact"),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """A complete, checked choice; built by `resolve`."""

    preset: str
    context: str  # coarse context C_e: none is FCN
    channels: int  # C: bottleneck, coarse context, classifiers
    bins: Sequence[int]  # ppm's grids
    dilations: Sequence[int]  # aspp's dilations; 1 is a 1x1 convolution
    uper_top: str  # what tops uper's pyramid
    fpn_channels: int
    coarse_attention: str  # self-attention on the coarse context, before or after stage 1 reads it
    stage1_from: str  # with a coarse context: whether stage 1 reads it or f
    attention_channels: int  # width of queries, keys and values
    enhancement: str  # IE-DL, IE-Orthogonal, none (Table 3)
    relations: str  # which matrices (Table 3)
    update: str  # deletion diagnostics or back-propagation (Table 4)
    sampling: str  # BD or RD (Table 3)
    relation_momentum: float
    memory_momentum: float
    count_start: float  # deletions a class starts with; 0 would divide by zero (Eq. 12)
    dropout: float
    stage1_weight: float  # alpha of Eq. 11
    auxiliary_channels: int
    representation: str
    pooling: str
    threshold: str
    zero_is_weak: bool
    diagnosis: str
    observed: str
    refiner_input: str
    stage2_input: str
    classifier_layers: int
    auxiliary_weight: float
    deletion_moves_norm: bool
    reduction: str  # of a batch's observations to one state: exactly, or as the mean of each process's copy
    processes: int  # of the training that `reduction: released` repeats, whatever the number here


def resolve(given: Mapping[str, Any]) -> Options:
    """Fills what is None from the preset and checks every choice; raises UserError naming the option and what it takes."""
    values = {f.name: given[f.name] for f in fields(Options)}
    _check("preset", values["preset"])
    column = CHOICES["preset"].index(values["preset"])
    for name, difference in DIFFERENCES.items():
        if values[name] is None:
            values[name] = difference[column]
            if name == "threshold" and values["update"] == "backprop":
                # an entry that is cut off has no gradient, and the identity starts with all others at zero:
                # under back-propagation a threshold would freeze the matrix at its start
                values[name] = "none"
    for name in CHOICES:
        _check(name, values[name])
    for name in ("channels", "fpn_channels", "attention_channels", "auxiliary_channels", "processes"):
        if not isinstance(values[name], int) or values[name] < 1:
            raise UserError(f"idrnet: option '{name}' must be a positive whole number, not {values[name]!r}")
    for name in ("relation_momentum", "memory_momentum", "count_start"):
        if not 0 < values[name] <= 1:
            raise UserError(f"idrnet: option '{name}' must lie in (0, 1], not {values[name]!r}")
    return Options(**values)


def _check(name: str, value: Any) -> None:
    allowed = CHOICES[name]
    if value in allowed and type(value) is type(allowed[0]):  # True is not 1 here
        return
    tail = nearest(str(value), [str(a) for a in allowed], label="allowed are")
    raise UserError(f"idrnet: option '{name}' cannot be {value!r}.{tail}")
