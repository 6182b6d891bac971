"""IDRNet's eight tables: every printed value, what a row runs, and which trainings tables share."""

from __future__ import annotations

import functools
import html
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import ROOT
from harness.cli import main
from harness.environment import Device
from harness.plan.planner import Plan, PlannedCell, Planner
from harness.store.store import Store
from harness.table import recipes
from harness.table.load import load
from harness.table.schema import Table
from reports import table_report
from reports.formats import markdown

AUDITED = ROOT / "tests" / "fixtures" / "published" / "idrnet.yaml"
NUMBERS = range(1, 9)
# the audited file's column keys, where the table files have others
COLUMNS = {
    "dark_zurich_val": "dark_zurich",
    "nighttime_driving_test": "nighttime_driving",
    "cihp_val": "cihp",
    "parameters": "params",
    "flops": "flops",
    "time": "time",
    "gpu_memory": "memory",
    "miou_ade20k": "miou",
}


@functools.cache
def audited() -> dict[int, dict[str, Any]]:
    return {t["number"]: t for t in yaml.safe_load(AUDITED.read_text(encoding="utf-8"))["tables"]}


@functools.cache
def table(number: int) -> Table:
    return load(ROOT / "tables" / f"idrnet_table{number}.yaml")


@pytest.fixture(scope="module")
def planner(tmp_path_factory: pytest.TempPathFactory) -> Planner:
    folder = tmp_path_factory.mktemp("plan")
    return Planner(recipes.profile("smoke"), cache=folder, device=Device("cpu", "test", 1))


@pytest.fixture(scope="module")
def plan(planner: Planner) -> Plan:
    return planner.plan([table(n) for n in NUMBERS])


def cell(plan: Plan, number: int, row: str, column: str) -> PlannedCell:
    (found,) = [c for c in plan.cells if c.name == f"idrnet_table{number}/{row}/{column}"]
    return found


# ----------------------------------------------------------------------------------------------------- published values


def printed(number: int) -> list[dict[str, tuple[str, float | None]]]:
    """Rows of the audited table in order: {column: (digits, printed gain)} of the cells that hold a number."""
    rows = []
    for row in audited()[number]["rows"]:
        cells = {k: v for k, v in row["cells"].items() if v is not None and v["value"] is not None}
        rows.append(
            {COLUMNS.get(k, k): (f"{v['value']:.{v['decimals']}f}", v.get("printed_gain")) for k, v in cells.items()}
        )
    return rows


@pytest.mark.parametrize("number", NUMBERS)
def test_every_cell_is_the_published_one(number: int):
    """Same rows in the same order, same columns, same digits, same printed gains; nothing more and nothing less."""
    made = table(number)
    own = [key for key, row in made.rows.items() if not row.extra]
    values = [{c: (v.text, v.gain) for c, v in made.published.values.get(row, {}).items()} for row in own]
    if number == 4:
        assert values == [{}, {}]  # the body is missing; only a difference is known
    else:
        assert values == printed(number)


@pytest.mark.parametrize("number", NUMBERS)
def test_gains_are_differences_of_printed_rows(number: int):
    made = table(number)
    keys = list(made.rows)
    for row, values in made.published.values.items():
        for column, value in values.items():
            if value.gain is not None:
                base = made.published.values[keys[keys.index(row) - 1]][column]
                assert round(value.value - base.value, 2) == value.gain, (row, column)


@pytest.mark.parametrize("number", NUMBERS)
def test_provenance_is_stated(number: int):
    made = table(number)
    assert (made.paper, made.table) == ("idrnet", number)
    assert (made.published.source.arxiv, made.published.source.table) == ("2310.10755", number)
    assert made.published.protocol
    for column, spec in made.columns.items():
        if made.column(column).metric.kind == "evaluate" and number != 8:
            assert spec.split, column


def test_what_is_known_of_table_4_is_a_claim_and_no_value():
    (constraint,) = audited()[4]["constraints"]
    (claim,) = table(4).claims
    assert (claim.better, claim.than, claim.by) == ("deletion", "backprop", 3.26)
    assert constraint["expr"].endswith("== 3.26")
    assert not table(4).published.values


def test_claims_hold_in_the_published_numbers():
    """A claim that the paper's own numbers contradict would be a mistake of ours."""
    for number in NUMBERS:
        made = table(number)
        for claim in made.claims:
            columns = made.columns if claim.on == "all" else claim.on
            for step in claim.steps if number != 4 else ():
                better, than = (made.published.values.get(row, {}) for row in step)
                for column in columns:
                    assert better[column].value > than[column].value, (number, claim, column)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1, "440"),
        (1, "All sixteen numbers equal the authors' model zoo"),
        (2, "38.61"),
        (2, "each of 8 processes moves its own state"),
        (2, "receiving class where they are used"),
        (2, "topped by ASPP on ADE20K and Cityscapes"),
        (2, "turned into probabilities before they are resized"),
        (3, "38.86"),
        (3, "59 or 60 classes"),
        (3, "but its third row was released"),
        (4, "40.35"),
        (4, "was not released"),
        (5, "42.47"),
        (5, "pairs the mIoU of one module with the complexity of another"),
        (5, "Fitted rows were reconstructed to meet these numbers; that they do is no evidence"),
        (5, "loops over classes"),
        (6, "No configuration was released"),
        (6, "cites UPerNet as [2]"),
        (7, "Mask2Former+IDRNet at 61.86"),
        (7, "8.31"),
        (7, "54.50"),
        (7, "60 classes"),
        (7, "The test protocol is not stated"),
        (7, "between different crops and lengths"),
        (7, "every scale is resized from the image itself"),
        (8, "issue 65"),
    ],
)
def test_known_inconsistencies_are_notes_of_the_report(number: int, words: str, plan: Plan, tmp_path: Path):
    """As a reader meets them: in the table's report, before anything is measured."""
    report = markdown.render(table_report.build(plan, table(number), Store(tmp_path)))
    notes = report.partition("## Notes")[2].partition("## Details")[0]
    assert words in html.unescape(notes.replace("\\", ""))


# ------------------------------------------------------------------------------------------------------ what a row runs


def test_rows_of_table_3_are_its_switches():
    """The audited ticks, row by row, against what the method is told."""
    for row, flags in zip(table(3).rows.values(), (r["flags"] for r in audited()[3]["rows"])):
        if not any(flags.values()):
            assert row.method.name == "fcn"
            continue
        options = row.method.options
        enhancement = {(False, True): "memory", (True, False): "orthogonal", (False, False): "none"}
        relations = {(True, True): "both", (True, False): "mean", (False, True): "variance"}
        expected = {
            "enhancement": enhancement[flags["ie_orthogonal"], flags["ie_dl"]],
            "relations": relations[flags["m_r_mean"], flags["m_r_var"]],
            "sampling": {(True, False): "balanced", (False, True): "random"}[flags["bd"], flags["rd"]],
        }
        defaults = {"enhancement": "memory", "relations": "both", "sampling": "balanced"}
        assert {k: options.get(k, defaults[k]) for k in expected} == expected


def test_rows_that_quote_are_cited_and_rows_without_a_method_say_so(plan: Plan):
    state = {(c.table.table, c.row, c.column): c.state for c in plan.cells}
    assert state[7, "upernet_mcibi_resnet101", "lip"] == "cited"
    assert state[7, "emanet_resnet101", "coco_stuff"] == "run"
    assert state[7, "ocrnet_resnet101", "lip"] == "run"
    assert state[7, "pspnet_resnet101", "lip"] == "awaits"
    assert {s for (n, _, _), s in state.items() if n == 8} == {"awaits"}
    assert {s for (_, row, _), s in state.items() if row == "mask2former_idrnet_swin"} == {"run"}
    assert all(c.reason for c in plan.cells if c.state in ("cited", "awaits"))


def test_every_number_of_table_7_is_run_cited_or_awaited_and_nothing_else_is_run(plan: Plan):
    for c in plan.of(table(7)):
        if c.state == "run":
            assert table(7).cell(c.row, c.column).published is not None, c.name


def test_the_swin_rows_are_tested_in_windows_at_several_scales(tmp_path: Path):
    paper = Planner(recipes.profile("paper"), cache=tmp_path, device=Device("cpu", "test", 1)).plan([table(7)])
    (job,) = cell(paper, 7, "upernet_idrnet_swin", "ade20k").jobs
    protocol = job.config["protocol"]
    assert (protocol["mode"], protocol["window"], protocol["stride"]) == ("slide", [640, 640], [426, 426])
    assert (protocol["flip"], len(protocol["scales"]), protocol["softmax_before_merge"]) == (True, 6, True)
    assert job.config["model"]["backbone"] == "swin_large"
    assert job.config["model"]["output_stride"] is None
    (lip,) = cell(paper, 7, "upernet_idrnet_swin", "lip").jobs
    assert (lip.config["protocol"]["window"], lip.config["protocol"]["scales"]) == ([473, 473], [0.75, 1.0, 1.25])
    training = paper.jobs[lip.needs[0]].config["recipe"]
    assert (training["batch_size"], training["epochs"], training["optimizer"]["name"]) == (16, 110, "adamw")


def test_one_cell_of_table_2_makes_probabilities_before_it_resizes(tmp_path: Path):
    """DeeplabV3+IDRNet on COCO-Stuff; what it is trained by is the column's recipe all the same."""
    paper = Planner(recipes.profile("paper"), cache=tmp_path, device=Device("cpu", "test", 1)).plan([table(2)])
    switched = {c.row + "/" + c.column for c in paper.cells if c.jobs[0].config["protocol"]["softmax_before_resize"]}
    assert switched == {"deeplabv3_idrnet/coco_stuff"}
    trained_by = [paper.jobs[c.jobs[0].needs[0]].config["recipe"] for c in paper.cells if c.column == "coco_stuff"]
    assert all(recipe == trained_by[0] for recipe in trained_by)


def test_the_longer_training_of_ocrnet(tmp_path: Path):
    paper = Planner(recipes.profile("paper"), cache=tmp_path, device=Device("cpu", "test", 1)).plan([table(1)])
    epochs = {}
    for row in ("ocr", "idrnet"):
        (job,) = cell(paper, 1, row, "cityscapes").jobs
        epochs[row] = paper.jobs[job.needs[0]].config["recipe"]["epochs"]
    assert epochs == {"ocr": 440, "idrnet": 220}


def test_table_6_tests_elsewhere_and_trains_nothing_of_its_own(plan: Plan):
    trained = {j.needs[0] for c in plan.of(table(2)) for j in c.jobs}
    for c in plan.of(table(6)):
        (job,) = c.jobs
        assert job.config["data"]["name"] == c.column
        assert plan.jobs[job.needs[0]].config["data"]["name"] == ("lip" if c.column == "cihp" else "cityscapes")
        assert job.needs[0] in trained, f"{c.name}: its training is not one of Table 2"


# ------------------------------------------------------------------------------------------------------------- sharing


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1/aspp/ade20k", "2/deeplabv3/ade20k"),
        ("1/ppm/cityscapes", "2/pspnet/cityscapes"),
        ("1/upernet/ade20k", "2/upernet/ade20k"),
        ("1/idrnet/ade20k", "2/fcn_idrnet/ade20k"),
        ("1/idrnet/cityscapes", "2/fcn_idrnet/cityscapes"),
        ("1/idrnet_plus/ade20k", "2/upernet_idrnet/ade20k"),
        ("1/idrnet_plus/cityscapes", "2/upernet_idrnet/cityscapes"),
        ("2/fcn/coco_stuff", "3/fcn/coco_stuff"),
        ("2/fcn_idrnet/ade20k", "3/full/ade20k"),
        ("2/fcn_idrnet/coco_stuff", "3/full/coco_stuff"),
        ("3/full/ade20k", "4/deletion/ade20k"),
        ("1/ocr/ade20k", "5/ocr/miou"),
        ("2/deeplabv3/ade20k", "5/aspp/miou"),
        ("2/fcn_idrnet/ade20k", "5/idrnet/miou"),
        ("2/pspnet_idrnet/ade20k", "5/ppm_idrnet/miou"),
        ("1/ann/ade20k", "5/ann/miou"),
    ],
)
def test_cells_with_one_published_number_are_one_job(plan: Plan, first: str, second: str):
    one, two = (cell(plan, int(n), row, column) for n, row, column in (name.split("/") for name in (first, second)))
    assert [j.key for j in one.jobs] == [j.key for j in two.jobs]
    values = [c.cell.published for c in (one, two)]
    assert values[1] is None or values[0].text == values[1].text


def test_the_same_seeds_for_every_method_on_a_dataset(plan: Plan):
    seeds: dict[str, set[int]] = {}
    for job in plan.jobs.values():
        if job.kind == "train":
            seeds.setdefault(job.config["data"]["name"], set()).add(job.config["seed"])
    assert all(len(found) == 1 for found in seeds.values())


def test_sharing_leaves_far_fewer_trainings_than_cells_and_planning_is_fast(planner: Planner):
    tables = [table(n) for n in range(1, 8)]
    started = time.process_time()
    plan = planner.plan(tables)
    seconds = time.process_time() - started
    own = [c for c in plan.cells if c.table.rows[c.row].quoted is None]
    cells = [c for c in own if c.jobs and c.jobs[0].kind in ("train", "evaluate")]
    trainings = {k for c in cells for j in c.jobs for k in j.needs}
    assert len(cells) >= 110
    assert len(trainings) <= 0.65 * len(cells)
    assert seconds < 1.0


def test_the_plan_prints_what_sharing_saves_of_each_kind(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Six tables in one command: every score takes a training and a test, and most of the trainings are shared."""
    files = [str(ROOT / "tables" / f"idrnet_table{n}.yaml") for n in range(1, 7)]
    assert main.main(["plan", *files, "--profile", "smoke", "--results", str(tmp_path), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    match = re.search(
        r"(\d+) cells, \d+ numbers → (\d+) distinct jobs instead of (\d+) \((\d+) of (\d+) trainings, "
        r"(\d+) of (\d+) tests, (\d+) of (\d+) counts, (\d+) of (\d+) timings\)",
        said,
    )
    cells, jobs, apart, trainings, scores, tests, tested, counts, counted, timings, timed = map(int, match.groups())
    assert cells == scores + counted + timed
    assert tested == scores
    assert (jobs, apart) == (trainings + tests + counts + timings, 2 * scores + counted + timed)
    assert trainings < 0.7 * scores
    assert (counts, timings) == (counted / 2, timed / 2)  # parameters with FLOPs, time with memory
    assert tests < scores


# ------------------------------------------------------------------------------------------------- released checkpoints


@pytest.mark.slow
def test_released_checkpoints_are_of_the_models_that_the_tables_train(tmp_path: Path):
    """The same model, data, protocol and published value, cell by cell; only nothing is trained."""
    own, *others = load(ROOT / "tables" / "idrnet_released.yaml"), table(1), table(2), table(5), table(7)
    paper = Planner(recipes.profile("paper"), cache=tmp_path, device=Device("cpu", "test", 1)).plan([own, *others])
    renamed = {"upernet_idrnet_swin": "7", "ccnet": "5", "dnl": "5"}
    of_paper = {(renamed.get(c.row, "12"), c.row, c.column): c for t in others for c in paper.of(t)}
    compared: dict[str, int] = {}
    for given in paper.of(own):
        value = own.cell(given.row, given.column).published
        if given.state == "awaits":
            assert value is None
            continue
        where = renamed.get(given.row, "12")
        column = given.column.replace("cocostuff10k", "coco_stuff").replace("pascalcontext59", "pascal_context")
        if where == "5" and given.column == "cityscapes":
            assert value is None  # released, but not printed
            continue
        theirs = of_paper[where, given.row, "miou" if where == "5" else column]
        (job,), (other,) = given.jobs, theirs.jobs
        assert job.needs == ()
        for part in ("data", "protocol"):
            assert job.config[part] == other.config[part], given.name
        assert job.config["model"] == other.config["model"] | {"pretrained": False}, given.name
        assert value.text == theirs.cell.published.text
        net = "swinlarge" if where == "7" else "resnet50os8"
        assert job.config["checkpoint"].endswith(f"{net}_{given.column}.pth")
        compared[where] = compared.get(where, 0) + 1
    assert compared == {"12": 7 * 2 + 4 * 4, "5": 2, "7": 4}
