"""Optimisers with parameter groups, and learning rates as a pure function of the iteration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from harness.errors import UserError, nearest
from harness.recipes.common import Optimizer, Schedule
from methods.segmentor import Segmentor

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm)
_POSITION = ("absolute_pos", "relative_position_bias", "pos_embed", "cls_token", "class_token")


def learning_rate_factor(schedule: Schedule, iteration: int, iterations: int) -> float:
    """What the base rate is multiplied by in iteration t = 0 … T - 1 of T = `iterations`.

    poly: floor + (1 - floor)·(1 - t/T)^power. During warm-up that value is multiplied by
    ratio + (1 - ratio)·t/W, linear in t, as the papers' released toolboxes do it.
    """
    factor = schedule.floor + (1 - schedule.floor) * (1 - iteration / iterations) ** schedule.power
    if iteration < schedule.warmup_iterations:
        start = schedule.warmup_ratio
        factor *= start + (1 - start) * iteration / schedule.warmup_iterations
    return factor


def _no_decay(model: nn.Module) -> set[int]:
    """Ids of parameters that take no weight decay where a recipe exempts them: norms, biases, position embeddings."""
    exempt: set[int] = set()
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            where = f"{module_name}.{name}"
            if isinstance(module, _NORMS) or parameter.ndim <= 1 or any(word in where for word in _POSITION):
                exempt.add(id(parameter))
    return exempt


def parameter_groups(model: Segmentor, optimizer: Optimizer) -> Iterator[dict[str, Any]]:
    """The model's groups with their rates; each split in two where norms and biases take no weight decay.

    Raises UserError for a multiplier of a group that the model does not have.
    """
    groups = {name: parameters for name, parameters in model.parameter_groups().items() if parameters}
    unknown_groups = [name for name in optimizer.multipliers if name not in groups]
    if unknown_groups:
        raise UserError(
            f"recipe.optimizer.multipliers: no parameter group '{unknown_groups[0]}'.{nearest(unknown_groups[0], groups)}"
        )
    _check_partition(model, groups)
    exempt = set() if optimizer.decay_norm_and_bias else _no_decay(model)
    depth = {} if optimizer.layer_decay is None else _layers_from_head(model)
    for name, parameters in groups.items():
        kinds: dict[tuple[int, bool], list[nn.Parameter]] = {}
        for p in parameters:
            kinds.setdefault((depth.get(id(p), 0), id(p) not in exempt), []).append(p)
        for (layers, decays), members in sorted(kinds.items(), key=lambda kind: (kind[0][0], not kind[0][1])):
            rate = optimizer.lr * optimizer.multipliers.get(name, 1.0) * (optimizer.layer_decay or 1.0) ** layers
            decay = optimizer.weight_decay if decays else 0.0
            yield {"name": name, "params": members, "lr": rate, "initial_lr": rate, "weight_decay": decay}


def _layers_from_head(model: Segmentor) -> dict[int, int]:
    """How many layers lie between a backbone parameter and the head: 1 for the last layer, most for the stem.

    A layer is one block: a numbered module with modules of its own, as `layer3.5` and `layers_2.blocks.17` in timm. What
    comes before the first block (stem, patch embedding) is the deepest layer; what leads into a stage (a reduction between
    two of them) belongs to the stage's first block, anything else to the block before it. These are timm's layers.
    """
    names = [name for name, _ in model.backbone.named_parameters()]
    blocks = list(dict.fromkeys(block for block in map(_block, names) if block))
    place: dict[int, int] = {}
    current = -1
    for name, parameter in model.backbone.named_parameters():
        inside = next((i for i, block in enumerate(blocks) if name.startswith(f"{block}.")), None)
        current = current if inside is None else inside
        leads = inside is None and current + 1 < len(blocks) and _stage(blocks[current + 1]) == _stage(name)
        place[id(parameter)] = len(blocks) - current - leads
    return place


def _stage(name: str) -> list[str]:
    """`[body, layers_2]` of `body.layers_2.blocks.17.mlp.fc1.weight`."""
    return name.split(".")[:2]


def _block(name: str) -> str | None:
    """The block in a parameter's name: `layer3.5` of `layer3.5.conv1.weight`; None where there is none."""
    parts = name.split(".")
    number = next((i for i, part in enumerate(parts) if part.isdigit()), len(parts))
    return ".".join(parts[: number + 1]) if number + 2 < len(parts) else None


def _check_partition(model: nn.Module, groups: Mapping[str, list[nn.Parameter]]) -> None:
    """Every trainable parameter is in exactly one group; anything else is a bug of the method."""
    grouped_ids = [id(p) for parameters in groups.values() for p in parameters]
    trainable = {id(p) for p in model.parameters() if p.requires_grad}
    assert len(grouped_ids) == len(set(grouped_ids)), "parameter_groups() names a parameter twice"
    assert set(grouped_ids) == trainable, "parameter_groups() must name every trainable parameter, and no other"


def build_optimizer(model: Segmentor, optimizer: Optimizer) -> torch.optim.Optimizer:
    """The recipe's optimiser over the model's parameter groups; on a GPU in one kernel, which also spares loss scaling's
    read of whether the gradients are finite."""
    groups = list(parameter_groups(model, optimizer))
    fused = optimizer.fused or next(model.parameters()).is_cuda
    if optimizer.name == "sgd":
        return torch.optim.SGD(groups, lr=optimizer.lr, momentum=optimizer.momentum, fused=fused)
    return torch.optim.AdamW(groups, lr=optimizer.lr, betas=optimizer.betas, eps=optimizer.eps, fused=fused)


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Gives every group its own base rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
