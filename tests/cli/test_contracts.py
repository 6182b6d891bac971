"""`test`: a method, a backbone or a dataset against its contract; what does not hold is said with what was seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli.main import main
from harness.conformance import backbone as backbones
from harness.conformance import method as methods
from harness.conformance.clause import findings
from harness.data.synthetic import synthesize
from harness.recipes.profile import Synthetic
from tests.data.test_guess import FORMS, put

METHOD = """\
import torch
from torch import nn
from methods.registry import register
from methods.segmentor import EncoderDecoder, IGNORE


class Context(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.channels, self.unused = 8, nn.Linear(2, 2)
        self.convolution = nn.Conv2d(channels[-1], 8, 1)

    def forward(self, features):
        self.seen = features[-1].mean()
        return self.convolution(features[-1] - features[-1].mean(dim=0, keepdim=True))


class Method(EncoderDecoder):
    def losses(self, images, targets):
        logits = self(images)
        return {"main": nn.functional.cross_entropy(logits, targets[:, ::8, ::8] % 7)}


@register("broken")
def broken(backbone, num_classes, *, width: int = 8):
    return Method(backbone, Context(backbone.channels), num_classes)


@register("crashes")
def crashes(backbone, num_classes):
    raise KeyError("no such thing")
"""
BACKBONE = """\
from torch import nn
from methods.segmentor import Backbone

NAMES = ("net",)
STRIDES = (8,)


class Net(Backbone):
    channels, strides = (8, 16), (4, 16)

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 4, 1), nn.Conv2d(8, 16, 3, 2, 1)

    def forward(self, images):
        return [self.first(images), self.second(self.first(images))]


def build(name, *, output_stride=None, pretrained=False):
    return Net()
"""


def broken(clauses, subject, *names: str) -> dict[str, str]:
    """{clause: message} of the named clauses that do not hold."""
    chosen = [clause for clause in clauses if clause.name in names]
    assert len(chosen) == len(names)
    return {f.clause.name: f.message for f in findings(chosen, subject) if f.holds is False}


def test_each_broken_clause_of_a_method_is_said(tmp_path: Path):
    (tmp_path / "own.py").write_text(METHOD)
    said = broken(
        methods.CLAUSES,
        methods.MethodSubject(f"{tmp_path}/own.py:broken"),
        "gradients_reach_every_trainable_parameter",
        "ignored_pixels_do_not_count",
        "labels_of_one_kind_only",
        "the_criterion_is_the_loss_of_every_head",
        "a_prediction_does_not_depend_on_the_rest_of_the_batch",
        "a_state_dict_is_the_whole_model",
    )
    assert "no gradient reaches" in said["gradients_reach_every_trainable_parameter"]
    assert "context.unused.weight" in said["gradients_reach_every_trainable_parameter"]
    assert "an image without a labelled pixel changes the loss 'main'" in said["ignored_pixels_do_not_count"]
    assert "expected is 0" in said["labels_of_one_kind_only"]
    assert "does not use self.criterion" in said["the_criterion_is_the_loss_of_every_head"]
    assert "change with its neighbours" in said["a_prediction_does_not_depend_on_the_rest_of_the_batch"]
    assert "a_state_dict_is_the_whole_model" not in said


def test_an_exception_of_the_method_is_said_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "own.py").write_text(METHOD)
    assert main(["test", f"{tmp_path}/own.py:crashes", "--results", str(tmp_path / "results")]) == 1
    printed = capsys.readouterr().out
    assert (
        f"raises KeyError: 'no such thing' ({tmp_path}/own.py:{METHOD[: METHOD.index('raise')].count(chr(10)) + 1})"
        in printed
    )
    assert printed.count("no such thing") == 1
    assert "the other 14 need this one" in printed
    assert "0 of 15 clauses hold, 1 broken, 14 not judged" in printed


def test_a_dataset_file_that_is_wrong_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "bad.yaml").write_text("colours: 3\nimage: x\n")
    assert main(["test", f"{tmp_path}/bad.yaml", "--results", str(tmp_path / "results")]) == 2
    printed = capsys.readouterr()
    assert (printed.out.count("colours"), printed.err.count("bad.yaml:1: colours")) == (0, 1)


def test_a_method_file_without_a_name_is_asked_for_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "own.py").write_text(METHOD)
    assert main(["test", f"{tmp_path}/own.py", "--results", str(tmp_path / "results")]) == 2
    assert "own.py:NAME; it registers: broken, crashes" in capsys.readouterr().err


def test_each_broken_clause_of_a_backbone_is_said(tmp_path: Path):
    (tmp_path / "net.py").write_text(BACKBONE)
    subject = backbones.BackboneSubject(f"{tmp_path}/net.py:net")
    said = broken(backbones.CLAUSES, subject, *(clause.name for clause in backbones.CLAUSES))
    assert set(said) == {
        "maps_have_the_announced_channels_and_sides",
        "every_declared_output_stride_is_built",
        "weights_that_are_not_there_are_an_error",
    }
    assert (
        "'channels' and 'strides' say [(2, 8, 16, 24), (2, 16, 4, 6)]"
        in said["maps_have_the_announced_channels_and_sides"]
    )
    assert "build(output_stride=8) gives maps of strides (4, 16)" in said["every_declared_output_stride_is_built"]


def test_a_dataset_of_the_catalogue_holds_and_a_damaged_one_says_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "own", *FORMS["splits inside"])
    assert main(["data", "new", "own", "--out", "own.yaml"]) == 0
    assert main(["test", "own.yaml", "--images", "all"]) == 0
    assert "8 of 8 clauses hold, 0 broken" in capsys.readouterr().out
    (tmp_path / "own/images/val/a.jpg").write_bytes((tmp_path / "own/images/train/a.jpg").read_bytes())
    (tmp_path / "own/masks/train/b.png").unlink()
    (tmp_path / "own.yaml").write_text((tmp_path / "own.yaml").read_text().replace("values: [1]", "values: [2]"))
    assert main(["test", "own.yaml", "--images", "all"]) == 1
    printed = capsys.readouterr().out
    for message in (
        "masks/train/b.png: label map of an image is not there",
        "split 'train' has 1 complete pairs, declared are 2",
        "label 1 outside the allowed values 0, 2, 255",
        "no pixel of any split is class 0, class 1",
        "are one image",
    ):
        assert message in printed
    assert "✗ every class occurs" in printed


def test_without_its_files_a_dataset_is_judged_by_its_declaration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    assert main(["test", "cityscapes", "--results", str(tmp_path)]) == 3
    printed = capsys.readouterr()
    assert "2 of 8 clauses hold, 0 broken, 6 not judged" in printed.out
    assert "It must contain, e.g. for split 'train':\n       labelIds: cityscapes/leftImg8bit" in printed.err
    assert (printed.out + printed.err).count("It must contain") == 1
    synthesize("cityscapes", tmp_path / "data", scenes=Synthetic(train_images=2, test_images=1))
    assert main(["test", "cityscapes", "--data", str(tmp_path / "data"), "--results", str(tmp_path)]) == 1
    assert "split 'train' has 2 complete pairs, declared are 2975" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["own.py:brokn"], "own.py declares no 'brokn': a method is marked"),
        (["own.py:broken", "--kind", "dataset"], "is no dataset: it is a method"),
        (["no.py:x"], "there is no file"),
        (["camvi"], "unknown name 'camvi'. Did you mean 'camvid'?"),
        (["own.py:broken", "--option", "widht=8"], "has no option 'widht'. Did you mean 'width'?"),
        (["own.py:broken", "--option", "width=x"], "option 'width' takes"),
        (["own.py:broken", "--option", "width"], "--option width: write NAME=VALUE"),
        (["camvid", "--option", "width=8"], "--option is of methods and contexts"),
        (["camvid", "--images", "none"], "'none' is not a whole number above 0"),
    ],
)
def test_what_cannot_be_tested_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(METHOD)
    assert main(["test", *arguments]) == 2
    assert message in capsys.readouterr().err
