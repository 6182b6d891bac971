"""The kinds of job: what each is told, what each may use while it runs, and what it gives back.

A job is JSON and runs in a process of its own. Its configuration is one of the classes below; its runner is named, not
imported, so that planning never loads torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from harness.recipe import Normalisation, Recipe, Spec, Synthetic, TestProtocol


class Model(Spec):
    """What is built: a registered method on a backbone, or (backbone None) its head or a context module on given features."""

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


class Measurement(NamedTuple):  # a store holds millions: made and read twice as fast as a dataclass
    """One number. `convention` says how it was counted, where there is more than one way."""

    name: str
    value: float
    unit: str = ""
    convention: str = ""


@dataclass(frozen=True)
class Progress:
    """Where a running job stands; `text` is for a person, e.g. `loss 1.92 (main 1.71, auxiliary 0.21)`."""

    done: int
    total: int
    rate: float = 0.0  # items (images, timed passes) per second
    text: str = ""
    left: float | None = None  # seconds until it is done, where the job itself can tell


@dataclass(frozen=True)
class Context:
    """Where one job runs. Everything it writes goes under `folder`, which survives an interruption."""

    folder: Path
    cache: Path  # shared between jobs: synthetic scenes, manifests; written aside, then renamed
    data_dir: Path | None  # one folder per dataset, or None where none was given
    device: str  # "cpu" or "cuda"
    threads: int
    needs: Mapping[str, Path] = field(default_factory=dict)  # folders of the jobs this one needs, by kind
    progress: Callable[[Progress], None] = lambda progress: None
    should_stop: Callable[[], bool] = lambda: False  # asked between steps; then save and raise Interrupted


@dataclass(frozen=True)
class Kind:
    """One kind of job: its configuration, the function that runs it, and whether it needs the machine to itself."""

    name: str
    config: type[Spec]
    runner: str  # module:function, called as function(config, context) -> list[Measurement]
    exclusive: bool = False

    def modules(self, config: Spec) -> set[str]:
        """The modules that run a job with this configuration: what its code is found from."""
        tested = isinstance(config, TrainConfig) and config.recipe.evaluate_every is not None
        return {name.partition(":")[0] for name in (self.runner, *([SCORES] if tested else []))}

    def run(self, config: Mapping[str, Any], context: Context) -> list[Measurement]:
        """Runs a job of this kind here and now; validates the configuration first."""
        return load(self.runner)(self.config.model_validate(config), context)


SCORES = "harness.evaluation.run:scores_of"
"""What a training calls that tests itself. Named here, like the runners: in the key of no training that does not."""


def load(name: str) -> Callable[..., Any]:
    """The function called `module:function`."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("train", TrainConfig, "harness.training.run:train"),
        Kind("evaluate", EvaluateConfig, "harness.evaluation.run:evaluate"),
        Kind("complexity", ComplexityConfig, "harness.complexity.run:count"),
        Kind("latency", LatencyConfig, "harness.complexity.run:time", exclusive=True),
    )
}


@dataclass(frozen=True)
class Job:
    """One schedulable unit. `key` says when two jobs give the same number; `needs` are keys of jobs that come first."""

    kind: str
    config: Mapping[str, Any]
    key: str
    identity: str  # see harness.key.identity: the same job whatever the code, data and weights
    parts: Mapping[str, Any]  # what the key was made of, for `why`
    needs: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "config": dict(self.config), "parts": dict(self.parts), "needs": list(self.needs)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Job:
        return cls(**{**record, "needs": tuple(record["needs"])})
