"""The meaning of each outcome of a cell in one line: a verdict for a measured cell, else a status."""

from __future__ import annotations

from reports import verdict
from reports.status import CellStatus

MEANINGS = {
    verdict.REPRODUCED: "prints the published digits (counts), or the means differ by less than the margin",
    verdict.INFERRED: "prints the published digits, but part of the module is inferred and stated by no source",
    verdict.FITTED: "prints the published digits because the module was reconstructed to do so: no evidence",
    verdict.NOT_REPRODUCED: "other digits (counts), or the means differ by more than the margin",
    verdict.AS_ONE_RUN: "the printed value is what one run of ours would give, and the means differ by less than three margins",
    verdict.INCONCLUSIVE: "too few seeds, or an interval across the edge of the margin; how many more would decide, if any",
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
    CellStatus.INTERRUPTED: "stopped half-way; the same command goes on",
    CellStatus.NOT_RUN: "not measured yet",
    CellStatus.ON_REQUEST: "runs only when its column is named",
    CellStatus.CITED: "the paper quotes it from elsewhere; never run",
    CellStatus.AWAITS: "no method for this row yet",
}
