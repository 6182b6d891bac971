"""Turns an out-of-memory error of a training into advice: the largest batch that fits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from harness.errors import OutOfMemory
from harness.recipes.segmentation import Recipe
from harness.training.loop import Training
from methods.ranks import world_size


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch could not get memory: from a GPU's allocator or the CPU's; or cuBLAS or cuDNN none beside torch's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return "can't allocate memory" in str(error) or "_STATUS_ALLOC_FAILED" in str(error)


@contextlib.contextmanager
def explain_out_of_memory(training: Training, recipe: Recipe) -> Iterator[None]:
    """Turns torch's error into an OutOfMemory that says which batch fits, found by trying half of it again and again."""
    try:
        yield
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # outside the handler: its traceback would keep the tensors of the failed step alive
    if not training.model.training:  # it was being tested, on images of another size than the crops
        raise OutOfMemory(
            "a test of the model during its training does not fit into memory: test in smaller windows (recipe.test: mode "
            "slide, window and stride), or leave recipe.evaluate_every out"
        )
    height, width = recipe.augmentation.crop
    parts = "1 part" if recipe.accumulate == 1 else f"{recipe.accumulate} parts"
    batch = f"a batch of {recipe.batch_size} crops of {height} × {width} in {parts}"
    too_large = f"{batch} does not fit into memory"
    if world_size() > 1:  # a trial of one process would meet the others in the middle of their step
        raise OutOfMemory(f"{too_large} on {world_size()} processes: raise recipe.accumulate, or lower the crop")
    fits = _largest_fitting(training, recipe.batch_size // recipe.accumulate)
    if not fits:
        raise OutOfMemory(f"{too_large}, and neither does one crop alone: lower recipe.augmentation.crop")
    size = recipe.batch_size
    smallest = next(parts for parts in range(1, size + 1) if size % parts == 0 and size // parts <= fits)
    raise OutOfMemory(
        f"{too_large}; {fits} at a time fit. Set recipe.batch_size: {fits}, or keep the batch and set recipe.accumulate: "
        f"{smallest} (batch norm then sees one part at a time)"
    )


def _largest_fitting(training: Training, size: int) -> int:
    """Images of one step that fits, at most half of `size`; 0 where not even one does. Spoils the model's state."""
    (batch,) = training.batches(0, 1)
    images, targets = training.prepare(batch)
    while size > 1:
        size //= 2
        training.optimizer.zero_grad(set_to_none=True)
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        if _step_fits(training, images[:size], targets[:size]):
            return size
    return 0


def _step_fits(training: Training, images: torch.Tensor, targets: torch.Tensor) -> bool:
    try:
        with training.precision.autocast():
            losses = training.model.losses(images, targets)
        sum(losses.values()).backward()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
