"""ISNet against a reference in plain loops, class by class and image by image."""

from __future__ import annotations

import pytest
import torch

from harness.conformance.pyramid import TinyPyramid
from methods import registry
from methods.contexts.isnet import ISNetHead


def reference(head: ISNetHead, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Context and stage 1's logits of the bottleneck's output [B, C, h, w]."""
    image = head.image_level(x, torch.cat([x.mean((2, 3), keepdim=True).expand_as(x), x], dim=1))
    image = head.image_fuse(torch.cat([x, image], dim=1))
    logits = head.stage1(x)
    classes = torch.zeros_like(x)
    for one, scores, out in zip(x, logits, classes):
        label = scores.argmax(0)
        for k in label.unique():
            weights = scores[k][label == k].softmax(0)
            out[:, label == k] = (one[:, label == k] @ weights)[:, None]
    semantic = head.semantic_level(x, classes)
    return head.semantic_fuse(torch.cat([image, semantic], dim=1)), logits


def test_the_head_is_the_loops():
    torch.manual_seed(0)
    head = ISNetHead([6], 5, channels=8, inner=4, dropout=0.1).double()
    torch.nn.init.normal_(head.stage1[2].weight)
    torch.nn.init.zeros_(head.stage1[2].bias)
    features = torch.randn(2, 6, 7, 9, dtype=torch.float64)
    head([features])  # moves the running statistics to those of the batch
    head.eval()
    with torch.no_grad():
        context, logits = head([features])
        expected, stage1 = reference(head, head.bottleneck(features))
    assert len(logits.argmax(1).unique()) > 1
    torch.testing.assert_close(logits, stage1)
    torch.testing.assert_close(context, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("shortcut", "stride"), [(0, 8), (6, 4)])
def test_a_shortcut_brings_the_finest_map_in(shortcut: int, stride: int):
    torch.manual_seed(0)
    model = registry.build("isnet", TinyPyramid(), 5, channels=8, inner=4, shortcut_channels=shortcut)
    images, targets = torch.randn(2, 3, 64, 64), torch.randint(5, (2, 64, 64))
    sum(model.losses(images, targets).values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.eval()(images).shape == (2, 5, 64 // stride, 64 // stride)
