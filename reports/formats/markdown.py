"""The report as Markdown that renders on a code host: the published table with the measured numbers in it, and their grounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

from harness.table.schema import Table
from harness.text import duration, markdown, number, plural, printed, sentence, shorten, signed
from reports import advice, claims, reproduce, row_headers, verdict
from reports.formats import details
from reports.status import CellStatus
from reports.table_report import CellReport, TableReport

LABEL = 120  # characters of a label shown in the table; the whole of it stands under "Rows"

MEANINGS = {
    verdict.REPRODUCED: "prints the published digits (counts), or its 90 % interval lies within the margin",
    verdict.INFERRED: "prints the published digits, but part of the module is inferred and stated by no source",
    verdict.FITTED: "prints the published digits because the module was reconstructed to do so: no evidence",
    verdict.NOT_REPRODUCED: "other digits (counts), or its 90 % interval lies wholly outside the margin",
    verdict.INCONCLUSIVE: "one seed, or a 90 % interval across the edge of the margin; how many more seeds would decide, if any",
    verdict.NOT_COMPARABLE: "measured under a profile whose numbers mean something else",
    verdict.OTHER_MACHINE: "depends on the machine: only the ratio between rows compares",
    verdict.INVALID: "the measurement is NaN or infinite",
    verdict.UNPUBLISHED: "measured; the paper prints no value",
    CellStatus.RUNNING: "a job of it runs now",
    CellStatus.SUBMITTED: "a job of it is with a cluster",
    CellStatus.STALE: "measured before the code, the data or the weights changed",
    CellStatus.FAILED: "its job ended without a result",
    CellStatus.BLOCKED: "cannot run here: data or weights are missing",
    CellStatus.ABSENT: "its job does not measure this here",
    CellStatus.UNREADABLE: "a result is there that this version cannot read",
    CellStatus.INTERRUPTED: "stopped after saving; the same command goes on",
    CellStatus.NOT_RUN: "not measured yet",
    CellStatus.ON_REQUEST: "runs only when its column is named",
    CellStatus.CITED: "the paper quotes it from elsewhere; never run",
    CellStatus.AWAITS: "no method for this row yet",
}


def render(report: TableReport, *, figures: Mapping[str, str] | None = None) -> str:
    """The report. `figures` maps a text alternative to the figure's path relative to the report."""
    notes = _Footnotes()
    table = list(_table(report, notes))
    parts = [
        *_head(report),
        *table,
        *notes.lines(),
        *_verdicts(report),
        *_claims(report),
        *_decide(report),
        *_gains(report),
        *_rankings(report),
        *_figures(figures or {}),
        *_notes(report.table),
        *details.render(report),
        *_repeat(report),
    ]
    return "\n".join(parts).rstrip("\n") + "\n"


class _Footnotes:
    """Numbers footnotes in the order in which cells first need them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, texts: Sequence[str]) -> str:
        numbers = [str(self._numbers.setdefault(text, len(self._numbers) + 1)) for text in texts]
        return f"<sup>{', '.join(numbers)}</sup>" if numbers else ""

    def lines(self) -> list[str]:
        return [*(f"{i}. {markdown(sentence(text))}" for text, i in self._numbers.items()), ""] if self._numbers else []


# ------------------------------------------------------------------------------------------------------ the head


def _head(report: TableReport) -> Iterator[str]:
    table, source = report.table, report.table.published.source
    yield f"# {markdown(table.name)}: {markdown(table.title)}\n"
    if table.published.values:
        places = []
        if source.arxiv:
            places.append(f"[arXiv {markdown(source.arxiv)}](https://arxiv.org/abs/{quote(source.arxiv)})")
        places += [f"doi {markdown(source.doi)}"] if source.doi else []
        places += [markdown(source.venue)] if source.venue else []
        places += [f"Table {markdown(str(source.table))}"] if source.table is not None else []
        yield "Published: " + (" · ".join(places) or "source not stated") + "\n"
    else:
        yield "A table of our own: nothing is published to compare with.\n"
    if table.about:
        yield markdown(table.about) + "\n"
    if report.comparable:
        yield f"Profile **{markdown(report.profile.name)}**: {markdown(report.profile.about)}.\n"
    else:
        told = (
            "Only the claims are judged"
            if report.profile.claims_only
            else "No number here says anything about the paper's"
        )
        yield (
            f"> **Profile {markdown(report.profile.name)}, not comparable with the paper**: {markdown(report.profile.about)}. "
            f"{told}.\n"
        )
    cells = list(report)
    measured = sum(shown.measured for shown in cells)
    counts = " · ".join(f"{count} {outcome}" for outcome, count in report.counts().items())
    yield f"{measured} of {len(cells)} cells measured" + (f": {counts}.\n" if counts else ".\n")
    if report.others:
        yield f"{reproduce.unnamed(report.others)}; `python -m harness site` lists them.\n"


# ----------------------------------------------------------------------------------------------------- the table


def _table(report: TableReport, notes: _Footnotes) -> Iterator[str]:
    table = report.table
    if not report.rows:
        yield "*No cell is selected.*\n"
        return
    heads = row_headers.heads(table)
    titles = [markdown(shorten(title, LABEL)) for title in heads.values()]
    yield "| " + " | ".join([*titles, *(_heading(report, column, notes) for column in report.columns)]) + " |"
    empty = " |" * (len(heads) - 1 + len(report.columns))
    yield "|---|" + "---|" * (len(heads) - 1 + len(report.columns))
    group, extra = "", False
    for key in report.rows:
        row = table.rows[key]
        if row.extra and not extra:
            extra = True
            yield "| *Not in the paper's table, ours* |" + empty
        elif row.group and row.group != group:
            yield f"| **{markdown(shorten(row.group, LABEL))}** |" + empty
        group = row.group
        names = [markdown(shorten(name, LABEL)) for name in row_headers.names(table, key, list(heads))]
        shown = (report.cells.get((key, column)) for column in report.columns)
        yield "| " + " | ".join([*names, *(_cell(report, c, notes) if c is not None else "" for c in shown)]) + " |"
    yield ""


def _heading(report: TableReport, column: str, notes: _Footnotes) -> str:
    spec, metric = report.table.columns[column], report.table.column(column).metric
    about = [metric.unit] if metric.unit else []
    about += [markdown(report.table.column(column).convention)] if metric.name == "flops" else []
    about += [f"ratio to {_label(report.table, spec.relative_to)}"] if spec.relative_to else []
    head = markdown(shorten(spec.label or column, LABEL)) + (f" ({'; '.join(about)})" if about else "")
    told = {s.convention for s in report if s.column == column and s.measured} - {
        "",
        report.table.column(column).convention,
    }
    texts = [spec.note] if spec.note else []
    return head + notes.mark(texts + ([f"measured: {'; '.join(sorted(told))}"] if told else []))


def _label(table: Table, row: str) -> str:
    return markdown(shorten(table.row(row).name, 40))


def _cell(report: TableReport, shown: CellReport, notes: _Footnotes) -> str:
    """`42.21 · paper 42.21 · **reproduced**`, or what stands in the place of a value, with its footnotes."""
    mark = notes.mark(shown.footnotes)
    paper = f"paper {markdown(shown.published.printed)}" if shown.published is not None else ""
    ratio = shown.ratio
    if not shown.measured:
        paper += f", {ratio.published:.2f} ×" if paper and ratio is not None and ratio.published is not None else ""
        word = "" if shown.status == CellStatus.NOT_RUN else f"*{shown.status}*{mark}"
        return " · ".join(part for part in ("–", paper, word) if part)
    parts = [_value(shown)]
    if ratio is not None and ratio.measured is not None:
        parts.append(f"{ratio.measured:.2f} ×")
    if paper:
        paper += f", {ratio.published:.2f} ×" if ratio is not None and ratio.published is not None else ""
        parts.append(paper + _difference(shown))
    word = "" if shown.verdict.word in (verdict.UNPUBLISHED, verdict.OTHER_MACHINE) else shown.verdict.word
    if word == verdict.NOT_COMPARABLE:
        word = ""  # said once, above the table
    if word == verdict.INCONCLUSIVE and shown.verdict.more is not None:
        word += f" ({plural(shown.verdict.more, 'more seed')})"
    if word:
        weak = shown.verdict.word in (verdict.FITTED, verdict.INFERRED, verdict.INCONCLUSIVE)
        parts.append(f"*{word}*" if weak else f"**{word}**")
    return " · ".join(parts) + mark


def _value(shown: CellReport) -> str:
    if len(shown.values) > 1:
        return f"{shown.text} ± {number(shown.deviation, 2)} (n = {len(shown.values)})"
    if shown.quartiles is not None:
        low, high = (printed(q, shown.decimals) for q in shown.quartiles)
        return f"{shown.text} ({low} … {high})"
    return shown.text


def _difference(shown: CellReport) -> str:
    """The difference where it says something: not for equal digits, nor between machines or profiles."""
    silent = (verdict.OTHER_MACHINE, verdict.NOT_COMPARABLE, verdict.INVALID)
    if shown.difference is None or shown.verdict.word in silent:
        return ""
    text = signed(shown.difference, shown.decimals)
    return "" if text.startswith("±") else f" ({text})"


# ---------------------------------------------------------------------------------------------- below the table


def _verdicts(report: TableReport) -> Iterator[str]:
    yield "## Verdicts\n"
    yield "| Cells | Outcome | Meaning |\n|---:|---|---|"
    for outcome, count in report.counts().items():
        yield f"| {count} | {outcome} | {markdown(MEANINGS.get(outcome, ''))} |"
    yield ""
    if any(shown.quartiles is not None for shown in report):
        yield "Times and memory are medians, with their quartiles in brackets where there are several passes.\n"


def _claims(report: TableReport) -> Iterator[str]:
    judgements = claims.judge_claims(report)
    if not judgements:
        return
    yield "## Claims\n"
    yield "| Claim | Outcome | Per column |\n|---|---|---|"
    for judgement in judgements:
        text = claims.claim_text(judgement.claim, lambda row: _label(report.table, row))
        told = judgement.outcome != claims.UNMEASURED
        several = len(judgement.claim.steps) > 1
        parts = (
            "<br>".join(_part(report, part, told=told, named=several) for part in judgement.parts)
            or "no column selected"
        )
        yield f"| {text} | **{judgement.outcome}** | {parts} |"
    yield "\nDifferences are in favour of the claim; brackets are 90 % intervals. A claim holds when each of its"
    yield "comparisons does, and does not when one is refuted at 5 % shared among them.\n"


def _part(report: TableReport, part: claims.Part, *, told: bool, named: bool) -> str:
    """`ADE20K: holds, +6.40 [+5.91, +6.89], paper +6.65 (3 seeds, paired)`; `named`: with the row of the step."""
    texts = [part.outcome] if told else []
    if part.difference is not None:
        texts.append(_signed(report, part.column, part.difference))
    if part.interval is not None:
        texts[-1] += (
            f" [{_signed(report, part.column, part.interval[0])}, {_signed(report, part.column, part.interval[1])}]"
        )
    if part.published is not None:
        texts.append(f"paper {_signed(report, part.column, part.published)}")
    label = markdown(shorten(report.table.columns[part.column].label or part.column, 40))
    label += f" · {_label(report.table, part.better)}" if named else ""
    return f"{label}: {', '.join(texts)}" + (f" ({markdown(part.reason)})" if part.reason and told else "")


def _signed(report: TableReport, column: str, value: float) -> str:
    return signed(value, report.table.column(column).metric.decimals)


def _decide(report: TableReport) -> Iterator[str]:
    steps = advice.steps(report)
    if not steps:
        return
    yield "## What would decide\n"
    yield "If mean and spread stay as they are, cheapest first; a claim or a cell may still turn out either way.\n"
    yield "| Cell | More seeds | Time, as measured here |\n|---|---:|---:|"
    for step in steps:
        column = markdown(shorten(report.table.columns[step.column].label or step.column, 40))
        yield f"| {_label(report.table, step.row)}, {column} | {step.seeds} | {duration(step.seconds)} |"
    yield ""


def _gains(report: TableReport) -> Iterator[str]:
    found = claims.gains(report)
    measured = [gain for gain in found if gain.measured is not None]
    open_ = [gain for gain in found if gain.base is None]
    if not measured and not open_:
        return
    yield "## Printed gains\n"
    if measured:
        same = sum((gain.measured or 0.0) * gain.printed > 0 for gain in measured)
        yield f"{same} of {len(measured)} measured gains have the sign that the paper prints.\n"
        yield "| Cell | Over | Paper | Here |\n|---|---|---:|---:|"
        for gain in measured:
            column = markdown(shorten(report.table.columns[gain.column].label or gain.column, 40))
            pair = (_signed(report, gain.column, v) for v in (gain.printed, gain.measured or 0.0))
            yield f"| {_label(report.table, gain.row)}, {column} | {_label(report.table, gain.base or '')} | {' | '.join(pair)} |"
        yield ""
    for gain in open_:
        column = markdown(shorten(report.table.columns[gain.column].label or gain.column, 40))
        printed = _signed(report, gain.column, gain.printed)
        yield f"- {_label(report.table, gain.row)}, {column}: no row of the table is {printed} away, as the paper prints.\n"


def _rankings(report: TableReport) -> Iterator[str]:
    found = claims.rankings(report)
    if not found:
        return
    yield "## Order of the rows\n"
    yield "| Column | Rows | Kendall's τ with the paper's order |\n|---|---:|---|"
    for ranking in found:
        label = markdown(shorten(report.table.columns[ranking.column].label or ranking.column, LABEL))
        low_high = f" [{ranking.interval[0]:.2f}, {ranking.interval[1]:.2f}]" if ranking.interval is not None else ""
        yield f"| {label} | {ranking.rows} | {ranking.tau:.2f}{low_high} |"
    yield ""


def _figures(figures: Mapping[str, str]) -> Iterator[str]:
    if figures:
        yield "## Figures\n"
    for alternative, path in figures.items():
        yield f"![{markdown(alternative)}]({path})\n"


def _notes(table: Table) -> Iterator[str]:
    if table.notes:
        yield "## Notes\n"
        yield from (f"- {markdown(note)}" for note in table.notes)
        yield ""


def _repeat(report: TableReport) -> Iterator[str]:
    yield "## Repeat\n"
    environments = [r.environment for r in report.results().values()]
    commits = {str(e["commit"]) for e in environments if e.get("commit")}
    if any(e.get("dirty") for e in environments):
        yield "Part of this was measured with uncommitted changes, so the commit alone may not give the same keys.\n"
    elif len(commits) > 1:
        yield "The measurements are of several commits (see Environments).\n"
    yield "```"
    if len(commits) == 1:
        yield f"git checkout {commits.pop()}"
    yield f"python -m harness run {details.place(report.table)}{details.options(report)}"
    yield "```"
    yield ""
    yield reproduce.embed(reproduce.record(report))
