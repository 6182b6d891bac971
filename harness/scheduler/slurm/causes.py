"""The cause of an attempt's end, from Slurm's state and the job's files; and whether the job is attempted again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from harness.scheduler.worker import describe_silent_exit
from harness.spec import Spec

Cause = Literal[
    "out of memory",
    "killed",
    "timeout",
    "preempted",
    "node failure",
    "cancelled",
    "never started",
    "lost",
    "stalled",
    "failed",
    "interrupted",
]

LIVE = frozenset(
    {
        *("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED"),
        *("RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SPECIAL_EXIT"),
    }
)
_QUEUED = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"})
_SUSPENDED = frozenset({"SUSPENDED", "STOPPED"})
_HOPELESS = {  # reasons of a pending job that waiting does not resolve
    *("BadConstraints", "PartitionNodeLimit", "PartitionTimeLimit", "PartitionInactive", "InvalidAccount"),
    *("InvalidQOS", "AccountNotAllowed", "QOSNotAllowed", "JobHeldAdmin", "launch failed requeued held"),
}
_DIED = re.compile(
    r"srun: error: \S+: tasks? [\d,-]+: (Killed|Segmentation fault|Aborted|Bus error|Illegal instruction)"
)
_TAIL = 4000  # characters of a log's end that are read for a cause


class Retries(Spec):
    """How often a job is run again after each cause. A job's own error is never repeated by itself."""

    out_of_memory: int = Field(1, ge=0)  # of the host, with twice the memory; a GPU's is the job's own error
    killed: int = Field(1, ge=0)  # by a signal
    timeout: int = Field(10, ge=0)  # from its checkpoint
    preempted: int = Field(100, ge=0)  # from its checkpoint
    node_failure: int = Field(5, ge=0)  # from its checkpoint
    never_started: int = Field(2, ge=0)  # Slurm ended it before it began
    lost: int = Field(1, ge=0)  # Slurm forgot it and it never reported
    stalled: int = Field(1, ge=0)  # from its checkpoint

    def can_retry(self, cause: str, past_causes: Mapping[str, int]) -> bool:
        """Whether a job that has ended by `cause` `past_causes[cause]` times before may run once more."""
        limit = getattr(self, cause.replace(" ", "_"), 0)
        return past_causes.get(cause, 0) < limit


@dataclass(frozen=True)
class TaskState:
    """Slurm's state of one array task. `state` in its long form; `reason`: why it waits."""

    state: str
    reason: str = ""
    exit_code: int = 0  # of the batch script
    signal: int = 0
    node: str = ""

    @property
    def live(self) -> bool:
        return self.state in LIVE

    @property
    def queued(self) -> bool:
        """Waits for its turn, at first or again."""
        return self.state in _QUEUED

    @property
    def suspended(self) -> bool:
        return self.state in _SUSPENDED

    @property
    def hopeless(self) -> bool:
        """Waits for something that cannot happen."""
        return self.state == "PENDING" and self.reason in _HOPELESS

    @property
    def orphaned(self) -> bool:
        """Waits for a job that failed."""
        return self.state == "PENDING" and self.reason == "DependencyNeverSatisfied"


@dataclass
class Silence:
    """The time for which an attempt has run and made no progress, by one clock of the front end that follows it."""

    seconds: float = 0.0
    heartbeat: object = None  # what changes when it makes progress
    looked_at: float | None = None  # when it was last seen to run

    def look(self, now: float, state: TaskState, heartbeat: object) -> float:
        """Seconds of silence until `now`. Of the time since the last look none counts unless it runs then and now."""
        if state.queued:
            self.seconds, self.heartbeat, self.looked_at = 0.0, None, None
            return 0.0
        if heartbeat != self.heartbeat:
            self.seconds, self.heartbeat = 0.0, heartbeat
        elif self.looked_at is not None and not state.suspended:
            self.seconds += now - self.looked_at
        self.looked_at = None if state.suspended else now
        return self.seconds


def cause_of(task_state: TaskState | None, *, has_started: bool, has_saved: bool, log: str) -> tuple[Cause, str]:
    """(cause, message) of an attempt that ended without a result and without an error of its own.

    `has_started`: its process has started on the node; `has_saved`: it saved its state and stopped
    when asked to; `log`: the end of Slurm's output.
    """
    if task_state is None:
        if not has_started:
            return "lost", "Slurm no longer knows the job, and it never reported from a node"
        return "lost", "Slurm no longer knows the job, and it left no result"
    if task_state.hopeless:
        return "never started", f"Slurm cannot run it here ({task_state.reason})"
    state = task_state.state
    if state == "CANCELLED":
        return "cancelled", "cancelled by hand or by an administrator"
    if state == "NODE_FAIL" or state == "BOOT_FAIL":
        return "node failure", f"its node {task_state.node} failed".replace("node  ", "node ")
    if state == "PREEMPTED":
        return "preempted", "its place was given to a job of higher priority"
    if state == "TIMEOUT" or state == "DEADLINE":
        return (
            "timeout",
            "it reached its time limit before it could save" if not has_saved else "it reached its time limit",
        )
    if state == "OUT_OF_MEMORY" or _memory_kill(log):
        return "out of memory", "it used more memory than it had asked for"
    if has_saved:
        return "interrupted", "it was asked to stop and saved"
    if not has_started:
        return "never started", "its node could not start it (is the folder of the results shared with the nodes?)"
    number = task_state.signal or (task_state.exit_code - 128 if task_state.exit_code > 128 else 0)
    message = _DIED.search(log)
    if number or message:  # accounting gives 137 as 9:0, which only srun's own words tell from an exit code
        return "killed", f"killed: {message.group(1)}" if message else f"killed by signal {number}"
    return "failed", describe_silent_exit(task_state.exit_code)


def _memory_kill(log: str) -> bool:
    """Whether slurmstepd says in a job's output that it, or the kernel, ended the job for its memory."""
    text = log.lower()
    return (
        "exceeded memory limit" in text or "oom-kill" in text or "oom_kill" in text or "out-of-memory handler" in text
    )


def tail(path: Path) -> str:
    """The end of a log; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
