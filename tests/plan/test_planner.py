"""From tables to jobs: what is shared, what is not, what comes first, and what cannot run here."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import ROOT
from harness.environment import Device
from harness.errors import Exit, UserError
from harness.jobs.job import Measurement
from harness.jobs.key import Code
from harness.plan.planner import Plan, Planner, Selection, repetition_seed
from harness.scheduler.run import Outcome, queue
from harness.scheduler.transport import SKIPPED
from harness.store.store import Failure, Store
from harness.table import recipes
from harness.table.load import check, load
from harness.table.schema import Table
from harness.yamlfile import parse

CODE = Code()  # read once for all tests
CPU = Device("cpu", "a processor", 2)
TABLES = {path.stem: load(path) for path in sorted((ROOT / "tables").glob("*.yaml"))}
TABLE2, TABLE5, CAMVID = TABLES["idrnet_table2"], TABLES["idrnet_table5"], TABLES["camvid"]


def planned(*tables: Table, profile: str = "smoke", rows=(), columns=(), **options) -> Plan:
    planner = Planner(recipes.profile(profile), device=CPU, cache=Path("/dev/null/cache"), code=CODE, **options)
    return planner.plan(tables, Selection(tuple(rows), tuple(columns)))


def table(rows: str, columns: str = "a: {recipe: idrnet/ade20k}", more: str = "", file: str = "t.yaml") -> Table:
    def indent(text: str) -> str:
        return "".join(f"  {line}\n" for line in text.splitlines())

    if "defaults:" not in more:
        more += "\ndefaults: {backbone: resnet50}"
    return check(
        parse(f"paper: x\ntitle: t\nmetric: miou\n{more}\ncolumns:\n{indent(columns)}rows:\n{indent(rows)}", file)
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def finish(store: Store, *jobs) -> None:
    for job in jobs:
        store.finish(job, [Measurement("miou", 1.0)], {}, 0.0)


# ----------------------------------------------------------------------------------------------------------- sharing


def test_table_2_is_32_trainings_and_32_tests():
    plan = planned(TABLE2)
    kinds = [job.kind for job in plan.jobs.values()]
    assert (len(plan.cells), kinds.count("train"), kinds.count("evaluate"), len(kinds)) == (32, 32, 32, 64)


def test_columns_of_one_recipe_share_their_training_and_test():
    """CamVid's mIoU and mean accuracy are one test, and its throughput is the training before it."""
    plan = planned(CAMVID)
    for row in CAMVID.rows:
        cells = {c.column: c.jobs[0] for c in plan.cells if c.row == row}
        assert cells["miou"] is cells["macc"]
        assert cells["miou"].needs == (cells["speed"].key,)
        assert cells["params"] is cells["flops"]


def test_tables_share_jobs_whatever_they_are_called():
    one = table("fcn: {method: fcn}\npsp: {method: pspnet}")
    two = table("base: {label: FCN, method: {name: fcn}}", "b: {label: B, recipe: idrnet/ade20k}", file="u.yaml")
    plan = planned(one, two)
    assert len(plan.cells) == 3
    assert plan.cells[0].jobs[0] is plan.cells[2].jobs[0]
    assert len(plan.jobs) == 4
    assert set(planned(one).jobs) | set(planned(two).jobs) == set(plan.jobs)


def test_options_that_differ_are_other_jobs_and_spelt_out_defaults_too():
    plan = planned(table("a: {method: pspnet}\nb: {method: {name: pspnet, channels: 256}}\nc: {method: pspnet}"))
    a, b, c = (cell.jobs[0] for cell in plan.cells)
    assert a is c
    assert a.key != b.key
    assert a.identity != b.identity


@pytest.mark.parametrize("field", ["backbone: resnet101", "output_stride: 16", "pretrained: false"])
def test_a_rows_own_model_is_another_job(field: str):
    plan = planned(table(f"a: {{method: fcn}}\nb: {{method: fcn, model: {{{field}}}}}"), profile="paper")
    a, b = (cell.jobs[0] for cell in plan.cells)
    assert a.key != b.key
    name, _, value = field.partition(": ")
    assert str(b.config["model"][name]).lower() == value


def test_planning_twice_gives_the_same_keys():
    first, second = planned(*TABLES.values()), planned(*TABLES.values())
    assert list(first.jobs) == list(second.jobs)
    assert [c.name for c in first.cells] == [c.name for c in second.cells]


@pytest.mark.slow
@settings(max_examples=10)
@given(st.lists(st.sampled_from(sorted(TABLES)), unique=True, min_size=1))
def test_a_plan_of_several_tables_is_the_union_of_theirs(names: list[str]):
    together = planned(*(TABLES[name] for name in names))
    alone = [planned(TABLES[name]) for name in names]
    assert set(together.jobs) == set().union(*(p.jobs for p in alone))
    assert [c.name for c in together.cells] == [c.name for p in alone for c in p.cells]


@pytest.mark.parametrize("name", sorted(TABLES))
def test_needed_jobs_come_first(name: str):
    plan = planned(TABLES[name], repetitions=(0, 1))
    seen: set[str] = set()
    for key, job in plan.jobs.items():
        assert set(job.needs) <= seen
        seen.add(key)


@pytest.mark.slow
def test_a_job_is_json():
    import json

    from harness.jobs.job import Job
    from harness.jobs.kinds import KINDS

    for job in planned(*TABLES.values()).jobs.values():
        assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job
        KINDS[job.kind].config.model_validate(job.config)


# ------------------------------------------------------------------------------------------------- profiles and seeds


def test_profiles_share_no_training_and_no_test():
    plans = {name: planned(TABLE2, CAMVID, profile=name) for name in ("paper", "short", "smoke")}
    trained = {n: {k for k, j in p.jobs.items() if j.kind in ("train", "evaluate")} for n, p in plans.items()}
    for one, other in itertools.combinations(trained.values(), 2):
        assert one
        assert not one & other


def test_jobs_shared_by_profiles_are_the_same_question():
    """Only a count or a timing of exactly the same model and input is one job under two profiles."""
    paper, smoke = planned(TABLE5, CAMVID, profile="paper"), planned(TABLE5, CAMVID, profile="smoke")
    for key in set(paper.jobs) & set(smoke.jobs):
        assert paper.jobs[key].kind in ("complexity", "latency")
        assert paper.jobs[key].config == smoke.jobs[key].config
    own = {c.jobs[0].key for c in planned(TABLE5, profile="smoke").cells}
    assert not own & {c.jobs[0].key for c in planned(TABLE5, profile="paper").cells}


def test_the_smoke_profile_needs_no_data_and_the_short_one_a_tenth():
    smoke, short = planned(TABLE2), planned(TABLE2, profile="short")
    assert not smoke.blocked
    train = next(iter(smoke.jobs.values())).config
    assert train["data"]["synthetic"] is not None
    assert train["recipe"]["pretrained"] is False
    assert {j.config["shorten"] for j in short.jobs.values() if j.kind == "train"} == {0.1}


def test_seeds_are_shared_by_methods_and_differ_between_datasets_and_repetitions():
    plan = planned(TABLE2, repetitions=(0, 1, 2))
    seeds: dict[tuple[str, int], set[int]] = {}
    for cell in plan.cells:
        assert len({job.key for job in cell.jobs}) == 3
        for repetition, job in enumerate(cell.jobs):
            seeds.setdefault((cell.column, repetition), set()).add(job.config["seed"])
            assert plan.jobs[job.needs[0]].config["seed"] == job.config["seed"]
    assert all(len(found) == 1 for found in seeds.values())
    assert len(set.union(*seeds.values())) == len(seeds) == 12


def test_more_repetitions_keep_the_earlier_ones():
    assert set(planned(TABLE2).jobs) < set(planned(TABLE2, repetitions=(0, 1)).jobs)


def test_counts_are_not_repeated():
    assert all(len(c.jobs) == 1 for c in planned(TABLE5, repetitions=(0, 1, 2)).cells if c.column != "miou")


@pytest.mark.slow
@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers(0, 9), min_size=1, max_size=3))
def test_a_seed_is_a_function_of_its_axes(axes: dict):
    seed = repetition_seed(**{f"a{k}": v for k, v in axes.items()})
    assert seed == repetition_seed(**{f"a{k}": v for k, v in reversed(axes.items())})
    assert 0 <= seed < 2**31


# ------------------------------------------------------------------------------------------------------ states of cells


def test_a_column_on_request_runs_only_when_named():
    assert {c.state for c in planned(TABLE5).cells if c.column == "miou"} == {"on request"}
    assert all(c.column != "miou" for c in planned(TABLE5).cells_to_measure())
    assert {c.state for c in planned(TABLE5, columns=["miou"]).cells} == {"run"}
    assert {c.state for c in planned(TABLE5, columns=["m*"]).cells} == {"run"}


def test_what_is_on_request_shares_its_jobs_with_another_table():
    """Table 5's mIoU of PPM+IDRNet is a cell of Table 2."""
    both = planned(TABLE2, TABLE5, columns=["ade20k", "miou"], rows=["ppm_idrnet", "pspnet_idrnet", "ppm", "pspnet"])
    keys = {(c.table.id, c.row): c.jobs[0].key for c in both.cells}
    assert keys["idrnet_table2", "pspnet_idrnet"] == keys["idrnet_table5", "ppm_idrnet"]
    assert keys["idrnet_table2", "pspnet"] == keys["idrnet_table5", "ppm"]


def test_cited_rows_and_rows_without_a_method_have_no_jobs():
    plan = planned(table("a: {cited: 'Long et al. 2015'}\nb: {awaits: a compiled operator}\nc: {method: fcn}"))
    assert [(c.state, c.reason, len(c.jobs)) for c in plan.cells] == [
        ("cited", "Long et al. 2015", 0),
        ("awaits", "a compiled operator", 0),
        ("run", "", 1),
    ]
    assert [c.row for c in plan.cells_to_measure()] == ["c"]


def test_a_module_without_a_method_is_counted_and_not_trained():
    columns = "p: {metric: parameters}\nm: {recipe: idrnet/ade20k}"
    more = "defaults: {num_classes: 150, input: [[1, 64, 8, 8]]}"
    plan = planned(table("a: {module: {name: ppm}}", columns, more))
    assert [c.state for c in plan.cells] == ["run", "awaits"]
    assert plan.cells[0].jobs[0].config["model"]["kind"] == "context"


# -------------------------------------------------------------------------------------------------------- absent data


@pytest.mark.parametrize("data", [None, "folder"])
def test_absent_data_blocks_jobs_and_says_what_to_do(tmp_path: Path, store: Store, data: str | None):
    plan = planned(TABLE2, profile="paper", columns=["ade20k"], data_dir=tmp_path / data if data else None)
    assert set(plan.blocked) == set(plan.jobs)
    for job in plan.jobs_to_run(store):
        reason = plan.reason(job)
        assert "'ade20k'" in reason
        assert "images/training" in reason
        assert "HARNESS_DATA" in reason
        assert "--profile smoke needs none" in reason
        if data:
            assert str(tmp_path / data / "ade20k") in reason.replace("ADEChallengeData2016", "ade20k")
    todo = queue(plan, store)
    assert not todo.run
    assert set(todo.blocked) == set(plan.jobs)


def test_counts_run_without_data(store: Store):
    plan = planned(CAMVID, profile="paper")
    assert {job.kind for job in queue(plan, store).run} == {"complexity"}


def test_absent_weights_keep_their_own_cells_alone_from_running(tmp_path: Path, store: Store):
    rows = f"a: {{method: fcn, model: {{pretrained: '{tmp_path}/absent.pt'}}}}\nb: {{method: fcn}}"
    plan = planned(table(rows, more="defaults: {backbone: resnet18}"))
    without, random = (cell.jobs[0] for cell in plan.cells)
    assert "absent.pt: No such file" in plan.reason(without)
    assert "Put a file of them at $HARNESS_WEIGHTS/resnet18.safetensors" in plan.reason(without)
    assert plan.reason(random) is None
    assert set(queue(plan, store).blocked) == {without.key, *without.needs}
    paper = planned(table(rows, more="defaults: {backbone: resnet18}"), profile="paper")
    for missing in ("HARNESS_DATA", "absent.pt: No such file"):  # where data is absent too, both are said
        assert missing in paper.blocked[paper.cells[0].jobs[0].needs[0]]


def test_weights_are_part_of_the_key(tmp_path: Path):
    weights = tmp_path / "w.pt"
    wanted = table(f"a: {{method: fcn, model: {{pretrained: '{weights}'}}}}", more="defaults: {backbone: resnet18}")
    weights.write_bytes(b"1")
    before = planned(wanted).cells[0].jobs[0]
    weights.write_bytes(b"2")
    after = planned(wanted).cells[0].jobs[0]
    assert before.key != after.key
    assert before.identity == after.identity


def test_a_job_that_a_full_disk_stopped_is_run_again_by_the_same_command(store: Store):
    plan = planned(TABLE2)
    full, broken = [job for job in plan.jobs.values() if job.kind == "train"][:2]
    store.fail(full, Failure("error", "the disk is full", Exit.OUTPUT))
    store.fail(broken, Failure("exception", "a bug", Exit.FAILED))
    todo = queue(plan, store)
    assert full in todo.run
    assert broken not in todo.run
    assert broken.key in todo.failed


# --------------------------------------------------------------------------------------------------------- selections


@pytest.mark.slow
@given(
    st.lists(st.sampled_from(["fcn", "fcn*", "*idrnet", "*", "psp?et"]), max_size=3),
    st.lists(st.sampled_from(["lip", "c*"]), max_size=2),
)
def test_a_selection_is_what_the_globs_match(rows: list[str], columns: list[str]):
    from fnmatch import fnmatchcase

    found = {(c.row, c.column) for c in planned(TABLE2, rows=rows, columns=columns).cells}
    assert found == {
        (cell.row, cell.column)
        for cell in TABLE2.cells()
        if (not rows or any(fnmatchcase(cell.row, glob) for glob in rows))
        and (not columns or any(fnmatchcase(cell.column, glob) for glob in columns))
    }


def test_a_selected_cell_has_the_key_it_has_in_the_whole_table():
    whole = {c.name: c.jobs[0].key for c in planned(TABLE5).cells}
    for cell in planned(TABLE5, rows=["ppm"], columns=["params", "time"]).cells:
        assert whole[cell.name] == cell.jobs[0].key


def test_a_glob_that_matches_nothing_is_an_error_with_the_nearest_name():
    with pytest.raises(UserError, match=r"--rows fnc: no row of idrnet_table2 .* Did you mean 'fcn'\?"):
        planned(TABLE2, rows=["fnc"])
    with pytest.raises(UserError, match=r"--columns adee20k: .* Did you mean 'ade20k'\?"):
        planned(TABLE2, columns=["adee20k", "lip"])


# ------------------------------------------------------------------------------------------------- pending, failed, time


def test_a_measured_job_and_what_only_it_needs_are_not_pending(store: Store):
    plan = planned(TABLE2, rows=["fcn"], columns=["lip"])
    (cell,) = plan.cells
    (test,) = cell.jobs
    train = plan.jobs[test.needs[0]]
    assert plan.jobs_to_run(store) == [train, test]
    finish(store, train)
    assert plan.jobs_to_run(store) == [test]
    finish(store, test)
    assert plan.jobs_to_run(store) == []
    (store.folder(train) / "result.json").unlink()
    assert plan.jobs_to_run(store) == []


def test_what_failed_waits_to_be_asked_for_with_all_that_needs_it(store: Store):
    plan = planned(TABLE2, rows=["fcn", "pspnet"], columns=["lip"])
    first, second = plan.cells[0].jobs[0], plan.cells[1].jobs[0]
    store.fail(plan.jobs[first.needs[0]], Failure("killed", "by the kernel"))
    todo = queue(plan, store)
    assert set(todo.failed) == {first.key, first.needs[0]}
    assert [j.key for j in todo.run] == [second.needs[0], second.key]
    assert queue(plan, store, retry_failed=True).failed == {}
    assert len(queue(plan, store, retry_failed=True).run) == 4


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome(), Exit.OK),
        (Outcome(failed={"k": Failure("exception", "")}), Exit.FAILED),
        (Outcome(failed={"k": Failure("error", "", Exit.OUTPUT)}, blocked={"j": ""}), Exit.OUTPUT),
        (Outcome(blocked={"k": "no data"}), Exit.MISSING),
        (Outcome(failed={"k": Failure("exception", "")}, blocked={"j": ""}), Exit.FAILED),
        (Outcome(failed={"k": Failure("error", "no weights", Exit.MISSING), "j": SKIPPED}), Exit.MISSING),
        (Outcome(failed={"k": Failure("error", "no weights", Exit.MISSING), "j": Failure("oom", "")}), Exit.FAILED),
        (Outcome(interrupted=["k"]), Exit.FAILED),
        (Outcome(stopped=True, failed={"k": Failure("exception", "")}), Exit.INTERRUPTED),
    ],
)
def test_the_exit_code_says_how_a_run_ended(store: Store, outcome: Outcome, code: Exit):
    assert outcome.exit(planned(TABLE2), store) == code


def test_a_plan_of_only_cited_cells_is_nothing_to_measure(store: Store):
    assert Outcome().exit(planned(table("a: {cited: there}")), store) == Exit.NOTHING


def test_a_test_normalises_as_its_training_does():
    """HFGD's framework gives networks 2x/255 - 1; a score under another normalisation would be another number."""
    for recipe, expected in (("hfgd/pascal_context", "symmetric"), ("idrnet/ade20k", "imagenet")):
        plan = planned(table("  r: {label: R, method: {name: fcn}}", f"a: {{recipe: {recipe}}}"))
        train, test = plan.jobs.values()
        assert train.config["recipe"]["normalisation"] == test.config["normalisation"] == expected


def test_two_reasons_are_one_sentence(tmp_path: Path):
    plan = planned(TABLE2, profile="paper", rows=["fcn"], columns=["ade20k"], data_dir=tmp_path)
    reason = next(reason for reason in plan.blocked.values() if "; and the pretrained weights" in reason)
    assert ".;" not in reason
