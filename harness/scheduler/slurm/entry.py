"""Entry point on a node: runs one job, reports its start and end on the shared folder, and requeues it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from harness.errors import Exit, OutputError
from harness.files import write_json
from harness.jobs.context import STOP_SIGNALS
from harness.scheduler.slurm.ranks import torchrun_variables
from harness.scheduler.worker import Request, execute, run_other_rank, say
from harness.store.store import Store


def run(folder: str, note: str, minutes: int, restarts: int) -> None:
    """Runs the job in `folder` as this Slurm task; called by submitit with the snapshot as working folder.

    `note` is the path its reports begin with, `minutes` its time limit, `restarts` how often it may go back into the queue.
    A signal that warns of the time limit or of preemption (SIGUSR2) makes it save and requeue itself. SIGTERM makes it
    save only: that may be a person's scancel, which a requeue would undo.
    """
    os.environ.update(torchrun_variables(os.environ))
    if int(os.environ["RANK"]) > 0:
        sys.exit(run_other_rank(Path(folder)))
    restart, began = int(os.environ.get("SLURM_RESTART_COUNT", "0")), time.monotonic()
    about = {
        "task": _task(),
        "folder": folder,
        "node": os.environ.get("SLURMD_NODENAME", ""),
        "pid": os.getpid(),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        "time": time.time(),
    }
    _write(Path(f"{note}.{restart}.started"), about)
    stop_signals: list[int] = []
    # Slurm takes a dependency on a job that it has forgotten for one that is met
    request = Request.read(Path(folder))
    ready = all((Path(need) / "result.json").exists() for need in request.needs.values())
    store = Store(Path(request.results))
    earlier = store.failure(request.job) if restart else None  # whoever put a failed job back wants it repeated
    code = int(execute(Path(folder), signals=stop_signals, earlier=earlier) if ready else Exit.RESUMABLE)
    failure = store.failure(request.job)
    if code == Exit.RESUMABLE and failure is not None:  # another of its processes failed, and srun stopped this one
        code = failure.exit
    end_note = Path(f"{note}.{restart}.ended")
    signals = [signal.Signals(number).name for number in stop_signals]
    report = {**about, "exit": code, "signals": signals, "requeued": False, "time": time.time()}
    if code == Exit.RESUMABLE:
        late = time.monotonic() - began > 0.5 * minutes * 60
        report["cause"] = ("timeout" if late else "preempted") if signal.SIGUSR2 in stop_signals else "interrupted"
        if signal.SIGUSR2 in stop_signals and restart < restarts:
            report["requeued"] = True
            _write(end_note, report)  # before: the process may be killed right after the requeue
            if _requeue():
                sys.exit(code)
            report["requeued"] = False
    _write(end_note, report)
    sys.exit(code)


def _task() -> str:
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID", "")


def _requeue() -> bool:
    """Whether Slurm takes this job back into its queue; some nodes have no scontrol, and then the front end submits it."""
    for number in STOP_SIGNALS:  # scontrol inherits this: what ends the whole job must not end it before the answer
        signal.signal(number, signal.SIG_IGN)
    try:
        completed_process = subprocess.run(["scontrol", "requeue", _task()], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        say(f"not requeued: {error}")
        return False
    if completed_process.returncode != 0:
        say(f"not requeued: {completed_process.stderr.strip()}")
    return completed_process.returncode == 0


def _write(path: Path, record: dict[str, object]) -> None:
    """Writes a report; a failed write is no error, since the result is stored apart and Slurm has the job's state."""
    try:
        write_json(path, record)
    except OutputError as error:
        say(f"not reported: {error}")
