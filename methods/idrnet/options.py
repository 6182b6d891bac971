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
    "reduction": ("exact", "averaged"),
}

# name: (released code, paper). Where the paper is silent its column keeps to the plainest reading.
DIFFERENCES: dict[str, tuple[Any, Any]] = {
    # R_p: the output of a 3x3 bottleneck | the backbone's last map, with its Z channels (Sec. 3.1)
    "representation": ("bottleneck", "backbone"),
    # weights of a class's pixels: softmax of the logit over them | their probabilities in P_c (after Eq. 2)
    "pooling": ("softmax", "probability"),
    # matrices whose weak entries are cut off: the mean's | every relation matrix (Eq. 7)
    "threshold": ("mean", "both"),
    # weak means at most zero | smaller than t = 0 (Eq. 7), so that an untouched entry still takes part
    "zero_is_weak": (True, False),
    # change of the loss: of the class's mean and biased variance | of sums over the image, / (K H W) (Eq. 14)
    "diagnosis": ("class_mean", "image_sum"),
    # classes j that are diagnosed: all of the ground truth | those of it that are reserved in R_sl (Eq. 13)
    "observed": ("truth", "reserved"),
    # the refiner sees f, memory and context of a pixel | the coarse context and the context (Eq. 9)
    "refiner_input": ("features", "coarse"),
    # the last classifier sees f, refined and coarse context | the refined map alone (Eq. 10)
    "stage2_input": ("concatenation", "refined"),
    # both classifiers: 1x1, norm, ReLU, dropout, 1x1 | one convolution layer (after Eq. 1 and Eq. 10)
    "classifier_layers": (2, 1),
    # an auxiliary loss on the last but one feature map | L = 0.4 L_c + L_o (Eq. 11)
    "auxiliary_weight": (0.4, 0.0),
    # the pass with a deleted class also moves the running statistics | it only diagnoses (not said)
    "deletion_moves_norm": (True, False),
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
    # What several processes make of relations, counts and memory: what one with the whole batch would, or, as released,
    # the mean of what each makes of its part. Not a difference between the presets: those say what is computed, which
    # must not depend on the number of processes. Averaging divides a class's momentum by the processes that do not see it.
    reduction: str


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
    for name in ("channels", "fpn_channels", "attention_channels", "auxiliary_channels"):
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
