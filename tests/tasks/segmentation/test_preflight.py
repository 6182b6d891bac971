"""The contract is checked before the first step and on every tested image, and checking it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harness.data.files import locate
from harness.errors import Exit, OutOfMemory
from harness.jobs.context import Context
from harness.jobs.kinds import Data, EvaluateConfig
from harness.recipes.profile import Synthetic
from harness.store import curve
from harness.tasks.segmentation.evaluate import confusion_of
from harness.tasks.segmentation.preflight import BrokenContract, preflight
from harness.tasks.segmentation.train import build_training
from harness.training import random_state
from harness.training.loop import Training
from tests.support.tiny_training import CLASSES, TinySegmentor, batch
from tests.tasks.segmentation.test_train import config, context


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def with_forward(change: Callable[[Tensor], object]) -> TinySegmentor:
    model = TinySegmentor()
    forward = model.forward
    model.forward = lambda images: forward(images) if model.training else change(forward(images))
    return model


def with_losses(change: Callable[[dict[str, Tensor]], object]) -> TinySegmentor:
    model = TinySegmentor()
    losses = model.losses
    model.losses = lambda images, targets: change(losses(images, targets))
    return model


FORWARDS = {
    "one class too few": (lambda x: x[:, 1:], "forward() gives 4 channels for 5 classes: float32 [1, 4, 8, 8]"),
    "one class too many": (lambda x: torch.cat([x, x[:, :1]], 1), "forward() gives 6 channels for 5 classes"),
    "a tuple": (lambda x: (x, x), "forward() gives a tuple; expected are logits [1, 5, h, w] of a floating type"),
    "class ids": (lambda x: x.argmax(1), "forward() gives int64 [1, 8, 8]; expected are logits [1, 5, h, w]"),
    "whole numbers": (lambda x: x.round().long(), "forward() gives int64 [1, 5, 8, 8]"),
    "no pixel": (lambda x: x[..., :0], "forward() gives float32 [1, 5, 8, 0]"),
    "another batch": (lambda x: torch.cat([x, x]), "forward() gives float32 [2, 5, 8, 8]"),
    "not finite": (lambda x: x / 0, "forward() gives values that are not finite"),
}
LOSSES = {
    "a tensor": (lambda terms: terms["main"], "losses() gives a Tensor; expected are {name: scalar}"),
    "nothing": (lambda terms: {}, "losses() gives nothing"),
    "a loss per pixel": (
        lambda terms: {"main": terms["main"].expand(2)},
        "term 'main' is float32 [2], no floating scalar",
    ),
    "a number": (lambda terms: {"main": 0.5}, "term 'main' is a float"),
    "not finite": (lambda terms: {**terms, "aux": terms["main"] / 0}, "term 'aux' is inf on the first batch"),
    "detached": (lambda terms: {"main": terms["main"].detach()}, "no term depends on a parameter"),
}


def refusal(model: TinySegmentor) -> BrokenContract:
    """What is said of it before its first step."""
    first = batch(0)
    with pytest.raises(BrokenContract) as refused:
        preflight(model, first.images, first.targets, CLASSES)
    return refused.value


@pytest.mark.parametrize("what", FORWARDS)
def test_a_forward_that_gives_no_logits_of_the_classes_is_refused(what: str):
    change, message = FORWARDS[what]
    refused = refusal(with_forward(change))
    assert message in str(refused)
    assert "methods/segmentor.py); nothing was trained" in str(refused)
    assert refused.exit == Exit.FAILED


@pytest.mark.parametrize("what", LOSSES)
def test_losses_that_are_no_scalars_are_refused(what: str):
    change, message = LOSSES[what]
    assert message in str(refusal(with_losses(change)))


class Remembering(TinySegmentor):
    """Also keeps what is no buffer, makes a buffer late, and moves a parameter as it goes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.register_buffer("memory", None)

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        self.calls += 1
        self.memory, self.seen = images.mean(), images
        with torch.no_grad():
            self.head[1].bias += 1
        return super().losses(images, targets)


@pytest.mark.parametrize("kind", [TinySegmentor, Remembering])
def test_nothing_is_changed(kind: type[TinySegmentor]):
    """A model that draws from every generator, counts in a buffer and has batch statistics and dropout."""
    torch.manual_seed(0)
    model, first = kind(), batch(0)
    model.train()
    state, random, attributes = state_of(model), random_state.capture(), set(vars(model))
    preflight(model, first.images, first.targets, CLASSES)
    assert random_state.capture() == random
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert set(vars(model)) == attributes
    assert getattr(model, "calls", 0) == 0
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_training_ends_before_its_first_step_and_a_resumed_one_is_not_asked_again(tmp_path: Path):
    training = build_training(config(iterations=2, checkpoint_every=1), context(tmp_path / "job", tmp_path / "cache"))
    classifier = training.model.classifier[-1]
    training.model.classifier[-1] = nn.Conv2d(classifier.in_channels, 12, 1)
    with pytest.raises(BrokenContract, match=r"EncoderDecoder.* gives 12 channels for 11 classes"):
        training.run()
    assert not curve.read(tmp_path / "job")
    asked = []
    training.preflight = lambda: asked.append(True)
    training.model.classifier[-1] = classifier
    training.run()
    training.iterations = 3
    training.run()
    assert asked == [True]


def planned_test(**protocol: object) -> dict[str, object]:
    """The configuration of a test of the training of `config`, as its request carries it."""
    job = config()
    test = EvaluateConfig(
        model=job.model,
        data=job.data,
        protocol=job.recipe.test.model_copy(update=protocol),
        profile="p",
        seed=0,
    )
    return test.model_dump(mode="json")


def with_planned_tests(tmp_path: Path, *tests: dict[str, object]) -> Training:
    where = replace(context(tmp_path / "job", tmp_path / "cache"), needed_by={"evaluate": tests})
    return build_training(config(iterations=1), where)


def test_a_model_that_its_planned_test_cannot_test_is_not_trained(tmp_path: Path):
    """At the crop's size it gives logits, at the test's sizes it does not; repetitions of one test count once."""
    training = with_planned_tests(tmp_path, planned_test(), planned_test(), planned_test(scales=(1.0, 2.0)))
    forward, crop, sizes = training.model.forward, config().recipe.augmentation.crop, []

    def only_small(images: Tensor) -> Tensor:
        sizes.append(tuple(images.shape[-2:]))
        logits = forward(images)
        return logits if len(sizes) < 4 else logits.argmax(1)

    training.model.forward = only_small
    with pytest.raises(BrokenContract, match=r"gives int64 .*; nothing was trained"):
        training.run()
    assert sizes[0] == tuple(crop)
    assert sizes[3] == tuple(2 * side for side in sizes[2]) == tuple(2 * side for side in sizes[1])
    assert not curve.read(tmp_path / "job")


def test_a_test_that_does_not_fit_into_memory_ends_a_training_before_it_begins(tmp_path: Path):
    training = with_planned_tests(tmp_path, planned_test())
    forward, calls = training.model.forward, []

    def grows(images: Tensor) -> Tensor:
        calls.append(images)
        if len(calls) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 99 GiB")
        return forward(images)

    training.model.forward = grows
    with pytest.raises(
        OutOfMemory, match=r"the test that follows .* split 'val', at \d+ × \d+\. Test in smaller windows"
    ):
        training.run()


def test_planned_tests_move_no_number_of_a_training(tmp_path: Path):
    plain = build_training(config(iterations=1), context(tmp_path / "plain", tmp_path / "cache"))
    plain.run()
    tested = with_planned_tests(tmp_path, planned_test(), planned_test(flip=True))
    tested.run()
    weights = plain.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in tested.model.state_dict().items())


def test_a_planned_test_whose_data_are_not_here_is_left_out(tmp_path: Path):
    test = planned_test() | {"data": {"name": "camvid"}}
    assert with_planned_tests(tmp_path, test).run().iteration == 1


def test_a_test_refuses_another_number_of_classes(tmp_path: Path):
    """Also of given weights, where no training has asked."""
    job = config()
    test = EvaluateConfig(
        model=job.model,
        data=Data(name="camvid", synthetic=Synthetic(size=(64, 64))),
        protocol=job.recipe.test,
        profile="p",
        seed=0,
    )
    root = locate(test.data, data_dir=None, cache=tmp_path)
    where = Context(folder=tmp_path, cache=tmp_path, data_dir=None, device="cpu", threads=1)
    for classes in (10, 12):
        with pytest.raises(BrokenContract, match=f"Conv2d.* gives {classes} channels for 11 classes"):
            confusion_of(nn.Conv2d(3, classes, 1).eval(), root, test.protocol, where)
