"""One training step counted without computing it, on torch's `meta` device: host waits, kernels, live bytes, gradients.

What is counted is what the harness itself would do on an accelerator: the same model, losses, optimiser and loop. Attention
takes the path that writes its matrix, and every precision is counted as float32, so the bytes are an upper bound.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.jobs.context import Context
from harness.jobs.kinds import TrainConfig
from harness.tasks.segmentation.loader import Batch
from harness.tasks.segmentation.train import assemble
from methods.build import build_model

_READS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "bincount", "equal", "is_nonzero")
"""Operations whose result's value or shape the host must know before it goes on."""
CLASSES_PER_IMAGE = 20
"""Classes that an image is taken to contain where a loss looks only at those."""
_VIEWS = {
    *(
        "view",
        "_unsafe_view",
        "expand",
        "permute",
        "transpose",
        "t",
        "select",
        "slice",
        "split",
        "unsqueeze",
        "squeeze",
    ),
    *(
        "detach",
        "alias",
        "as_strided",
        "chunk",
        "unbind",
        "_reshape_alias",
        "split_with_sizes",
        "lift_fresh",
        "diagonal",
    ),
}
_ALLOCATIONS = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided"}


@dataclass(frozen=True)
class StepCount:
    """What one step costs on an accelerator. Bytes are of tensors alive on it at once, weights and optimiser included."""

    waits: tuple[str, ...]  # operations that the host would wait for, in order
    kernels: int  # operations that compute or copy; the optimiser's step counts as one
    peak_bytes: int
    resident_bytes: int  # weights, their gradients and the optimiser's state, between two steps
    without_gradient: tuple[str, ...]  # trainable parameters that the losses do not reach
    parameters: int
    operations: frozenset[str]  # of torch, forward and backward, by their names

    @property
    def peak_gib(self) -> float:
        return self.peak_bytes / 2**30


class _Uploads(TorchFunctionMode):
    """Tensors made of Python numbers straight on the device, which dispatch does not see."""

    def __init__(self, counter: StepCounter) -> None:
        super().__init__()
        self.counter = counter

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu").type == "meta":
            self.counter.waits.append(function.__name__)
        return function(*args, **kwargs)


class StepCounter(TorchDispatchMode):
    """Counts what is done while it is active, and the bytes that live on `device`."""

    def __init__(self, device: str = "meta") -> None:
        super().__init__()
        self.device = device
        self.waits: list[str] = []
        self.operations: set[str] = set()
        self.kernels = 0
        self.live = self.peak = 0
        self._storages: dict[int, int] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = function.overloadpacket._qualified_op_name.removeprefix("aten::")
        self.operations.add(name)
        if self._waits(name, args, kwargs):
            self.waits.append(name)
        result = _some_rows(args[0]) if self._is_content(name, args) else function(*args, **kwargs)
        outputs = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        if any(x.device.type == self.device for x in outputs):
            self.kernels += name.rstrip("_") not in _VIEWS and name not in _ALLOCATIONS
            for x in outputs:
                self.track(x)
        return result

    def track(self, tensor: Tensor) -> None:
        """Counts the tensor's memory as used until it is freed, once however many views it has."""
        if tensor.device.type != self.device:
            return
        storage = tensor.untyped_storage()
        if storage._cdata in self._storages:
            return
        self._storages[storage._cdata] = storage.nbytes()
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, storage._cdata)

    def _free(self, identity: int) -> None:
        self.live -= self._storages.pop(identity)

    def _is_content(self, name: str, args: tuple[Any, ...]) -> bool:
        return name == "nonzero" and args[0].device.type == "meta"

    def _waits(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        here = [x for x in tree_leaves((args, dict(kwargs))) if isinstance(x, Tensor)]
        if name.lstrip("_").startswith(tuple(read.lstrip("_") for read in _READS)):
            return any(x.device.type == self.device for x in here)
        if name.startswith("index") and len(args) > 1 and isinstance(args[1], list | tuple):
            return any(isinstance(i, Tensor) and i.dtype == torch.bool for i in args[1])
        if name not in ("_to_copy", "copy_") or not here:
            return False
        target = torch.device(kwargs.get("device") or here[0].device) if name == "_to_copy" else here[0].device
        source = here[0].device if name == "_to_copy" else here[-1].device
        blocking = not (kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2]))
        return target.type != source.type and self.device in (target.type, source.type) and blocking


def count_step(config: TrainConfig, images: int | None = None) -> StepCount:
    """Counts one step of the training that `config` describes, on `images` crops (None: the recipe's batch).

    Nothing is computed and no data is read: about a second for a published model. Raises UserError for a model that cannot
    be built, and what torch raises where the host would have to know a value (Lovász-softmax: the classes of a batch).
    """
    recipe = config.recipe.model_copy(update={"precision": "fp32", "compile": False, "evaluate_every": None})
    recipe = recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update={"fused": False})})
    model_config = config.model.model_copy(update={"pretrained": False})
    config = config.model_copy(update={"recipe": recipe, "model": model_config})
    with torch.device("meta"):
        model = build_model(model_config)
    images = recipe.batch_size if images is None else images
    context = Context(folder=Path(), cache=Path(), data_dir=None, device="meta", threads=1)
    training = assemble(model, config, context, lambda start, stop: _batches(images, recipe.augmentation.crop), 1000)
    training.model.train()
    optimizer, counter = training.optimizer, StepCounter()
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for parameter in trainable.values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # makes its state
    resident = [*model.parameters(), *model.buffers(), *(p.grad for p in trainable.values())]
    resident += [x for x in tree_leaves(optimizer.state_dict()) if isinstance(x, Tensor)]
    for tensor in resident:
        counter.track(tensor)
    before = counter.live
    resident.clear()
    # on a GPU it is one kernel in place, which `meta` does not have
    optimizer.step = lambda *args, **kwargs: None
    with counter, _Uploads(counter):
        training._step(next(iter(training.batches(0, 1))), 1.0)
    return StepCount(
        tuple(counter.waits),
        counter.kernels + 1,
        counter.peak,
        before,
        tuple(name for name, p in trainable.items() if p.grad is None),
        sum(p.numel() for p in model.parameters()),
        frozenset(counter.operations),
    )


def _some_rows(mask: Tensor) -> Tensor:
    """In place of `mask.nonzero()`, whose size is unknown on `meta`."""
    return mask.new_empty((min(mask.numel(), CLASSES_PER_IMAGE), mask.ndim), dtype=torch.int64)


def _batches(images: int, crop: tuple[int, int]) -> Iterator[Batch]:
    """Batches without content, on the host."""
    height, width = crop
    with torch.device("cpu"):
        yield Batch(
            torch.empty(images, 3, height, width, dtype=torch.uint8),
            torch.empty(images, height, width, dtype=torch.uint8),
            torch.empty(images, 4, dtype=torch.int32),
            [str(i) for i in range(images)],
        )
