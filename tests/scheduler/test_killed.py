"""Kill -9 of workers, of the front end and of both, at random instants and at aimed ones: no number is lost, doubled or wrong.

The whole size (40 random instants, 21 aimed ones) runs with `pytest -m kills tests/scheduler/test_killed.py`; a seeded part of it
in the suite.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from harness.data.files import locate
from harness.jobs.job import Job
from harness.jobs.key import digest
from harness.jobs.kinds import KINDS, EvaluateConfig
from harness.recipes.segmentation import TestProtocol
from harness.store import curve
from harness.store.store import Store
from harness.training import checkpoint
from tests.scheduler.test_local import job as count
from tests.support.kills import PHASES, VICTIMS, Aim, Victims, front_end, kill, over
from tests.support.waiting import PATIENCE
from tests.tasks.segmentation.test_train import TIMES, config

pytestmark = pytest.mark.slow
ITERATIONS, SAVED_EVERY = 6, 2

AIMS = [
    *(Aim("checkpoint-00000004", phase) for phase in PHASES),
    *(Aim("final-00000006", phase) for phase in PHASES),
    *(Aim("result.json", phase) for phase in PHASES),  # of the training
    *(Aim("result.json", phase, 2) for phase in PHASES[1:]),  # of the evaluation
    *(Aim("job.json", phase, 2) for phase in PHASES[:3]),  # written by the front end
    Aim("checkpoint-00000002", "half-way through fsync", both=True),
    Aim("final-00000006", "half-way through replace", both=True),
    Aim("result.json", "half-way through replace", both=True),
]
IN_THE_SUITE = [AIMS[1], AIMS[7], AIMS[11], AIMS[-1]]


def made(kind: str, settings: object, *needs: Job) -> Job:
    record = KINDS[kind].config.model_validate(settings).model_dump(mode="json")
    key = digest([kind, record, [n.key for n in needs]])
    return Job(kind, record, key, key, {"config": record, "code": {}}, tuple(n.key for n in needs))


@pytest.fixture(scope="module")
def jobs() -> list[Job]:
    """A training with its evaluation, and a count."""
    settings = config(iterations=ITERATIONS, checkpoint_every=SAVED_EVERY)
    test = EvaluateConfig(model=settings.model, data=settings.data, protocol=TestProtocol(), profile="smoke", seed=3)
    training = made("train", settings.model_dump())
    return [training, made("evaluate", test.model_dump(), training), count("good")]


class Reference:
    """The results folder of a run that nobody disturbed, and how long that took."""

    def __init__(self, store: Store, seconds: float, jobs: Sequence[Job]) -> None:
        self.store, self.seconds, self.jobs = store, seconds, jobs

    def folder(self, path: Path) -> Store:
        """An empty results folder; the scenes need not be drawn again."""
        shutil.copytree(self.store.cache, path / "cache")
        return Store(path)

    def check(self, store: Store) -> None:
        """Every number that is not a time, every curve, matrix and weight is that of the undisturbed run."""
        assert numbers(store) == numbers(self.store)
        for job in self.jobs:
            ours, theirs = store.folder(job), self.store.folder(job)
            assert store.failure(job) is None
            for matrix in theirs.glob("*.npy"):
                assert (ours / matrix.name).read_bytes() == matrix.read_bytes()
            if job.kind == "train":
                assert [r["loss"] for r in curve.read(ours)] == [r["loss"] for r in curve.read(theirs)]
                weights = checkpoint.load_weights(theirs)
                for name, weight in checkpoint.load_weights(ours).items():
                    assert torch.equal(weight, weights[name]), name


def numbers(store: Store) -> dict[tuple[str, str], float]:
    return {(r.job.key, m.name): m.value for r in store.results() for m in r.measurements if m.name not in TIMES}


@pytest.fixture(scope="module")
def reference(jobs: list[Job], tmp_path_factory: pytest.TempPathFactory) -> Reference:
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    store.prepare()
    scenes = config().data
    locate(scenes, data_dir=None, cache=store.cache)
    began = time.perf_counter()
    assert over(front_end(store, jobs), PATIENCE) == 0
    assert len({key for key, _ in numbers(store)}) == len(jobs)
    return Reference(store, time.perf_counter() - began, jobs)


def nothing_wrong_so_far(store: Store, reference: Reference) -> None:
    """What is there after a kill is a part of the truth."""
    assert numbers(store).items() <= numbers(reference.store).items()


def aim_and_go_on(reference: Reference, folder: Path, aim: Aim) -> None:
    store = reference.folder(folder)
    front = front_end(store, reference.jobs, aim)
    code = over(front, PATIENCE)
    nothing_wrong_so_far(store, reference)
    hit_front_end = aim.both or aim.file == "job.json"
    assert code == (-9 if hit_front_end else 0)
    causes = [failure.cause for job in reference.jobs if (failure := store.failure(job)) is not None]
    has_result = aim.file == "result.json" and aim.phase == PHASES[3]
    assert ("killed" in causes) == (not hit_front_end and not has_result)
    assert over(front_end(store, reference.jobs), PATIENCE) == 0
    reference.check(store)


def kill_at_random(reference: Reference, folder: Path, draw: random.Random, plan: Sequence[Victims]) -> None:
    """One kill after another, each after a random part of the time that the whole takes; then to the end."""
    waiting, finished = list(plan), 0
    store = reference.folder(folder / "0")
    while True:
        front = front_end(store, reference.jobs)
        if waiting:
            front.join(draw.uniform(0, reference.seconds))
            if kill(front, waiting[0]):
                waiting.pop(0)
        over(front, PATIENCE)
        nothing_wrong_so_far(store, reference)
        if all(store.result(job) is not None for job in reference.jobs):
            reference.check(store)
            if not waiting:
                return
            finished += 1
            store = reference.folder(folder / str(finished))


@pytest.mark.parametrize("aim", IN_THE_SUITE, ids=str)
def test_killed_while_a_file_is_written(reference: Reference, tmp_path: Path, aim: Aim):
    aim_and_go_on(reference, tmp_path, aim)


def test_killed_at_random_instants(reference: Reference, tmp_path: Path):
    kill_at_random(reference, tmp_path, random.Random(5), VICTIMS)


@pytest.mark.kills
@pytest.mark.parametrize("aim", AIMS, ids=str)
def test_killed_at_each_of_21_aimed_instants(reference: Reference, tmp_path: Path, aim: Aim):
    assert len(AIMS) == len(set(AIMS)) == 21
    aim_and_go_on(reference, tmp_path, aim)


@pytest.mark.kills
def test_killed_at_40_random_instants(reference: Reference, tmp_path: Path):
    draw = random.Random(13)
    kill_at_random(reference, tmp_path, draw, [draw.choice(VICTIMS) for _ in range(40)])
