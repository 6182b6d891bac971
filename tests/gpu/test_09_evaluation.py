"""Testing on the device: the classes that a CPU finds, memory that does not grow with images, scores that are not numbers."""

import pytest
import torch

from harness.recipes.segmentation import TestProtocol
from harness.tasks.segmentation.protocols import NonFiniteScores, class_ids, predict
from methods.build import build_model
from tests.support.gpu_cases import DEVICE, job

pytestmark = pytest.mark.gpu
PROTOCOLS = {
    "whole": TestProtocol(),
    "scales and flip": TestProtocol(scales=(0.5, 1.0, 1.5), flip=True),
    "slide": TestProtocol(mode="slide", window=(64, 64), stride=(40, 40), flip=True),
    "frame": TestProtocol(frame=(128, 160), odd=True, align_corners=True, average="probabilities"),
}


def views(protocol, size):
    from harness.tasks.segmentation.loader import geometry

    draw = torch.Generator().manual_seed(0)
    return [
        torch.randint(0, 256, (3, *s), dtype=torch.uint8, generator=draw) for s, _ in geometry(size, protocol).views
    ]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_same_classes_as_on_a_cpu(name):
    torch.manual_seed(0)
    model, protocol, size = build_model(job("upernet").model).eval(), PROTOCOLS[name], (97, 120)
    images = views(protocol, size)
    expected = predict(model, images, size, protocol)
    found = predict(model.to(DEVICE), images, size, protocol, device=DEVICE).cpu()
    assert (found == expected).float().mean() >= 0.999


@pytest.mark.cuda
def test_memory_does_not_grow_with_images():
    model, protocol = build_model(job().model).to(DEVICE).eval(), PROTOCOLS["scales and flip"]
    peaks = []
    for i in range(200):
        predict(model, views(protocol, (97 + i % 7, 120 - i % 5)), (97, 120), protocol, device=DEVICE)
        if i % 50 == 49:
            peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[-1] == peaks[0]


def test_scores_that_are_not_numbers():
    scores = torch.zeros(3, 8, 8, device=DEVICE)
    scores[1, 2, 2] = float("nan")
    with pytest.raises(NonFiniteScores):
        class_ids(scores)
