"""One step of every published model, counted on `meta`: no host wait, every parameter learns, memory as it should be."""

import contextlib

import pytest
import torch
from torch import nn

from harness.jobs.kinds import Model
from harness.recipes.common import Optimizer
from harness.recipes.segmentation import Augmentation, Loss
from harness.tasks.segmentation.loader import _LEVELS, normalise
from harness.tasks.segmentation.step_count import StepCounter, count_step
from harness.training.optim import build_optimizer
from methods.layers import constant
from methods.segmentor import Segmentor
from tests.support.published_trainings import one_per_family, trainings
from tests.tasks.segmentation.test_train import config

READS_OF_METHODS = {"ecenet": {"nonzero"}, "segvit": {"nonzero"}}
"""What the host must know: the classes that each image contains, whose masks alone are supervised. One wait: the others find
the device idle."""


def check(training) -> None:
    count = count_step(training, 2)
    assert set(count.waits) <= READS_OF_METHODS.get(training.model.name, set())
    # Swin normalises all of its maps, also those that the head does not read
    assert [name for name in count.without_gradient if not name.startswith("backbone.norms.")] == []
    assert 100 < count.kernels < 4000
    assert count.resident_bytes < count.peak_bytes


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(one_per_family()))
def test_no_wait_and_no_idle_parameter(name):
    check(one_per_family()[name])


@pytest.mark.all_rows
def test_every_row_of_every_table():
    """Rows that build the same model but for its number of classes are one case: a step's operations are the same."""
    cases = {}
    for name, training in trainings().items():
        model = training.model.model_copy(update={"num_classes": 1, "pretrained": False})
        cases.setdefault(model.model_dump_json() + training.recipe.loss.model_dump_json(), (name, training))
    assert len(cases) > 100
    failures = []
    for name, training in cases.values():
        try:
            check(training)
        except Exception as error:
            failures.append(f"{name}: {type(error).__name__}: {error}")
    assert failures == []


def published(method: str, **recipe):
    """ResNet-50 at stride 8 on crops of 512 × 512 with 150 classes."""
    job = config(method, options={}, **recipe)
    crop = Augmentation(resize=(2048, 512), crop=(512, 512))
    model = Model(name=method, num_classes=150, backbone="resnet50_v1c", output_stride=8)
    return job.model_copy(update={"model": model, "recipe": job.recipe.model_copy(update={"augmentation": crop})})


@pytest.mark.slow
@pytest.mark.parametrize(("method", "gib"), [("fcn", 17.5), ("idrnet", 22.5)])
def test_a_whole_batch_of_sixteen_fits_one_gpu(method, gib):
    """FCN 16.9 GiB, IDRNet 22.0: more than before is a regression of memory."""
    count = count_step(published(method), 16)
    assert 0.9 * gib < count.peak_gib < gib


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss",
    [
        Loss(name="ohem"),
        Loss(class_weights=(1.5,) * 11),
        Loss(name="dice"),
        Loss(name="focal"),
        Loss(mean="all", align_corners=True),
    ],
    ids=lambda loss: loss.name,
)
def test_losses_do_not_wait(loss):
    assert count_step(config(loss=loss, accumulate=2, precision="fp16", optimizer=Optimizer(clip_norm=1.0))).waits == ()


def test_what_waits_is_seen():
    x = torch.ones(4, device="meta")
    with StepCounter() as counter:
        torch.ones(4).to("meta", non_blocking=True)
        assert counter.waits == []
        torch.ones(4).to("meta")
        x.copy_(torch.ones(4))
        with contextlib.suppress(NotImplementedError):  # its size is unknown on `meta`
            x[x > 0]
        (x > 0).nonzero()
        with pytest.raises(RuntimeError):
            x.sum().item()
    assert counter.waits == ["_to_copy", "copy_", "index", "nonzero", "_local_scalar_dense"]


def test_bytes_are_of_what_lives():
    with StepCounter() as counter:
        a = torch.empty(256, dtype=torch.float32, device="meta")
        b = a.view(16, 16) + 1
        del a
        c = b * 2
        del b, c
    assert (counter.peak, counter.live) == (2048, 0)


def test_constants_are_uploaded_once():
    images = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    mean, std = _LEVELS["imagenet"]
    expected = (images.float() - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    with torch.inference_mode():
        normalise(images)  # a test first: its constants must serve a training too
    assert torch.equal(normalise(images), expected)
    assert constant(mean, images.device) is constant(list(mean), images.device)
    assert not constant(mean, images.device).is_inference()
    assert constant(mean, images.device, torch.float64).dtype == torch.float64


class OneLayer(Segmentor):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 2, 1)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_gpu_takes_the_optimiser_in_one_kernel(name):
    from torch._subclasses.fake_tensor import FakeTensorMode

    assert not build_optimizer(OneLayer(), Optimizer(name=name)).defaults["fused"]
    with FakeTensorMode(), torch.device("cuda"):
        assert build_optimizer(OneLayer(), Optimizer(name=name)).defaults["fused"]
