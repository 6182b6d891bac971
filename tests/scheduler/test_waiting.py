"""Which waiting job comes next, and which never will: as a plain search over all of them says, at the cost of a look."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.jobs.job import Job
from harness.jobs.kinds import KINDS
from harness.scheduler.waiting import WaitingJobs


def job(number: int, kind: str, needs: tuple[int, ...]) -> Job:
    return Job(kind, {}, str(number), str(number), {}, tuple(map(str, needs)))


class Search:
    """What is to be equalled: every question looks at every job."""

    def __init__(self, jobs: list[Job]) -> None:
        self.waiting, self.unfinished = list(jobs), {j.key for j in jobs}

    def first(self) -> Job | None:
        ready = [j for j in self.waiting if not self.unfinished & {*j.needs}]
        return min(ready, key=lambda j: (KINDS[j.kind].exclusive, int(j.key)), default=None)

    def failed(self, key: str) -> set[str]:
        gone = {key}
        for j in self.waiting:  # needed ones come first
            if gone & {*j.needs}:
                gone.add(j.key)
        self.waiting = [j for j in self.waiting if j.key not in gone]
        return gone - {key}


@st.composite
def plans(draw) -> list[Job]:
    size = draw(st.integers(1, 12))
    kinds = st.sampled_from(["train", "evaluate", "latency"])
    return [
        job(i, draw(kinds), tuple(draw(st.sets(st.integers(0, i - 1), max_size=3)) if i else ())) for i in range(size)
    ]


@given(jobs=plans(), data=st.data())
def test_equals_a_search_over_all_jobs(jobs, data):
    waiting, search, running = WaitingJobs(), Search(jobs), []
    waiting.add(jobs)
    for _ in range(4 * len(jobs)):
        assert len(waiting) == len(search.waiting)
        first = waiting.first()
        assert first == search.first()
        if first is not None and data.draw(st.booleans()):
            waiting.remove(first)
            search.waiting.remove(first)
            running.append(first)
        elif running:
            ended = running.pop(data.draw(st.integers(0, len(running) - 1)))
            if data.draw(st.booleans()):
                waiting.finished(ended.key)
                search.unfinished.discard(ended.key)
            else:
                assert {j.key for j in waiting.failed(ended.key)} == search.failed(ended.key)


def test_what_is_needed_and_already_there_blocks_nothing():
    waiting = WaitingJobs()
    waiting.add([job(7, "evaluate", (3,)), job(8, "evaluate", (4,))], running=["4"])
    assert waiting.first().key == "7"
    waiting.clear()
    assert (waiting.first(), len(waiting)) == (None, 0)
    waiting.finished("4")
    assert waiting.first() is None


def test_a_poll_looks_at_no_job(monkeypatch):
    """Ten thousand wait for one that runs: nothing is compared while nothing happens, and each once when it does."""
    jobs = [job(0, "train", ()), *(job(i, "evaluate", (0,)) for i in range(1, 10_000))]
    waiting = WaitingJobs()
    waiting.add(jobs)
    waiting.remove(jobs[0])
    looked = []
    monkeypatch.setattr(WaitingJobs, "_push", lambda self, job: looked.append(job.key))
    assert [waiting.first() for _ in range(100)] == [None] * 100
    assert looked == []
    waiting.finished("0")
    assert len(looked) == 9_999
