"""The `train` job: builds the model of its configuration, trains it, and returns the training's measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from harness.data import catalogue
from harness.data.files import locate
from harness.data.verify import ensure_sound
from harness.errors import UserError
from harness.jobs.context import Context, Progress
from harness.jobs.job import Measurement
from harness.jobs.kinds import SCORES, TrainConfig, load
from harness.recipes.segmentation import Loss, Recipe
from harness.store import curve
from harness.tasks.segmentation.loader import Batch, TrainingBatches, check_normalisation, normalise
from harness.tasks.segmentation.losses import build_loss, part_weights
from harness.tasks.segmentation.preflight import begin_test, planned_tests, preflight
from harness.training import checkpoint, distributed, loggers
from harness.training.batch_norm import set_batch_norm
from harness.training.loop import Training
from harness.training.memory import explain_out_of_memory
from harness.training.metering import WARM_UP, Totals
from harness.training.optim import build_optimizer, learning_rate_factor
from harness.training.precision import Precision, only_repeatable_algorithms
from harness.training.random_state import seed_everything
from methods.build import build_model
from methods.fusion import compile_stages, fuse
from methods.ranks import rank, world_size
from methods.segmentor import Segmentor

FINAL_LOSS_OVER = 50
"""Iterations at the end over which `final_loss` is averaged; a single iteration's loss is mostly its batch."""

READ_EVERY_ON_GPU = 20


def train(config: TrainConfig, context: Context) -> list[Measurement]:
    """Trains to the end, going on from a checkpoint in `context.folder` if there is one.

    Leaves the weights (harness.training.checkpoint.load_weights) and curve.jsonl in the folder, with scores on the test
    split every `recipe.evaluate_every` iterations before the last. The seed decides weights, data order and augmentation.
    Started by torchrun or as several Slurm tasks, the processes train together; rank 0 writes. Raises Interrupted when
    asked to stop, MissingError without the data, OutputError, NonFiniteLoss; and BrokenContract, before the first step,
    where the method gives no logits of the classes or no scalar losses.
    """
    from harness.tasks.segmentation.step_checks import has_idle_parameters  # which assembles a training, too

    torch.set_num_threads(context.threads)
    idle_parameters = has_idle_parameters(config, context)
    with distributed.process_group(context.device):
        training = build_training(config, context, idle_parameters=idle_parameters)
        with explain_out_of_memory(training, config.recipe):
            totals = training.run(context.progress, context.should_stop)
        losses = [record["loss"] for record in curve.losses(context.folder)]
        classes = catalogue.find(config.data.name).classes
        return [*_measurements(totals, losses, context.device), *_deletion_measurements(training.model, classes)]


def build_training(config: TrainConfig, context: Context, *, idle_parameters: bool = False) -> Training:
    """The training of `config` on this process's device, with its part of every batch; `idle_parameters`: see data_parallel."""
    recipe = config.recipe
    # an absent package is an error before any data is read
    open_loggers = loggers.opener(context.folder, _name(config), config.model_dump(mode="json"))
    data = _data(config, context)
    iterations = max(1, round(recipe.total_iterations(len(data)) * (config.shorten or 1)))

    seed_everything(config.seed)
    model: Segmentor = build_model(config.model)
    weights = {"sha256": checkpoint.digest(model.backbone.state_dict())} if config.model.pretrained else {}
    training = assemble(model, config, context, data.batches, iterations, idle_parameters=idle_parameters)
    training.identity = {**_identity(config, iterations, context), "pretrained": weights}
    training.preflight = partial(_preflight, training, data, config, context)
    training.test = partial(_scores, model, config, context)
    training.log = open_loggers
    if rank() > 0:  # the same weights everywhere, but dropout of its own on every process
        seed_everything(config.seed + rank())
    return training


def assemble(
    model: Segmentor,
    config: TrainConfig,
    context: Context,
    batches: Callable[[int, int], Iterable[Batch]],
    iterations: int,
    *,
    idle_parameters: bool = False,
) -> Training:
    """The training of `model`, moved to the context's device, on `batches`, as the recipe says. Nothing is drawn."""
    recipe, device = config.recipe, torch.device(context.device)
    precision = Precision(recipe.precision, device.type)
    precision.apply()
    only_repeatable_algorithms(recipe.deterministic)
    model = model.to(device)
    check_normalisation(model, recipe.normalisation)
    model.criterion = build_loss(recipe.loss, config.model.num_classes)
    set_batch_norm(model, recipe.batch_norm, recipe.batch_norm_momentum)
    fuse(recipe.compile == "stages")
    if recipe.compile == "stages":
        compile_stages(model.backbone)
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    model = model.to(memory_format=layout)

    def prepare(batch: Batch) -> tuple[Tensor, Tensor]:
        images = normalise(batch.images.to(device, non_blocking=True), batch.valid, recipe.normalisation)
        return images.contiguous(memory_format=layout), batch.targets.to(device, non_blocking=True).long()

    return Training(
        model=model,
        optimizer=build_optimizer(model, recipe.optimizer),
        factor=lambda t: learning_rate_factor(recipe.schedule, t, iterations),
        batches=batches,
        prepare=prepare,
        iterations=iterations,
        folder=context.folder,
        losses=distributed.data_parallel(model, _losses(model, recipe), idle_parameters=idle_parameters),
        precision=precision,
        checkpoint_every=recipe.checkpoint_every,
        accumulate=recipe.accumulate,
        part_weights=partial(part_weights, mean=recipe.loss.mean),
        clip_norm=recipe.optimizer.clip_norm,
        read_every=1 if device.type == "cpu" else READ_EVERY_ON_GPU,
        test_every=recipe.evaluate_every,
    )


def _preflight(training: Training, data: TrainingBatches, config: TrainConfig, context: Context) -> None:
    """Checks the method's contract on what the first step sees, the first part of this process's first batch, and on the
    first image of every test that this run has planned for the trained model."""
    images, targets = (part.chunk(training.accumulate)[0] for part in training.prepare(data.batch(0)))
    tests = [partial(begin_test, config=test, context=context) for test in planned_tests(context)]
    preflight(training.model, images, targets, config.model.num_classes, training.precision, tests=tests)


def _name(config: TrainConfig) -> str:
    """A name that distinguishes this training's curves from those of others."""
    method = config.model.name.rpartition(":")[2]
    return f"{method}-{config.model.backbone}-{config.data.name}-{config.profile}-{config.seed}".replace("/", "-")


def _scores(
    model: Segmentor, config: TrainConfig, context: Context, should_stop: Callable[[], bool]
) -> dict[str, float]:
    """The model's scores on the recipe's test split, with this process's part of its images."""
    quiet = replace(context, progress=lambda progress: None, should_stop=should_stop)
    return load(SCORES)(model, config, quiet)


def _data(config: TrainConfig, context: Context) -> TrainingBatches:
    """This process's part of the training split's batches.

    Rank 0 comes first: it may have to write synthetic scenes. Files that nobody has read yet are read by all ranks
    together, and DataError names every bad one on each of them.
    """
    recipe = config.recipe
    distributed.local_batch(recipe.batch_size, recipe.accumulate)  # an uneven share is an error before the data is read
    root = distributed.first_rank_first(lambda: locate(config.data, data_dir=context.data_dir, cache=context.cache))
    part = (rank(), world_size())
    progress = partial(_say_reading, context)
    for split in (recipe.train_split, *([recipe.test.split] if recipe.evaluate_every else [])):
        ensure_sound(root, split, context.cache, progress, part=part, gather=distributed.gather_texts)
    return TrainingBatches(
        root, recipe.train_split, recipe.augmentation, recipe.batch_size, config.seed, data_workers(context), part=part
    )


def data_workers(context: Context) -> int:
    """Processes that prepare batches beside the training; none on a CPU, whose cores the training itself needs."""
    return 0 if context.device == "cpu" else min(8, context.threads)


def _say_reading(context: Context, done: int, total: int) -> None:
    context.progress(Progress(done, total, text="reading every file once"))


def _losses(model: Segmentor, recipe: Recipe) -> distributed.Losses:
    """The model's losses, compiled where the recipe says so. A recipe's loss that the method does not use is an error."""
    losses = torch.compile(model.losses) if recipe.compile is True else model.losses
    if recipe.loss == Loss():
        return losses
    model_criterion, criterion_calls = model.criterion, []

    def criterion(logits: Tensor, targets: Tensor) -> Tensor:
        criterion_calls.append(True)
        return model_criterion(logits, targets)

    def checked_losses(images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        model.criterion = model_criterion if criterion_calls else criterion
        terms = losses(images, targets)
        if not criterion_calls:
            raise UserError(
                f"recipe.loss: {type(model).__name__} computes its losses itself and takes none from a recipe; "
                "leave 'loss' out of the recipe"
            )
        return terms

    return checked_losses


def _identity(config: TrainConfig, iterations: int, context: Context) -> Mapping[str, Any]:
    """The fields that must agree to resume from a checkpoint: configuration, length, processes, and the key's parts."""
    return {
        "config": context.parts.get("config")  # as the key has it, without folders of files outside the checkout
        or config.model_dump(mode="json", exclude={"recipe": {"checkpoint_every"}}),
        "iterations": iterations,
        "processes": world_size(),
        **{part: context.parts.get(part, {}) for part in ("code", "packages", "data")},
    }


def _measurements(totals: Totals, losses: list[float], device: str) -> list[Measurement]:
    last = losses[-FINAL_LOSS_OVER:]
    memory = "torch allocator" if device == "cuda" else "resident memory of the process"
    timed = f"wall time without checkpoints and the first {WARM_UP} iterations"
    return [
        Measurement("train_throughput", totals.images / totals.seconds, "images/s", timed),
        Measurement("train_seconds", totals.total_seconds, "s"),
        Measurement("final_loss", sum(last) / len(last), "", f"mean of the last {len(last)} iterations"),
        Measurement("iterations", totals.iteration),
        Measurement("data_wait", 100 * totals.waited / totals.seconds, "%", f"share of {timed}"),
        Measurement("train_peak_memory", totals.peak_memory, "MiB", memory),
    ]


def _deletion_measurements(model: Segmentor, classes: tuple[str, ...]) -> list[Measurement]:
    """The method's own counts, named by class where there is one per class."""
    measurements = []
    for name, values in model.measurements().items():
        labels = classes if len(values) == len(classes) else range(len(values))
        measurements += [Measurement(f"{name}/{label}", float(value)) for label, value in zip(labels, values)]
    return measurements
