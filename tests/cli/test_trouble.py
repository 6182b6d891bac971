"""Commands in trouble: bad input, absent data, a folder that cannot be written, Ctrl-C, failed jobs, two runs at once."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import ROOT
from harness.jobs.kinds import Data
from harness.recipes.profile import Synthetic
from tests.support.checkout import Commands
from tests.support.waiting import PATIENCE, until

MISBEHAVING = ROOT / "tests/support/misbehaving_methods.py"
TABLE = "tables/idrnet_table2.yaml"

# --------------------------------------------------------------------------------------------------------- bad input

TINY = """\
paper: ours
title: Two numbers of a small model
columns:
  miou: {{metric: miou, recipe: own/tiny}}
  params: {{metric: parameters, recipe: own/tiny}}
rows:
  fcn: {{method: {{name: fcn, channels: 8}}, model: {{backbone: timm/test_resnet}}}}
"""
RECIPE = """\
tiny:
  dataset: camvid
  batch_size: 2
  iterations: {iterations}
  augmentation: {{resize: [48, 48], crop: [32, 32]}}
  test: {{resize: [48, 48]}}
  checkpoint_every: 20
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Commands:
    return Commands(ROOT, tmp_path / "results")


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Path]:
    """A table of two cells on CamVid."""

    def make(iterations: int = 2, name: str = "tiny") -> Path:
        (tmp_path / "recipes").mkdir(exist_ok=True)
        (tmp_path / "recipes/own.yaml").write_text(RECIPE.format(iterations=iterations))
        (tmp_path / f"{name}.yaml").write_text(TINY.format())
        return tmp_path / f"{name}.yaml"

    return make


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with a small CamVid."""
    from harness.data.files import locate

    scenes = Data(name="camvid", synthetic=Synthetic(train_images=4, test_images=2, size=(48, 64)))
    made = locate(scenes, data_dir=None, cache=tmp_path / "scenes").path
    shutil.copytree(made, tmp_path / "data/camvid")
    return tmp_path / "data"


@pytest.mark.slow
def test_absent_data_is_exit_3_with_what_to_do(checkout: Commands, tiny, tmp_path: Path):
    said = checkout("run", tiny(), "--columns", "miou", "--data", tmp_path / "nowhere", code=3)
    assert f"looked at {tmp_path / 'nowhere' / 'camvid'}" in said
    assert "python -m harness list datasets NAME prints what belongs into it" in said
    assert "--data DIR or HARNESS_DATA" in said
    assert "--profile smoke needs none" in said
    assert "1 of 2 cells measured" in checkout("run", tiny(), "--data", tmp_path / "nowhere", "--no-figures", code=3)
    assert len(checkout.json("complexity")) == 1


@pytest.mark.parametrize("results", ["/dev/null/results", "tiny.yaml", "tiny.yaml/deeper"])
def test_results_that_cannot_be_written_are_exit_4(checkout: Commands, tiny, tmp_path: Path, results: str):
    said = checkout("run", tiny(), "--columns", "params", "--results", tmp_path / results, code=4)
    assert "cannot be written" in said
    assert "--results DIR or HARNESS_RESULTS" in said


def test_a_results_folder_that_is_spoilt_inside_is_exit_4(checkout: Commands, tiny):
    checkout.results.mkdir()
    (checkout.results / "jobs").write_text("")
    assert "cannot be written" in checkout("run", tiny(), "--columns", "params", code=4)


def corrupt_image(data: Path) -> Path:
    path = sorted((data / "camvid/images/train").rglob("*.jpg"))[1]
    path.write_bytes(path.read_bytes()[:200])
    return path


def wrong_label(data: Path) -> Path:
    import cv2
    import numpy as np

    path = sorted((data / "camvid/annotations/train").rglob("*.png"))[1]
    assert cv2.imwrite(str(path), np.full((48, 64), 77, np.uint8))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [corrupt_image, wrong_label])
def test_a_bad_file_is_named_and_costs_only_what_needs_it(
    checkout: Commands, tiny, data: Path, spoil: Callable[[Path], Path]
):
    good = {p: p.read_bytes() for p in data.rglob("*") if p.is_file()}
    bad = spoil(data)
    said = checkout("run", tiny(), "--data", data, "--no-figures", code=1)
    assert str(bad) in said
    if spoil is wrong_label:
        assert "77" in said
    assert "1 of 2 cells measured" in said
    assert "failed" in checkout("status", tiny(), "--data", data, code=1)
    bad.write_bytes(good[bad])
    assert "2 of 2 cells measured" in checkout("run", tiny(), "--data", data, "--no-figures")


@pytest.mark.slow
def test_a_truncated_checkpoint_is_said_and_can_be_mended_as_told(checkout: Commands, tiny, data: Path):
    command = ("run", tiny(), "--data", data, "--columns", "miou", "--no-figures")
    checkout(*command)
    (tested,), (weights,) = checkout.json("evaluate"), checkout.results.rglob("final-*.pt")
    tested.unlink()
    weights.write_bytes(weights.read_bytes()[:1000])
    said = checkout(*command, code=1)
    assert "corrupt or cut short" in said
    assert str(weights) in said
    shutil.rmtree(re.search(r"Delete the folder (\S+)", said)[1])
    checkout(*command, "--retry-failed")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "absent.yaml"], "absent.yaml: there is no such file"),
        (["run", "camvit"], "camvit: there is no such file. Did you mean 'camvid'?"),
        (["run", "absent", "idrnet_tabel2.yaml"], "Did you mean 'idrnet_table2'?"),
        (["run", "tables"], "is a folder; name the YAML file"),
        (["plan", TABLE, "--rows", "fnc"], "Did you mean 'fcn'?"),
        (["plan", TABLE, "--profile", "smok"], "Did you mean 'smoke'?"),
        (["plan", TABLE, "--repetitions", "0"], "'0' is not a whole number above 0"),
        (["plan", TABLE, "--seeds", "many"], "'many' is not a whole number above 0"),
        (["plan", TABLE, "--budget", "-1"], "'-1' is not a number of hours"),
        (["plan", TABLE, "--row", "fcn"], "'--rows'"),
        (["plan", TABLE, "--device", "gpu"], "Did you mean 'cpu'?"),
        (["run", TABLE, "--detach"], "say which cluster with --on"),
        (["run"], "TABLE"),
        (["why", "idrnet_table2"], "write TABLE/ROW/COLUMN"),
        (["why", "idrnet_tabel2/fcn/lip"], "Did you mean 'idrnet_table2'?"),
        (["why", "idrnet_table2/fnc/lip"], "Did you mean 'fcn'?"),
        (["why", "idrnet_table2/fcn/lpi"], "Did you mean 'lip'?"),
        (["list", "method"], "invalid choice 'method'. Did you mean 'methods'?"),
        (["pln"], "unknown command 'pln'. Did you mean 'plan'?"),
        (["data", "verfy", "camvid"], "unknown command 'verfy'. Did you mean 'verify'?"),
        ([], "COMMAND"),
    ],
)
def test_bad_arguments_are_exit_2(checkout: Commands, arguments: list[str], message: str):
    assert message in checkout(*arguments, code=2)


def test_folders_come_from_the_environment_unless_an_option_names_them(checkout: Commands, tmp_path: Path):
    environ = {"HARNESS_DATA": str(tmp_path / "ours")}
    assert f"looked at {tmp_path / 'ours' / 'camvid'}" in checkout("data", "verify", "camvid", code=3, environ=environ)
    option = ("--data", tmp_path / "mine")
    assert f"looked at {tmp_path / 'mine' / 'camvid'}" in checkout(
        "data", "verify", "camvid", *option, code=3, environ=environ
    )


def test_all_errors_of_all_tables_at_once(checkout: Commands, tiny, tmp_path: Path):
    one, two = tiny(name="one"), tiny(name="two")
    one.write_text(one.read_text().replace("name: fcn", "name: fnc"))
    two.write_text(two.read_text().replace("test_resnet", "test_resnet, deep: 1"))
    said = checkout("plan", one, two, code=2)
    assert f"{one}:7: rows.fcn.method: unknown method 'fnc'" in said
    assert f"{two}:7: rows.fcn.model.deep: unknown key 'deep'" in said
    assert said.splitlines()[-1] == f"2 errors in {one}, {two}"
    (tmp_path / "copy").mkdir()
    shutil.copy(ROOT / TABLE, tmp_path / "copy/idrnet_table2.yaml")
    assert "have the same name" in checkout("plan", TABLE, tmp_path / "copy/idrnet_table2.yaml", code=2)


@pytest.mark.slow
def test_nothing_to_measure_is_exit_5(checkout: Commands, tiny):
    path = tiny()
    assert checkout("report", path, "--format", "csv", code=5).startswith("table,row,column,measured,")
    path.write_text(re.sub(r"method: .*", "cited: somewhere}", path.read_text()))
    for command in ("plan", "run"):
        assert "quoted from other papers" in checkout(command, path, code=5)


# ------------------------------------------------------------------------------------- interrupted, failed, and at once


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_the_same_command_resumes(checkout: Commands, tiny, data: Path):
    command = ("run", tiny(iterations=80), "--data", data, "--columns", "miou", "--no-figures", "--jobs", "2")
    process = checkout.start(*command, start_new_session=True)

    def trains() -> bool:
        return any(re.search(r'"done": [1-9]', p.read_text()) for p in checkout.results.rglob("progress.json"))

    until(trains, "a training some steps under way", process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, out + err
    assert "interrupted; the same command resumes" in out
    assert err == ""
    assert checkout.json("train") == []
    assert not list(checkout.results.rglob("failure.json"))
    assert list(checkout.results.rglob("checkpoint-*.pt"))
    (curve,) = checkout.results.rglob("curve.jsonl")
    before = curve.read_text().splitlines()
    assert 0 < len(before) < 80
    said = checkout(*command)
    assert "1 of 1 cell measured" in said
    after = curve.read_text().splitlines()
    assert len(after) == 80
    assert after[: len(before)] == before, "what was trained before the interruption is not trained again"


COUNTS = """\
paper: ours
title: Counts
defaults: {{num_classes: 2, input: [[1, 4, 8, 8]]}}
columns:
  params: {{metric: parameters, convention: mmcv-hooks}}
rows:
{rows}
"""


def counts(path: Path, **rows: str) -> Path:
    lines = [
        f"  {key}: {{module: {{name: '{MISBEHAVING}:{text.partition(' ')[0]}', {text.partition(' ')[2]}}}}}"
        for key, text in rows.items()
    ]
    path.write_text(COUNTS.format(rows="\n".join(lines)))
    return path


@pytest.mark.slow
def test_what_failed_is_repeated_only_when_asked(checkout: Commands, tmp_path: Path):
    table = counts(tmp_path / "c.yaml", flaky=f"flaky options: {{marks: '{tmp_path}'}}", good="good ")
    attempts = tmp_path / "attempts"
    assert "1 of 2 cells measured" in checkout("run", table, "--no-figures", code=1)
    said = checkout("run", table, "--no-figures", code=1)
    assert "failed before and will not be repeated; --retry-failed does" in said
    assert attempts.read_text() == "1"
    assert "failed: exception: ValueError: first attempt" in checkout("status", table, code=1)
    assert "exit code 3" in checkout("run", table, "--no-figures", "--retry-failed", code=1)
    assert "2 of 2 cells measured" in checkout("run", table, "--no-figures", "--retry-failed")
    assert attempts.read_text() == "3"


@pytest.mark.slow
def test_two_runs_at_once_share_the_work(checkout: Commands, tmp_path: Path):
    """Every job is run by one of the two and shown by both."""
    (tmp_path / "marks").mkdir()
    options = "options: {{marks: '{marks}', name: j{i}, seconds: 0.3}}"
    rows = {f"r{i}": "good " + options.format(marks=tmp_path / "marks", i=i) for i in range(4)}
    table = counts(tmp_path / "c.yaml", **rows)
    both = [checkout.start("run", table, "--no-figures", "--jobs", "2") for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, out + err
        assert "4 of 4 cells measured" in out
    assert len(checkout.json("complexity")) == 4
    for result in checkout.json("complexity"):
        log = (result.parent / "log.txt").read_text()
        assert "Traceback" not in log


# ------------------------------------------------------------------------------------------------- nobody reads it


@pytest.mark.slow
@pytest.mark.parametrize("streams", ["stdout", "both"])
def test_a_reader_that_leaves_costs_no_measurement(checkout: Commands, tmp_path: Path, streams: str):
    """`run … | head -1`: the run goes on to its end and says by its exit code how it went."""
    table = counts(tmp_path / "c.yaml", well="good ", bad="raises ")
    stderr = subprocess.STDOUT if streams == "both" else subprocess.PIPE
    process = checkout.start("run", table, "--no-figures", stderr=stderr)
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(PATIENCE) == 1  # one cell failed
    if process.stderr is not None:
        assert process.stderr.read() == ""
    assert len(checkout.json("complexity")) == 1


def test_a_listing_whose_reader_has_seen_enough_ends_well(checkout: Commands):
    process = checkout.start("list")
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(PATIENCE) == 0
    assert process.stderr.read() == ""
