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
    from harness.plan.planner import Plan, PlannedCell
    from harness.store.store import Store

# ------------------------------------------------------------------------------------------------------------ status


def status_lines(plan: Plan, store: Store, queued: Mapping[str, str] | None = None) -> tuple[list[str], int]:
    """One line per cell and a count per state; and how many wanted cells are not measured.

    `queued`: how jobs stand that some cluster has, by key.
    """
    states = [(cell, *cell_state(plan, store, cell, queued or {})) for cell in plan.cells]
    width = max((len(cell.name) for cell in plan.cells), default=0)
    lines = [f"{cell.name:<{width}}  {state}{f': {why}' if why else ''}" for cell, state, why in states]
    counts = Counter(state for _, state, _ in states)
    lines.append(" · ".join(f"{count} {state}" for state, count in counts.most_common()))
    return lines, sum(cell.state == "run" and state != "measured" for cell, state, _ in states)


def cell_state(plan: Plan, store: Store, cell: PlannedCell, queued: Mapping[str, str] | None = None) -> tuple[str, str]:
    """(state, why): measured, partly measured, running, submitted, failed, cannot run here, to be measured, …"""
    from harness.files import read_json
    from harness.scheduler.worker import busy

    results = [store.result(job) for job in cell.jobs]
    done = sum(result is not None for result in results)
    if done and done == len(results):
        return "measured", ""
    if cell.state != "run":
        return cell.state, cell.reason
    jobs = [plan.jobs[key] for job in cell.jobs for key in (*job.needs, job.key)]
    unfinished = [job for job in jobs if store.result(job) is None]
    for job in unfinished:
        record = read_json(store.folder(job) / "progress.json")
        if record is not None and busy(store.folder(job)):
            return "running", f"{job.kind} {record['done']}/{record['total']}"
    queued = queued or {}
    for job in unfinished:
        # a test whose training failed has nothing to test, whatever its cluster still says of it
        in_vain = any(store.failure(plan.jobs[need]) is not None and need not in queued for need in job.needs)
        if job.key in queued and not in_vain:
            return "submitted", f"{job.kind} {queued[job.key]}"
    for job in unfinished:
        failure = store.failure(job)
        if failure is not None:
            return "failed", f"{failure.cause}: {failure.message}"
    for job in unfinished:
        reason = plan.reason(job)
        if reason is not None:
            return "cannot run here", reason
    if done:
        return "partly measured", f"{done} of {len(results)} repetitions"
    stale = any(store.stale(job) is not None for job in cell.jobs)
    return "to be measured", f"measured under another key (python -m harness why {cell.name})" if stale else ""


# --------------------------------------------------------------------------------------------------------------- why


def why_lines(plan: Plan, store: Store) -> list[str]:
    """Why the plan's one cell is or is not measured, and what of its key changed since it was."""
    (cell,) = plan.cells
    state, reason = cell_state(plan, store, cell)
    if not cell.jobs:
        return [f"{state}: {reason}"]
    lines = []
    for job in cell.jobs:
        result = store.result(job)
        if result is not None:
            day = time.strftime("%Y-%m-%d", time.localtime(result.started))
            lines.append(f"measured on {day}, commit {_commit(result.environment)}: {result.folder}")
            continue
        stale = store.stale(job)
        if stale is None:
            lines.append(f"not measured: {reason or 'no job with this configuration has run'}")
            continue
        day = time.strftime("%Y-%m-%d", time.localtime(stale.started))
        lines.append(
            f"not measured: its key differs from the newest measurement ({day}, commit {_commit(stale.environment)})"
        )
        lines += [f"  {line}" for line in _chain(plan, store, job, stale.job.parts)]
    return lines


def _chain(plan: Plan, store: Store, job, old_parts) -> Iterator[str]:
    """The changed parts of a key; where only a needed job's key changed, that job's changed parts."""
    from harness.jobs.key import changes

    for line in changes(old_parts, job.parts):
        if not line.startswith("needs"):
            yield line
    for key in job.needs:
        needed = plan.jobs[key]
        stale = store.stale(needed)
        if (old_parts.get("needs") or {}).get(needed.kind) != key and stale is not None:
            yield f"needs   {needed.kind}, whose key changed:"
            yield from (f"  {line}" for line in changes(stale.job.parts, needed.parts))
    same = [
        part
        for part in ("config", "code", "data", "weights")
        if part in job.parts and old_parts.get(part) == job.parts[part]
    ]
    if same:
        modules = f" ({len(job.parts['code'])} modules)" if "code" in same else ""
        yield f"same    {', '.join(same)}{modules}"


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
    from harness.data import catalog

    for name in catalog.names():
        dataset = catalog.find(name)
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
    from harness.data import catalog, files
    from harness.jobs.kinds import Data

    if data_dir is None:
        yield " – no data folder (--data DIR or HARNESS_DATA); --profile smoke needs none"
        return
    for name in catalog.names():
        try:
            root = files.locate(Data(name=name), data_dir=data_dir, cache=cache)
            yield f" ✓ dataset {name} at {root.path}"
        except MissingError:
            yield f" – dataset {name} is not under {data_dir}"
        except UserError as error:
            yield f" ✗ dataset {name}: {error}"
