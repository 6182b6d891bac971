"""What there is by kind: names and a line on each, without importing what they name."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.row_summary import KINDS, count, row_kinds
from harness.errors import UserError, nearest
from harness.text import plural

if TYPE_CHECKING:
    from methods.registry import Entry

Names = Iterator[tuple[str, str]]  # (name, a line on it)


def list_lines(what: str | None) -> list[str]:
    """Names and a line on each; of `tables` alone, with their rows counted."""
    lines: list[str] = []
    for title in [what] if what else LISTS:
        lines += [""] * bool(lines) + ([title] if what is None else [])
        entries = list(_counted_tables() if what == "tables" else LISTS[title]())
        width = max((len(name) for name, _ in entries), default=0)
        lines += [f"{'' if what else '  '}{name:<{width}}  {about}".rstrip() for name, about in entries]
    return lines


def entry_lines(what: str, name: str) -> list[str]:
    """One name of a list: the line on it, and an option per line where it takes options. UserError for another name."""
    if what in _OPTIONS:
        from methods import registry

        entry = registry.find(name, _OPTIONS[what])
        lines = [f"{name}  {entry.summary}".rstrip(), f"  in {entry.module}"]
        if entry.options is None:
            return [*lines, "  takes any option"]
        options = [(_option(option, entry), default) for option, default in entry.options.items()]
        width = max((len(text) for text, _ in options), default=0)
        lines += [f"  {text:<{width}}  {_default(default)}" for text, default in options]
        return lines if options else [*lines, "  takes no options"]
    about = dict(LISTS[what]())
    files = what in ("tables", "clusters")
    if files and name not in about:  # as `plan` takes a table
        name = next((file for file in about if Path(file).stem == name), name)
    if name not in about:
        known = [Path(file).stem for file in about] if files else about
        raise UserError(f"list {what}: '{name}' is not there.{nearest(name, known)}")
    return [f"{name}  {about[name]}".rstrip()]


def _option(name: str, entry: Entry) -> str:
    annotation = entry.types.get(name)
    return f"{name}: {ast.unparse(annotation)}" if annotation is not None else name


def _default(value: Any) -> str:
    return "(needed)" if value is ... else f"= {json.dumps(value, default=str)}"


_OPTIONS = {"methods": "method", "contexts": "context"}
"""The lists whose names take options, and the kind under which they are registered."""


def names(what: str) -> list[str]:
    """The names of one list."""
    return [name for name, _ in LISTS[what]()]


def _tables() -> Names:
    """Titles alone: reading every table takes ten times as long as its title's line."""
    from harness.table import paths
    from harness.yamlfile import parse, read

    for file in paths.table_files():
        line = re.search(r"^title: +[^|>&*\s].*$", file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        data = parse(line[0], str(file)).data if line else read(file).data
        yield f"tables/{file.name}", str(data.get("title", "")) if isinstance(data, dict) else ""


def _counted_tables() -> Names:
    for entry in tables():
        counts = ", ".join(f"{entry[kind]} {kind}" for kind in KINDS if entry.get(kind))
        yield entry["table"], " · ".join(filter(None, (entry["title"], counts and f"rows: {counts}")))


def tables() -> Iterator[dict[str, Any]]:
    """Every shipped table with its rows counted: {table, title, runnable, cited, awaiting}, or {table, title, error}."""
    from harness.table import paths
    from harness.table.load import load

    for file in paths.table_files():
        name = f"tables/{file.name}"
        try:
            table = load(file)
        except UserError as error:  # of one file: the others are still listed
            yield {"table": name, "title": str(error).splitlines()[0], "error": str(error)}
        else:
            yield {"table": name, "title": table.title, **count(row_kinds(table).values())}


def _registered(kind: str) -> Callable[[], Names]:
    def rows() -> Names:
        from methods import registry

        for name in registry.names(kind):
            entry = registry.find(name, kind)
            yield name, f"{entry.summary} ({', '.join(entry.options)})" if entry.options else entry.summary

    return rows


def _backbones() -> Names:
    from methods import backbones, pretrained

    for name in [*backbones.names(), "timm/NAME"]:
        strides = backbones.find(name).strides
        choice = "its own output stride" if strides == () else "output stride " + ", ".join(map(str, strides or ()))
        file = pretrained.offline(name)
        if file is not None:
            weights = f"weights in {file}"
        else:
            published = "of the tag that NAME ends in" if name == "timm/NAME" else pretrained.timm_weights(name)
            weights = f"timm's weights {published}" if published else "weights from a file alone"
        yield name, f"{choice if strides is not None else 'output strides as timm has them'}; {weights}"


def _datasets() -> Names:
    from harness.data import catalogue

    for name in [*catalogue.names(), *catalogue.plugin_names()]:
        try:
            dataset = catalogue.find(name)
        except UserError as error:  # of one file: the others are still listed
            yield name, str(error)
        else:
            yield name, f"{dataset.title}, {dataset.num_classes} classes"


def _clusters() -> Names:
    """The cluster files here, in `slurm/clusters` or where `new cluster` writes them, and those of the checkout."""
    from harness import ROOT
    from harness.scheduler.slurm.cluster_file import load
    from harness.yamlfile import read

    here = [*sorted(Path().glob("*.yaml")), *sorted(Path("slurm/clusters").glob("*.yaml"))]
    known = {file.resolve() for file in here}
    shipped = [file for file in sorted((ROOT / "slurm/clusters").glob("*.yaml")) if file.resolve() not in known]
    for file in (*here, *shipped):
        try:
            data = read(file).data
            if file.parent == Path() and not (isinstance(data, dict) and "partition" in data):
                continue  # a table, or whatever else lies here
            cluster, _ = load(file)
        except UserError as error:  # of one file: the others are still listed
            yield str(file), str(error).splitlines()[0]
        else:
            counts = ((cluster.nodes, "node"), (cluster.gpus, "GPU"), (cluster.cpus, "CPU"))
            parts = [plural(count, noun) for count, noun in counts if count and (count, noun) != (1, "node")]
            yield str(file), f"{cluster.title} (partition {cluster.partition}, {' × '.join(parts)} per job)"


def _entries(shelf: str) -> Callable[[], Names]:
    def rows() -> Names:
        from harness.table import paths
        from harness.yamlfile import read

        for stem, file in paths.files(shelf).items():
            data = read(file).data
            entries = data if isinstance(data, dict) else {}  # what is wrong in a file is said where it is used
            if shelf == "profiles":
                yield stem, str(entries.get("about", ""))
            for entry, content in entries.items() if shelf == "recipes" else ():
                yield f"{stem}/{entry}", str(content.get("dataset", "base")) if isinstance(content, dict) else ""

    return rows


def _metrics() -> Names:
    from harness.jobs.kinds import word
    from harness.table.metrics import METRICS

    return ((m.name, f"{m.title} ({m.unit}), from {word(m.kind)} jobs") for m in METRICS.values())


def _conventions() -> Names:
    from harness.table.metrics import CONVENTIONS

    return ((c.name, c.about) for c in CONVENTIONS.values())


LISTS: dict[str, Callable[[], Names]] = {
    "tables": _tables,
    "methods": _registered("method"),
    "contexts": _registered("context"),
    "backbones": _backbones,
    "datasets": _datasets,
    "recipes": _entries("recipes"),
    "profiles": _entries("profiles"),
    "metrics": _metrics,
    "conventions": _conventions,
    "clusters": _clusters,
}
