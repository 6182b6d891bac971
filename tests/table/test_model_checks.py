"""What a table's models need is checked where the table is read: backbones, output strides, options and what they take."""

from __future__ import annotations

import pytest

from tests.table.test_schema import GOOD, problems

BAD = {
    "no backbone": (
        "defaults: {backbone: resnet50_v1c}\n",
        "",
        (9, "rows.fcn"),
        "column 'ade' needs a backbone: say 'backbone' under 'defaults', or under the row's 'model'. Available: ",
    ),
    "an unknown backbone": (
        "backbone: resnet50_v1c",
        "backbone: resnet5_v1c",
        (17, "defaults.backbone"),
        "unknown backbone 'resnet5_v1c'. Did you mean 'resnet50_v1c'?",
    ),
    "a row's unknown backbone": (
        "method: fcn",
        "method: fcn, model: {backbone: swin_basee}",
        (9, "rows.fcn.model.backbone"),
        "Did you mean 'swin_base'?",
    ),
    "an impossible output stride": (
        "backbone: resnet50_v1c",
        "backbone: resnet50_v1c, output_stride: 4",
        (17, "defaults.output_stride"),
        "backbone 'resnet50_v1c': output stride 4 is not one of 8, 16, 32",
    ),
    "a stride for a backbone without a choice": (
        "method: fcn",
        "method: fcn, model: {backbone: swin_base, output_stride: 8}",
        (9, "rows.fcn.model.output_stride"),
        "backbone 'swin_base' has no adjustable output stride",
    ),
    "an option of another type": (
        "channels: 256",
        "channels: '256'",
        (10, "rows.psp.method.channels"),
        "method 'pspnet': option 'channels' takes a whole number, not '256'",
    ),
    "an option's unknown value": (
        "{name: pspnet, channels: 256}",
        "{name: idrnet, context: asp}",
        (10, "rows.psp.method.context"),
        "idrnet: option 'context' cannot be 'asp'. Did you mean 'aspp'?",
    ),
    "options that do not go together": (
        "{name: pspnet, channels: 256}",
        "{name: hfgd, decoder: none}",
        (10, "rows.psp.method"),
        "hfgm 'full' needs a decoder to guide",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_model_that_cannot_be_built_is_told_where_and_what_is_allowed(what: str):
    old, new, place, message = BAD[what]
    assert old in GOOD
    found = problems(GOOD.replace(old, new, 1))
    assert place in [(line, key) for line, key, _ in found]
    assert any(message in text for _, _, text in found)


def test_what_is_wrong_under_defaults_is_said_once_with_its_own_line():
    text = GOOD.replace(", recipe: idrnet/ade20k", "").replace(", recipe: idrnet/cityscapes", "")
    text = text.replace("metric: miou\n", "").replace("{backbone: ", "{recipe: idrnet/ade2k, metric: miuo, backbone: ")
    found = [(line, key, message.partition(" Available")[0]) for line, key, message in problems(text)]
    assert found == [
        (16, "defaults.metric", "unknown metric 'miuo'. Did you mean 'miou'?"),
        (16, "defaults.recipe", "unknown recipe 'idrnet/ade2k'. Did you mean 'idrnet/ade20k'?"),
    ]
