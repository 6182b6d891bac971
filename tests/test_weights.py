"""Given weights: files are read without running anything, converted whole or not at all, and tested by rows that train
nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harness import cli, library
from harness.document import parse
from harness.environment import Device
from harness.errors import MissingError, Problems, UserError
from harness.job import KINDS, Context
from harness.plan import Cell, Plan, Planner
from harness.table import check, load
from harness.weights import import_foreign, misfits, read, to_fit, write
from methods.build import build_model

PROFILE = """
name: own
about: scenes, but the table's own model
comparable: false
recipe: {pretrained: false}
synthetic: {train_images: 2, test_images: 2, size: [64, 96]}
"""
RECIPES = """
tiny:
  dataset: camvid
  batch_size: 2
  iterations: 1
  augmentation: {resize: [96, 64], crop: [64, 64]}
  test: {split: val, resize: [96, 64]}
"""
TABLE = """
paper: own
title: Given weights
measure: miou
defaults: {backbone: resnet18, output_stride: 16, recipe: own/tiny}
columns:
  miou: {}
  macc: {measure: macc}
  speed: {measure: train_throughput}
  params: {measure: parameters, input: [[1, 3, 64, 64]]}
rows:
  given: {method: {name: fcn, channels: 8}, checkpoint: "weights/{column}.pth"}
  cell: {method: {name: fcn, channels: 8}, cells: {miou: {checkpoint: weights/miou.pth}}}
"""


def fcn18() -> nn.Module:
    """The model of TABLE's rows, with weights of its own."""
    from harness.job import Model

    torch.manual_seed(3)
    options = {"num_classes": 11, "backbone": "resnet18", "output_stride": 16}
    return build_model(Model(name="fcn", options={"channels": 8}, **options))


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
    for name, text in {"profiles/own": PROFILE, "recipes/own": RECIPES, "table": TABLE}.items():
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def planned(folder: Path, profile: str = "own", repetitions: tuple[int, ...] = (0,)) -> Plan:
    found = library.profile(profile, near=folder)
    planner = Planner(found, repetitions, cache=folder / "cache", device=Device("cpu", "test", 1))
    return planner.plan([load(folder / "table.yaml")])


def cell(plan: Plan, row: str, column: str) -> Cell:
    (found,) = [c for c in plan.cells if (c.row, c.column) == (row, column)]
    return found


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


def test_an_import_gives_the_same_model(folder: Path):
    """Through a file under the released names and back: the same logits."""
    from harness.job import Model

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
    return cli.main(["weights", "import", "--from", "sssegmentation", str(folder / "theirs.pth"), *arguments, *results])


def test_the_command_says_what_it_wrote_and_what_is_next(folder: Path, capsys: pytest.CaptureFixture[str]):
    torch.save(foreign(fcn18()), folder / "theirs.pth")
    method = ["--method", "{name: fcn, channels: 8}", "--backbone", "resnet18", "--output-stride", "16"]
    assert import_by_command(folder, *method) == 0
    said = capsys.readouterr().out
    assert "written:" in said
    assert "11 classes" in said
    assert "checkpoint:" in said
    assert misfits(fcn18(), read(folder / "results" / "weights" / "theirs.pth")) == []


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
    assert cli.main(["weights", "import", "--from", "mmsegm", str(folder / "theirs.pth"), "--method", "fcn"]) == 2
    assert "unknown toolbox 'mmsegm'" in capsys.readouterr().err
    gone = ["weights", "import", "--from", "sssegmentation", str(folder / "gone.pth"), "--method", "fcn"]
    assert cli.main(gone) == 3
    method = ["--method", "{name: fcn, channels: 8}", "--backbone", "resnet18", "--output-stride", "16"]
    assert import_by_command(folder, *method, "--out", str(folder / "table.yaml" / "x.pth")) == 4


# ------------------------------------------------------------------------------------------- rows that name a checkpoint


def test_a_row_with_weights_trains_nothing_and_is_tested_once(folder: Path):
    write(fcn18().state_dict(), folder / "weights" / "miou.pth")
    plan = planned(folder, repetitions=(0, 1, 2))
    (job,) = cell(plan, "given", "miou").jobs
    assert (job.kind, job.needs) == ("evaluate", ())
    assert job.config["checkpoint"] == str(folder / "weights" / "miou.pth")
    assert plan.reason(job) is None
    assert cell(plan, "given", "params").jobs[0].kind == "complexity"
    assert [j.key for j in cell(plan, "cell", "miou").jobs] == [job.key]
    speed = cell(plan, "given", "speed")
    assert (speed.state, speed.jobs) == ("awaits", ())
    assert "trains nothing" in speed.reason
    assert len(cell(plan, "cell", "macc").jobs) == 3  # the other cells of the row are trained


def test_a_checkpoint_that_is_not_there_blocks_its_cell_with_its_path(folder: Path):
    plan = planned(folder)
    (job,) = cell(plan, "given", "macc").jobs
    assert str(folder / "weights" / "macc.pth") in plan.reason(job)
    arguments = ["run", str(folder / "table.yaml"), "--profile", "own", "--rows", "given", "--columns", "macc"]
    assert cli.main([*arguments, "--results", str(folder / "results")]) == 3


def test_the_key_holds_the_files_content_and_not_its_place(folder: Path):
    file = folder / "weights" / "miou.pth"
    write(fcn18().state_dict(), file)
    first = cell(planned(folder), "given", "miou").jobs[0].key
    assert cell(planned(folder), "given", "miou").jobs[0].key == first
    moved = (folder / "table.yaml").read_text().replace("weights/{column}", "elsewhere/{column}")
    (folder / "table.yaml").write_text(moved)
    file.parent.rename(folder / "elsewhere")
    assert cell(planned(folder), "given", "miou").jobs[0].key == first
    model = fcn18()
    nn.init.ones_(model.classifier[1].bias)
    write(model.state_dict(), folder / "elsewhere" / "miou.pth")
    assert cell(planned(folder), "given", "miou").jobs[0].key != first


def test_a_profile_that_builds_another_model_does_not_test_the_weights(folder: Path):
    write(fcn18().state_dict(), folder / "weights" / "miou.pth")
    found = cell(planned(folder, "smoke"), "given", "miou")
    assert (found.state, found.jobs) == ("awaits", ())
    assert "profile smoke builds another model" in found.reason


def context(folder: Path) -> Context:
    return Context(folder / "job", folder / "cache", None, "cpu", 1)


def test_given_weights_are_what_is_tested(folder: Path):
    """A model whose classifier always says class 4: every other class has no pixel."""
    model = fcn18()
    nn.init.zeros_(model.classifier[1].weight)
    model.classifier[1].bias.data = torch.eye(11)[4]
    write(model.state_dict(), folder / "weights" / "miou.pth")
    (job,) = cell(planned(folder), "given", "miou").jobs
    (folder / "job").mkdir()
    measured = {m.name: m.value for m in KINDS["evaluate"].run(job.config, context(folder))}
    assert measured["images"] == 2
    recalls = [value for name, value in measured.items() if name.startswith("acc/")]
    assert sorted(recalls)[-1] == 100
    assert sum(recalls) == 100


def test_weights_that_do_not_fit_are_listed_by_the_job(folder: Path):
    state = fcn18().state_dict()
    state.pop("classifier.1.bias")
    write(state | {"more": torch.ones(1)}, folder / "weights" / "miou.pth")
    (job,) = cell(planned(folder), "given", "miou").jobs
    (folder / "job").mkdir()
    with pytest.raises(UserError, match=r"(?s)miou\.pth does not fit.*missing classifier\.1\.bias.*unexpected more"):
        KINDS["evaluate"].run(job.config, context(folder))


# ------------------------------------------------------------------------------------------------ errors in table files


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("fcn, channels: 8}, checkpoint", "fcn, channels: 8}, cited: x, checkpoint", "found method and cited"),
        (
            'method: {name: fcn, channels: 8}, checkpoint: "weights/{column}.pth"',
            "awaits: x, checkpoint: a",
            "needs the",
        ),
        ("{column}", "{row}", "only {column} is filled in"),
        ("macc: {measure: macc}", "macc: {measure: macc, tested_on: camvidd}", "Did you mean 'camvid'"),
        (
            "macc: {measure: macc}",
            "macc: {measure: macc, tested_on: lip}",
            "lip has 20 classes, but camvid, trained on, 11",
        ),
        ("macc: {measure: macc}", "macc: {measure: macc, test: {split: minival}}", "minival"),
        ("macc: {measure: macc}", "macc: {measure: macc, test: {flip: 3}}", "flip"),
        ("macc: {measure: macc}", "macc: {measure: macc, test: {mode: slide}}", "needs 'window'"),
        ("macc: {measure: macc}", "macc: {measure: macc, test: {scale: 2}}", "scale: Extra inputs"),
        ("train_throughput}", "train_throughput, tested_on: camvid}", "only a score is tested"),
        ("{miou: {checkpoint", "{miou: {recipe: own/tinyy, checkpoint", "Did you mean 'own/tiny'"),
    ],
)
def test_errors_say_where_and_what(folder: Path, old: str, new: str, words: str):
    assert old in TABLE
    with pytest.raises(Problems) as error:
        check(parse(TABLE.replace(old, new, 1), str(folder / "table.yaml")))
    assert words in str(error.value)
    assert error.value.problems[0].line > 0


def test_a_column_tested_elsewhere_shares_its_training(folder: Path):
    text = TABLE.replace("macc: {measure: macc}", "macc: {measure: macc, test: {flip: true, split: test}}")
    text = text.replace('checkpoint: "weights/{column}.pth"', "notes: trained")
    (folder / "table.yaml").write_text(text)
    plan = planned(folder)
    plain, changed = (cell(plan, "given", column).jobs[0] for column in ("miou", "macc"))
    assert plain.needs == changed.needs
    assert plain.config["protocol"] | {"flip": True, "split": "test"} == changed.config["protocol"]
    assert plain.key != changed.key


# -------------------------------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("value", "word"),
    [(43.61, "reproduced"), (43.71, "reproduced"), (43.72, "not reproduced"), (float("nan"), "not a number")],
)
def test_given_weights_are_judged_without_seeds(value: float, word: str):
    from reports import verdict

    assert verdict.given(value, "43.61").word == word


def test_a_report_says_that_a_cell_was_tested_from_given_weights(folder: Path):
    from harness.job import Measurement
    from harness.store import Store
    from reports import sheet

    write(fcn18().state_dict(), folder / "weights" / "miou.pth")
    text = TABLE + "published: {values: {given: {miou: 43.61}}}\n"
    (folder / "table.yaml").write_text(text)
    (folder / "profiles" / "own.yaml").write_text(PROFILE.replace("comparable: false", "comparable: true"))
    plan = planned(folder)
    store = Store(folder / "results")
    store.prepare()
    (job,) = cell(plan, "given", "miou").jobs
    store.finish(job, [Measurement("miou", 43.58, "%")], {}, 0.0)
    shown = sheet.build(plan, plan.tables[0], store).cells["given", "miou"]
    assert (shown.verdict.word, shown.text) == ("reproduced", "43.58")
    assert "given weights, tested and not trained here: miou.pth" in shown.footnotes


# ---------------------------------------------------------------------------------------------------------------- panels


def panels(folder: Path, *arguments: str) -> int:
    common = ["--profile", "own", "--rows", "given", "--columns", "miou", "--device", "cpu"]
    return cli.main(["panels", str(folder / "table.yaml"), *common, "--results", str(folder / "results"), *arguments])


def test_panels_are_drawn_from_given_weights(folder: Path, capsys: pytest.CaptureFixture[str]):
    write(fcn18().state_dict(), folder / "weights" / "miou.pth")
    assert panels(folder, "--images", "2") == 0
    written = Path(capsys.readouterr().out.removeprefix("written: ").strip())
    assert written == folder / "results" / "reports" / "table.own.panels.png"
    assert written.read_bytes().startswith(b"\x89PNG")
    assert panels(folder, "--image", "val_000001", "--out", str(folder / "one.png")) == 0
    assert panels(folder, "--image", "val_9") == 2
    assert "the split has no such image" in capsys.readouterr().err
    assert panels(folder, "--out", str(folder / "table.yaml" / "x.png")) == 4


def test_panels_show_the_model_of_the_row(folder: Path):
    """Weights that always say class 4, in every pixel of every image."""
    from harness.panels import scenes, tested
    from harness.store import Store

    model = fcn18()
    nn.init.zeros_(model.classifier[1].weight)
    model.classifier[1].bias.data = torch.eye(11)[4]
    write(model.state_dict(), folder / "weights" / "miou.pth")
    plan = planned(folder)
    plan.cells = [cell(plan, "given", "miou")]
    store = Store(folder / "results")
    found, root = scenes(tested(plan, store), data_dir=None, cache=folder / "cache", device="cpu", count=2)
    assert root.dataset.name == "camvid"
    for scene in found:
        assert scene.image.shape == (*scene.truth.shape, 3)
        assert set(scene.predictions["given"].ravel().tolist()) == {4}


def test_panels_of_what_is_not_trained_or_not_tested(folder: Path, capsys: pytest.CaptureFixture[str]):
    table = ["panels", str(folder / "table.yaml"), "--profile", "own", "--results", str(folder / "results")]
    assert cli.main([*table, "--rows", "cell", "--columns", "macc"]) == 3
    assert "not trained here yet: table/cell/macc" in capsys.readouterr().err
    assert cli.main([*table, "--columns", "params"]) == 2
    assert "choose a column of a score" in capsys.readouterr().err
    assert cli.main([*table, "--rows", "given", "--columns", "miou"]) == 3  # no such file of weights
    assert "miou.pth" in capsys.readouterr().err
