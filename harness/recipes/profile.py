"""Profiles: a recipe changed for a purpose (paper, short, smoke), and the synthetic scenes that stand in for data."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from harness.spec import Positive, Size, Spec


class Synthetic(Spec):
    """Embedded scenes that stand in for a dataset: so many images of `size` per split, with that dataset's classes."""

    train_images: Positive = 8  # of the training split
    test_images: Positive = 4  # of every other split
    size: Size = (64, 64)


class ModelChanges(Spec):
    """What a row or a profile builds differently from the table's defaults and its recipe."""

    backbone: str | None = None  # such as resnet50_v1c, timm/NAME, or my_file.py:NAME, counted from the table
    output_stride: int | None = Field(None, gt=0)  # 8, 16 or 32, of a backbone that has a choice
    pretrained: bool | str = False  # weights of the backbone: random, HARNESS_WEIGHTS or timm, or a file

    def explicit_fields(self) -> dict[str, Any]:
        """The fields that the file names."""
        return self.model_dump(exclude_unset=True)


class Gate(Spec):
    """What shows that a profile's numbers are those of another: the same rows trained under both, paired by seed."""

    table: str  # its file's name among the shipped tables
    rows: tuple[str, ...] = Field(min_length=1)  # each of which must pass
    column: str  # of the table, by its metric in points
    repetitions: int = Field(5, ge=2, le=20)  # pairs per row, all of them
    margin: float = Field(1.0, gt=0)  # points within which the mean difference must lie
    against: str = "paper"  # the other profile


class Profile(Spec):
    """The purpose of a run. `recipe`, `model` and `options` override fields (nested mappings merge); `synthetic` replaces
    datasets."""

    name: str  # its file's name
    about: str  # printed when a run begins
    comparable: bool = True  # may its numbers stand beside the paper's?
    claims_only: bool = False  # judge what the paper concludes, not its numbers
    recipe: dict[str, Any] = {}
    model: ModelChanges = ModelChanges()  # for every row
    options: dict[str, dict[str, Any]] = {}  # {method: options} laid over those of every row of that method
    shorten: float | None = Field(None, gt=0, le=1)  # factor on the length of the training
    synthetic: Synthetic | None = None
    features_side: Positive | None = None  # complexity of modules: spatial size of the given feature maps
    # where its jobs run on this machine, unless --device or HARNESS_DEVICE says; auto: on GPUs where there are any
    device: Literal["auto", "cpu", "cuda"] = "auto"
    repeats: Positive | None = None  # timed repetitions of a latency measurement
    loggers: tuple[str, ...] = ()  # of its trainings, as `run --logger` names them; they change no number
    gate: Gate | None = None  # `comparable` holds once this has passed in the results folder, whatever is said above
