"""Modules that are in no key: editing every one of them leaves a training and its test as they are, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm  # noqa: F401  loaded once, and not by each fork

from harness import ROOT
from harness.jobs.key import Code, imported_names
from harness.jobs.kinds import KINDS
from harness.jobs.silent import SILENT
from methods.backbones import module_of
from tests.support import forked_checkout
from tests.support.checkout import copy_of_checkout

JOB = """
import sys
from pathlib import Path
from harness.environment import Device
from harness.jobs.context import Context
from harness.jobs.kinds import KINDS
from harness.plan.planner import Planner, Selection
from harness.store import curve
from harness.table import recipes
from harness.table.load import load

results = Path(sys.argv[1])
planner = Planner(recipes.profile("smoke"), cache=results / "cache", device=Device("cpu", "a processor", 1))
plan = planner.plan([load(Path("tables/camvid.yaml"))], Selection(("fcn",), ("miou",)))
folders, measured = {}, {}
for job in plan.jobs.values():
    folders[job.kind] = results / job.kind
    folders[job.kind].mkdir()
    needs = {"train": folders["train"]} if job.needs else {}
    where = Context(folders[job.kind], results / "cache", None, "cpu", 1, needs, parts=job.parts)
    measured |= {m.name: m.value for m in KINDS[job.kind].run(job.config, where)}
timed = ("train_throughput", "train_seconds", "data_wait", "train_peak_memory")
losses = [line["terms"] for line in curve.losses(folders["train"])]
answer = [losses, {name: value for name, value in measured.items() if name not in timed}]
"""
# {module: (text, what it becomes)}: each changes what the module does
EDITS = {
    "harness": ("ROOT = ", "ADDED = ROOT = "),
    "harness.errors": ("Did you mean", "Do you mean"),
    "harness.files": ("indent=1", "indent=3"),
    "harness.torch_file": ("it holds {kind}", "there is {kind}"),
    "harness.jobs.context": ("rate: float = 0.0", "rate: float = 1.0"),
    "harness.jobs.job": ('unit: str = ""', 'unit: str = "?"'),
    "harness.jobs.kinds": ("repeats: int = 5", "repeats: int = 7"),
    "harness.jobs.tasks": ('headline="miou"', 'headline="macc"'),
    "harness.data.annotations.own_reader": ("from 0 on, [H, W]", "from zero on, [H, W]"),
    "harness.data.catalogue": ("return sorted(", "return list("),
    "harness.data.verify": ("    sizes, problems = [], []\n", "    return []\n    sizes, problems = [], []\n"),
    "harness.tasks.segmentation.step_checks": ("cannot be trained so", "is not trained so"),
    "harness.tasks.segmentation.preflight": ("no floating scalar", "not a floating scalar"),
    "harness.training.data_workers": ("setNumThreads(0)", "setNumThreads(1)"),
    "harness.data.integrity": ("_AT_ONCE = 64", "_AT_ONCE = 3"),
    "harness.training.memory": ("does not fit into memory", "is too large"),
    "harness.training.loggers": ("gave up", "has stopped"),
    "harness.training.tensorboard": ('"tensorboard"', '"events"'),
    "harness.training.trackers": ("mlflow_run.txt", "run_of_mlflow.txt"),
    "methods.registry": ('sorted(_FOLDER.rglob("*.py"))', '[*_FOLDER.rglob("*.py")][::-1]'),
    "methods.backbones": ('sorted(_FOLDER.glob("[!_]*.py"))', 'sorted(_FOLDER.glob("[!_]*.py"))[::-1]'),
    "methods.pretrained": ('(".safetensors", ".pth", ".pt")', '(".pt", ".pth", ".safetensors")'),
}


def place(module: str, root: Path) -> Path:
    path = root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def run(root: Path, results: Path) -> list:
    """[losses of every step, what training and test measured] of the checkout at `root`."""
    results.mkdir()
    return forked_checkout.run(JOB, root, str(results))


@pytest.mark.slow
def test_edits_of_silent_modules_move_no_number(tmp_path: Path):
    assert EDITS.keys() == SILENT.keys()
    root = copy_of_checkout(tmp_path / "checkout")
    losses, measured = run(root, tmp_path / "before")
    assert len(losses) > 2
    assert 0 < measured["miou"] < 100
    for module, (old, new) in EDITS.items():
        text = place(module, root).read_text(encoding="utf-8")
        assert old in text, f"{module} does not hold {old!r}"
        place(module, root).write_text(text.replace(old, new), encoding="utf-8")
    assert run(root, tmp_path / "after") == [losses, measured]


@pytest.mark.slow
def test_every_silent_module_is_reached_by_a_job_and_says_why():
    """An entry that nothing reaches would hide what is named like it later."""
    named = [kind.runner.partition(":")[0] for kind in KINDS.values()]
    reached = {*named, "methods.fcn", module_of("resnet18")}
    waiting = [*reached]
    while waiting:
        module = waiting.pop()
        file = place(module, ROOT)
        if file.is_file():
            names = imported_names(file.read_text(encoding="utf-8"), module, file.name == "__init__.py")
            waiting += names - reached
            reached |= names
    assert set(SILENT) <= reached | {"harness"}
    assert all(len(reason.split()) > 2 for reason in SILENT.values())
    assert not set(SILENT) & set(Code().closure(reached))
