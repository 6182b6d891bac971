"""Looking without touching: how cells stand, why one is not measured, what there is, what this machine can do."""

from __future__ import annotations

import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import MissingError, OutputError, UserError

if TYPE_CHECKING:  # listing names needs none of these
    from harness.jobs.job import Job
    from harness.plan.planner import Plan
    from harness.store.store import Result, Store

# ------------------------------------------------------------------------------------------------------------ status


def status_lines(plan: Plan, store: Store, queued: Mapping[str, str] | None = None) -> tuple[list[str], int]:
    """One line per cell and a count per status; and how many wanted cells a run would still have to measure.

    `queued`: how jobs stand that some cluster has, by key.
    """
    from reports.status import CellStatus, ResultReader, cell_status

    reader = ResultReader(plan, store, queued)
    found = [(cell, *cell_status(cell, reader)) for cell in plan.cells]
    width = max((len(cell.name) for cell in plan.cells), default=0)
    lines = [f"{cell.name:<{width}}  {_with_reason(status, reason)}" for cell, status, reason in found]
    counts = Counter(status for _, status, _ in found)
    lines.append(" · ".join(f"{count} {status}" for status, count in counts.most_common()))
    finished = (CellStatus.MEASURED, CellStatus.ABSENT)
    return lines, sum(cell.state == "run" and status not in finished for cell, status, _ in found)


def _with_reason(status: str, reason: str) -> str:
    return f"{status}: {reason}" if reason else f"{status}"


# --------------------------------------------------------------------------------------------------------------- why


def why_lines(plan: Plan, store: Store, queued: Mapping[str, str] | None = None) -> list[str]:
    """How the plan's one cell stands; and of every repetition when it was measured, or what changed since it was."""
    from reports.status import ResultReader, cell_status

    (cell,) = plan.cells
    reader = ResultReader(plan, store, queued)
    lines = [_with_reason(*cell_status(cell, reader))]
    for job in cell.jobs:
        result, stale = reader.result(job), store.stale(job)
        if result is not None:
            lines.append(f"measured on {_day(result)}, commit {_commit(result.environment)}: {result.folder}")
        elif stale is None:
            lines.append("not measured: no job with this configuration has finished")
        else:
            newest = f"{_day(stale)}, commit {_commit(stale.environment)}"
            lines.append(f"not measured: its key differs from the newest measurement ({newest})")
            for kind, differences in reader.differences(stale, job):
                lines += [f"  needs   {kind}, whose key changed:"] if kind != job.kind else []
                lines += [f"  {'' if kind == job.kind else '  '}{line}" for line in differences]
            lines += [f"  same    {same}"] if (same := _same_parts(job, stale)) else []
    return lines


def _same_parts(job: Job, old: Result) -> str:
    """The parts of a key that have not changed: `config, code (41 modules), data`."""
    from harness.jobs.key import PARTS

    before = old.job.parts
    same = [part for part in PARTS if part != "needs" and part in job.parts and before.get(part) == job.parts[part]]
    modules = f" ({len(job.parts['code'])} modules)" if "code" in same else ""
    return f"{', '.join(same)}{modules}"


def _day(result: Result) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(result.started))


def _commit(described) -> str:
    commit = described.get("commit") or "unknown"
    return commit[:7] + ("+" if described.get("dirty") else "")


# -------------------------------------------------------------------------------------------------------------- list


def list_lines(what: str | None) -> list[str]:
    """Names and a line on each."""
    chosen = {what: _LISTS[what]} if what else _LISTS
    lines: list[str] = []
    for title, rows in chosen.items():
        lines += [""] * bool(lines) + ([title] if what is None else [])
        listed = list(rows())
        width = max((len(name) for name, _ in listed), default=0)
        lines += [f"{'' if what else '  '}{name:<{width}}  {about}".rstrip() for name, about in listed]
    return lines


def _tables() -> Iterator[tuple[str, str]]:
    from harness.table import paths
    from harness.yamlfile import parse, read

    for file in paths.table_files():
        line = re.search(r"^title: +[^|>&*\s].*$", file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        # the title's line is enough, and takes a tenth of the time
        data = parse(line[0], str(file)).data if line else read(file).data
        yield f"tables/{file.name}", str(data.get("title", "")) if isinstance(data, dict) else ""


def _registered(kind: str) -> Callable[[], Iterator[tuple[str, str]]]:
    def rows() -> Iterator[tuple[str, str]]:
        from methods import registry

        for name in registry.names(kind):
            yield name, registry.find(name, kind).summary

    return rows


def _datasets() -> Iterator[tuple[str, str]]:
    from harness.data import catalogue

    for name in catalogue.names():
        dataset = catalogue.find(name)
        yield name, f"{dataset.title}, {dataset.num_classes} classes"


def _shelf(shelf: str) -> Callable[[], Iterator[tuple[str, str]]]:
    def rows() -> Iterator[tuple[str, str]]:
        from harness.table import paths
        from harness.yamlfile import read

        for stem, file in paths.files(shelf).items():
            data = read(file).data or {}
            if shelf == "profiles":
                yield stem, str(data.get("about", ""))
            else:
                yield from ((f"{stem}/{entry}", str(content.get("dataset", "base"))) for entry, content in data.items())

    return rows


def _metrics() -> Iterator[tuple[str, str]]:
    from harness.table.metrics import METRICS

    return ((m.name, f"{m.title} ({m.unit}), from {m.kind} jobs") for m in METRICS.values())


def _conventions() -> Iterator[tuple[str, str]]:
    from harness.table.metrics import CONVENTIONS

    return ((c.name, c.about) for c in CONVENTIONS.values())


_LISTS: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
    "tables": _tables,
    "methods": _registered("method"),
    "contexts": _registered("context"),
    "datasets": _datasets,
    "recipes": _shelf("recipes"),
    "profiles": _shelf("profiles"),
    "metrics": _metrics,
    "conventions": _conventions,
}


# ------------------------------------------------------------------------------------------------------------ doctor


def doctor_lines(data_dir: Path | None, results: Path, prefer: str) -> tuple[list[str], bool]:
    """What this machine offers and lacks; and whether a run can work here at all."""
    from harness import environment
    from harness.store.store import Store

    lines, sound = [], True

    def say(ok: bool | None, text: str) -> None:
        lines.append(f" {'✓' if ok else '✗' if ok is False else '–'} {text}")

    described = environment.describe("cpu", environment.cpus())
    say(True, f"Python {described['python']} on {described['system']}")
    versions = described["packages"]
    for package in ("torch", "torchvision", "timm", "numpy", "opencv-python-headless", "fvcore"):
        say(package in versions, f"{package} {versions.get(package, 'is not installed: make setup')}")
        sound &= package in versions
    mmseg = versions.get("onedl-mmsegmentation")
    say(True if mmseg else None, f"mmsegmentation {mmseg or 'not installed (optional: pip install -e .[mmseg])'}")
    try:
        import torch

        say(True, f"torch imports; CUDA {'available' if torch.cuda.is_available() else 'not available'}")
    except (ImportError, OSError) as error:
        say(False, f"torch does not import: {error}")
        sound = False
    device = environment.device(prefer)
    say(True, f"jobs run on {device}, {device.slots} at once; {environment.cpus()} CPUs")
    commit, dirty = environment.commit()
    say(
        True if commit else None,
        f"commit {commit[:12] or 'unknown (not a git checkout)'}{', with changes' if dirty else ''}",
    )
    try:
        Store(results).prepare()
        free = shutil.disk_usage(results).free / 1e9
        say(True, f"results go to {results}, {free:.0f} GB free")
    except OutputError as error:
        say(False, str(error))
        sound = False
    lines += _dataset_lines(data_dir, results / "cache")
    return lines, sound


def _dataset_lines(data_dir: Path | None, cache: Path) -> Iterator[str]:
    from harness.data import catalogue, files
    from harness.jobs.kinds import Data

    if data_dir is None:
        yield " – no data folder (--data DIR or HARNESS_DATA); --profile smoke needs none"
        return
    for name in catalogue.names():
        try:
            root = files.locate(Data(name=name), data_dir=data_dir, cache=cache)
            yield f" ✓ dataset {name} at {root.path}"
        except MissingError:
            yield f" – dataset {name} is not under {data_dir}"
        except UserError as error:
            yield f" ✗ dataset {name}: {error}"
