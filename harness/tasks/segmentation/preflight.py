"""The contract of a segmentation method (methods.segmentor), checked on what a model gives: before a training's first step,
and on every image that is tested."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.data.files import locate
from harness.errors import Exit, MissingError, OutOfMemory, UserError
from harness.jobs.context import Context
from harness.jobs.kinds import EvaluateConfig, kind_of
from harness.jobs.tasks import SEGMENTATION
from harness.tasks.segmentation.loader import images_for_testing
from harness.tasks.segmentation.protocols import NonFiniteScores, predict
from harness.training import distributed, random_state
from harness.training.memory import is_out_of_memory
from harness.training.precision import Precision
from methods.segmentor import Segmentor

_WHERE = "the contract stands in methods/segmentor.py"


class BrokenContract(UserError):
    """A method gives something else than logits [B, K, h, w] and scalar losses."""

    exit = Exit.FAILED
    cause = "broken contract"


def preflight(
    model: Segmentor,
    images: Tensor,
    targets: Tensor,
    num_classes: int,
    precision: Precision | None = None,
    *,
    tests: Sequence[Callable[[nn.Module], None]] = (),
) -> None:
    """One forward in evaluation mode on the first image, the beginning of each test, and one call of `losses`.

    images [B, 3, H, W] normalised, targets [B, H, W] int64: a batch as the first step has it. `tests` raise what is wrong
    with the model as it is tested (`begin_test`); it is in evaluation mode then. Weights, buffers, gradients and
    random numbers are afterwards as before. Raises BrokenContract, on every process where one of them finds something.
    """
    random = random_state.capture()
    try:
        with _unchanged(model):
            problem = _problem(model, images, targets, num_classes, precision or Precision(), tests)
    finally:
        random_state.restore(random)
    problems = [text for text in distributed.gather_texts(problem) if text]
    if problems:
        raise BrokenContract(f"{problems[0]} ({_WHERE}); nothing was trained")


def _problem(
    model: Segmentor,
    images: Tensor,
    targets: Tensor,
    num_classes: int,
    precision: Precision,
    tests: Sequence[Callable[[nn.Module], None]],
) -> str:
    name = type(model).__name__
    try:
        model.eval()
        with torch.inference_mode():
            logits = checked_logits(model(images[:1]), 1, num_classes, name)
        if not logits.isfinite().all():
            raise BrokenContract(f"{name}.forward() gives values that are not finite before any training")
        for test in tests:
            test(model)
        model.train()
        with precision.autocast():
            check_losses(model.losses(images, targets), name)
    except BrokenContract as error:
        return str(error)
    return ""


def planned_tests(context: Context) -> list[EvaluateConfig]:
    """The tests that need this training, each kind once: repetitions and columns share them."""
    tests: dict[str, EvaluateConfig] = {}
    for config in context.needed_by.get(kind_of(SEGMENTATION.evaluate), ()):
        test = EvaluateConfig.model_validate(config)
        tests.setdefault(test.model_dump_json(include={"data", "protocol", "normalisation"}), test)
    return list(tests.values())


def begin_test(model: nn.Module, *, config: EvaluateConfig, context: Context) -> None:
    """Tests a model in evaluation mode on the first image of a planned test, at that test's sizes and on its dataset.

    So that a training does not end with a model that cannot be tested. Raises BrokenContract, OutOfMemory where the test
    does not fit, and DataError where the image cannot be read.
    """
    try:
        root = distributed.first_rank_first(lambda: locate(config.data, data_dir=context.data_dir, cache=context.cache))
    except MissingError:  # the plan has said that this test cannot run here
        return
    protocol, dataset = config.protocol, root.dataset
    image = next(images_for_testing(root, protocol.split, protocol), None)
    if image is None:  # an empty split, which the test itself refuses
        return
    checked = CheckedModel(model, dataset.num_classes)
    size = " × ".join(str(side) for side in image.views[-1].shape[-2:])
    try:
        predict(
            checked,
            image.views,
            image.label.shape,
            protocol,
            device=context.device,
            normalisation=config.normalisation,
            mirror_pairs=dataset.mirror_pairs,
        )
        return
    except NonFiniteScores:
        raise BrokenContract(
            f"{type(model).__name__}.forward() gives values that are not finite on a test's {size} image, before any training"
        ) from None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    raise OutOfMemory(
        f"the test that follows this training does not fit into memory: '{image.id}' of {dataset.name}, split "
        f"'{protocol.split}', at {size}. Test in smaller windows (recipe.test: mode slide, window and stride); "
        "nothing was trained"
    )


@contextlib.contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Weights, buffers, modes and attributes of all modules are afterwards as before.

    In place and not on a copy: a method may hold functions that know the modules themselves, as hooks do.
    """
    tensors = [(tensor, tensor.detach().clone()) for tensor in (*model.parameters(), *model.buffers())]
    attributes = [(module, dict(vars(module)), dict(module._buffers)) for module in model.modules()]
    try:
        yield
    finally:
        for module, values, buffers in attributes:
            vars(module).clear()
            vars(module).update(values)
            module._buffers.clear()
            module._buffers.update(buffers)
        with torch.no_grad():
            for tensor, value in tensors:
                tensor.copy_(value)


def checked_logits(output: Any, batch: int, num_classes: int, name: str) -> Tensor:
    """What a forward gives, where it is logits [batch, num_classes, h, w]; else BrokenContract. No value is read."""
    expected = f"logits [{batch}, {num_classes}, h, w] of a floating type"
    if not isinstance(output, Tensor):
        raise BrokenContract(f"{name}.forward() gives a {type(output).__name__}; expected are {expected}")
    kind = f"{str(output.dtype).removeprefix('torch.')} {list(output.shape)}"
    if output.dim() != 4 or not output.is_floating_point() or output.shape[0] != batch or 0 in output.shape:
        raise BrokenContract(f"{name}.forward() gives {kind}; expected are {expected}")
    if output.shape[1] != num_classes:
        raise BrokenContract(
            f"{name}.forward() gives {output.shape[1]} channels for {num_classes} classes: {kind}; expected are {expected}"
        )
    return output


def check_losses(terms: Any, name: str) -> None:
    """Raises BrokenContract where `terms` are not finite floating scalars by name, one of which has a gradient."""
    expected = "expected are {name: scalar}, whose sum is minimised"
    if not isinstance(terms, Mapping) or not terms:
        raise BrokenContract(
            f"{name}.losses() gives {'nothing' if terms == {} else f'a {type(terms).__name__}'}; {expected}"
        )
    for key, term in terms.items():
        where = f"{name}.losses(): term {key!r}"
        if not isinstance(key, str) or not isinstance(term, Tensor):
            raise BrokenContract(f"{where} is a {type(term).__name__}; {expected}")
        if term.dim() != 0 or not term.is_floating_point():
            kind = f"{str(term.dtype).removeprefix('torch.')} {list(term.shape)}"
            raise BrokenContract(f"{where} is {kind}, no floating scalar; {expected}")
        if not term.isfinite():
            raise BrokenContract(f"{where} is {term.item()} on the first batch, before any step")
    if not any(term.requires_grad for term in terms.values()):
        raise BrokenContract(f"{name}.losses(): no term depends on a parameter; was it detached?")


class CheckedModel(nn.Module):
    """A model whose every output is checked to be logits; what it gives is passed on as it is."""

    def __init__(self, model: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.model = model
        self.num_classes = num_classes

    def forward(self, images: Tensor) -> Tensor:
        try:
            return checked_logits(self.model(images), len(images), self.num_classes, type(self.model).__name__)
        except BrokenContract as error:
            raise BrokenContract(f"{error} ({_WHERE})") from None
