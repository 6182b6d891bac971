"""FCN: so many convolutions with norm and ReLU in a row, then dropout and the classifier."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from harness.jobs.kinds import Model
from methods.released.sssegmentation._names import rename

METHODS = ("fcn",)


def convert(model: Model, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """(the head's state under our names, foreign names that are nothing of it)"""
    convs = model.options.get("convs", 1)
    inside = ((rf"decoder\.{3 * i + j}\.", f"context.reduce.{3 * i + j}.") for i in range(convs) for j in (0, 1))
    return rename(state, (*inside, (rf"decoder\.{3 * convs + 1}\.", "classifier.1.")))
