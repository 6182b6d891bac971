"""What the jobs of a cell printed, and the options of methods."""

from __future__ import annotations

from pathlib import Path

import pytest

import harness
from harness.cli.main import main
from harness.store.store import Failure, Store

CELL = ["logs", "idrnet_table2/fcn/lip", "--profile", "smoke"]


def test_the_end_of_every_log_of_a_cell_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    place = ["--results", str(tmp_path)]
    assert main([*CELL, *place]) == 5
    assert "no job of this cell has begun" in capsys.readouterr().out
    plan = harness.plan("idrnet_table2", rows="fcn", columns="lip", profile="smoke", results=tmp_path)
    (test,) = plan.cells[0].jobs
    train = plan.jobs[test.needs[0]]
    store = Store(tmp_path)
    store.fail(train, Failure("error", "no luck"))
    log = store.folder(train) / "log.txt"
    log.write_bytes(b"".join(b"line %d\n" % i for i in range(100)) + b"10 %\r50 %\r100 %\nred \x1b[31m \xff\n")
    assert main([*CELL, *place, "--lines", "4"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"== train: {log}",
        "… 98 lines before",
        "line 98",
        "line 99",
        "100 %",
        r"red \x1b[31m \xff",
        "failed: error: no luck",
    ]
    assert main(["logs", "idrnet_table2/fcn/lpi", *place]) == 2
    assert "Did you mean 'lip'?" in capsys.readouterr().err


def test_options_of_a_method_are_listed_with_types_and_defaults(capsys: pytest.CaptureFixture[str]):
    assert main(["list", "methods", "idrnet"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0].startswith("idrnet IDRNet")
    assert 'relations: str = "both"' in lines
    assert "channels: int = 512" in lines
    assert main(["list", "contexts", "ppm"]) == 0
    assert "channels: int        = 512" in capsys.readouterr().out
    assert main(["list", "datasets", "camvid"]) == 0
    assert capsys.readouterr().out.startswith("camvid  ")


@pytest.mark.parametrize(("what", "name", "near"), [("methods", "idrnt", "idrnet"), ("datasets", "camvit", "camvid")])
def test_an_unknown_name_of_a_list_is_answered_with_the_nearest(what: str, name: str, near: str, capsys):
    assert main(["list", what, name]) == 2
    assert f"Did you mean '{near}'?" in capsys.readouterr().err
