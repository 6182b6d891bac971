"""Rows that name a file of weights are tested and train nothing; columns that are tested elsewhere share trainings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from harness.cli import main
from harness.errors import Problems, UserError
from harness.jobs.context import Context
from harness.jobs.kinds import KINDS
from harness.table.load import check
from harness.yamlfile import parse
from methods.weights import write
from tests.support.weights_bench import PROFILE, TABLE, cell, fcn18, fill, planned


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path)


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
    assert main.main([*arguments, "--results", str(folder / "results")]) == 3


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
        ("macc: {metric: macc}", "macc: {metric: macc, tested_on: camvidd}", "Did you mean 'camvid'"),
        (
            "macc: {metric: macc}",
            "macc: {metric: macc, tested_on: lip}",
            "lip has 20 classes, but camvid, trained on, 11",
        ),
        ("macc: {metric: macc}", "macc: {metric: macc, test: {split: minival}}", "minival"),
        ("macc: {metric: macc}", "macc: {metric: macc, test: {flip: 3}}", "flip"),
        ("macc: {metric: macc}", "macc: {metric: macc, test: {mode: slide}}", "needs 'window'"),
        ("macc: {metric: macc}", "macc: {metric: macc, test: {scale: 2}}", "scale: Extra inputs"),
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
    text = TABLE.replace("macc: {metric: macc}", "macc: {metric: macc, test: {flip: true, split: test}}")
    text = text.replace('checkpoint: "weights/{column}.pth"', "notes: trained")
    (folder / "table.yaml").write_text(text)
    plan = planned(folder)
    plain, changed = (cell(plan, "given", column).jobs[0] for column in ("miou", "macc"))
    assert plain.needs == changed.needs
    assert plain.config["protocol"] | {"flip": True, "split": "test"} == changed.config["protocol"]
    assert plain.key != changed.key


def test_a_training_that_tests_itself_does_so_as_its_recipe_says_whatever_the_column(folder: Path):
    text = TABLE.replace("macc: {metric: macc}", "macc: {metric: macc, test: {flip: true, split: test}}")
    text = text.replace('checkpoint: "weights/{column}.pth"', "notes: trained")
    (folder / "table.yaml").write_text(text)
    (plain,) = cell(plan := planned(folder), "given", "miou").jobs
    assert plan.jobs[plain.needs[0]].config["recipe"]["test"]["resize"] is None  # not in its key where it does not test
    recipes = folder / "recipes" / "own.yaml"
    recipes.write_text(recipes.read_text() + "  evaluate_every: 1\n")
    plan = planned(folder)
    one, other = (cell(plan, "given", column).jobs[0] for column in ("miou", "macc"))
    assert one.needs == other.needs != plain.needs
    tested = plan.jobs[one.needs[0]].config["recipe"]["test"]
    assert tested == one.config["protocol"]
    assert (tested["split"], tested["flip"]) == ("val", False)


# -------------------------------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("value", "word"),
    [(43.61, "reproduced"), (43.71, "reproduced"), (43.72, "not reproduced"), (float("nan"), "not a number")],
)
def test_given_weights_are_judged_without_seeds(value: float, word: str):
    from reports import verdict

    assert verdict.judge_given_weights(value, "43.61").word == word


@pytest.mark.slow
def test_a_report_says_that_a_cell_was_tested_from_given_weights(folder: Path):
    from harness.jobs.job import Measurement
    from harness.store.store import Store
    from reports import table_report

    write(fcn18().state_dict(), folder / "weights" / "miou.pth")
    text = TABLE + "published: {values: {given: {miou: 43.61}}}\n"
    (folder / "table.yaml").write_text(text)
    (folder / "profiles" / "own.yaml").write_text(PROFILE.replace("comparable: false", "comparable: true"))
    plan = planned(folder)
    store = Store(folder / "results")
    store.prepare()
    (job,) = cell(plan, "given", "miou").jobs
    store.finish(job, [Measurement("miou", 43.58, "%")], {}, 0.0)
    shown = table_report.build(plan, plan.tables[0], store).cells["given", "miou"]
    assert (shown.verdict.word, shown.text) == ("reproduced", "43.58")
    assert "given weights, tested and not trained here: miou.pth" in shown.footnotes


# ---------------------------------------------------------------------------------------------------------------- panels


def panels(folder: Path, *arguments: str) -> int:
    common = ["--profile", "own", "--rows", "given", "--columns", "miou", "--device", "cpu"]
    return main.main(["panels", str(folder / "table.yaml"), *common, "--results", str(folder / "results"), *arguments])


@pytest.mark.slow
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


@pytest.mark.slow
def test_panels_show_the_model_of_the_row(folder: Path):
    """Weights that always say class 4, in every pixel of every image."""
    from harness.plan.trained_rows import first_repetitions
    from harness.store.store import Store
    from harness.tasks.segmentation.predictions import scenes

    model = fcn18()
    nn.init.zeros_(model.classifier[1].weight)
    model.classifier[1].bias.data = torch.eye(11)[4]
    write(model.state_dict(), folder / "weights" / "miou.pth")
    plan = planned(folder)
    plan.cells = [cell(plan, "given", "miou")]
    store = Store(folder / "results")
    found, root = scenes(first_repetitions(plan, store), data_dir=None, cache=folder / "cache", device="cpu", count=2)
    assert root.dataset.name == "camvid"
    for scene in found:
        assert scene.image.shape == (*scene.truth.shape, 3)
        assert set(scene.predictions["given"].ravel().tolist()) == {4}


def test_panels_of_what_is_not_trained_or_not_tested(folder: Path, capsys: pytest.CaptureFixture[str]):
    table = ["panels", str(folder / "table.yaml"), "--profile", "own", "--results", str(folder / "results")]
    assert main.main([*table, "--rows", "cell", "--columns", "macc"]) == 3
    assert "not trained here yet: table/cell/macc" in capsys.readouterr().err
    assert main.main([*table, "--columns", "params"]) == 2
    assert "choose a column of a score" in capsys.readouterr().err
    assert main.main([*table, "--rows", "given", "--columns", "miou"]) == 3  # no such file of weights
    assert "miou.pth" in capsys.readouterr().err
