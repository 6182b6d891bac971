"""Converts another toolbox's checkpoint into one of this harness. Jobs do not import this: keys hold the file's content."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

import torch

from harness.errors import UserError, nearest
from harness.jobs.kinds import Model
from methods.build import build_model
from methods.weights import listing, misfits, read, write


def toolboxes() -> list[str]:
    """Names of the toolboxes whose checkpoints can be read: the folders beside this file."""
    return sorted(folder.parent.name for folder in Path(__file__).parent.glob("*/__init__.py"))


@dataclass(frozen=True)
class ImportReport:
    """Summary of an import."""

    tensors: int
    parameters: int
    classes: int


def import_foreign(
    source: Path, toolbox: str, model: Model, out: Path, *, num_classes: int | None = None
) -> ImportReport:
    """Converts a checkpoint that `toolbox` wrote into one of `model`, and writes it to `out`.

    The number of classes is `num_classes`, else what the checkpoint says. UserError with every name that is missing,
    unknown or of another shape; then nothing is written.
    """
    if toolbox not in toolboxes():
        raise UserError(f"--from: unknown toolbox '{toolbox}'.{nearest(toolbox, toolboxes())}")
    names = importlib.import_module(f"{__package__}.{toolbox}")
    foreign = read(source)
    classes = num_classes or names.num_classes(foreign)
    if classes is None:
        raise UserError(f"{source} does not say how many classes it has; give --classes")
    model = model.model_copy(update={"num_classes": classes})
    state, unmatched = names.convert(model, foreign)
    with torch.device("meta"):
        module = build_model(model)
    problems = [f"unexpected {name}" for name in unmatched] + misfits(module, state)
    problems += [f"{name} holds NaN or infinity" for name, value in state.items() if not value.isfinite().all()]
    if problems:
        raise UserError(
            f"{source} does not fit {model.name} with {model.options}; nothing was written:\n  {listing(problems)}"
        )
    whole = {
        name: state.get(name, torch.zeros(value.shape, dtype=value.dtype))
        for name, value in module.state_dict().items()
    }
    write(whole, out)
    return ImportReport(len(whole), sum(p.numel() for p in module.parameters()), model.num_classes)
