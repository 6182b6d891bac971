"""What differs between two versions of a job: of its own key and of the keys of the jobs that it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.jobs.job import Job
from harness.jobs.key import changes
from harness.store.store import Result, Store

Chain = Mapping[str, Mapping[str, Any]]
"""{kind: what the key was made of} of a job and of the jobs that it needs; the job itself comes first."""


def chain_differences(before: Chain, after: Chain) -> Iterator[tuple[str, list[str]]]:
    """(kind, a line per changed part of its key) of every job in both chains whose key changed for a reason of its own."""
    for kind, parts in after.items():
        lines = (
            [line for line in changes(before[kind], parts) if not line.startswith("needs")] if kind in before else []
        )
        if lines:
            yield kind, lines


def planned_chain(job: Job, jobs: Mapping[str, Job]) -> Chain:
    """The chain of a planned job; `jobs`: those of its plan, by key."""
    return {job.kind: job.parts, **{jobs[key].kind: jobs[key].parts for key in job.needs}}


def stored_chain(result: Result, job: Job, jobs: Mapping[str, Job], store: Store) -> Chain:
    """The chain of an earlier result of a planned job, as far as the store holds it.

    Of a needed job it is the version that the result was made with, else the newest under another key.
    """
    chain = {job.kind: result.job.parts}
    made_with = result.job.parts.get("needs") or {}
    for key in job.needs:
        needed_job = jobs[key]
        version = store.version(needed_job, made_with.get(needed_job.kind, "")) or store.stale(needed_job)
        if version is not None:
            chain[needed_job.kind] = version.job.parts
    return chain
