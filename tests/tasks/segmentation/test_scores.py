"""A training that tests itself now and then: scores in its curve, and nothing else of it changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.data.files import locate
from harness.errors import Interrupted
from harness.jobs.key import Code
from harness.jobs.kinds import KINDS, Data, EvaluateConfig
from harness.recipes.common import Optimizer
from harness.recipes.profile import Synthetic
from harness.recipes.segmentation import TestProtocol
from harness.store import curve
from harness.tasks.segmentation.evaluate import confusion_of, measurements
from harness.tasks.segmentation.train import build_training, train
from harness.training import checkpoint, distributed, random_state
from tests.support.distributed_steps import train_on
from tests.support.ranks import run_ranks
from tests.tasks.segmentation.test_train import config, context, numbers


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def job(method: str = "fcn", **recipe):
    return config(method, **{"iterations": 6, "evaluate_every": 2, "test": TestProtocol(max_images=2), **recipe})


def scores(folder: Path) -> dict[int, dict[str, float]]:
    """{iteration: scores} of the curve; each iteration is tested once."""
    lines = [record for record in curve.read(folder) if "loss" not in record]
    assert len({record["iteration"] for record in lines}) == len(lines)
    return {record.pop("iteration"): record for record in lines}


def same_weights(a: Path, b: Path) -> bool:
    others = checkpoint.load_weights(b)
    return all(torch.equal(weight, others[name]) for name, weight in checkpoint.load_weights(a).items())


IDRNET = {"channels": 16, "attention_channels": 8, "auxiliary_channels": 8}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "options"), [("fcn", None), ("idrnet", IDRNET)])
def test_the_training_is_the_same_with_and_without(tmp_path, cache, method, options):
    with_tests = train(job(method, options=options), context(tmp_path / "with", cache))
    without = train(job(method, options=options, evaluate_every=None), context(tmp_path / "without", cache))
    assert sorted(scores(tmp_path / "with")) == [2, 4]  # the end is the evaluation job's
    assert scores(tmp_path / "without") == {}
    assert same_weights(tmp_path / "with", tmp_path / "without")
    assert numbers(with_tests) == numbers(without)
    terms = [[line["terms"] for line in curve.losses(tmp_path / name)] for name in ("with", "without")]
    assert terms[0] == terms[1]


def test_scores_are_those_of_an_evaluation(tmp_path, cache):
    """A training stopped where it had been tested, evaluated from its checkpoint as the evaluation job does it."""
    asked = iter(range(1, 100))
    whole = job()
    train(whole, context(tmp_path / "whole", cache))
    with pytest.raises(Interrupted):
        train(whole, context(tmp_path / "part", cache, should_stop=lambda: next(asked) == 2))
    training = build_training(whole, context(tmp_path, cache))
    training.model.load_state_dict(checkpoint.load(tmp_path / "part")["model"])
    found = scores(tmp_path / "whole")[2]
    assert set(found) == {"miou", "aacc", "macc", "fwiou"}
    root = locate(whole.data, data_dir=None, cache=cache)
    matrix, _ = confusion_of(training.model.eval(), root, whole.recipe.test, context(tmp_path, cache))
    assert found == {m.name: m.value for m in measurements(matrix, ())}


@pytest.mark.slow
def test_stopped_before_and_while_it_tests(tmp_path, cache):
    """Stopped where a test is due, and twice between the images of one: the same curve, and every test is in it once."""
    train(job(), context(tmp_path / "whole", cache))
    # iterations 1 and 2; the test after 2; that again, 3, 4 and the test after 4; from there on no more
    answers = iter([False, True, True, False, False, False, True])
    pieces = context(tmp_path / "pieces", cache, should_stop=lambda: next(answers, False))
    stops = 0
    while True:
        try:
            train(job(), pieces)
            break
        except Interrupted:
            stops += 1
    assert stops == 3
    assert same_weights(tmp_path / "whole", tmp_path / "pieces")
    assert scores(tmp_path / "pieces") == scores(tmp_path / "whole")
    order = [[(r["iteration"], "loss" in r) for r in curve.read(tmp_path / name)] for name in ("whole", "pieces")]
    assert order[0] == order[1]


def test_a_test_that_draws_random_numbers_changes_nothing(tmp_path, cache):
    training = build_training(job(), context(tmp_path / "drawing", cache))
    states = []

    def test(should_stop):
        assert not any(module.training for module in training.model.modules())
        before = random_state.capture()
        torch.rand(3)
        states.append(before != random_state.capture())
        return {"miou": 1.0}

    training.test = test
    training.run()
    assert states == [True, True]
    train(job(evaluate_every=None), context(tmp_path / "plain", cache))
    assert same_weights(tmp_path / "drawing", tmp_path / "plain")


@pytest.mark.slow
def test_two_processes_share_the_images(tmp_path):
    several = job(batch_size=4, iterations=3, optimizer=Optimizer(lr=1e-3), test=TestProtocol())
    several = several.model_copy(update={"data": Data(name="camvid", synthetic=Synthetic(size=(64, 64)))})
    for processes in (1, 2):
        train_on(processes, several, "float32", tmp_path / str(processes), tmp_path / "cache")
    one, two = scores(tmp_path / "1"), scores(tmp_path / "2")
    assert sorted(two) == [2]
    assert two[2] == pytest.approx(one[2], abs=0.1)


def _ranked(folder: Path) -> None:
    """One of two processes, whose model has a statistic of its own."""
    with distributed.process_group("cpu") as me:
        norm = torch.nn.BatchNorm2d(2)
        norm.running_mean += me.rank + 1
        with distributed.statistics_of_rank_0(norm):
            inside = norm.running_mean.clone()
        torch.save([inside, norm.running_mean], folder / f"{me.rank}.pt")


@pytest.mark.slow
def test_every_process_tests_what_rank_0_saves(tmp_path):
    run_ranks(_ranked, 2, tmp_path)
    for rank in range(2):
        inside, after = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert inside.tolist() == [1, 1]
        assert after.tolist() == [rank + 1, rank + 1]


def test_evaluation_code_is_in_the_key_of_such_trainings_alone():
    code = Code()
    tested, plain = (code.closure(KINDS["train"].modules(c)) for c in (job(), job(evaluate_every=None)))
    assert set(tested) - set(plain) >= {"harness.tasks.segmentation.evaluate", "harness.tasks.segmentation.confusion"}
    assert not [module for module in plain if module.startswith("harness.evaluation")]
    evaluate = KINDS["evaluate"]
    assert evaluate.modules(EvaluateConfig.model_construct()) == {"harness.tasks.segmentation.evaluate"}
