"""The job `evaluate`: a trained model's scores on a split, and the confusion matrix they come from."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from harness.data.files import locate, pairs
from harness.data.layout import Root
from harness.data.verify import ensure_sound
from harness.errors import Interrupted, UserError
from harness.files import atomic_file
from harness.jobs.context import Context, Progress
from harness.jobs.job import Measurement
from harness.jobs.kinds import EvaluateConfig, TrainConfig
from harness.recipes.common import Normalisation
from harness.recipes.segmentation import TestProtocol
from harness.tasks.segmentation.confusion import Confusion, scores
from harness.tasks.segmentation.loader import check_normalisation, images_for_testing
from harness.tasks.segmentation.preflight import CheckedModel
from harness.tasks.segmentation.protocols import NonFiniteScores, predict
from harness.training.distributed import any_rank, first_rank_first, gather_texts, process_group
from methods.ranks import rank, world_size


def evaluate(config: EvaluateConfig, context: Context) -> list[Measurement]:
    """Tests the training this job needs, or a file of weights, on its own dataset or another with the same classes.

    Measures miou, aacc, macc, fwiou, iou/CLASS and acc/CLASS in % (a class without a value is left out), and images;
    writes confusion.npy (int64 [K + 1, K], see metrics.Confusion) to the folder. Started as several processes (torchrun,
    Slurm tasks) they share the images; the sum of their counts is exact. Raises DataError naming every bad file.
    """
    torch.set_num_threads(context.threads)
    with process_group(context.device) as rank_info:
        root = first_rank_first(lambda: locate(config.data, data_dir=context.data_dir, cache=context.cache))
        classes = root.dataset.classes
        if config.model.num_classes != len(classes):
            raise UserError(
                f"the model has {config.model.num_classes} classes, dataset '{root.dataset.name}' has {len(classes)}; "
                "it can only be tested on data with the classes it was trained for"
            )
        part = (rank_info.rank, rank_info.world)
        ensure_sound(root, config.protocol.split, context.cache, part=part, gather=gather_texts)
        model = trained_model(config, context.needs.get("train"), context.device)
        matrix, images = confusion_of(model, root, config.protocol, context, config.normalisation)
    if rank_info.rank == 0:
        with atomic_file(context.folder / "confusion.npy") as file:
            np.save(file, matrix, allow_pickle=False)
    return [*measurements(matrix, classes), Measurement("images", images)]


def scores_of(model: nn.Module, config: TrainConfig, context: Context) -> dict[str, float]:
    """miou, aacc, macc and fwiou in % of a model, as it stands in evaluation mode, on the test split of its recipe."""
    root = locate(config.data, data_dir=context.data_dir, cache=context.cache)
    matrix, _ = confusion_of(model, root, config.recipe.test, context, config.recipe.normalisation)
    return {m.name: m.value for m in measurements(matrix, ())}


def measurements(matrix: np.ndarray, classes: tuple[str, ...]) -> list[Measurement]:
    """The measurements of a confusion matrix; without per-class ones where `classes` is empty."""
    result = scores(matrix)
    overall = {"miou": result.miou, "aacc": result.aacc, "macc": result.macc, "fwiou": result.fwiou}
    values = [*overall.items(), *_by_class("iou", classes, result.iou), *_by_class("acc", classes, result.accuracy)]
    return [Measurement(name, 100 * value, "%") for name, value in values if not math.isnan(value)]


def _by_class(name: str, classes: tuple[str, ...], values: np.ndarray) -> Iterator[tuple[str, float]]:
    return ((f"{name}/{label}", float(value)) for label, value in zip(classes, values))


def trained_model(config: EvaluateConfig, training: Path | None, device: str) -> nn.Module:
    """The model of `config` with the weights of a training's folder, or of the file it names, as it runs at test time.

    That is in evaluation mode and without what only training uses: CAR's linear layer is folded into the next one.
    Raises MissingError where there is no such file, UserError with everything in it that does not fit.
    """
    from harness.training.checkpoint import load_weights
    from methods.build import build_model, without_auxiliary
    from methods.weights import read, to_fit

    model = build_model(config.model.model_copy(update={"pretrained": False}))  # the checkpoint holds every weight
    if config.checkpoint is not None:
        model.load_state_dict(to_fit(model, read(Path(config.checkpoint)), config.checkpoint))
    else:
        assert training is not None
        model.load_state_dict(load_weights(training))
    check_normalisation(model, config.normalisation)
    return without_auxiliary(model).to(device).eval()


def confusion_of(
    model: nn.Module, root: Root, protocol: TestProtocol, context: Context, normalisation: Normalisation = "imagenet"
) -> tuple[np.ndarray, int]:
    """Confusion matrix (int64 [K + 1, K]) and number of images of a split; memory does not grow with that number."""
    part = (rank(), world_size())
    total = len(pairs(root, protocol.split)[: protocol.max_images])
    rank_images = len(range(part[0], total, part[1]))
    confusion = Confusion(root.dataset.num_classes, context.device)
    model = CheckedModel(model, root.dataset.num_classes)
    predict_view = functools.partial(
        predict, normalisation=normalisation, mirror_pairs=root.dataset.mirror_pairs, device=context.device
    )
    readers = 0 if context.device == "cpu" else min(8, context.threads)
    images = images_for_testing(root, protocol.split, protocol, part=part, readers=readers)
    start_time = time.perf_counter()
    image_count, stopped, error_text = 0, False, ""
    for image_count, item in enumerate(images, start=1):
        try:
            prediction = predict_view(model, item.views, item.label.shape, protocol)
        except NonFiniteScores as error:
            error_text = f"image '{item.id}' of split '{protocol.split}': {error}"
            break
        confusion.update(prediction, item.label.to(context.device, non_blocking=True))
        context.progress(Progress(image_count, rank_images, image_count / (time.perf_counter() - start_time)))
        stopped = image_count < rank_images and context.should_stop()
        if stopped:
            break
    # on all processes together: those that go on would wait for the others' counts
    if any_rank(bool(error_text)):
        raise NonFiniteScores(next(filter(None, gather_texts(error_text))))
    if any_rank(stopped):
        raise Interrupted(
            f"stopped after {image_count} of {rank_images} images; an evaluation starts over when it is run again"
        )
    confusion.add_ranks()
    return confusion.matrix(), total
