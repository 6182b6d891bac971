"""Results whose data, or weights to start from, are not here: their keys cannot be checked against files, all else of them can.

So a store that is read where the datasets are not (a laptop, an archive) still shows its numbers, and says what is not checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.jobs.job import Job
from harness.store.store import Result, Store

UNCHECKED = "key not checked"
"""What every reason ends with."""
_ABSENT = "absent"
_READERS = "harness.data.annotations"  # which of them a job uses follows from the layout in which its data lie


def unchecked_result(job: Job, jobs: Mapping[str, Job], store: Store) -> Result | None:
    """The newest result that differs from a planned job in nothing but files that are not here; None where there is none.

    `jobs`: those of its plan, by key. A job that it needs is looked at as well, as far as the store holds the one that the
    result was made with.
    """
    needed = [jobs[key] for key in job.needs]
    if not unchecked_reason(job, jobs):
        return None
    for result in reversed(store.versions(job)):
        if _agrees(result.job.parts, job) and _needs_agree(result, needed, store):
            return result
    return None


def unchecked_reason(job: Job, jobs: Mapping[str, Job]) -> str:
    """What a planned job, or one that it needs, lacks here of the files in its key; '' where nothing."""
    chain = [job, *(jobs[key] for key in job.needs)]
    absent = {"data": any(map(_lacks_data, chain)), "weights": any(map(_lacks_weights, chain))}
    names = " and ".join(name for name, lacks in absent.items() if lacks)
    return f"{names} not here, {UNCHECKED}" if names else ""


def _needs_agree(result: Result, needed: list[Job], store: Store) -> bool:
    made_with = result.job.parts.get("needs") or {}
    versions = ((member, store.version(member, made_with.get(member.kind, ""))) for member in needed)
    return all(version is None or _agrees(version.job.parts, member) for member, version in versions)


def _lacks_data(job: Job) -> bool:
    facts = (job.parts.get("data") or {}).values()
    return any(_is_absent(fact.get("files")) for fact in facts if isinstance(fact, Mapping))


def _lacks_weights(job: Job) -> bool:
    return any(_is_absent(value) for value in (job.parts.get("weights") or {}).values())


def _is_absent(value: object) -> bool:
    return str(value).startswith(_ABSENT)


def _agrees(old: Mapping[str, Any], job: Job) -> bool:
    """Whether a key was made of the same configuration, code, packages and declarations; files count where they are here."""
    new = job.parts
    same = all((old.get(part) or {}) == (new.get(part) or {}) for part in ("config", "packages"))
    same = same and (_lacks_weights(job) or (old.get("weights") or {}) == (new.get("weights") or {}))
    return same and _same_data(old, new) and _same_code(old, new)


def _same_data(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    before, after = old.get("data") or {}, new.get("data") or {}
    if before.keys() != after.keys():
        return False
    for name, facts in after.items():
        known = before[name]
        if not isinstance(known, Mapping) or not isinstance(facts, Mapping) or not _is_absent(facts.get("files")):
            if known != facts:
                return False
        elif any(known.get(fact) != value for fact, value in facts.items() if fact != "files"):
            return False
    return True


def _same_code(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    before, after = old.get("code") or {}, new.get("code") or {}
    if any(before.get(module) != digest for module, digest in after.items()):
        return False
    lacking = any(
        _is_absent(facts.get("files")) for facts in (new.get("data") or {}).values() if isinstance(facts, Mapping)
    )
    return all(lacking and module.startswith(_READERS) for module in before.keys() - after.keys())
