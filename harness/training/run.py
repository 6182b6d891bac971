"""The `train` job: builds what its configuration says, trains it, and reports what the training itself measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from harness.data.catalog import find as find_dataset
from harness.data.files import locate
from harness.data.loader import Batch, TrainingBatches, normalise
from harness.job import Context, Measurement, TrainConfig
from harness.key import Code
from harness.training import curve
from harness.training.journal import WARM_UP, Tally
from harness.training.loop import Training
from harness.training.optim import build_optimizer, learning_rate_factor
from harness.training.random_state import seed_everything
from methods import registry
from methods.build import build_model
from methods.segmentor import Segmentor

FINAL_LOSS_OVER = 50
"""Iterations at the end over which `final_loss` is averaged; a single iteration's loss is mostly its batch."""

READ_EVERY_ON_GPU = 20


def train(config: TrainConfig, context: Context) -> list[Measurement]:
    """Trains to the end, going on from a checkpoint in `context.folder` if there is one.

    Leaves the weights (harness.training.checkpoint.load_weights) and curve.jsonl in the folder. The seed decides weights,
    data order and augmentation. Raises Interrupted when asked to stop, MissingError without the data, OutputError.
    """
    torch.set_num_threads(context.threads)
    recipe, device = config.recipe, torch.device(context.device)
    root = locate(config.data, data_dir=context.data_dir, cache=context.cache)
    workers = 0 if device.type == "cpu" else min(8, context.threads)
    data = TrainingBatches(
        root, recipe.train_split, recipe.augmentation, recipe.batch_size, config.seed, workers=workers
    )
    iterations = max(1, round(recipe.total_iterations(len(data)) * (config.shorten or 1)))

    seed_everything(config.seed)
    model: Segmentor = build_model(config.model).to(device)

    def prepare(batch: Batch) -> tuple[Tensor, Tensor]:
        images = normalise(batch.images.to(device, non_blocking=True), batch.valid)
        return images, batch.targets.to(device, non_blocking=True).long()

    training = Training(
        model=model,
        optimizer=build_optimizer(model, recipe.optimizer),
        factor=lambda t: learning_rate_factor(recipe.schedule, t, iterations),
        batches=data.batches,
        prepare=prepare,
        iterations=iterations,
        folder=context.folder,
        checkpoint_every=recipe.checkpoint_every,
        clip_norm=recipe.optimizer.clip_norm,
        identity=_identity(config, iterations),
        read_every=1 if device.type == "cpu" else READ_EVERY_ON_GPU,
    )
    tally = training.run(context.progress, context.should_stop)
    losses = [record["loss"] for record in curve.read(context.folder)]
    return [*_measurements(tally, losses, device), *_counted(model, find_dataset(config.data.name).classes)]


def _identity(config: TrainConfig, iterations: int) -> Mapping[str, Any]:
    """What a checkpoint must agree in to be gone on from: configuration, length and code."""
    entry = registry.find(config.model.name, config.model.kind)
    code = Code().closure([__name__, entry.module], {entry.module: entry.file})
    return {"config": config.model_dump(mode="json"), "iterations": iterations, "code": code}


def _measurements(tally: Tally, losses: list[float], device: torch.device) -> list[Measurement]:
    last = losses[-FINAL_LOSS_OVER:]
    memory = "torch allocator" if device.type == "cuda" else "resident memory of the process"
    timed = f"wall time without checkpoints and the first {WARM_UP} iterations"
    return [
        Measurement("train_throughput", tally.images / tally.seconds, "images/s", timed),
        Measurement("train_seconds", tally.total_seconds, "s"),
        Measurement("final_loss", sum(last) / len(last), "", f"mean of the last {len(last)} iterations"),
        Measurement("iterations", tally.iteration),
        Measurement("data_wait", 100 * tally.waited / tally.seconds, "%", f"share of {timed}"),
        Measurement("train_peak_memory", tally.peak_memory, "MiB", memory),
    ]


def _counted(model: Segmentor, classes: tuple[str, ...]) -> list[Measurement]:
    """The method's own counts, named by class where there is one per class."""
    measured = []
    for name, values in model.measurements().items():
        labels = classes if len(values) == len(classes) else range(len(values))
        measured += [Measurement(f"{name}/{label}", float(value)) for label, value in zip(labels, values)]
    return measured
