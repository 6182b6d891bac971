"""IDRNet in the released configurations: size, cost, and the names in their checkpoints."""

from __future__ import annotations

import pytest
import torch

from harness.tasks.complexity import mmcv_hooks
from methods import registry
from methods.released.sssegmentation.idrnet import from_released
from methods.segmentor import GivenFeatures

RESNET, SWIN = (256, 512, 1024, 2048), (192, 384, 768, 1536)
AFTER, BEFORE = {"coarse_attention": "after"}, {"coarse_attention": "before"}
PPM, ASPP = {"context": "ppm"}, {"context": "aspp"}
UPER, UPER_ASPP = {"context": "uper"}, {"context": "uper", "uper_top": "aspp"}
WIDE = {"fpn_channels": 1024}


@pytest.mark.parametrize(
    ("millions", "classes", "backbone", "options"),
    [
        (27.45, 150, RESNET, {"channels": 1024}),
        (12.87, 19, RESNET, {}),
        (13.04, 182, RESNET, {}),
        (12.87, 20, RESNET, {}),
        (26.78, 150, RESNET, PPM | AFTER),
        (80.80, 19, RESNET, PPM | AFTER | {"channels": 1024, "stage1_from": "features"}),
        (26.81, 182, RESNET, PPM | BEFORE),
        (25.98, 20, RESNET, PPM),
        (33.33, 150, RESNET, ASPP | AFTER),
        (33.20, 19, RESNET, ASPP | AFTER),
        (33.36, 182, RESNET, ASPP | BEFORE),
        (32.54, 20, RESNET, ASPP),
        (42.12, 150, RESNET, UPER_ASPP | AFTER),
        (41.99, 19, RESNET, UPER_ASPP | AFTER),
        (35.60, 182, RESNET, UPER | BEFORE),
        (34.77, 20, RESNET, UPER),
        (106.29, 150, SWIN, UPER_ASPP | AFTER | WIDE),
        (106.33, 182, SWIN, UPER_ASPP | AFTER | WIDE),
        (87.15, 20, SWIN, UPER | WIDE),
        (106.20, 59, SWIN, UPER_ASPP | AFTER | WIDE),
    ],
)
def test_trainable_parameters_of_the_released_configurations(millions, classes, backbone, options):
    with torch.device("meta"):
        head = registry.build("idrnet", GivenFeatures(backbone), classes, **options).head
    assert round(sum(p.numel() for p in head.parameters() if p.requires_grad) / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("giga", "sizes", "options"),
    [
        (213.14, (128,), {}),
        (449.83, (128,), {"channels": 1024}),
        (421.60, (128,), PPM | AFTER),
        (541.93, (128,), ASPP | AFTER),
        (889.68, (256, 128, 128, 128), UPER_ASPP | AFTER),
    ],
)
def test_multiply_adds_of_the_released_heads(giga, sizes, options):
    """What mmcv's hooks count for the released code at Table 5's input and 150 classes, though the work here is less."""
    channels = RESNET[-len(sizes) :]
    with torch.device("meta"):
        head = registry.build("idrnet", GivenFeatures(channels), 150, **options).head
        features = [torch.empty(1, c, size, size) for c, size in zip(channels, sizes)]
    assert round(mmcv_hooks.count(head, [features]) / 1e9, 2) == giga


RELEASED_NAMES = {
    "aspp": [
        "bottleneck.0.weight",
        "coarse_context_module.parallel_branches.1.0.weight",
        "coarse_context_module.parallel_branches.0.1.running_mean",
        "coarse_context_module.global_branch.1.weight",
        "coarse_context_module.global_branch.2.bias",
        "coarse_context_module.bottleneck.1.num_batches_tracked",
        "coarsecontext_refiner_after.key_project.0.0.weight",
        "coarsecontext_refiner_after.query_project.1.1.bias",
        "coarsecontext_refiner_after.out_project.0.weight",
        "auxiliary_decoder.0.weight",
        "auxiliary_decoder.1.running_var",
        "auxiliary_decoder.4.bias",
    ],
    "uper": [
        "lateral_convs.2.0.weight",
        "fpn_convs.0.1.weight",
        "coarsecontext_refiner_before.value_project.1.running_var",
        "coarse_context_module.branches.3.1.weight",
        "decoder_stage2.0.weight",
        "decoder_stage1.4.bias",
    ],
}


@pytest.mark.parametrize("context", RELEASED_NAMES)
def test_released_names_lead_to_ours(context):
    options = {
        "context": context,
        "coarse_attention": "after",
        "channels": 4,
        "fpn_channels": 4,
        "attention_channels": 2,
    }
    state = registry.build("idrnet", GivenFeatures((3, 4, 5, 6)), 7, **options).state_dict()
    names = RELEASED_NAMES[context]
    translated, left = from_released({name: torch.zeros(1) for name in [*names, "backbone_net.conv1.weight"]})
    assert left == ["backbone_net.conv1.weight"]
    assert set(translated) <= set(state)
    assert len(translated) == len(names)


@pytest.mark.parametrize("processes", [1, 8])
def test_the_released_counter_is_deletions_per_process(processes):
    """Each step adds the mean of the processes' deletions to every process's counter, in float32."""
    deletions = torch.tensor([0, 1, 7, 164_190])
    counter = (1e-6 + deletions / processes).float()
    ours, left = from_released({"selected_classes_counter": counter}, processes=processes)
    assert left == []
    assert torch.equal(ours["head.row_updates"], deletions)
    assert torch.equal(ours["head.deletion_counts"], counter)
    if processes == 8:
        assert torch.equal(from_released({"selected_classes_counter": counter})[0]["head.row_updates"], deletions)
