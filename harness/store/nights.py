"""History of nightly measurements per cell and, where a cell has dropped, since when and what changed then."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.files import append_jsonl, is_finite, read_jsonl
from harness.stats.control_charts import Chart, Limits, last_drop
from harness.store.changes import chain_differences
from harness.store.store import Result, read_result


@dataclass(frozen=True)
class NightRecord:
    """One measurement of one cell. `folder`, below the results, holds it with the key's parts and the environment."""

    date: str  # YYYY-MM-DD
    cell: str
    value: float
    commit: str
    folder: str
    alarm: bool = False  # part of a drop: recorded, but excluded from the expected value


def is_date(value: Any) -> bool:
    """A shape: a day, YYYY-MM-DD."""
    try:
        return len(value) == 10 and bool(datetime.date.fromisoformat(value))
    except (TypeError, ValueError):
        return False


_NIGHT = {"date": is_date, "cell": str, "value": is_finite, "commit": str, "folder": str, "alarm?": bool}


class History:
    """`nightly/history.jsonl` in the results folder: a line per measurement, only ever appended."""

    def __init__(self, root: Path) -> None:
        self.file = root / "nightly/history.jsonl"

    def nights(self) -> dict[str, list[NightRecord]]:
        """{cell: its nights, oldest first}. Invalid lines are skipped."""
        by_cell: dict[str, list[NightRecord]] = {}
        for record in read_jsonl(self.file, _NIGHT):
            by_cell.setdefault(record["cell"], []).append(NightRecord(**record))
        return {cell: sorted(nights, key=lambda night: str(night.date)) for cell, nights in by_cell.items()}

    def add(self, nights: Sequence[NightRecord]) -> None:
        append_jsonl(self.file, map(asdict, nights))


def charts(
    history: Mapping[str, Sequence[NightRecord]], accepted_levels: Mapping[str, str], limits: Limits
) -> dict[str, Chart]:
    """A control chart per cell: its nights without alarms since the date from which a new level was accepted."""
    cell_charts = {}
    for cell, nights in history.items():
        since = accepted_levels.get(cell, "")
        cell_charts[cell] = Chart((n.value for n in nights if n.date >= since and not n.alarm), limits.slack)
    return cell_charts


@dataclass(frozen=True)
class Change:
    """The drop of a cell's level: between two nights, hence two commits; and which parts of its key differ between them."""

    good: NightRecord
    bad: NightRecord
    differences: tuple[str, ...]

    @property
    def commits(self) -> str:
        """The range for git log or git bisect."""
        return f"{self.good.commit[:12] or 'unknown'}..{self.bad.commit[:12] or 'unknown'}"


def locate(nights: Sequence[NightRecord], root: Path) -> Change | None:
    """The last drop in a cell's nights, whose results are in `root`; None for fewer than two."""
    if len(nights) < 2:
        return None
    at = last_drop([night.value for night in nights])
    good, bad = nights[at - 1], nights[at]
    return Change(good, bad, tuple(_differences(root / good.folder, root / bad.folder)))


def _differences(good: Path, bad: Path) -> list[str]:
    """What differs between two evaluations and between the trainings that they tested; of each training the seed does."""
    before, after = _chain(good), _chain(bad)
    if not before or before.keys() != after.keys():
        return ["(a result has been deleted since, so that the keys cannot be compared)"]
    changes = chain_differences(*({kind: result.job.parts for kind, result in c.items()} for c in (before, after)))
    unique_lines = dict.fromkeys(line for _, lines in changes for line in lines)
    lines = [line for line in unique_lines if not line.startswith("config  seed:")]
    surroundings = (
        line for kind in before for line in _environment_differences(before[kind].environment, after[kind].environment)
    )
    return [*lines, *dict.fromkeys(surroundings)] or ["nothing that a key covers: look at the machine"]


def _environment_differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What differs between where two jobs ran."""
    packages_before, packages_now = was.get("packages") or {}, now.get("packages") or {}
    for name in sorted({*packages_before, *packages_now}):
        versions = packages_before.get(name), packages_now.get(name)
        if versions[0] != versions[1]:
            yield f"package {name}: {versions[0] or 'absent'} → {versions[1] or 'absent'}"
    for fact in ("device", "python", "host"):
        if was.get(fact) != now.get(fact):
            yield f"{fact:<8}{was.get(fact, 'unknown')} → {now.get(fact, 'unknown')}"


def _chain(folder: Path) -> dict[str, Result]:
    """{kind: result} of the result in a folder and of the results that it needed; empty where one of them is gone."""
    result = read_result(folder)
    if result is None:
        return {}
    results = {result.job.kind: result}
    jobs = Path(os.path.abspath(folder)).parent.parent.parent
    for key in result.job.needs:
        places = jobs.glob(f"*/*/{key[:20]}/result.json")
        needed = next((r for place in places if (r := read_result(place.parent)) is not None), None)
        if needed is None:
            return {}
        results[needed.job.kind] = needed
    return results


def night(date: str, cell: str, result: Result, value: float, *, root: Path, alarm: bool) -> NightRecord:
    """The record of a finished job in the results folder `root`."""
    folder = result.folder.relative_to(root).as_posix()
    return NightRecord(date, cell, value, str(result.environment.get("commit", "")), folder, alarm)
