"""The nightly: what counts as a drop, where it is placed, and what a night says and returns."""

from __future__ import annotations

import datetime
import itertools
import math
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness import ROOT
from harness.environment import Device
from harness.errors import Exit, UserError
from harness.jobs.job import Job, Measurement
from harness.nightly.checks import Check, Night
from harness.nightly.config import Checkpoints, Nightly, Slice
from harness.nightly.report import markdown
from harness.nightly.run import run
from harness.recipes.profile import Profile
from harness.scheduler.transport import Event
from harness.stats.control_charts import ENOUGH, Chart, Limits, alarms, last_drop, rejected_hypotheses, steps, suspects
from harness.stats.small_samples import deviation, mean
from harness.store.nights import History, NightRecord, charts, locate
from harness.store.store import Store

LIMITS = Limits()


def flat(count: int, seed: int = 0, level: float = 45.0) -> list[float]:
    draw = random.Random(seed)
    return [draw.gauss(level, 0.2) for _ in range(count)]


# --------------------------------------------------------------------------------------------------------- statistics


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=50))
def test_a_chart_keeps_mean_and_spread(values: list[float]):
    chart = Chart(values)
    assert chart.mean == pytest.approx(mean(values), abs=1e-9)
    assert chart.spread == pytest.approx(deviation(values), abs=1e-6)


def test_scores_are_standard_normal_whatever_the_length_of_the_history():
    scores = []
    for seed in range(3000):
        values = flat(6, seed)
        scores.append(Chart(values[:-1]).score(values[-1]))
    assert abs(mean(scores)) < 0.06
    assert abs(deviation(scores) - 1) < 0.05
    assert sum(s < -1.645 for s in scores) / len(scores) == pytest.approx(0.05, abs=0.012)


def test_a_cell_that_never_varied_is_exact():
    chart = Chart([45.25] * 30)
    assert chart.score(45.25) == 0
    assert chart.score(45.24) == -math.inf
    assert suspects({"c": chart}, {"c": 45.24}, LIMITS) == {"c"}
    assert alarms({"c": chart}, {"c": 45.24}, {"c": 45.24}, LIMITS) == {"c": pytest.approx(0.01)}


def test_benjamini_hochberg_on_their_own_example():
    """The fifteen p-values of Benjamini and Hochberg (1995, Sec. 3.2): the four smallest are rejected at 0.05."""
    printed = "0.0001 0.0004 0.0019 0.0095 0.0201 0.0278 0.0298 0.0344 0.0459 0.3240 0.4262 0.5719 0.6528 0.7590 1"
    p = [float(value) for value in printed.split()]
    named = {f"{i:02}": value for i, value in enumerate(p)}
    assert rejected_hypotheses(named, 0.05) == {"00", "01", "02", "03"}
    smallest = dict(list(named.items())[:6])
    assert rejected_hypotheses(smallest, 0.05, of=15) == {"00", "01", "02", "03"}


def test_a_short_history_raises_no_alarm():
    assert suspects({"c": Chart(flat(ENOUGH - 1))}, {"c": 30.0}, LIMITS) == set()


def test_a_rise_is_no_alarm():
    assert suspects({"c": Chart(flat(40))}, {"c": 47.0}, LIMITS) == set()


def test_what_is_not_repeated_was_chance():
    chart = Chart(flat(40))
    assert suspects({"c": chart}, {"c": 44.0}, LIMITS) == {"c"}
    assert alarms({"c": chart}, {"c": 44.0}, {"c": 45.1}, LIMITS) == {}
    assert alarms({"c": chart}, {"c": 44.0}, {"c": 44.1}, LIMITS).keys() == {"c"}


def test_a_slow_drift_is_seen_by_the_sum():
    chart, draw, seen = Chart(flat(60)), random.Random(3), []
    for number in range(25):
        value = draw.gauss(44.6, 0.2)
        if suspects({"c": chart}, {"c": value}, Limits(suspects=1e-9)):
            seen.append(number)
        chart.add(value)
    assert seen
    assert seen[0] >= 3  # not by its first night's size


@pytest.mark.parametrize("seed", range(10))
def test_a_flat_series_has_no_step(seed: int):
    assert steps(flat(90, seed)) == []


def test_steps_are_placed():
    values = flat(30) + flat(30, 1, 44.0) + flat(30, 2, 45.0)
    assert steps(values) == [30, 60]
    assert last_drop(values) == 30
    assert last_drop([*flat(40), 44.0]) == 40


@given(st.lists(st.sampled_from([44.0, 45.0]), min_size=4, max_size=12))
def test_steps_of_an_exact_series_are_all_its_changes(values: list[float]):
    quiet = [v for v in values for _ in range(5)]
    assert steps(quiet) == [i for i in range(1, len(quiet)) if quiet[i] != quiet[i - 1]]


# -------------------------------------------------------------------------------------------------------------- nights


class Instead:
    """A transport that finishes every job at once, with what `miou` says of its seed."""

    def __init__(self, store: Store, miou, versions: Mapping[str, str]) -> None:
        self.store, self.miou, self.versions, self.said = store, miou, versions, []

    def start(self, jobs: Sequence[Job], among: Mapping[str, Job]) -> None:
        for job in jobs:
            environment = {"packages": dict(self.versions), "commit": self.versions["commit"], "device": "cpu: x"}
            self.store.finish(job, [Measurement("miou", self.miou(job), "%")], environment, time.time())
            self.said.append(Event(job, "done"))

    def active(self) -> bool:
        return bool(self.said)

    def events(self, timeout: float) -> list[Event]:
        said, self.said = self.said, []
        return said

    def stop(self) -> None: ...

    def close(self) -> None: ...


def device_of(profile: Profile) -> Device:
    """Of a machine with GPUs."""
    return Device("cpu", "x", 2) if profile.device == "cpu" else Device("cuda", "y", 8)


class Nights:
    """A suite of four cells, night after night."""

    def __init__(self, root: Path, **layers: object) -> None:
        self.store = Store(root)
        self.store.prepare()
        tables = (str(ROOT / "tables/idrnet_table2.yaml"),)
        given = {"slice": Slice(tables=tables, profile="smoke", gpu_hours=1000), **layers}
        self.config = Nightly(**given)
        self.level, self.draw, self.commit = 45.0, random.Random(0), "a" * 40
        self.day = datetime.date(2026, 1, 1)

    def miou(self, job: Job) -> float:
        return self.draw.gauss(self.level if job.config["model"]["name"] == "fcn" else 45.0, 0.2)

    def night(self) -> tuple[list[Check], Exit]:
        def transport(store: Store, device: Device) -> Instead:
            return Instead(store, self.miou, {"torch": "2.15", "commit": self.commit})

        work = Night(self.config, self.store, None, device_of, transport, today=self.day)
        self.day += datetime.timedelta(days=1)
        return work.run()

    def past(self, count: int) -> None:
        """Nights as they would have been written down."""
        cells = [f"idrnet_table2/{row}/{column}" for row in ("fcn", "pspnet") for column in ("ade20k", "lip")]
        made = []
        for _ in range(count):
            date = self.day.isoformat()
            made += [NightRecord(date, cell, self.draw.gauss(45, 0.2), self.commit, "gone") for cell in cells]
            self.day += datetime.timedelta(days=1)
        History(self.store.root).add(made)


def test_a_night_without_anything_to_measure_says_so(tmp_path: Path):
    layers, verdict = Nights(tmp_path, slice=Slice()).night()
    assert verdict == Exit.NOTHING
    assert "nothing was measured" in markdown(layers, verdict, datetime.date(2026, 1, 1))


@pytest.mark.slow
def test_a_drop_is_named_with_its_commits_and_stays_until_it_is_mended(tmp_path: Path):
    nights = Nights(tmp_path)
    while nights.night()[0][-1].measured < 32:  # until every cell's cost is known
        assert nights.day.year == 2026
    nights.past(40)
    layers, verdict = nights.night()
    assert verdict == Exit.OK
    nights.level, nights.commit = 43.5, "b" * 40
    for _ in range(2):  # what was part of a drop does not become what is expected
        layers, verdict = nights.night()
        assert verdict == Exit.FAILED
        page = markdown(layers, verdict, nights.day)
        assert "idrnet_table2/fcn/lip: 1." in page
        assert "aaaaaaaaaaaa..bbbbbbbbbbbb" in page
        assert "pspnet" not in "\n".join(layers[-1].regressions)
    nights.level = 45.0
    assert nights.night()[1] == Exit.OK


@pytest.mark.slow
def test_the_same_night_again_says_the_same_and_adds_nothing(tmp_path: Path):
    nights = Nights(tmp_path)
    while (layer := nights.night()[0][-1]).measured < 32:  # until every cell's cost is known
        assert nights.day.year == 2026
    before = History(tmp_path).nights()
    nights.day -= datetime.timedelta(days=1)
    assert nights.night()[0][-1].lines == layer.lines
    assert History(tmp_path).nights() == before


@pytest.mark.slow
def test_jobs_run_where_their_profile_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Profile smoke is for a CPU, also on a machine with GPUs."""
    monkeypatch.delenv("HARNESS_DEVICE")
    monkeypatch.setattr("harness.environment.gpus", lambda: ("NVIDIA H200",))
    devices = []

    def local(store: Store, *, data_dir: Path | None, device: Device) -> Instead:
        devices.append(device.kind)
        raise UserError("enough")

    monkeypatch.setattr("harness.nightly.run.Local", local)
    file = tmp_path / "nightly.yaml"
    file.write_text(yaml.safe_dump({"slice": {"tables": [str(ROOT / "tables/camvid.yaml")], "profile": "smoke"}}))
    assert run(file, None, data_dir=None, results=tmp_path / "results", device="auto") == Exit.NOTHING
    assert devices == ["cpu"]


def test_a_layer_whose_jobs_are_refused_costs_the_others_nothing(tmp_path: Path):
    class Refusing(Instead):
        def start(self, jobs: Sequence[Job], among: Mapping[str, Job]) -> None:
            raise UserError("Slurm refused the jobs: no such account")

    nights = Nights(tmp_path)
    work = Night(nights.config, nights.store, None, device_of, lambda s, _: Refusing(s, None, {}))
    layers, verdict = work.run()
    assert verdict == Exit.NOTHING
    assert [layer.failed for layer in layers] == [[], [], ["Slurm refused the jobs: no such account"]]


def test_an_accepted_level_starts_a_new_history(tmp_path: Path):
    history = {"c": [NightRecord(f"2026-01-{day:02}", "c", 40.0 + day, "", "") for day in range(1, 11)]}
    assert charts(history, {}, LIMITS)["c"].nights == 10
    assert charts(history, {"c": "2026-01-08"}, LIMITS)["c"].nights == 3


class Evaluations:
    """A store with evaluations, each of a training of its own seed, of whose making anything can be said."""

    def __init__(self, root: Path) -> None:
        self.store, self.seeds = Store(root), itertools.count()

    def __call__(self, *, code: str = "1", loop: str = "1", data: str = "1", torch: str = "2.15", commit: str = "good"):
        """The folder of an evaluation below the store."""
        name = f"seed{next(self.seeds)}"
        environment = {"packages": {"torch": torch}, "device": "cpu", "commit": commit}
        trained = {"config": {"seed": name}, "code": {"methods.fcn": code, "harness.training.loop": loop}}
        tested = {"config": {"seed": name}, "code": {"methods.fcn": code, "harness.seeds": code}}
        train = Job("train", {"model": {}}, f"t{name}", name, {**trained, "data": {"lip": data}})
        parts = {**tested, "data": {"lip": data}, "needs": {"train": train.key}}
        evaluate = Job("evaluate", {"model": {}}, f"e{name}", name, parts, (train.key,))
        self.store.finish(train, [], environment, 0.0)
        return self.store.finish(evaluate, [], environment, 0.0).folder.relative_to(self.store.root).as_posix()

    def change(self, **since: str):
        """What is said of eight good nights and three bad ones, `since` which something is different."""
        nights = [NightRecord(f"2026-01-{d:02}", "c", 45.0 + 0.01 * (d % 2), "good", self()) for d in range(1, 9)]
        bad = {"commit": "bad", **since}
        nights += [NightRecord(f"2026-01-{d:02}", "c", 44.0, "bad", self(**bad)) for d in range(9, 12)]
        change = locate(nights, self.store.root)
        assert (change.good.date, change.bad.date) == ("2026-01-08", "2026-01-09")
        assert change.commits == "good..bad"
        return change.differences


@pytest.mark.parametrize(
    ("since", "said"),
    [
        ({"code": "2"}, ("code    harness/seeds.py changed", "code    methods/fcn.py changed")),
        ({"loop": "2"}, ("code    harness/training/loop.py changed",)),
        ({"data": "2"}, ("data    lip changed",)),
        ({"torch": "2.16"}, ("package torch: 2.15 → 2.16",)),
        ({"loop": "2", "torch": "2.16"}, ("code    harness/training/loop.py changed", "package torch: 2.15 → 2.16")),
        ({}, ("nothing that a key covers: look at the machine",)),
    ],
    ids=lambda value: " and ".join(value) or "nothing" if isinstance(value, dict) else "",
)
def test_what_changed_is_named_from_the_keys(tmp_path: Path, since: dict[str, str], said: tuple[str, ...]):
    """Of the evaluation and of the training that it tested."""
    assert Evaluations(tmp_path).change(**since) == said


def test_keys_that_are_gone_are_said_to_be(tmp_path: Path):
    evaluation = Evaluations(tmp_path)
    good, bad = evaluation(), evaluation()
    shutil.rmtree(tmp_path / "jobs/train")
    change = locate(
        [NightRecord("2026-01-01", "c", 45.0, "a", good), NightRecord("2026-01-02", "c", 44.0, "b", bad)], tmp_path
    )
    assert "deleted" in change.differences[0]


@pytest.mark.slow
def test_kept_checkpoints_are_tested_again_and_compared(tmp_path: Path):
    tables = (str(ROOT / "tables/idrnet_table2.yaml"),)
    nights = Nights(tmp_path, slice=Slice(), checkpoints=Checkpoints(tables=tables, profile="smoke"))
    assert nights.night()[1] == Exit.NOTHING  # nothing is kept yet
    work = Night(nights.config, nights.store, None, device_of, lambda *_: None)
    plan = work._plan(tables, "smoke", 0)
    trained = [cell for cell in plan.cells_to_measure() if cell.row == "fcn"]
    for cell in trained:
        for key in (*cell.jobs[0].needs, cell.jobs[0].key):
            nights.store.finish(plan.jobs[key], [Measurement("miou", 45.0)], {"packages": {}}, 0.0)
    nights.miou = lambda job: 45.01
    assert nights.night()[1] == Exit.OK
    nights.miou = lambda job: 44.97
    layers, verdict = nights.night()
    assert verdict == Exit.FAILED
    assert layers[1].measured == len(layers[1].regressions) == len(trained)


@pytest.mark.slow
def test_the_budget_bounds_a_night_and_the_longest_unmeasured_come_first(tmp_path: Path):
    nights = Nights(tmp_path)
    nights.night()
    done = History(nights.store.root).nights()
    assert len(done) == 1  # one cell of unknown cost to begin with
    while nights.night()[0][-1].measured < 32:  # until every cell's cost is known
        assert nights.day.year == 2026
    nights.config = nights.config.model_copy(
        update={"slice": nights.config.slice.model_copy(update={"gpu_hours": 1e-12})}
    )
    layers, verdict = nights.night()
    assert verdict == Exit.NOTHING
    assert layers[-1].lines == ["0 of 32 cells tonight, 0.00 of 1e-12 GPU-hours"]
