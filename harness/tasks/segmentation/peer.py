"""The job `peer`: the same row trained and tested by another toolbox, from beginning to end."""

from __future__ import annotations

import torch

from harness.data.annotations.label_maps import LabelReader
from harness.data.files import locate, pairs
from harness.data.verify import ensure_sound
from harness.errors import UserError
from harness.jobs.context import Context
from harness.jobs.job import Measurement
from harness.jobs.kinds import PeerConfig, load
from harness.training.random_state import seed_everything
from methods.build import build_model


def train_and_test(config: PeerConfig, context: Context) -> list[Measurement]:
    """Measures miou, aacc and macc in % as the peer counts them. UserError for what it cannot do as the recipe says.

    The model starts from the weights that this harness's training of the same seed starts from; the order of the images
    and every random transform are the peer's own.
    """
    torch.set_num_threads(context.threads)
    root = locate(config.data, data_dir=context.data_dir, cache=context.cache)
    recipe, protocol = config.recipe, config.protocol
    reasons = [
        *load(f"{config.module}:refusals")(
            config.model.name, recipe, protocol, mirrors_labels=bool(root.dataset.mirror_pairs)
        )
    ]
    if reasons:
        raise UserError(f"{config.peer} cannot run this row as its recipe says: {'; '.join(reasons)}")
    for split in (recipe.train_split, protocol.split):
        ensure_sound(root, split, context.cache)
    train, test = (
        [(str(p.image), str(p.label)) for p in pairs(root, split)] for split in (recipe.train_split, protocol.split)
    )
    seed_everything(config.seed)
    model = build_model(config.model)
    work = load(f"{config.module}:Work")(
        model=model,
        recipe=recipe,
        protocol=protocol,
        iterations=max(1, round(recipe.total_iterations(len(train)) * (config.shorten or 1))),
        seed=config.seed,
        train=train,
        test=test[: protocol.max_images],
        read_label=LabelReader(root.layout).read,
        classes=root.dataset.classes,
        context=context,
    )
    return [Measurement(name, value, "%") for name, value in load(f"{config.module}:train_and_test")(work).items()]
