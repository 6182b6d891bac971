"""Outcomes of cells on the pages: their order, their colours, their short names."""

from __future__ import annotations

from reports import claims, verdict
from reports.meanings import MEANINGS
from reports.status import CellStatus

OUTCOMES = tuple(MEANINGS)

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
}


def tone(outcome: str) -> str:
    """`good`, `weak`, `bad` or `none`: the colour class of an outcome; its word is always shown beside the colour."""
    return next((name for name, words in _TONES.items() if outcome in words), "none")


_BRIEF = {verdict.INFERRED: "inferred", verdict.UNPUBLISHED: "unpublished"}


def brief(outcome: str) -> str:
    """A short form of an outcome for the header of a narrow column."""
    return _BRIEF.get(outcome, outcome)
