"""Outcomes of cells on the pages: their fixed order, their colours, and bars of how many cells have which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from reports import claims, verdict
from reports.cell_report import CellReport
from reports.status import CellStatus

_LAST = (CellStatus.CITED, CellStatus.AWAITS)
"""Cells that nothing here can run; pages fold them."""
ORDER = (
    verdict.REPRODUCED,
    verdict.AS_ONE_RUN,
    verdict.INFERRED,
    verdict.FITTED,
    verdict.INCONCLUSIVE,
    verdict.NOT_REPRODUCED,
    verdict.INVALID,
    verdict.OTHER_MACHINE,
    verdict.NOT_COMPARABLE,
    verdict.UNPUBLISHED,
    CellStatus.STALE,
    CellStatus.FAILED,
    CellStatus.UNREADABLE,
    CellStatus.ABSENT,
    CellStatus.RUNNING,
    CellStatus.SUBMITTED,
    CellStatus.INTERRUPTED,
    CellStatus.NOT_RUN,
    CellStatus.BLOCKED,
    CellStatus.ON_REQUEST,
    *_LAST,
)
"""Every outcome in the order of every list on the site: judged from good to bad, measured, broken, waiting, never run."""

_TONES = {
    "good": (verdict.REPRODUCED, verdict.AS_ONE_RUN, claims.HOLDS),
    "weak": (
        verdict.INFERRED,
        verdict.FITTED,
        verdict.INCONCLUSIVE,
        claims.UNDECIDED,
        CellStatus.STALE,
        CellStatus.PARTLY,
    ),
    "bad": (verdict.NOT_REPRODUCED, verdict.INVALID, CellStatus.FAILED, CellStatus.UNREADABLE, claims.FAILS),
    "plain": (verdict.OTHER_MACHINE, verdict.NOT_COMPARABLE, verdict.UNPUBLISHED),
}
_BRIEF = {
    verdict.INFERRED: "inferred",
    verdict.UNPUBLISHED: "unpublished",
    verdict.AS_ONE_RUN: "as one run",
}


def tone(outcome: str) -> str:
    """`good`, `weak`, `bad`, `plain` (measured, not judged) or `none`: the colour class of an outcome; its word is always
    shown beside the colour."""
    return next((name for name, words in _TONES.items() if outcome in words), "none")


def brief(outcome: str) -> str:
    """A short form of an outcome for the header of a narrow column."""
    return _BRIEF.get(outcome, outcome)


def counts(cells: Iterable[CellReport]) -> dict[str, int]:
    """{outcome: how many of the cells have it}, in the site's order."""
    by_outcome = Counter(str(cell.outcome) for cell in cells)
    return {str(outcome): by_outcome[outcome] for outcome in ORDER if by_outcome[outcome]}


def runnable(counted: Mapping[str, int]) -> dict[str, int]:
    """The counts without those of cells that nothing here can run."""
    return {outcome: n for outcome, n in counted.items() if outcome not in _LAST}


def folded(counted: Mapping[str, int]) -> dict[str, int]:
    """The counts of the cells that nothing here can run."""
    return {outcome: n for outcome, n in counted.items() if outcome in _LAST}


def bar(counted: Mapping[str, int]) -> dict[str, Any]:
    """A bar of cells by outcome: its segments, and what it shows in words. A segment is numbered where its number fits."""
    total = sum(counted.values()) or 1
    segments = [
        {"outcome": outcome, "tone": tone(outcome), "count": n, "numbered": 25 * n >= total}
        for outcome, n in counted.items()
    ]
    return {"segments": segments, "words": ", ".join(f"{n} {outcome}" for outcome, n in counted.items())}
