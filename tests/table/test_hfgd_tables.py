"""HFGD's tables: a method behind every own row, the schedules that the paper states, Table 9 as it trains."""

from __future__ import annotations

import json

import pytest
import torch

from harness import ROOT
from harness.environment import Device
from harness.jobs.kinds import Model
from harness.plan.planner import Planner
from harness.store.store import Store
from harness.table.load import load
from harness.table.recipes import profile, recipe
from methods import pretrained
from methods.build import build_model
from reports.formats import markdown
from reports.table_report import build

TABLES = {n: load(ROOT / "tables" / f"hfgd_table{n}.yaml") for n in range(1, 18)}
OWN = [(n, key) for n, table in TABLES.items() for key, row in table.rows.items() if row.quoted is None]


def described(n, key):
    table, row = TABLES[n], TABLES[n].rows[key]
    defaults = table.defaults.model_dump(include={"backbone", "output_stride"}, exclude_none=True)
    given = {**defaults, **row.model.explicit_fields(), "pretrained": False}
    return Model(name=row.method.name, options=row.method.options, num_classes=59, **given)


def test_every_own_row_has_its_method():
    assert len([1 for n, key in OWN if not TABLES[n].rows[key].extra]) == 69
    assert all(TABLES[n].rows[key].awaits is None and TABLES[n].rows[key].method is not None for n, key in OWN)


def test_cells_with_nothing_to_run_say_why():
    awaiting = {(n, key) for n, key in OWN for cell in TABLES[n].rows[key].cells.values() if cell.awaits}
    assert awaiting == {(10, "hfgd_os4_stronger"), (14, "hfgd_os2")}


def distinct():
    """One row per distinct model, the first that has it."""
    seen = {}
    for n, key in OWN:
        seen.setdefault(json.dumps(described(n, key).model_dump(), sort_keys=True), (n, key))
    return list(seen.values())


@pytest.mark.slow
@pytest.mark.parametrize(("n", "key"), distinct(), ids=lambda v: str(v))
def test_every_rows_model_can_be_built(n, key):
    """On the backbone of the paper, without data: logits at the stride that the row names."""
    with torch.device("meta"):
        model = build_model(described(n, key)).eval()
        logits = model(torch.empty(1, 3, 129, 129))
    system = TABLES[n].rows[key].system
    stride = 2 if "usfpn2" in system else 32 if "_os32_" in system else 8 if "_d8_" in system else 4
    assert logits.shape == (1, 59, *[-(-129 // stride)] * 2)


def test_one_system_is_one_model():
    """Tables quote each other's rows: what has one name is built once, whatever its table."""
    models = {}
    for n, key in OWN:
        system = TABLES[n].rows[key].system.removesuffix("_star")
        models.setdefault(system, set()).add(json.dumps(described(n, key).model_dump(), sort_keys=True))
    assert [system for system, known in models.items() if len(known) > 1] == []


def iterations(n, key, column):
    return recipe(TABLES[n].cell(key, column).recipe, near=ROOT / "tables").iterations


@pytest.mark.parametrize(
    ("n", "key", "column", "expected"),
    [
        (1, "r50_sfpn_fcn", "miou", 30_000),
        (2, "scratch", "iters_90k", 90_000),
        (2, "scratch", "iters_180k", 180_000),
        (6, "r50_usfpn4_cae_hfgm", "miou", 30_000),
        (6, "swinl_sfpn_cae_hfgm", "miou", 40_000),
        (6, "swinl_usfpn4_cae_hfgm", "miou", 40_000),
        (7, "swinl_sfpn_cae", "miou", 40_000),
        (7, "swinl_usfpn4_fcn", "miou", 40_000),
        (10, "hfgd_os4", "mf", 40_000),
        (11, "hfgd_os4", "ss", 40_000),
        (12, "hfgd_os2", "miou", 30_000),
        (13, "hfgd_os4", "ss", 60_000),
        (13, "hfgd_os2", "ss", 80_000),
        (13, "hfgd_os2", "mf", 80_000),
        (14, "hfgd_os2", "miou", 80_000),
        (17, "imagenet", "iters_30k", 30_000),
    ],
)
def test_lengths_of_training_are_the_papers(n, key, column, expected):
    assert iterations(n, key, column) == expected


def test_scratch_is_random_and_everything_else_is_pretrained():
    for n, key in OWN:
        row, column = TABLES[n].rows[key], next(iter(reversed(TABLES[n].columns)))
        pretrained = row.model.explicit_fields().get(
            "pretrained", recipe(TABLES[n].cell(key, column).recipe, ROOT / "tables").pretrained
        )
        assert pretrained is (key != "scratch"), (n, key)


def test_the_fitted_rows_of_table_9_are_called_so():
    assert {key: row.evidence for key, row in TABLES[9].rows.items()} == {
        "sa_car": "confirmed",
        "sfpn": "confirmed",
        "hfgd_os4": "fitted",
        "hfgd_os2": "fitted",
    }
    table = TABLES[9]
    assert table.cell("hfgd_os2", "gflops").provenance["evidence"] == "fitted"
    assert table.cell("hfgd_os2", "miou").provenance["evidence"] == ""  # what is trained is not fitted to anything


def test_what_a_row_starts_from_is_in_its_report(tmp_path, monkeypatch):
    """And absent weights are said before anything is trained, with the file that would fit."""
    monkeypatch.delenv(pretrained.VARIABLE, raising=False)
    planner = Planner(profile("paper"), (0,), tmp_path / "data", tmp_path / "cache", Device("cpu", "a processor", 1))
    plan = planner.plan([TABLES[2]])
    reasons = {cell.row: "" for cell in plan.cells}
    for cell in plan.cells:
        for job in cell.jobs:
            reasons[cell.row] += " ".join(plan.blocked.get(key, "") for key in (job.key, *job.needs))
    assert "no pretrained weights of 'hfgd_resnet50'" in reasons["imagenet"]
    assert "$HARNESS_WEIGHTS/hfgd_resnet50.safetensors" in reasons["imagenet"]
    assert "pretrained weights" not in reasons["scratch"]
    lines = markdown.render(build(plan, TABLES[2], Store(tmp_path))).splitlines()
    for key, start in (("imagenet", "pretrained weights"), ("scratch", "random weights")):
        (line,) = [line for line in lines if line.startswith("- **") and f"({key})" in line]
        assert f"backbone hfgd_resnet50 from {start}" in line


@pytest.mark.parametrize(
    ("n", "key", "printed"),
    [(1, "aux_fcn_joint", "44.35"), (1, "aux_fcn_isolated", "40.04"), (3, "r50_sfpn_fcn_hfgm_unstopped", "48.50")],
)
def test_results_of_the_prose_are_rows_that_run(n, key, printed):
    """Sec. 5.1 and 5.2 print three results that no table has."""
    cell = TABLES[n].cell(key, "miou")
    assert (cell.published.text, cell.awaits, cell.cited) == (printed, "", "")
    assert TABLES[n].rows[key].extra
    assert cell.method is not None


def test_fvcores_counts_stand_beside_and_are_never_compared():
    table = TABLES[9]
    assert {table.cell(row, "fvcore").comparable for row in table.rows} == {None}
    assert {table.cell(row, "gflops").convention for row in table.rows} == {"tf-profiler"}


def test_camvids_rows_of_hfgd_have_the_claims_of_its_tables():
    camvid = load(ROOT / "tables" / "camvid.yaml")
    rows = {"sfpn", "sfpn_hfgm", "usfpn_cae", "usfpn_cae_hfgm"}
    assert rows <= set(camvid.rows)
    pairs = {(c.better, c.than) for c in camvid.claims if set(c.rows) <= rows}
    assert pairs == {("sfpn_hfgm", "sfpn"), ("usfpn_cae_hfgm", "usfpn_cae"), ("usfpn_cae_hfgm", "sfpn")}
