"""Golden loss curves: 50 steps of every method at smoke size, float64, one CPU thread, on batches from a seed.

In float64 from the first random weight on, so that rounding, which differs between processors and versions of torch, stays
far below what any change of the code moves.

A change of a curve is a change of what is trained. Where it is meant, write the curves anew and say why:

    python tests/support/golden.py --reason "dropout moved before the classifier" [METHOD ...]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from harness import ROOT
from harness.jobs.kinds import Model
from harness.recipes.common import Optimizer, Schedule
from harness.store import curve
from harness.training.loop import Training
from harness.training.optim import build_optimizer, learning_rate_factor
from harness.training.random_state import seed_everything
from methods import registry
from methods.build import build_model

FOLDER = ROOT / "tests/fixtures/golden"
STEPS, CLASSES, BATCH, SIDE = 50, 7, 2, 64


class Batch:
    """Blobs of classes with their colours, in noise; a stripe is ignored."""

    def __init__(self, iteration: int) -> None:
        draw = torch.Generator().manual_seed(iteration)
        coarse = torch.randint(0, CLASSES, (BATCH, 4, 4), generator=draw)
        self.targets = coarse.repeat_interleave(SIDE // 4, 1).repeat_interleave(SIDE // 4, 2)
        colours = torch.randn(CLASSES, 3, generator=torch.Generator().manual_seed(0))
        noise = torch.randn(BATCH, 3, SIDE, SIDE, generator=draw)
        self.images = colours[self.targets].movedim(-1, 1) + 0.5 * noise
        self.targets[:, :3] = 255
        self.ids = [f"{iteration}-{i}" for i in range(BATCH)]


def losses(method: str, steps: int = STEPS) -> list[dict[str, float]]:
    """Loss terms of each of the first `steps` steps."""
    with one_thread_of_float64():
        return _losses(method, steps)


@contextlib.contextmanager
def one_thread_of_float64() -> Iterator[None]:
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)


def _losses(method: str, steps: int) -> list[dict[str, float]]:
    seed_everything(0)
    known = registry.find(method).options or {}
    narrow = {option: 64 for option in ("channels", "fpn_channels") if option in known}
    model = build_model(Model(name=method, num_classes=CLASSES, backbone="timm/test_resnet", options=narrow))
    recipe = Optimizer(lr=0.01, momentum=0.9, weight_decay=5e-4)
    schedule = Schedule(power=0.9, floor=0.01)
    with tempfile.TemporaryDirectory() as folder:
        Training(
            model=model,
            optimizer=build_optimizer(model, recipe),
            factor=lambda t: learning_rate_factor(schedule, t, STEPS),
            batches=lambda start, stop: map(Batch, range(start, stop)),
            prepare=lambda batch: (batch.images, batch.targets),
            iterations=steps,
            folder=Path(folder),
        ).run()
        records = curve.read(Path(folder))
    return [record["terms"] for record in records]


def write(method: str, reason: str) -> Path:
    path = FOLDER / f"{method}.json"
    head = json.dumps({"method": method, "reason": reason, "torch": torch.__version__}, indent=1)
    steps = ",\n".join(f"  {json.dumps(terms)}" for terms in losses(method))
    path.write_text(f'{head[:-2]},\n "terms": [\n{steps}\n ]\n}}\n', encoding="utf-8")
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("methods", nargs="*", default=registry.names("method"), metavar="METHOD")
    parser.add_argument("--reason", required=True, help="why the curves change; kept in the files")
    chosen = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for name in chosen.methods:
        print(write(name, chosen.reason))
