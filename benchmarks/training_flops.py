"""Counts the FLOPs of one training step of every published training on `meta`: what a first estimate of cost rests on.

    python -m benchmarks.training_flops      # writes harness/plan/training_flops.csv; five minutes on one core

Needs no data and no GPU. To be run again when a table gains a model; tests/plan/test_forecast.py says when it is missing one.
"""

from __future__ import annotations

import csv
import io

from torch.utils.flop_counter import FlopCounterMode

from harness.files import write_text
from harness.jobs.kinds import TrainConfig
from harness.plan.forecast import COLUMNS, FILE, description
from harness.tasks.segmentation.step_count import count_step
from tests.support.published_trainings import trainings

_IMAGES = 2


def tflop_per_image(config: TrainConfig) -> float:
    """10^12 FLOPs (two per multiplication and addition) of one step, forward and backward, per image."""
    with FlopCounterMode(display=False) as counter:
        count_step(config.model_copy(update={"recipe": config.recipe.model_copy(update={"accumulate": 1})}), _IMAGES)
    return counter.get_total_flops() / _IMAGES / 1e12


def main() -> None:
    described = {description(config): config for config in trainings().values()}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row, config in sorted(described.items()):
        writer.writerow([*row, f"{tflop_per_image(config):.4g}"])
        print(*row, flush=True)
    write_text(FILE, text.getvalue())


if __name__ == "__main__":
    main()
