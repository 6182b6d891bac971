"""Files of weights are read without running anything, and foreign ones converted whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harness.cli import main
from harness.errors import MissingError, UserError
from methods.released.importer import import_foreign
from methods.weights import misfits, read, to_fit, write
from tests.support.weights_bench import fcn18, fill


def foreign(model: nn.Module) -> dict[str, Tensor]:
    """`model`'s state under the names of the released FCN with one convolution and a ResNet-18 without a deep stem."""
    names = {
        "backbone.body.": "backbone_net.",
        "context.reduce.": "decoder.",
        "classifier.1.": "decoder.4.",
        "auxiliary.body.": "auxiliary_decoder.",
        "auxiliary.classifier.1.": "auxiliary_decoder.4.",
    }
    found = {}
    for name, value in model.state_dict().items():
        ours = next(n for n in names if name.startswith(n))
        found[names[ours] + name.removeprefix(ours)] = value
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path)


# --------------------------------------------------------------------------------------------------------- reading files


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_written_is_read(tmp_path: Path, suffix: str):
    state = {"a.weight": torch.randn(2, 3), "b.bias": torch.arange(4)}
    file = tmp_path / "folder" / f"x{suffix}"
    write(state, file)
    back = read(file)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], value) for name, value in state.items())
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_tensors_beside_an_optimiser_and_from_several_processes_are_found(tmp_path: Path):
    torch.save({"epoch": 3, "model": {"module.a": torch.ones(1)}, "optimizer": {"state": {}}}, tmp_path / "x.pth")
    assert list(read(tmp_path / "x.pth")) == ["a"]


class Evil:
    """Something a checkpoint must not bring along."""

    def __reduce__(self):
        return print, ("this ran",)


def test_a_file_that_would_run_something_is_not_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    torch.save({"model": {"a": torch.ones(1)}, "extra": Evil()}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="not a file of weights alone"):
        read(tmp_path / "x.pth")
    assert "this ran" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_a_damaged_file_is_said_to_be_one(tmp_path: Path, content: bytes):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.pth is not a file of weights"):
        read(tmp_path / "x.pth")


def test_a_file_of_something_else_and_no_file(tmp_path: Path):
    torch.save({"a": 3}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds no mapping from names to tensors"):
        read(tmp_path / "x.pth")
    with pytest.raises(MissingError, match=r"no checkpoint at .*gone\.pth"):
        read(tmp_path / "gone.pth")


def test_everything_that_does_not_fit_is_listed_and_nothing_is_loaded():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = {name: value + 1 for name, value in before.items()}
    del state["0.bias"], state["1.num_batches_tracked"]
    state |= {"0.weight": torch.ones(2, 1, 3, 3), "2.weight": torch.ones(1)}
    problems = ["missing 0.bias", "unexpected 2.weight", "0.weight is (2, 1, 3, 3), should be (2, 1, 1, 1)"]
    assert misfits(model, state) == problems
    with pytest.raises(UserError) as error:
        to_fit(model, state, "x.pth")
    assert all(problem in str(error.value) for problem in problems)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# -------------------------------------------------------------------------------------------------------------- import


@pytest.mark.slow
def test_an_import_gives_the_same_model(folder: Path):
    """Through a file under the released names and back: the same logits."""
    from harness.jobs.kinds import Model

    model = fcn18()
    torch.save({"model": foreign(model), "epoch": 1}, folder / "theirs.pth")
    described = Model(name="fcn", options={"channels": 8}, num_classes=1, backbone="resnet18", output_stride=16)
    made = import_foreign(folder / "theirs.pth", "sssegmentation", described, folder / "ours.pth")
    assert made.classes == 11
    again = fcn18()
    nn.init.zeros_(again.classifier[1].weight)
    again.load_state_dict(read(folder / "ours.pth"))
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), again.eval()(images))


def import_by_command(folder: Path, *arguments: str) -> int:
    results = ["--results", str(folder / "results")]
    return main.main(
        ["weights", "import", "--from", "sssegmentation", str(folder / "theirs.pth"), *arguments, *results]
    )


@pytest.mark.slow
def test_the_command_says_what_it_wrote_and_what_is_next(folder: Path, capsys: pytest.CaptureFixture[str]):
    torch.save(foreign(fcn18()), folder / "theirs.pth")
    method = ["--method", "{name: fcn, channels: 8}", "--backbone", "resnet18", "--output-stride", "16"]
    assert import_by_command(folder, *method) == 0
    said = capsys.readouterr().out
    assert "written:" in said
    assert "11 classes" in said
    assert "checkpoint:" in said
    assert misfits(fcn18(), read(folder / "results" / "weights" / "theirs.pth")) == []


@pytest.mark.slow
def test_a_cell_that_names_a_checkpoint_gets_it_there_and_is_then_run(folder: Path, capsys: pytest.CaptureFixture[str]):
    """From the released file to a report with no other argument than the cell."""
    torch.save(foreign(fcn18()), folder / "theirs.pth")
    assert import_by_command(folder, "--method", f"{folder}/table.yaml/given/miou") == 0
    written, after = capsys.readouterr().out.splitlines()
    assert written.startswith(f"written: {folder}/weights/miou.pth")
    assert after == f"next: python -m harness run {folder}/table.yaml --rows given --columns miou"
    arguments = [*after.removeprefix("next: python -m harness ").split(), "--profile", "own", "--device", "cpu"]
    assert main.main([*arguments, "--results", str(folder / "results")]) == 0
    report = (folder / "results" / "reports" / "table.own.md").read_text()
    assert "Given weights, tested and not trained here: miou.pth" in report


def test_the_command_lists_all_that_is_wrong_and_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]):
    state = foreign(fcn18())
    state["backbone_net.layer1.0.conv1.weight"] = torch.ones(64, 64, 1, 1)
    state |= {"sampler.weight": torch.ones(1), "decoder.4.bias": torch.full((11,), float("nan"))}
    del state["decoder.1.running_var"], state["backbone_net.bn1.bias"]
    torch.save(state, folder / "theirs.pth")
    method = ["--method", "{name: fcn, channels: 8}", "--backbone", "resnet18", "--output-stride", "16"]
    assert import_by_command(folder, *method, "--out", str(folder / "out.pth")) == 2
    said = capsys.readouterr().err
    for line in (
        "nothing was written",
        "unexpected sampler.weight",
        "missing context.reduce.1.running_var",
        "missing backbone.body.bn1.bias",
        "classifier.1.bias holds NaN or infinity",
        "backbone.body.layer1.0.conv1.weight is (64, 64, 1, 1), should be (64, 64, 3, 3)",
    ):
        assert line in said
    assert not (folder / "out.pth").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--method", "fcnn"], 2, "Did you mean 'fcn'"),
        (["--method", "{name: fcn, chanels: 8}"], 2, "channels"),
        (["--method", "{name: fcn"], 2, "not YAML"),
        (["--method", "idrnet_table2/fcn/nowhere"], 2, "has no column 'nowhere'"),
        (["--method", "idrnet_table7/emanet_resnet101/lip"], 2, "nothing that is trained"),
        (["--method", "idrnet_table2/fcn/lip", "--classes", "3"], 2, "--classes: the cell"),
        (["--method", "idrnet_table2/fcn_idrnet/lip"], 2, "missing head.bottleneck.0.weight"),
        (["--method", "fcn", "--out", "{folder}/table.yaml/x.pth", "--backbone", "resnet18"], 2, "does not fit"),
    ],
)
def test_wrong_arguments(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str):
    torch.save(foreign(fcn18()), folder / "theirs.pth")
    assert import_by_command(folder, *(a.replace("{folder}", str(folder)) for a in arguments)) == code
    assert words in capsys.readouterr().err


def test_an_unknown_toolbox_a_missing_file_and_a_folder_that_cannot_be_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    torch.save(foreign(fcn18()), folder / "theirs.pth")
    assert main.main(["weights", "import", "--from", "mmsegm", str(folder / "theirs.pth"), "--method", "fcn"]) == 2
    assert "unknown toolbox 'mmsegm'" in capsys.readouterr().err
    gone = ["weights", "import", "--from", "sssegmentation", str(folder / "gone.pth"), "--method", "fcn"]
    assert main.main(gone) == 3
    method = ["--method", "{name: fcn, channels: 8}", "--backbone", "resnet18", "--output-stride", "16"]
    assert import_by_command(folder, *method, "--out", str(folder / "table.yaml" / "x.pth")) == 4
