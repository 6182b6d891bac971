"""Slurm's commands: one query for all jobs, with parsed answers. No shell is used."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.errors import MissingError
from harness.scheduler.slurm.causes import TaskState
from harness.scheduler.slurm.gres import gpu_kinds

_PATIENCE = 60.0  # seconds a command of Slurm may take before it counts as unanswered
_WHOLE = {"SLURM_BITSTR_LEN": "0"}  # else sacct cuts the waiting tasks of an array off after 64 characters
_UNLIMITED = 10**9


@dataclass
class Partition:
    """What one partition offers: most minutes of a job, number of nodes, and the size of its largest node."""

    minutes: int = _UNLIMITED
    nodes: int = 0
    cpus: int = 0
    memory: int = 0  # MiB
    gpus: int = 0
    gpu_kinds: dict[str, int] = field(default_factory=dict)  # {kind, as gres names it: how many on a node}


class SubmissionRefused(Exception):
    """Slurm did not take a submission. `later`: the controller is away or a quota is full, so that waiting may help."""

    def __init__(self, message: str, *, later: bool) -> None:
        super().__init__(message)
        self.later = later


_LATER = re.compile(
    r"unable to contact|timed out|temporarily|try again|Resource temporarily|submission rate|"
    r"QOSMaxSubmit|AssocMaxSubmit|AssocGrpSubmit|QOSGrpSubmit|job submit limit|MaxSubmitJobs|Slurm controller not responding|"
    r"backup controller|connection refused",
    re.IGNORECASE,
)


def may_help_to_wait(message: str) -> bool:
    """Whether a refusal is temporary: the controller does not answer, or a limit on submitted jobs is reached."""
    return bool(_LATER.search(message))


@dataclass
class Controller:
    """The cluster that this machine's Slurm commands talk to. `questions` counts what was asked of it."""

    questions: int = 0
    _accounts: bool | None = field(default=None, repr=False)

    @property
    def accounts(self) -> bool:
        """Whether accounting has answered."""
        return bool(self._accounts)

    def require(self) -> None:
        """MissingError where there is no Slurm on this machine."""
        absent = [name for name in ("sbatch", "squeue", "scancel", "scontrol", "srun") if shutil.which(name) is None]
        if absent:
            raise MissingError(
                f"no {', '.join(absent)} on this machine; run it where Slurm's commands are (a login node), "
                "or without --on to use this machine itself"
            )

    def ask(self, command: Sequence[str]) -> str | None:
        """The output of a command, or None where Slurm did not answer."""
        self.questions += 1
        try:
            completed_process = subprocess.run(
                command, capture_output=True, text=True, timeout=_PATIENCE, env=os.environ | _WHOLE
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if completed_process.returncode != 0 and not completed_process.stdout:
            return None if "Invalid job id" not in completed_process.stderr else ""
        return completed_process.stdout

    # -------------------------------------------------------------------------------------------------------- places

    def partitions(self) -> dict[str, Partition]:
        """The cluster's partitions by name; MissingError where the controller does not answer."""
        text = self.ask(
            ["sinfo", "--noheader", "--Node", "--Format=partition:.80,time:.30,cpus:.20,memory:.20,gres:.200"]
        )
        if text is None:
            raise MissingError("the Slurm controller does not answer (scontrol ping says more)")
        by_name: dict[str, Partition] = {}
        for line in text.splitlines():
            name, minutes, cpus, memory, gres = (line.split() + [""] * 5)[:5]
            partition = by_name.setdefault(name.rstrip("*"), Partition())
            partition.minutes = _minutes(minutes)
            partition.nodes += 1
            partition.cpus = max(partition.cpus, int(cpus))
            partition.memory = max(partition.memory, int(memory))
            kinds = gpu_kinds(gres)
            partition.gpus = max(partition.gpus, sum(kinds.values()))
            for kind, count in kinds.items():
                partition.gpu_kinds[kind] = max(partition.gpu_kinds.get(kind, 0), count)
        return by_name

    def array_limit(self) -> int:
        """The largest array the cluster takes (MaxArraySize counts the index that would follow the last)."""
        match = re.search(r"MaxArraySize\s*=\s*(\d+)", self.ask(["scontrol", "show", "config"]) or "")
        return max(1, int(match.group(1)) - 1) if match else 1000

    # ---------------------------------------------------------------------------------------------------------- jobs

    def states(self, arrays: Iterable[str], names: Mapping[str, str]) -> dict[str, TaskState] | None:
        """Slurm's state of every task of these arrays, by `ARRAY_INDEX` (or job id), in one query; None: no answer.

        `names` are the arrays' job names: numbers start again when a controller loses its memory, names do not.
        Accounting is asked where there is any, since it forgets nothing; and the queue for what it does not know (yet).
        """
        ids = sorted(set(arrays), key=int)
        task_states = (self._from_accounting(ids, names) if ids and self._accounts is not False else None) or {}
        known_jobs = {task.partition("_")[0] for task in task_states}
        unknown_jobs = [number for number in ids if number not in known_jobs]
        queue_states = self._from_queue(unknown_jobs, names) if unknown_jobs else {}
        return None if queue_states is None else {**task_states, **queue_states}

    def _from_queue(self, ids: Sequence[str], names: Mapping[str, str]) -> dict[str, TaskState] | None:
        """From squeue; None where it does not answer."""
        fields = "JobArrayID:.40,Name:.60,State:.30,Reason:.60,exit_code:.20,NodeList:.100"
        question = ["squeue", "--noheader", "--array", "--states=all", f"--Format={fields}", f"--jobs={','.join(ids)}"]
        text = self.ask(question)
        if text is None:
            return None
        states: dict[str, TaskState] = {}
        for line in text.splitlines():
            columns = [line[start:stop].strip() for start, stop in ((0, 40), (40, 100), (100, 130), (130, 190))]
            task, name, state, reason = columns
            if names.get(task.partition("_")[0]) == name:
                code = _number(line[190:210])
                states[task] = TaskState(state, reason, code >> 8 & 255, code & 127, line[210:310].strip())
        return states

    def _from_accounting(self, ids: Sequence[str], names: Mapping[str, str]) -> dict[str, TaskState] | None:
        """From sacct; None where there is no accounting (remembered) or it does not answer."""
        if self._accounts is None and shutil.which("sacct") is None:
            self._accounts = False
            return None
        fields = "JobID,JobName,State,ExitCode,NodeList,Reason"
        question = ["sacct", "--noheader", "--parsable2", "--allocations", f"--format={fields}"]
        text = self.ask([*question, "--starttime=now-30days", f"--jobs={','.join(ids)}"])
        if self._accounts is None:
            self._accounts = text is not None
        if not text:  # nothing of these jobs yet: the queue knows
            return None
        states: dict[str, TaskState] = {}
        for line in text.splitlines():
            task, name, state, code, node, reason = (line.split("|") + [""] * 6)[:6]
            if names.get(task.partition("_")[0]) == name:
                exit_code, _, signal = code.partition(":")
                task_state = TaskState(state.split()[0], reason, _number(exit_code), _number(signal), node)
                states |= dict.fromkeys(_expanded(task), task_state)
        return states

    def find(self, name: str) -> str | None:
        """The array (or job) id of the jobs called `name`, if the queue has any: of a submission whose answer was lost."""
        text = self.ask(["squeue", "--noheader", "--states=all", "--Format=ArrayJobID:.20,JobID:.20", f"--name={name}"])
        first = (text or "").split()
        return first[0] if first else None

    def cancel(self, tasks: Iterable[str], name: str) -> bool:
        """Cancels these tasks of the submission called `name`, and nothing that merely has the same number; whether Slurm
        answered."""
        tasks = list(tasks)
        parts = (tasks[start : start + 500] for start in range(0, len(tasks), 500))
        return all(self.ask(["scancel", f"--name={name}", *part]) is not None for part in parts)


def _expanded(task: str) -> list[str]:
    """`7_[0-2,5,8-12:2%3]`, the waiting tasks of an array, as 7_0, 7_1, 7_2, 7_5, 7_8, 7_10, 7_12; others as they are."""
    array, bracket, indices = task.partition("_[")
    if not bracket:
        return [task]
    tasks = []
    for part in indices.partition("%")[0].rstrip("]").split(","):
        if (match := _RANGE.fullmatch(part)) is not None:
            low, high, step = match.groups()
            tasks += [f"{array}_{i}" for i in range(int(low), int(high or low) + 1, int(step or 1))]
    return tasks


_RANGE = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")


def _number(text: str) -> int:
    text = text.strip()
    return int(text) if text.isdigit() else 0


def _minutes(text: str) -> int:
    """`1-00:00:00`, `30:00`, `infinite` in minutes."""
    if not text[:1].isdigit():
        return _UNLIMITED
    days, _, clock = text.rpartition("-")
    parts = [int(p) for p in clock.split(":")]
    hours, minutes, _ = [0] * (3 - len(parts)) + parts
    return int(days or 0) * 1440 + hours * 60 + minutes
