"""Tables as authors write them, with all that can mislead a reader: each file of fixtures/printed beside what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import ROOT
from harness.cli.main import main
from harness.scaffold import formats, layout, tblr, write
from harness.scaffold.grid import Cell, Run
from harness.table.load import load

FOLDER = ROOT / "tests" / "fixtures" / "printed"
CASES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def case(name: str) -> tuple[Path, dict[str, Any]]:
    (file,) = (path for path in FOLDER.glob(f"{name}.*") if path.suffix != ".yaml")
    return file, yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def read(file: Path, options: list[str]) -> layout.Reading:
    given = dict(zip(options[::2], options[1::2])) if "--transpose" not in options else {}
    grid = formats.read(file, given.get("--label"))
    assert grid is not None
    pattern, _, metric = given.get("--metric", "").rpartition("=")
    turned = grid.transposed() if "--transpose" in options else grid
    return layout.read(turned, {pattern: metric} if metric else {}, file.name)


def test_there_are_at_least_twenty():
    assert len(CASES) >= 20


@pytest.mark.parametrize("name", [name for name in CASES if "grid" in case(name)[1]])
def test_the_grid_is_what_a_person_sees(name: str):
    file, expected = case(name)
    grid = formats.read(file, dict(zip(*[iter(expected.get("options", []))] * 2)).get("--label"))
    assert grid is not None
    found = [" | ".join(cell.text for cell in row) for row in grid.cells]
    assert found == expected["grid"].removesuffix("\n").split("\n")


@pytest.mark.parametrize("name", CASES)
def test_every_number_is_read_right_or_listed(name: str):
    file, expected = case(name)
    reading = read(file, expected.get("options", []))
    names = {row.key: row.label if expected.get("by_label") else row.key for row in reading.rows}
    shown = {
        names[row.key]: {
            key: f"{v.bound}{v.text}" + (f" ({v.gain})" if v.gain else "") for key, v in row.values.items()
        }
        for row in reading.rows
        if row.values
    }
    assert shown == {str(key): values for key, values in expected["values"].items()}
    assert {names[r.key]: r.bold for r in reading.rows if r.bold} == expected.get("bold", {})
    assert {names[r.key]: r.underlined for r in reading.rows if r.underlined} == expected.get("underlined", {})
    assert {r.key: r.group for r in reading.rows if r.group} == expected.get("groups", {})
    if "spreads" in expected:
        spreads = {r.key: {k: v.spread for k, v in r.values.items() if v.spread} for r in reading.rows}
        assert {key: of for key, of in spreads.items() if of} == expected["spreads"]
    unknown = {c.key: [row.unknown.get(c.key) for row in reading.rows] for c in reading.unknown}
    assert unknown == expected.get("unknown", {})
    remarks = sorted(remark.at(file.name) for remark in reading.unread)
    assumed = [remark.at(file.name) for remark in reading.assumed]
    assert all(any(part in remark for remark in assumed) for part in expected.get("assumed", [])), assumed
    missing = [part for part in expected.get("unread", []) if not any(part in remark for remark in remarks)]
    assert (missing, len(remarks)) == ([], len(expected.get("unread", []))), remarks


@pytest.mark.parametrize("name", CASES)
def test_the_file_is_valid_and_holds_the_same_digits(name: str, tmp_path: Path):
    file, expected = case(name)
    out = tmp_path / "t.yaml"
    command = ["new", "table", "--from", str(file), *expected.get("options", []), "--out", str(out)]
    assert main(command) == 0
    table, reading = load(out), read(file, expected.get("options", []))
    for row in reading.rows:
        values = table.published.values.get(row.key, {})
        assert {k: (v.text, v.bound, v.gain_text) for k, v in values.items()} == {
            k: (v.text, v.bound, v.gain) for k, v in row.values.items()
        }
    text = out.read_text(encoding="utf-8")
    for remark in (*reading.unread, *reading.assumed):
        assert remark.at(file.name) in text
    if "source" in expected:
        source = table.published.source
        assert {"table": source.table, **({"arxiv": source.arxiv} if source.arxiv else {})} == expected["source"]


def test_several_tables_are_listed_and_one_must_be_chosen(capsys: pytest.CaptureFixture[str]):
    file = FOLDER / "subtables.tex"
    assert main(["new", "table", "--from", str(file)]) == 2
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()] == [
        "tab:one",
        "tab:two",
        "tab:shared#1",
        "tab:shared#2",
    ]
    assert "choose one, e.g. --label tab:one" in printed.err
    assert main(["new", "table", "--from", str(file), "--label", "tab:shared"]) == 2
    assert "'tab:shared' are several tables: tab:shared#1, tab:shared#2" in capsys.readouterr().err
    assert main(["new", "table", "--from", str(file), "--label", "tab:onne"]) == 2
    assert "Did you mean 'tab:one'?" in capsys.readouterr().err


def test_a_table_of_datasets_as_rows_says_how_to_turn_it(capsys: pytest.CaptureFixture[str]):
    assert main(["new", "table", "--from", str(FOLDER / "transposed.tex")]) == 2
    assert "say --transpose" in capsys.readouterr().err


def test_a_heading_without_a_metric_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "t.csv"
    file.write_text("Training,30K,90K\nscratch,26.13,31.38\n")
    assert main(["new", "table", "--from", str(file), "--out", str(tmp_path / "t.yaml")]) == 2
    assert "--metric COLUMN=METRIC" in capsys.readouterr().err
    assert main(["new", "table", "--from", str(file), "--metric", "mIuo", "--out", str(tmp_path / "t.yaml")]) == 2
    assert "Did you mean 'miou'?" in capsys.readouterr().err
    assert main(["new", "table", "--from", str(file), "--metric", "mIoU", "--out", str(tmp_path / "t.yaml")]) == 0
    values = load(tmp_path / "t.yaml").published.values
    assert {k: v.text for k, v in values["scratch"].items()} == {"n_30k": "26.13", "n_90k": "31.38"}


def test_texts_are_quoted_where_yaml_would_take_them_for_something_else():
    for text in (
        "no",
        "Null",
        "1.50",
        "a: b",
        "# c",
        "{d}",
        '"',
        "\u2028",
        "- e",
        "*f",
        "&g",
        " h",
        "\u202e\x07",
        "@",
        "%",
        "y",
    ):
        assert yaml.safe_load(f"{{key: {write.text(text)}}}")["key"] == Cell((Run(text),)).text


@pytest.mark.parametrize(
    ("text", "count", "expected"),
    [
        ("1,3", 4, [0, 2]),
        ("2-3", 4, [1, 2]),
        ("odd", 5, [0, 2, 4]),
        ("even", 5, [1, 3]),
        ("Z", 4, [3]),
        ("2-Y", 5, [1, 2, 3]),
        ("-", 3, [0, 1, 2]),
        ("1-999999", 3, [0, 1, 2]),
        ("1-99999999999999999999", 3, None),
        ("odd[2-4]", 5, None),
        ("x", 5, None),
        ("0", 5, []),
    ],
)
def test_places_in_options_of_tabularray(text: str, count: int, expected: list[int] | None):
    assert tblr.indices(text, count) == expected


def test_tables_of_tabularray_are_listed_by_the_labels_in_their_options(capsys: pytest.CaptureFixture[str]):
    assert main(["new", "table", "--from", str(FOLDER / "longtblr.tex")]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["tab:long", "tab:tall"]
    assert "Over several pages, with braces, and ADE20K" in lines[0]
