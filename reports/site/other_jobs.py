"""Results that no cell of the plan shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.jobs.kinds import word
from harness.jobs.outside_names import without_folder
from harness.plan.planner import Plan
from harness.store.store import Store, read_result
from harness.text import line
from reports.site.names import short, when


def groups(plan: Plan, store: Store) -> Iterator[dict[str, Any]]:
    """Results that no cell of the plan shows, by what they measured: counted, with the folder of one."""
    by_kind: dict[tuple[str, ...], dict[str, Any]] = {}
    for folder in store.results_outside(
        plan.jobs.values()
    ):  # results under another key of a planned job are in their cell's history
        result = read_result(folder)
        readable = result is not None
        kind = folder.parent.parent.name
        description = _describe(result.job.config) if result is not None else ("unreadable by this version", "", "")
        group = by_kind.setdefault((kind, *description), {"jobs": 0, "measurements": 0, "started": 0.0, "folder": ""})
        group["jobs"] += 1
        if result is not None:
            group["measurements"] += len(result.measurements)
            group["started"] = max(group["started"], result.started)
        group["folder"] = group["folder"] or line(str(folder.relative_to(store.root)))
        group["readable"] = readable
    for (kind, method, dataset, profile), group in sorted(by_kind.items()):
        newest = when(group["started"]) if group["started"] else ""
        yield {"kind": word(kind), "method": method, "dataset": dataset, "profile": profile, "newest": newest, **group}


def _describe(config: Mapping[str, Any]) -> tuple[str, str, str]:
    """(method, dataset, profile) of a stored configuration, '' where it does not say."""

    def of(value: Any, key: str) -> Any:
        return value.get(key, "") if isinstance(value, Mapping) else ""

    return tuple(short(without_folder(str(text)), 60) for text in (  # type: ignore[return-value]
        of(of(config, "model"), "name"), of(of(config, "data"), "name"), of(config, "profile")
    ))  # fmt: skip


def page(jobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "jobs": jobs,
        "count": sum(job["jobs"] for job in jobs),
        "measurements": sum(job["measurements"] for job in jobs),
        "unreadable": sum(job["jobs"] for job in jobs if not job["readable"]),
    }
