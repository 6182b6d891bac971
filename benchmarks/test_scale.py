"""What many jobs cost: planning them, estimating them from many finished ones, and waiting with them in the queue.

Each is measured at two sizes in one process: what is linear takes ten times as long for ten times as many.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.environment import Device
from harness.jobs.job import Job
from harness.plan.durations import durations
from harness.plan.planner import Planner
from harness.scheduler.waiting import WaitingJobs
from harness.store.store import Result
from harness.table import paths, recipes
from harness.table.load import load

POLLS_PER_SECOND = 4
LINEAR = 1.5  # a job at ten times the number may cost so much more: dictionaries outgrow caches


def cpu_seconds(action: Callable[[], object], rounds: int = 3) -> float:
    """The least of some rounds: others on the machine only add."""
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        action()
        seconds.append(time.process_time() - start)
    return min(seconds)


def job(number: int, methods: int = 100) -> Job:
    model = {"name": f"method{number % methods}", "options": {"width": number % 7}}
    config = {"model": model, "data": {"name": f"data{number % 5}"}, "profile": "paper"}
    return Job("train", config, f"key{number}", f"identity{number}", {})


class Finished:
    """A store of so many results."""

    def __init__(self, count: int) -> None:
        self.all = [Result(job(i), (), {"device": "cuda"}, 0.0, float(i)) for i in range(count)]

    def results(self, kind: str) -> list[Result]:
        return self.all


def test_estimates_are_linear(benchmark):
    """10⁴ pending jobs beside 10⁴ finished ones: under a second."""
    seconds = {}
    for count in (1_000, 10_000):
        store, pending = Finished(count), [job(i) for i in range(count, 2 * count)]
        seconds[count] = cpu_seconds(lambda store=store, pending=pending: durations(pending, store))
    benchmark.extra_info["CPU seconds"] = seconds
    benchmark.pedantic(lambda: None)
    print(f"\nestimates of as many jobs as there are results: {seconds} CPU s")
    assert seconds[10_000] <= 10 * LINEAR * seconds[1_000]


def test_a_poll_with_ten_thousand_waiting(benchmark):
    """At most 1 % of a core for 10⁴ jobs that wait, four polls a second."""
    per_poll = {}
    for count in (1_000, 10_000):
        waiting = WaitingJobs()
        first = job(0)
        others = [Job("evaluate", {}, f"e{i}", f"e{i}", {}, (first.key,)) for i in range(count)]
        waiting.add([first, *others])
        waiting.remove(first)
        per_poll[count] = cpu_seconds(lambda waiting=waiting: [waiting.first() for _ in range(1000)]) / 1000
    benchmark.extra_info["CPU seconds per poll"] = per_poll
    benchmark.pedantic(lambda: None)
    print(f"\na poll: {per_poll} CPU s, {100 * POLLS_PER_SECOND * per_poll[10_000]:.5f} % of a core")
    assert POLLS_PER_SECOND * per_poll[10_000] <= 0.01


def test_filling_and_emptying_the_queue_is_linear(benchmark):
    """Every job is added, started and finished once."""

    def through(count: int) -> None:
        waiting = WaitingJobs()
        jobs = [Job("train", {}, f"t{i}", f"t{i}", {}, (f"t{i - 8}",) if i > 8 else ()) for i in range(count)]
        waiting.add(jobs)
        while (ready := waiting.first()) is not None:
            waiting.remove(ready)
            waiting.finished(ready.key)
        assert len(waiting) == 0

    seconds = {count: cpu_seconds(lambda count=count: through(count)) for count in (1_000, 10_000)}
    benchmark.extra_info["CPU seconds"] = seconds
    benchmark.pedantic(lambda: None)
    print(f"\nthrough the queue: {seconds} CPU s")
    assert seconds[10_000] <= 10 * 2 * LINEAR * seconds[1_000]


def test_planning_is_linear(tmp_path, benchmark):
    """10⁴ jobs, and what 10⁵ take at the same cost each (all tables with 260 repetitions)."""
    tables = [load(file) for file in paths.table_files()]

    def planned(repetitions: int) -> int:
        planner = Planner(
            recipes.profile("paper"), tuple(range(repetitions)), None, tmp_path, Device("cpu", "a processor", 1)
        )
        return len(planner.plan(tables).jobs)

    planned(1)  # reads every source file
    per_job = {}
    for count in (4, 28):
        start = time.process_time()
        jobs = planned(count)
        per_job[jobs] = (time.process_time() - start) / jobs
    fewer, more = per_job
    benchmark.extra_info["CPU seconds per job"] = per_job
    benchmark.pedantic(lambda: None)
    print(f"\nplanning: {per_job} CPU s per job; 100 000 jobs {100_000 * per_job[more]:.0f} s")
    assert more >= 10_000
    assert per_job[more] <= LINEAR * per_job[fewer]
