"""Profiles: a recipe changed for a purpose (paper, short, smoke), and the synthetic scenes that stand in for data."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from harness.spec import Positive, Size, Spec


class Synthetic(Spec):
    """Embedded scenes that stand in for a dataset: so many images of `size` per split, with that dataset's classes."""

    train_images: Positive = 8
    test_images: Positive = 4
    size: Size = (64, 64)


class ModelChanges(Spec):
    """What a row or a profile builds differently from the table's defaults and its recipe."""

    backbone: str | None = None
    output_stride: int | None = Field(None, gt=0)
    pretrained: bool | str = False

    def explicit_fields(self) -> dict[str, Any]:
        """The fields that the file names."""
        return self.model_dump(exclude_unset=True)


class Profile(Spec):
    """The purpose of a run. `recipe` and `model` override fields (nested mappings merge); `synthetic` replaces datasets."""

    name: str
    about: str
    comparable: bool = True  # may its numbers stand beside the paper's?
    claims_only: bool = False
    recipe: dict[str, Any] = {}
    model: ModelChanges = ModelChanges()
    shorten: float | None = Field(None, gt=0, le=1)  # factor on the length of the training
    synthetic: Synthetic | None = None
    features_side: Positive | None = None  # complexity of modules: spatial size of the given feature maps
    repeats: Positive | None = None  # timed repetitions of a latency measurement
