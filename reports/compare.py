"""Compares two sets of results: the same configurations measured twice, paired by seed, with an interval per cell.

A job is the same on both sides when its configuration is (its identity); code, data and weights may differ, which is what is
compared. Of several results of one configuration on a side the newest counts.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.jobs.job import Job
from harness.stats.small_samples import deviation, mean, t_quantile
from harness.store.store import Result
from harness.table.metrics import METRICS, Metric
from harness.text import format_decimals, line, plural, signed, spreadsheet_cell

SAME, HIGHER, LOWER, UNDECIDED, ONE_SEED, ONLY_A, ONLY_B = (
    "same",
    "B higher",
    "B lower",
    "undecided",
    "one pair",
    "only in A",
    "only in B",
)
CONFIDENCE = 0.90
HEADER = ("cell", "metric", "unit", "a", "b", "difference", "low", "high", "pairs", "outcome")


@dataclass(frozen=True)
class Comparison:
    """One number of one configuration on both sides, in the printed unit. `pairs`: (A, B) of the seeds that both have."""

    cell: str
    metric: Metric
    pairs: tuple[tuple[float, float], ...]
    only_a: int = 0
    only_b: int = 0

    @property
    def differences(self) -> list[float]:
        """B less A, per seed."""
        return [b - a for a, b in self.pairs]

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 90 % interval of the mean paired difference by Student's t; None below two pairs, or where one is not finite."""
        values = self.differences
        if len(values) < 2 or not all(map(math.isfinite, values)):
            return None
        half = t_quantile((1 + CONFIDENCE) / 2, len(values) - 1) * deviation(values) / math.sqrt(len(values))
        return mean(values) - half, mean(values) + half

    @property
    def outcome(self) -> str:
        """In a word: the same number for every seed, an interval on one side of 0, or neither."""
        if not self.pairs:
            return ONLY_A if self.only_a else ONLY_B
        if all(a == b or (a != a and b != b) for a, b in self.pairs):
            return SAME
        if self.interval is None:
            return ONE_SEED if len(self.pairs) == 1 else UNDECIDED
        low, high = self.interval
        return HIGHER if low > 0 else LOWER if high < 0 else UNDECIDED


def compare(
    a: Iterable[Result], b: Iterable[Result], names: Mapping[str, Mapping[str, str]] | None = None
) -> list[Comparison]:
    """Every number that a table may show, of every configuration on either side.

    `names`: {identity: {metric: cell}} of the cells to compare, where a number that no cell shows goes with the first cell of
    its job; without it all configurations are compared, named by what they hold.
    """
    first, second = _newest(a), _newest(b)
    stored = {identity: result.job for identity, result in {**first, **second}.items()}
    if names is None:
        groups: dict[str, dict[str, Job]] = defaultdict(dict)
        for identity, job in stored.items():
            groups[_group(job)][identity] = job
        labels = _labels(groups)
        wanted: dict[tuple[str, str], dict[str, Job]] = {
            (labels[name], metric): jobs for name, jobs in groups.items() for metric in METRICS
        }
    else:
        wanted = defaultdict(dict)
        for identity in (i for i in names if i in stored):
            cells = names[identity]
            for metric in METRICS:
                cell = cells.get(metric) or next(iter(cells.values()))
                wanted[cell, metric][identity] = stored[identity]
    comparisons = (_comparison(cell, METRICS[metric], jobs, first, second) for (cell, metric), jobs in wanted.items())
    cells_in_order = [cell for cells in names.values() for cell in cells.values()] if names is not None else []
    order = {cell: i for i, cell in reversed([*enumerate(cells_in_order)])}
    return sorted(filter(None, comparisons), key=lambda c: (order.get(c.cell, 0), c.cell, c.metric.name))


def _newest(results: Iterable[Result]) -> dict[str, Result]:
    newest: dict[str, Result] = {}
    for result in sorted(results, key=lambda r: (r.started, r.job.key)):
        newest[result.job.identity] = result
    return newest


def _comparison(
    cell: str, metric: Metric, jobs: Mapping[str, Job], first: Mapping[str, Result], second: Mapping[str, Result]
) -> Comparison | None:
    pairs, only_a, only_b = [], 0, 0
    for identity, job in jobs.items():
        if job.kind != metric.kind:
            continue
        a, b = (_value(side.get(identity), metric) for side in (first, second))
        if a is not None and b is not None:
            pairs.append((a, b))
        only_a += a is not None and b is None
        only_b += b is not None and a is None
    return Comparison(cell, metric, tuple(pairs), only_a, only_b) if pairs or only_a or only_b else None


def _value(result: Result | None, metric: Metric) -> float | None:
    measurement = result.value(metric.name) if result is not None else None
    return measurement.value / metric.scale if measurement is not None else None


def _group(job: Job) -> str:
    """The configuration without its seed: what repetitions share."""
    config = {name: value for name, value in job.config.items() if name != "seed"}
    return json.dumps([job.kind, config], sort_keys=True)


def _labels(groups: Mapping[str, Mapping[str, Job]]) -> dict[str, str]:
    """A short name per configuration; those that would share one are numbered."""
    labels: dict[str, str] = {}
    count: dict[str, int] = defaultdict(int)
    for name, jobs in sorted(groups.items()):
        config = next(iter(jobs.values())).config
        model, data = config.get("model") or {}, config.get("data") or {}
        options = " ".join(f"{key}={json.dumps(value)}" for key, value in sorted((model.get("options") or {}).items()))
        backbone = model.get("backbone")
        words = (model.get("name", "?"), options, f"on {backbone}" if backbone else "", data.get("name", ""))
        text = " · ".join(str(word) for word in (*words, config.get("profile", "")) if word)
        count[text] += 1
        labels[name] = f"{text} #{count[text]}" if count[text] > 1 else text
    return labels


# ---------------------------------------------------------------------------------------------------------------- output


def text_lines(comparisons: Sequence[Comparison], a: str, b: str) -> Iterator[str]:
    """A line per cell and one per number of it below, at most 80 columns wide apart from long names."""
    yield f"A: {line(a)}"
    yield f"B: {line(b)}"
    cell = None
    for one in comparisons:
        if one.cell != cell:
            cell = one.cell
            yield f"{line(cell)}"
        yield f"  {_sentence(one)}"
    counts: dict[str, int] = defaultdict(int)
    for one in comparisons:
        counts[one.outcome] += 1
    summary = " · ".join(f"{outcome} {count}" for outcome, count in sorted(counts.items(), key=lambda item: -item[1]))
    yield f"{plural(len(comparisons), 'number')}: {summary or 'nothing to compare'}"
    if any(one.interval is not None for one in comparisons):
        yield "brackets: 90 % interval of the mean difference B − A, paired by seed (Student's t)"


def _sentence(one: Comparison) -> str:
    metric = one.metric
    title = metric.abbreviation or metric.title
    if not one.pairs:
        return f"{title}: {one.outcome}"
    a, b = (format_decimals(mean([pair[side] for pair in one.pairs]), metric.decimals) for side in (0, 1))
    text = f"{title}: {a} → {b} {metric.unit}".rstrip()
    if one.outcome != SAME:
        text += f", {signed(mean(one.differences), metric.decimals)}"
    if one.interval is not None and one.outcome != SAME:
        low, high = (signed(end, metric.decimals) for end in one.interval)
        text += f" [{low}, {high}]"
    rest = [f"{count} only in {side}" for side, count in (("A", one.only_a), ("B", one.only_b)) if count]
    if one.outcome == ONE_SEED:
        return "; ".join([text, ", ".join([ONE_SEED, *rest])])
    return f"{text}; {one.outcome} ({', '.join([plural(len(one.pairs), 'pair'), *rest])})"


def as_csv(comparisons: Iterable[Comparison]) -> str:
    """One line per number, with all digits; fields are empty where there is no pair, or no interval."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for one in comparisons:
        sides = [format(mean([p[i] for p in one.pairs]), ".12g") if one.pairs else "" for i in (0, 1)]
        difference = format(mean(one.differences), ".12g") if one.pairs else ""
        ends = [format(end, ".12g") for end in one.interval] if one.interval is not None else ["", ""]
        fields = (
            one.cell,
            one.metric.name,
            one.metric.unit,
            *sides,
            difference,
            *ends,
            str(len(one.pairs)),
            one.outcome,
        )
        writer.writerow(map(spreadsheet_cell, fields))
    return out.getvalue()
