"""Table files: the shipped ones against an audited copy of the papers' tables, and everything a bad one is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from harness import ROOT
from harness.errors import Problems, UserError
from harness.table import paths, recipes
from harness.table.load import check, load
from harness.table.metrics import CONVENTIONS
from harness.yamlfile import parse
from tests.support.table_text import problems, table

SHIPPED = sorted((ROOT / "tables").glob("*.yaml"))
AUDITED = {
    t["number"]: t for t in yaml.safe_load((ROOT / "tests/fixtures/published/idrnet.yaml").read_text())["tables"]
}
KEYS = {"gpu_memory": "memory", "miou_ade20k": "miou"}  # the audited copy's column names → the table file's

GOOD = """\
paper: ours
table: 1
title: A table
metric: miou
columns:
  ade: {label: ADE20K, recipe: idrnet/ade20k}
  city: {label: Cityscapes, recipe: idrnet/cityscapes}
rows:
  fcn: {label: FCN, method: fcn}
  psp: {label: PSPNet, method: {name: pspnet, channels: 256}}
published:
  values:
    fcn: {ade: 36.90, city: 75.16}
    psp: {ade: {value: 42.64, gain: 5.7}}
claims:
  - {better: psp, than: fcn, on: [ade]}
defaults: {backbone: resnet50_v1c}
"""


# ------------------------------------------------------------------------------------------------- the shipped tables


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_shipped_table_loads(path: Path):
    loaded = load(path)
    assert loaded.id == path.stem
    if loaded.paper in ("idrnet", "hfgd", "ecenet") and loaded.table is not None:  # figures have no number
        assert path.stem == f"{loaded.paper}_table{loaded.table}"


@pytest.mark.parametrize("number", [2, 5])
def test_published_cells_are_the_audited_ones(number: int):
    """Every printed cell with its value, digits and printed gain, in the paper's order, and not one more."""
    loaded, audited = load(ROOT / f"tables/idrnet_table{number}.yaml"), AUDITED[number]
    rows = [key for key, row in loaded.rows.items() if not row.extra]
    assert [loaded.rows[key].label for key in rows] == [row["method"] for row in audited["rows"]]
    assert loaded.title == audited["title"]
    for key, row in zip(rows, audited["rows"]):
        printed = {KEYS.get(column, column): cell for column, cell in row["cells"].items() if cell["value"] is not None}
        assert set(loaded.published.values[key]) == set(printed)
        for column, cell in printed.items():
            value = loaded.published.values[key][column]
            assert value.value == cell["value"]
            assert cell["raw"].startswith(value.text)
            assert value.decimals == cell["decimals"]
            assert value.gain == cell.get("printed_gain")
    assert set(loaded.published.values) == set(rows)


def test_table_2_names_the_audited_datasets_and_splits():
    loaded = load(ROOT / "tables/idrnet_table2.yaml")
    assert list(loaded.columns) == [column["key"] for column in AUDITED[2]["columns"]]
    assert [c.split for c in loaded.columns.values()] == [c["eval_split"] for c in AUDITED[2]["columns"]]
    assert [recipes.recipe(loaded.column(c).recipe).test.split for c in loaded.columns] == [
        column["eval_split"] for column in AUDITED[2]["columns"]
    ]
    assert len(list(loaded.cells())) == 32


@pytest.mark.parametrize("number", [2, 5])
def test_every_published_cell_has_its_provenance(number: int):
    loaded = load(ROOT / f"tables/idrnet_table{number}.yaml")
    for cell in loaded.cells():
        found, row, column = cell.provenance, cell.row, cell.column
        for name in ("paper", "arxiv", "table", "venue", "row", "column", "printed", "unit", "statistic", "protocol"):
            assert found[name], (row, column, name)
        assert found["decimals"] == 2
        assert found["rounding"] in ("round", "truncate")
        assert bool(found["split"]) == (cell.metric.kind == "evaluate")
        assert (found["convention"] in CONVENTIONS) == (column in ("params", "flops"))
        counted = cell.metric.kind in ("complexity", "latency") and not loaded.rows[row].extra
        assert (found["evidence"] in ("confirmed", "inferred", "fitted")) == counted, (row, column)


def test_evidence_says_which_modules_were_fitted():
    loaded = load(ROOT / "tables/idrnet_table5.yaml")
    by_evidence: dict[str, set[str]] = {}
    for key, row in loaded.rows.items():
        if row.module is not None:
            by_evidence.setdefault(row.module.evidence, set()).add(key)
    assert by_evidence == {
        "confirmed": {"aspp", "ppm", "ccnet", "dnl"},
        "inferred": {"ocr"},
        "fitted": {"upernet", "ann", "idrnet", "ppm_idrnet"},
    }


BASES = {"idrnet/resnet50", "idrnet/swin_large", "hfgd/plain", "hfgd/advanced"}  # what others extend; no recipes alone


@pytest.mark.parametrize("name", [name for name in recipes.recipe_names() if name not in BASES])
def test_every_shipped_recipe_is_valid_under_every_profile(name: str):
    from harness.plan.planner import apply_profile

    stem, _, key = name.partition("/")
    entries = yaml.safe_load((ROOT / "tables/recipes" / f"{stem}.yaml").read_text())
    while "dataset" not in entries[key]:
        key = entries[key]["extends"]
    dataset = entries[key]["dataset"]
    for profile in paths.files("profiles"):
        assert apply_profile(recipes.profile(profile), recipes.recipe(name), name).dataset == dataset


# ------------------------------------------------------------------------------------------------------- what it says


def test_printed_digits_and_gains_are_kept():
    values = table(GOOD).published.values
    assert (values["fcn"]["ade"].text, values["fcn"]["ade"].decimals) == ("36.90", 2)
    assert (values["psp"]["ade"].value, values["psp"]["ade"].gain, values["psp"]["ade"].text) == (42.64, 5.7, "42.64")


def test_options_of_a_cell_lie_on_those_of_its_row():
    text = GOOD.replace("channels: 256}}", "channels: 256, bins: [1]}, cells: {city: {options: {channels: 64}}}}")
    loaded = table(text)
    assert loaded.cell("psp", "ade").options == {"channels": 256, "bins": [1]}
    assert loaded.cell("psp", "city").options == {"channels": 64, "bins": [1]}


def test_a_column_falls_back_to_the_tables_defaults():
    text = GOOD.replace("metric: miou\n", "").replace(", recipe: idrnet/ade20k", "")
    text = text.replace("{backbone: ", "{recipe: idrnet/lip, metric: macc, backbone: ")
    loaded = table(text)
    assert (loaded.column("ade").recipe, loaded.column("ade").metric.name) == ("idrnet/lip", "macc")


# ------------------------------------------------------------------------------------------------------- what is wrong

BAD = {
    "unknown key": ("title: A table", "titel: A table", (3, "titel"), "unknown key 'titel'. Did you mean 'title'?"),
    "unknown key in a row": ("label: FCN, ", "lable: FCN, ", (9, "rows.fcn.lable"), "Did you mean 'label'?"),
    "unknown key in a value": ("gain: 5.7", "gian: 5.7", (14, "published.values.psp.ade.gian"), "Did you mean 'gain'?"),
    "missing key": ("paper: ours\n", "", (1, "paper"), "'paper' is missing"),
    "unknown method": (
        "method: fcn",
        "method: fnc",
        (9, "rows.fcn.method"),
        "unknown method 'fnc'. Did you mean 'fcn'?",
    ),
    "unknown option": ("channels: 256", "chanels: 256", (10, "rows.psp.method.chanels"), "Did you mean 'channels'?"),
    "unknown metric": (
        "metric: miou",
        "metric: mIou",
        (4, "metric"),
        "unknown metric 'mIou'. Did you mean 'miou'?",
    ),
    "unknown recipe": (
        "recipe: idrnet/ade20k",
        "recipe: idrnet/ade",
        (6, "columns.ade.recipe"),
        "Did you mean 'idrnet/ade20k'?",
    ),
    "no recipe": (", recipe: idrnet/ade20k", "", (6, "columns.ade"), "a column of mean IoU needs a 'recipe'"),
    "duplicate row": ("  psp: {label", "  fcn: {label", (10, "rows.fcn"), "'fcn' is written twice, first in line 9"),
    "published without a row": ("    psp: {ade", "    pps: {ade", (14, "published.values.pps"), "Did you mean 'psp'?"),
    "published without a column": (
        "city: 75.16",
        "citi: 75.16",
        (13, "published.values.fcn.citi"),
        "Did you mean 'city'?",
    ),
    "published text": (
        "36.90",
        "'-'",
        (13, "published.values.fcn.ade"),
        "leave the cell out where the paper prints none",
    ),
    "published boolean": ("36.90", "true", (13, "published.values.fcn.ade"), "True is not a number"),
    "claim of no row": (
        "better: psp",
        "better: pps",
        (16, "claims[0].better"),
        "unknown row 'pps'. Did you mean 'psp'?",
    ),
    "claim on no column": (
        "on: [ade]",
        "on: [adde]",
        (16, "claims[0].on"),
        "unknown column 'adde'. Did you mean 'ade'?",
    ),
    "claim on nothing sensible": ("on: [ade]", "on: 3", (16, "claims[0].on"), "Input should be 'all'"),
    "two ways to say a row": ("method: fcn", "method: fcn, cited: there", (9, "rows.fcn"), "found method and cited"),
    "no way to say a row": (", method: fcn", "", (9, "rows.fcn"), "found none of them"),
    "a table that is no number": ("table: 1", "table: [1]", (2, "table"), "Input should be a valid integer"),
    "rows that are a list": (
        "rows:\n  fcn: {label: FCN, method: fcn}\n  psp: {label",
        "rows:\n  - {label: FCN}\n  - {label",
        (8, "rows"),
        "valid dictionary",
    ),
    "no cells": ("method: fcn", "method: fcn, cells: {adee: {}}", (9, "rows.fcn.cells.adee"), "Did you mean 'ade'?"),
    "a bad option in a cell": (
        "method: fcn",
        "method: fcn, cells: {ade: {options: {x: 1}}}",
        (9, "rows.fcn.cells.ade.options.x"),
        "has no option 'x'",
    ),
    "a bad model": (
        "method: fcn",
        "method: fcn, model: {backbone: [1]}",
        (9, "rows.fcn.model.backbone"),
        "valid string",
    ),
    "an unknown key of a model": (
        "method: fcn",
        "method: fcn, model: {depth: 1}",
        (9, "rows.fcn.model.depth"),
        "unknown key 'depth'",
    ),
    "a short shape": (
        "recipe: idrnet/ade20k",
        "recipe: idrnet/ade20k, input: [[1, 3]]",
        (6, "columns.ade.input[0]"),
        "at least 4 items",
    ),
    "no shape": (
        "recipe: idrnet/ade20k",
        "recipe: idrnet/ade20k, input: []",
        (6, "columns.ade.input"),
        "at least 1 item",
    ),
    "a negative shape": (
        "recipe: idrnet/ade20k",
        "recipe: idrnet/ade20k, input: [[1, 3, -1, 8]]",
        (6, "columns.ade.input[0][2]"),
        "greater than 0",
    ),
    "compared with nothing": (
        "method: fcn",
        "method: fcn, compared_with: psq",
        (9, "rows.fcn.compared_with"),
        "Did you mean 'psp'?",
    ),
    "relative to nothing": (
        "recipe: idrnet/ade20k",
        "recipe: idrnet/ade20k, relative_to: fcm",
        (6, "columns.ade.relative_to"),
        "Did you mean 'fcn'?",
    ),
    "FLOPs of no convention": (
        "metric: miou",
        "metric: flops",
        (6, "columns.ade.convention"),
        "FLOPs need a 'convention'",
    ),
    "an external method that is not there": (
        "method: fcn",
        "method: 'no/such.py:x'",
        (9, "rows.fcn.method"),
        "there is no file",
    ),
    "somebody's home that is not there": (
        "method: fcn",
        "method: '~nobody-here/such.py:x'",
        (9, "rows.fcn.method"),
        "there is no file",
    ),
    "a derived key": ("table: 1", "table: 1\nid: x", (3, "id"), "leave it out"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_a_bad_table_is_told_where_and_what_is_allowed(case: tuple[str, str, tuple[int, str], str]):
    good, bad, where, message = case
    assert GOOD.count(good) == 1
    found = problems(GOOD.replace(good, bad))
    assert any((line, key) == where and message in text for line, key, text in found), found


def test_everything_wrong_is_said_at_once():
    text = GOOD
    for good, bad, *_ in (
        BAD[k] for k in ("unknown key in a row", "unknown option", "published without a row", "claim of no row")
    ):
        text = text.replace(good, bad)
    found = problems(text.replace("title: A table", "title: 7"))
    keys = [key for _, key, _ in found]
    assert keys == ["title", "rows.fcn.lable", "rows.psp.method.chanels", "published.values.pps", "claims[0].better"]


def test_the_message_counts_and_names_the_file(write):
    path = write("mine.yaml", GOOD.replace("method: fcn", "method: fnc").replace("city: 75.16", "citi: 75.16"))
    with pytest.raises(Problems) as caught:
        load(path)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"{path}:9: rows.fcn.method: unknown method 'fnc'")
    assert lines[-1] == f"2 errors in {path}"


@pytest.mark.parametrize("text", ["", "- 1\n", "just words\n", "3\n"])
def test_a_file_that_is_no_mapping(text: str):
    assert "a table file is a mapping" in problems(text)[0][2]


# ------------------------------------------------------------------------------------------------ recipes and profiles

RECIPE = """\
base:
  batch_size: 2
  iterations: 3
  augmentation: {resize: [64, 64], crop: [32, 32]}
mine:
  extends: base
  dataset: camvid
"""


def test_a_recipe_beside_the_table_is_found_and_extends_its_base(write):
    write("recipes/own.yaml", RECIPE)
    path = write("t.yaml", GOOD.replace("idrnet/ade20k", "own/mine"))
    assert load(path).column("ade").recipe == "own/mine"
    found = recipes.recipe("own/mine", near=path.parent)
    assert (found.dataset, found.batch_size, found.augmentation.crop) == ("camvid", 2, (32, 32))


@pytest.mark.parametrize(
    ("good", "bad", "line", "message"),
    [
        ("dataset: camvid", "dataset: camvdi", 7, "unknown dataset 'camvdi'. Did you mean 'camvid'?"),
        ("dataset: camvid", "dataset: camvid\n  train_split: trian", 8, "has no split 'trian'. Did you mean 'train'?"),
        ("dataset: camvid", "dataset: camvid\n  test: {split: tets}", 8, "has no split 'tets'. Did you mean 'test'?"),
        ("dataset: camvid", "dataset: camvid\n  btach_size: 2", 8, "Did you mean 'batch_size'?"),
        ("extends: base", "extends: bass", 5, "extends 'bass', which is no recipe here"),
        ("extends: base", "extends: mine", 5, "extends 'mine', which extends it again"),
        ("extends: base", "extends: [base]", 5, "which is no recipe here"),
        ("iterations: 3", "iterations: 0", 3, "greater than 0"),
        ("iterations: 3", "iterations: 3\n  epochs: 2", 6, "say either 'epochs' or 'iterations'"),
    ],
)
def test_a_bad_recipe_is_told_with_its_own_line_and_beside_the_tables_errors(write, good, bad, line, message):
    path = write("recipes/own.yaml", RECIPE.replace(good, bad))
    assert RECIPE.count(good) == 1
    text = GOOD.replace("idrnet/ade20k", "own/mine").replace("method: fcn", "method: fnc")
    with pytest.raises(Problems) as caught:
        load(write("t.yaml", text))
    assert f"{path}:{line}: " in str(caught.value)
    assert message in str(caught.value)
    assert "unknown method 'fnc'" in str(caught.value)


@pytest.mark.parametrize("text", ["- 1\n", "3\n", "words\n", "mine: 3\n", "mine: [1]\n"])
def test_a_recipe_file_of_the_wrong_form(write, text: str):
    write("recipes/own.yaml", text)
    with pytest.raises(UserError, match=r"own"):
        load(write("t.yaml", GOOD.replace("idrnet/ade20k", "own/mine")))


def test_an_unknown_profile_is_told_the_nearest(write):
    with pytest.raises(UserError, match=r"unknown profile 'smok'\. Did you mean 'smoke'\?"):
        recipes.profile("smok")


@pytest.mark.parametrize(
    ("column", "message"),
    [("recipe: idrnet/ade", "unknown recipe 'idrnet/ade'"), ("recipe: idrnet/lip, tested_on: chip", "'chip'")],
)
def test_an_unknown_metric_hides_nothing_else(column: str, message: str):
    text = f"paper: x\ntitle: t\nmetric: miuo\ncolumns: {{a: {{{column}}}}}\nrows: {{f: {{method: fnc}}}}\n"
    with pytest.raises(Problems) as caught:
        check(parse(text, "x.yaml"))
    said = str(caught.value)
    assert all(part in said for part in ("'miuo'", message, "'fnc'")), said
