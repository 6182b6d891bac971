"""The kinds of job: configuration, runner and resources of each.

A job is JSON and runs in a process of its own. Its configuration is one of the classes below; its runner is named, not
imported, so that planning never loads torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from harness.jobs.context import Context
from harness.jobs.job import Measurement
from harness.jobs.tasks import SEGMENTATION, Task
from harness.recipes.common import Normalisation
from harness.recipes.profile import Synthetic
from harness.recipes.segmentation import Recipe, TestProtocol
from harness.spec import Spec

OWN_BACKBONE = "own"
"""Stands for the backbone of a method that builds it itself."""


class Model(Spec):
    """What is built: a registered method on a backbone, or (backbone None) its head or a context module on given features.

    `backbone: own` is that of a method that builds it itself.
    """

    kind: Literal["method", "context"] = "method"
    name: str
    options: dict[str, Any] = {}
    num_classes: int = Field(gt=0)
    backbone: str | None = None
    output_stride: int | None = None
    pretrained: bool | str = False


class Data(Spec):
    """Which dataset: a name of the catalogue, or embedded scenes that stand in for it."""

    name: str
    synthetic: Synthetic | None = None

    def scenes(self) -> Synthetic | None:
        """The embedded scenes that this asks for; None where it means files under the data folder."""
        if self.synthetic is None and self.name == "synthetic":
            return Synthetic()
        return self.synthetic


class TrainConfig(Spec):
    """Train `model` on `data` as `recipe` says. Measures the training itself and leaves a checkpoint."""

    model: Model
    data: Data
    recipe: Recipe
    profile: str
    seed: int
    shorten: float | None = None


class EvaluateConfig(Spec):
    """Test the checkpoint of a training (the job it needs), or a file of weights, on `data` under `protocol`."""

    model: Model
    data: Data
    protocol: TestProtocol
    normalisation: Normalisation = "imagenet"  # that of the training
    profile: str
    seed: int
    checkpoint: str | None = None  # the file; its digest is part of the job's key, its path is not


class PeerConfig(Spec):
    """Train and test `model` as the other configurations say, by another toolbox: `peer` is a file of methods/peers."""

    peer: str
    model: Model
    data: Data
    recipe: Recipe
    protocol: TestProtocol
    profile: str
    seed: int
    shorten: float | None = None

    @property
    def module(self) -> str:
        """The module that drives the toolbox."""
        return f"methods.peers.{self.peer}"


class ComplexityConfig(Spec):
    """Count parameters and FLOPs of `model` under a named convention at `input`: one image shape, or feature shapes."""

    model: Model
    input: tuple[tuple[int, ...], ...]
    convention: str


class LatencyConfig(Spec):
    """Time a forward pass of `model` at `input` and take its peak memory, alone on `device`."""

    model: Model
    input: tuple[tuple[int, ...], ...]
    device: str  # what the figure holds for: "cpu: AMD EPYC 7B13, 2 threads" or "cuda: NVIDIA H200"
    repeats: int = 5


@dataclass(frozen=True)
class Kind:
    """One kind of job: its configuration and the function that runs it.

    `name` stands in keys and stored records; `word` and `noun` are what people read of it everywhere. `task`: the task that it
    trains or tests a model for; None where it only counts or times one. `exclusive`: it needs the machine to itself.
    """

    name: str
    word: str
    noun: str
    config: type[Spec]
    runner: str  # module:function, called as function(config, context) -> list[Measurement]
    task: Task | None = None
    exclusive: bool = False

    @property
    def trains(self) -> bool:
        """Whether it trains a model or tests a trained one: once per repetition, on as many devices as a training has."""
        return self.task is not None

    def modules(self, config: Spec) -> set[str]:
        """The modules that run a job with this configuration: what its code is found from."""
        tests_itself = isinstance(config, TrainConfig) and config.recipe.evaluate_every is not None
        data = getattr(config, "data", None)
        embedded = data is not None and data.scenes() is not None
        names = (self.runner, *([SCORES] if tests_itself else []), *([SCENES] if embedded else []))
        peer = {config.module} if isinstance(config, PeerConfig) else set()
        return {name.partition(":")[0] for name in names} | peer

    def run(self, config: Mapping[str, Any], context: Context) -> list[Measurement]:
        """Runs a job of this kind here and now; validates the configuration first."""
        return load(self.runner)(self.config.model_validate(config), context)


SCORES = SEGMENTATION.scores
"""What a training calls that tests itself. Named here, like the runners: in the key of no training that does not."""


SCENES = "harness.data.synthetic:write_once"
"""What writes embedded scenes: in the key of no job on real data."""


def load(name: str) -> Callable[..., Any]:
    """The function called `module:function`."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def kind_of(runner: str) -> str:
    """The name of the kind of job that this function runs: `kind_of(task.train)`."""
    return next(kind.name for kind in KINDS.values() if kind.runner == runner)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("train", "train", "training", TrainConfig, SEGMENTATION.train, SEGMENTATION),
        Kind("evaluate", "test", "test", EvaluateConfig, SEGMENTATION.evaluate, SEGMENTATION),
        Kind("peer", "peer", "peer training", PeerConfig, "harness.tasks.segmentation.peer:train_and_test"),
        Kind("complexity", "count", "count", ComplexityConfig, "harness.tasks.complexity.measure:count"),
        Kind("latency", "time", "timing", LatencyConfig, "harness.tasks.complexity.measure:time", exclusive=True),
    )
}


def word(name: str) -> str:
    """What people read of a kind of job: `test` for `evaluate`; a kind that this version does not know as it is stored."""
    return KINDS[name].word if name in KINDS else name
