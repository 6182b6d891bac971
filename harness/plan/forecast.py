"""A first estimate of what a training costs on a GPU, before anything like it has run: counted FLOPs over the rate of the card.

FLOPs per image are counted once for the shipped tables (training_flops.csv, by benchmarks/training_flops.py). The rate is that
of measured trainings in the same precision on the same card; before there are any, peak × utilisation of figures made
public elsewhere, which may be wrong by half.
"""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median

from harness.jobs.job import Job
from harness.jobs.kinds import EvaluateConfig, TrainConfig
from harness.plan.durations import processes_of
from harness.store.store import Result

FILE = Path(__file__).with_name("training_flops.csv")
COLUMNS = ("method", "options", "backbone", "output_stride", "classes", "height", "width", "tflop_per_image")
Description = tuple[str, str, str, str, str, str, str]
"""All but the last of COLUMNS, as text."""
_PEAK = {  # {part of the card's name: TFLOPS in fp32, TF32, and bf16 or fp16, without sparsity}: NVIDIA's data sheets
    "B200": (75.0, 1100.0, 2250.0),
    "H200": (67.0, 494.0, 989.0),
    "H100": (67.0, 494.0, 989.0),
    "A100": (19.5, 156.0, 312.0),
    "L40S": (91.6, 183.0, 362.0),
    "A40": (37.4, 74.8, 149.7),
    "A6000": (38.7, 77.4, 154.8),
    "V100": (15.7, 15.7, 125.0),
    "RTX 4090": (82.6, 82.6, 165.2),
    "RTX 3090": (35.6, 35.6, 71.0),
}
_UTILISATION = {"fp32": 0.5, "tf32": 0.25, "bf16": 0.22, "fp16": 0.22}
"""Of the peak: mmsegmentation's PSPNet takes 0.83 s a step on a V100, 41 % in fp32; narrower formats wait for memory more."""
_COLUMN = {"fp32": 0, "tf32": 1, "bf16": 2, "fp16": 2}


def description(config: TrainConfig) -> Description:
    """What the FLOPs of a training's step depend on."""
    model, (height, width) = config.model, config.recipe.augmentation.crop
    options = json.dumps(model.options, sort_keys=True)
    parts = (model.name, options, model.backbone, model.output_stride, model.num_classes, height, width)
    return tuple("" if part is None else str(part) for part in parts)  # type: ignore[return-value]


@functools.cache
def _counted() -> Mapping[Description, float]:
    try:
        lines = FILE.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {tuple(row[:-1]): float(row[-1]) for row in list(csv.reader(lines))[1:]}  # type: ignore[misc]


def tflop_per_image(config: TrainConfig) -> float | None:
    """10^12 FLOPs per image and step, forward and backward; None for what was not counted.

    Crops of another size are scaled by their area. With other options or classes the median of the same method on the
    same backbone at the same stride stands in.
    """
    wanted = description(config)
    area = int(wanted[5]) * int(wanted[6])
    alike: dict[int, list[float]] = {}
    for row, tflop in _counted().items():
        if (row[0], *row[2:4]) == (wanted[0], *wanted[2:4]):
            scaled = tflop * area / (int(row[5]) * int(row[6]))
            alike.setdefault(sum(a == b for a, b in zip(row, wanted)), []).append(scaled)
    return median(alike[max(alike)]) if alike else None


def tflop_per_tested_image(config: EvaluateConfig) -> float | None:
    """10^12 FLOPs of an image under a test protocol, a third of a training step's on as many pixels; None if not counted.

    Images without a size of their own in the protocol are taken to be of ADE20K's usual one.
    """
    model, protocol = config.model, config.protocol
    side = (model.name, str(model.backbone), "" if model.output_stride is None else str(model.output_stride))
    per_pixel = [t / (int(row[5]) * int(row[6])) for row, t in _counted().items() if (row[0], *row[2:4]) == side]
    if not per_pixel:
        return None
    height, width = protocol.resize or (512, 683)
    views = sum(scale**2 for scale in protocol.scales) * (2 if protocol.flip else 1)
    return median(per_pixel) / 3 * height * width * views


def tflops_of(result: Result) -> float | None:
    """10^12 FLOPs per second and GPU that a finished training computed."""
    throughput = result.value("train_throughput")
    config = TrainConfig.model_validate(result.job.config)
    counted = tflop_per_image(config)
    if throughput is None or counted is None or not throughput.value:
        return None
    return throughput.value * counted / processes_of(result)


class Forecast:
    """The rates of one kind of card: of measured trainings, else of its data sheet."""

    def __init__(self, device: str, trainings: Iterable[Result]) -> None:
        self._device = device
        self._measured: dict[str, list[float]] = {}
        for result in trainings:
            rate = tflops_of(result)
            if rate is not None:
                self._measured.setdefault(result.job.config["recipe"]["precision"], []).append(rate)

    def gpu_seconds(self, job: Job, images: int | None) -> float | None:
        """Seconds × GPUs of a training or test on a split of so many images; None where card, model or data are unknown."""
        if images is None:
            return None
        if job.kind == "train":
            training = TrainConfig.model_validate(job.config)
            tflop, rate = tflop_per_image(training), self._rate(training.recipe.precision)
            steps = max(1, round(training.recipe.total_iterations(images) * (training.shorten or 1)))
            seen = steps * training.recipe.batch_size
        elif job.kind == "evaluate":
            test = EvaluateConfig.model_validate(job.config)
            tflop, rate = tflop_per_tested_image(test), self._rate(test.protocol.precision)
            seen = min(images, test.protocol.max_images or images)
        else:
            return None
        return None if tflop is None or rate is None else seen * tflop / rate

    def _rate(self, precision: str) -> float | None:
        if precision in self._measured:
            return median(self._measured[precision])
        peak = next((peaks for name, peaks in _PEAK.items() if name in self._device), None)
        return peak[_COLUMN[precision]] * _UTILISATION[precision] if peak is not None else None
