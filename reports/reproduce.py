"""The provenance of a report's numbers, embedded in every format, and the commands that reproduce it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.files import fits
from harness.text import line, plural
from reports import commands
from reports.table_report import TableReport

_RECORD: dict[Any, Any] = {
    "command": str,
    "commits?": [str],
    "keys?": [str],
    "devices?": [str],
    "packages?": {...: [str]},
    "python?": [str],
    "data?": {...: str},
    ...: object,
}
_OPEN, _CLOSE = "<!-- reproduce: ", " -->"
_LATEX = "% reproduce: "  # at the start of a line


def record(report: TableReport) -> dict[str, Any]:
    """What must agree to obtain the same numbers: command, commits, packages, devices, data, seeds, keys."""
    results = list(report.results().values())
    environments = [r.environment for r in results]
    data: dict[str, str] = {}
    for result in results:
        data |= result.job.data_digests
    return {
        "table": report.table.id,
        "profile": report.profile.name,
        **({"settings": list(report.settings)} if report.settings else {}),
        "command": commands.run_command(report),
        "commits": sorted({str(e["commit"]) for e in environments if e.get("commit")}),
        "dirty": any(bool(e.get("dirty")) for e in environments),
        "python": sorted({str(e["python"]) for e in environments if e.get("python")}),
        "packages": _packages(environments),
        "devices": sorted({str(e["device"]) for e in environments if e.get("device")}),
        "drivers": sorted({str(e["driver"]) for e in environments if e.get("driver")}),
        "data": data,
        "synthetic": report.profile.synthetic is not None,
        "recipes": {name: dict(recipe.differs) for name, recipe in report.recipes.items()},
        "seeds": sorted({s for cell in report for s in cell.seeds}),
        "keys": sorted(r.job.key[:16] for r in results),
    }


def summary(record: Mapping[str, Any], other_jobs: int = 0) -> list[str]:
    """A record as a few lines of text; `other_jobs`: finished jobs in the store that no cell is about."""
    lines = []
    if record["keys"]:
        commits = ", ".join(commit[:12] for commit in record["commits"]) or "unknown commit"
        on = ", ".join([*record["devices"], *(f"driver {driver}" for driver in record["drivers"])])
        versions = ", ".join(
            f"{name} {'/'.join(package_versions)}" for name, package_versions in record["packages"].items()
        )
        state = ", with uncommitted changes" if record["dirty"] else ""
        lines.append(f"measured at {commits}{state}, on {on or 'an unknown device'}; {versions}".removesuffix("; "))
        data = ", ".join(f"{name} ({digest[:16]})" for name, digest in record["data"].items())
        seeds = ", ".join(map(str, record["seeds"]))
        lines.append(f"profile {record['profile']}; data: {data or 'none'}; seeds: {seeds or 'none'}")
    alike: dict[str, list[str]] = {}
    for name, differs in record["recipes"].items():
        if differs:
            alike.setdefault("; ".join(f"{key}: {why}" for key, why in differs.items()), []).append(name)
    lines += [f"differs from the paper: {why} ({', '.join(names)})" for why, names in alike.items()]
    if other_jobs:
        lines.append(f"{unreported_jobs(other_jobs)}; python -m harness site lists them")
    return lines


def unreported_jobs(job_count: int) -> str:
    """A sentence on the finished jobs that a report does not show."""
    jobs = "1 finished job is" if job_count == 1 else f"{job_count} finished jobs are"
    return f"{jobs} named by no cell here (of other tables, profiles, seeds or versions)"


def _packages(environments: list[Mapping[str, Any]]) -> dict[str, list[str]]:
    by_package: dict[str, set[str]] = {}
    for environment in environments:
        for name, version in (environment.get("packages") or {}).items():
            by_package.setdefault(str(name), set()).add(str(version))
    return {name: sorted(versions) for name, versions in sorted(by_package.items())}


def embed(record: Mapping[str, Any]) -> str:
    """A record as a comment that Markdown and HTML do not show, and that nothing in it can close."""
    text = json.dumps(record, ensure_ascii=True, sort_keys=True)
    for char in "-<>`":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return f"{_OPEN}{text}{_CLOSE}"


def embed_latex(record: Mapping[str, Any]) -> str:
    """A record as what stands behind `% ` in a LaTeX comment: JSON on one line, in ASCII."""
    return _LATEX.removeprefix("% ") + json.dumps(record, ensure_ascii=True, sort_keys=True)


def read(path: Path) -> dict[str, Any]:
    """The record in a report (Markdown or LaTeX); UserError where there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(
            f"{path}: there is no such file; a report is RESULTS/reports/TABLE.md, which `run` writes"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read as a report: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read as a report ({error})") from None
    try:
        record: Any = json.loads(_embedded(text))
    except (ValueError, RecursionError):
        record = None
    if not fits(record, _RECORD):
        raise UserError(
            f"{path}: says nothing of how it was made. A report is the .md file that `run` or `report` writes,"
            " or what `report --format latex` prints; write it again with python -m harness report TABLE"
        )
    return record


def _embedded(text: str) -> str:
    """The JSON of the last record in a report; "" where there is none. LaTeX reports once had Markdown's comment."""
    records = [entry for entry in text.splitlines() if entry.startswith(_LATEX)]
    if records:
        return records[-1].removeprefix(_LATEX)
    start = text.rfind(_OPEN)
    end = text.find(_CLOSE, start)
    return text[start + len(_OPEN) : end] if start >= 0 and end >= 0 else ""


def lines(record: Mapping[str, Any], installed: Mapping[str, str]) -> Iterator[str]:
    """The commands, with what they need as comments. `installed`: packages here, by name."""
    commits = list(record.get("commits") or [])
    keys = list(record.get("keys") or [])
    if not keys:
        yield "# nothing was measured in this report; this measures it"
    else:
        yield f"# {plural(len(keys), 'job')}, on {', '.join(map(line, record.get('devices') or ['an unknown device']))}"
    if record.get("dirty"):
        yield "# part of it was measured with uncommitted changes: the commit alone may not give the same numbers"
    if len(commits) > 1:
        yield f"# measured from {len(commits)} commits, {', '.join(line(c)[:12] for c in commits)}; the last one named:"
    if commits:
        yield f"git checkout {shlex.quote(line(commits[-1]))}"
    if record.get("python"):
        yield f"# Python {', '.join(map(line, record['python']))}"
    yield from _installs(record.get("packages") or {}, installed)
    for name, digest in (record.get("data") or {}).items():
        kind = "synthetic, made anew" if record.get("synthetic") else "--data DIR or HARNESS_DATA names the folder"
        yield f"# data: {line(name)}, manifest {line(str(digest))[:16]} ({kind})"
    yield line(str(record["command"]))
    if keys:
        more = ", …" if len(keys) > 1 else ""
        yield f"# the same keys as here ({line(keys[0])}{more}) mean the same configuration, code, data and weights"


def _installs(packages: Mapping[str, Any], installed: Mapping[str, str]) -> Iterator[str]:
    """The recorded packages as one line that installs them, after what of it is otherwise here, and was mixed there.

    What stands behind a `+` in a version names a build (`+cu130`), which package indexes do not have.
    """
    wanted, differing = [], []
    for name, versions in packages.items():
        if not versions:
            continue
        if len(versions) > 1:
            yield f"# {line(name)}: measured with {', '.join(map(line, versions))}; the last one is in the line below"
        elif installed.get(name) != versions[0]:
            differing.append(f"{line(name)} {line(installed.get(name) or 'is not installed')}")
        wanted.append(f"{line(name)}=={line(versions[-1]).partition('+')[0]}")
    if wanted:
        yield f"# here: {', '.join(differing)}" if differing else "# these versions are installed here"
        yield "python -m pip install " + " ".join(map(shlex.quote, wanted))
