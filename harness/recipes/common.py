"""What recipes of every task share: optimiser, schedule, normalisation of images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.spec import Fraction, Spec

ResizeBackend = Literal["opencv"]
"""Whose bilinear resize is meant; part of every key, since torchvision's antialiased one gives other pixels."""
Normalisation = Literal["imagenet", "symmetric"]
"""What a network is given: grey levels x less ImageNet's mean over its deviation per channel, or 2·x/255 - 1."""


class Optimizer(Spec):
    """`lr` is the base rate at the recipe's batch size; `multipliers` scale it per parameter group (backbone, head).

    `layer_decay` multiplies the backbone's rates once more per layer of depth, counted from the head down (BEiT's rule).
    `decay_norm_and_bias: false` exempts norms, biases and position parameters from weight decay. `fused`: torch's one-kernel
    step, equal up to rounding; GPUs always take it.
    """

    name: Literal["sgd", "adamw"] = "sgd"  # which one
    lr: float = Field(0.01, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)  # sgd
    betas: tuple[float, float] = (0.9, 0.999)  # adamw
    eps: float = Field(1e-8, gt=0)  # adamw
    weight_decay: float = Field(5e-4, ge=0)  # of L2 (sgd), or decoupled (adamw)
    decay_norm_and_bias: bool = True  # of norms, biases and position parameters too
    multipliers: dict[str, float] = {}
    layer_decay: float | None = Field(None, gt=0, le=1)
    clip_norm: float | None = Field(None, gt=0)  # largest norm of the gradient
    fused: bool = False


class Schedule(Spec):
    """lr_t = floor·lr + (1 − floor)·lr·(1 − t/T)^power, after `warmup_iterations` of linear warm-up from `warmup_ratio`."""

    name: Literal["poly"] = "poly"  # which one
    power: float = Field(0.9, gt=0)  # of the polynomial
    floor: Fraction = 0.0  # lowest rate, as a part of the base rate
    warmup_iterations: int = Field(0, ge=0)
    warmup_ratio: float = Field(1e-6, ge=0, le=1)
