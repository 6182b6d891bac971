"""The commands of the reports, as a person types them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import ROOT
from harness.cli.main import main

TABLE = str(ROOT / "tables" / "ecenet_table1.yaml")


def test_latex_of_a_table_is_printed_and_says_by_its_code_that_nothing_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["report", TABLE, "--format", "latex", "--results", str(tmp_path)]
    assert main([*arguments, "--standalone"]) == 5
    document = capsys.readouterr().out
    assert document.startswith("\\documentclass")
    assert main(arguments) == 5
    made = capsys.readouterr().out
    assert made.startswith("% \\usepackage{amssymb,booktabs,graphicx}")
    assert not {"\\documentclass", "\\begin{document}"} & set(made.splitlines())
    body = made.partition("\\begin{table}")[2].partition("\\end{table}")[0]
    assert body in document  # the same table, without a document around it
    assert main(["report", TABLE, "--format", "csv", "--standalone", "--results", str(tmp_path)]) == 2
    assert "--standalone goes with --format latex" in capsys.readouterr().err
    assert "Method & Backbone & Crop Size & GFLOPs (G) & \\#param. (M)" in made
    assert r"\textgreater{}150" in made


@pytest.mark.slow
def test_a_site_of_chosen_tables_goes_where_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pages"
    assert main(["site", TABLE, "--out", str(out), "--results", str(tmp_path / "r"), "--no-figures"]) == 0
    assert f"site: {out / 'index.html'}" in capsys.readouterr().out
    assert len(list((out / "cells").iterdir())) == 64
    audit = (out / "audit.html").read_text(encoding="utf-8")
    assert "ecenet, Table 1" in audit
    assert "hfgd, Table 5" not in audit  # findings about these tables only


@pytest.mark.slow
def test_a_site_cannot_go_where_a_file_lies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    out = str(tmp_path / "file" / "site")
    assert main(["site", TABLE, "--out", out, "--results", str(tmp_path / "r"), "--no-figures"]) == 4
    assert "cannot be written" in capsys.readouterr().err
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


@pytest.mark.slow
def test_a_site_replaces_a_site_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "one.jpg").write_text("mine", encoding="utf-8")
    common = ["--results", str(tmp_path / "r"), "--no-figures"]
    assert main(["site", TABLE, "--out", str(photos), *common]) == 2
    assert main(["site", TABLE, "--out", str(photos / "one.jpg"), *common]) == 2
    assert "no site" in capsys.readouterr().err
    assert (photos / "one.jpg").read_text(encoding="utf-8") == "mine"
    (tmp_path / "empty").mkdir()
    for _ in range(2):
        assert main(["site", TABLE, "--out", str(tmp_path / "empty"), *common]) == 0


@pytest.mark.slow
def test_a_site_of_chosen_tables_replaces_no_fuller_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--results", str(tmp_path), "--no-figures"]
    assert main(["site", TABLE, *common]) == 0
    fuller = tmp_path / "reports" / "site" / "tables" / "another.html"
    fuller.write_text("another table's page", encoding="utf-8")
    capsys.readouterr()
    assert main(["site", TABLE, *common]) == 2
    said = capsys.readouterr().err
    assert "1 table more" in said
    assert "--out DIR" in said
    assert fuller.is_file()


def test_reproduce_of_a_fresh_report_and_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["report", TABLE, "--no-figures", "--results", str(tmp_path)])
    capsys.readouterr()
    assert main(["reproduce", str(tmp_path / "reports" / "ecenet_table1.md")]) == 0
    assert "python -m harness run tables/ecenet_table1.yaml" in capsys.readouterr().out
    assert main(["reproduce", TABLE]) == 2
    assert main(["reproduce", str(tmp_path / "absent.md")]) == 2


def test_plan_decide_says_so_where_nothing_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", TABLE, "--decide", "--results", str(tmp_path)]) == 3  # no data here
    assert "no inconclusive cell" in capsys.readouterr().out


def test_a_contact_sheet_of_a_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "synthesize", "camvid", "--out", str(tmp_path / "data")]) == 0
    place = ["--data", str(tmp_path / "data"), "--results", str(tmp_path / "r")]
    assert main(["data", "show", "camvid", "--split", "val", "--images", "3", *place]) == 0
    file = tmp_path / "r/camvid_val.png"
    assert f"written: {file}" in capsys.readouterr().out
    assert file.read_bytes().startswith(b"\x89PNG")
    (tmp_path / "file").touch()
    assert main(["data", "show", "camvid", "--split", "val", *place, "--out", str(tmp_path / "file/x.png")]) == 4
    assert "--out" in capsys.readouterr().err
