"""One job in a process of its own: `python -m harness.scheduler.worker FOLDER` runs the job described in FOLDER/job.json.

Its output goes to FOLDER/log.txt, its progress to progress.json, its measurements to result.json or the reason of its
failure to failure.json. SIGTERM, SIGUSR1 and SIGUSR2 ask it to save and stop (exit code 75: run
it again). `torchrun --nproc-per-node N -m harness.scheduler.worker FOLDER` runs it on several processes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from harness import environment
from harness.data.key_parts import check_declaration, check_files
from harness.data.staging import staged
from harness.errors import Exit, Interrupted, OutputError, UserError
from harness.files import is_full_disk, read_json, write_json
from harness.jobs.context import STOP_SIGNALS, Context, Progress
from harness.jobs.job import Job
from harness.jobs.key import Code
from harness.jobs.kinds import KINDS, Data
from harness.jobs.outside_names import without_folder
from harness.scheduler import code_snapshot
from harness.scheduler.machine_causes import machine_cause
from harness.scheduler.number_formats import check_number_formats
from harness.store.store import Failure, Store

_LONGEST = 20_000  # letters of an error's message, which stands in files and on terminals; the log has all of it


@dataclass(frozen=True)
class Request:
    """A job and the circumstances it runs under; JSON in the job's folder."""

    job: Job
    results: str
    data_dir: str | None
    device: str
    threads: int
    needs: Mapping[str, str] = field(default_factory=dict)  # folders of the jobs it needs, by kind
    needed_by: Mapping[str, Sequence[Any]] = field(
        default_factory=dict
    )  # configurations of the jobs that need it, by kind
    data_copied: bool = False  # data_dir is a node's own copy, in which variables of the node may stand
    stage: Mapping[str, str] | None = None  # where a node keeps copies of data_dir's datasets: a cluster file's Stage

    def write(self, folder: Path) -> None:
        write_json(folder / "job.json", {**asdict(self), "job": self.job.to_json(), "needs": dict(self.needs)})

    @classmethod
    def read(cls, folder: Path) -> Request:
        record = read_json(folder / "job.json") or {}
        try:
            return cls(**{**record, "job": Job.from_json(record["job"])})
        except (KeyError, TypeError):
            raise UserError(
                f"{folder / 'job.json'} is not there or not whole; start the job with python -m harness run"
            ) from None

    def context(
        self,
        folder: Path,
        stopping: Sequence[int],
        progress: Callable[[Progress], None] = lambda step: None,
    ) -> Context:
        """What the job may use; it is asked to stop when a signal has come in `stopping`."""
        process = os.getpid()

        def checked_progress(step: Progress) -> None:
            _end_copy(process)
            progress(step)

        def should_stop() -> bool:
            _end_copy(process)
            return bool(stopping)

        return Context(
            folder=folder,
            cache=Store(Path(self.results)).cache,
            data_dir=Path(os.path.expandvars(self.data_dir)).expanduser() if self.data_dir else None,
            device=self.device,
            threads=self.threads,
            needs={kind: Path(path) for kind, path in self.needs.items()},
            needed_by=self.needed_by,
            parts=self.job.parts,
            progress=checked_progress,
            should_stop=should_stop,
        )


def execute(
    folder: Path,
    environ: Mapping[str, str] | None = None,
    signals: list[int] | None = None,
    *,
    earlier: Failure | None = None,
) -> int:
    """Runs the job in `folder` in this process and returns its exit code; UserError where there is no whole job.json.

    `signals` collects the signals that ask it to stop. `earlier` is the failure that is to be repeated; where the job has
    failed otherwise meanwhile, in another front end's hands, it is not run again and that failure stands.
    """
    request = Request.read(folder)
    os.environ.update(environ or {})
    write_output_to(folder / "log.txt")
    stopping: list[int] = [] if signals is None else signals
    _collect_stop_signals(stopping)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the front end, which asks jobs to stop
    store = Store(Path(request.results))
    try:
        with os.fdopen(os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644), "r+") as lock:
            _acquire(lock, stopping)
            _call_other_ranks(lock)
            return _attempt(request, folder, store, stopping, earlier)
    except Interrupted:
        return Exit.RESUMABLE
    except BaseException as error:
        return report_failure(request, folder, error)


def _call_other_ranks(lock: TextIO) -> None:
    """Notes in the lock's file, for `wait_for_first_rank`, that this company's rank 0 has the job."""
    if "MASTER_PORT" in os.environ:
        lock.truncate(0)
        lock.write(os.environ["MASTER_PORT"])
        lock.flush()


def wait_for_first_rank(folder: Path) -> None:
    """Returns when rank 0 has the job: another front end may have it for hours, longer than a rendezvous can last."""
    while not (folder / "lock").is_file() or (folder / "lock").read_text() != os.environ["MASTER_PORT"]:
        time.sleep(0.1)


def _attempt(request: Request, folder: Path, store: Store, stopping: list[int], earlier: Failure | None) -> int:
    """Runs the job whose lock is held, unless it has a result or has failed meanwhile; gives the exit code."""
    if store.result(request.job) is not None:
        return Exit.OK
    failure = store.begin(request.job, earlier)
    if failure is not None:
        return failure.exit
    process = os.getpid()
    try:
        _run(request, folder, store, stopping)
    except Interrupted:
        raise
    except BaseException as error:
        _end_copy(process, error)
        return report_failure(request, folder, error)  # before the lock is free: who waits for it is to see why
    return Exit.OK


def run_other_rank(folder: Path) -> int:
    """A distributed job's further processes: they take part and say why they fail; the first one reports and stores."""
    request = Request.read(folder)
    store = Store(Path(request.results))
    stopping: list[int] = []
    _collect_stop_signals(stopping)
    if store.result(request.job) is not None:
        return Exit.OK
    process = os.getpid()
    try:
        _use_threads(request.threads)
        with _with_data_of_node(request, request.context(folder, stopping)) as context:
            is_first_of_node = os.environ.get("LOCAL_RANK") == "0"  # of another one, whose copy of the data is its own
            if is_first_of_node:
                _check_declaration(request, context)
            KINDS[request.job.kind].run(request.job.config, context)
        _end_copy(process)
    except Interrupted:
        return Exit.RESUMABLE
    except BaseException as error:
        _end_copy(process, error)
        return report_failure(request, folder, error)
    return Exit.OK


def write_output_to(log: Path) -> None:
    """Appends what this process prints, and what libraries print below Python, to a file."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)


def _collect_stop_signals(stopping: list[int]) -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, lambda number, frame: stopping.append(number))


def report_failure(request: Request, folder: Path, error: BaseException) -> int:
    """Writes down why the job failed and returns its exit code.

    The first cause stands: of a distributed job's processes the others fail because the first is gone.
    """
    with contextlib.suppress(OSError, ValueError):  # what a full disk did not take of the log is tried once more here
        sys.stderr.flush()
    with contextlib.suppress(Exception):  # also of an error whose text cannot be made
        _log_exception(folder / "log.txt", error)
    store, failure = Store(Path(request.results)), explain(error, log=str(folder / "log.txt"))
    try:
        store.fail(request.job, failure)
    except OutputError as refusal:
        say(f"the failure itself could not be written: {refusal}")
        return refusal.exit
    return failure.exit


def _log_exception(path: Path, error: BaseException) -> None:
    with path.open("a", encoding="utf-8", errors="backslashreplace") as log:
        traceback.print_exception(error, file=log)


def _end_copy(process: int, error: BaseException | None = None) -> None:
    """Ends this process where it is not the job's own, `process`, but a copy that a method made by os.fork and let go on.

    Two of them would write one training's checkpoints, or report the failure of the other. The log says so.
    """
    if os.getpid() == process:
        return
    with contextlib.suppress(Exception):
        reason = "" if error is None else f" with {type(error).__name__}: {_text(error)}"
        say(f"a copy of this job's process, made by os.fork, came back into the job{reason}; the copy is ended here")
        sys.stderr.flush()
    os._exit(Exit.FAILED)


def _text(error: BaseException) -> str:
    """An error's message, whatever a method put there: one that can be written to a file, and not pages of it."""
    try:
        message = str(error).strip() or type(error).__name__
    except Exception as second:
        message = f"its message cannot be made ({type(second).__name__})"
    message = message.encode("utf-8", "backslashreplace").decode()
    return message if len(message) <= _LONGEST else f"{message[:_LONGEST]} … (in full in the log)"


def say(message: str) -> None:
    """Prints a line to the job's output; a full disk is no error, nor is a stream that a method closed."""
    with contextlib.suppress(OSError, ValueError):
        print(message, file=sys.stderr)


def _acquire(lock: TextIO, stopping: list[int]) -> None:
    """Waits while another run has the same job, whose result is then there; Interrupted when asked to stop meanwhile."""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if stopping:
                raise Interrupted from None
            time.sleep(0.1)


def _run(request: Request, folder: Path, store: Store, stopping: list[int]) -> None:
    import torch

    _use_threads(request.threads)
    if request.device == "cuda":  # of a node: on this machine it was asked before
        check_number_formats([request.job], torch.cuda.get_device_capability(), torch.cuda.get_device_name())
    start_time, clock, last = time.time(), time.monotonic(), [0.0]

    def progress(step: Progress) -> None:
        now = time.monotonic()
        if now - last[0] >= 0.3 or step.done >= step.total:
            last[0] = now
            write_json(folder / "progress.json", {**asdict(step), "time": time.time()}, durable=False)

    process = os.getpid()
    with _with_data_of_node(request, request.context(folder, stopping, progress)) as context:
        _check_declaration(request, context)
        measurements = KINDS[request.job.kind].run(request.job.config, context)
    _end_copy(process)
    where, took = environment.describe(request.device, request.threads), time.monotonic() - clock
    store.finish(request.job, measurements, where, start_time, took)


def _use_threads(threads: int) -> None:
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


@contextlib.contextmanager
def _with_data_of_node(request: Request, context: Context) -> Iterator[Context]:
    """The context with the node's own copy of the job's dataset, where the cluster file asks for one."""
    config, parts = request.job.config, request.job.parts.get("data") or {}
    facts = parts.get(without_folder(config["data"]["name"])) if "data" in config else None
    if (
        request.stage is None
        or not isinstance(facts, Mapping)
        or Data.model_validate(config["data"]).scenes() is not None
    ):
        yield context
        return
    data, stage = Data.model_validate(config["data"]), request.stage
    with staged(data, facts["files"], stage["folder"], stage["archives"], context) as place:
        yield replace(context, data_dir=place)


def _check_declaration(request: Request, context: Context) -> None:
    """UserError where the dataset's declaration is not that of the job's key: it was edited before the code was copied."""
    config, facts = request.job.config, request.job.parts.get("data") or {}
    name = without_folder(config["data"]["name"]) if "data" in config else ""
    if isinstance(facts.get(name), Mapping):
        data = Data.model_validate(config["data"])
        check_declaration(data, facts[name], data_dir=context.data_dir, cache=context.cache)
        if request.data_copied:
            check_files(data, facts[name], data_dir=context.data_dir, cache=context.cache)


def explain(error: BaseException, log: str) -> Failure:
    """The failure record of an exception: its cause in a word, its message in a line, and the exit code of its kind."""
    message = _text(error)
    cause, code = "exception", int(Exit.FAILED)
    if isinstance(error, UserError):
        cause, code = error.cause, int(error.exit)
    elif is_full_disk(error):
        cause, code, message = "error", int(Exit.OUTPUT), "the disk is full; make room and repeat the command"
    elif isinstance(error, MemoryError) or "out of memory" in message.lower() or "can't allocate memory" in message:
        cause = "out of memory"
    else:
        message = f"{type(error).__name__}: {message}"
        of_machine = machine_cause(message) if isinstance(error, RuntimeError | OSError) else None
        if of_machine is not None:
            cause, message = of_machine.cause, f"{of_machine.advice} ({message})"
    return Failure(cause, message, code, time.time(), log)


def main(arguments: list[str]) -> int:
    """`python -m harness.scheduler.worker FOLDER`"""
    if len(arguments) != 1:
        print("usage: python -m harness.scheduler.worker FOLDER", file=sys.stderr)
        return Exit.INPUT
    folder = Path(arguments[0])
    try:
        _check_code(Request.read(folder).job)
        if int(os.environ.get("RANK", "0")) > 0:  # torchrun's
            return run_other_rank(folder)
        request = Request.read(folder)
        return execute(folder, earlier=Store(Path(request.results)).failure(request.job))
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit


def _check_code(job: Job) -> None:
    """UserError unless this checkout holds the code of the job's key."""
    code_snapshot.check([job], Code(), code_snapshot.outside_modules([job]))


def describe_silent_exit(code: int) -> str:
    """A message for a process that ended with an exit code and without a failure record."""
    if code == Exit.OUTPUT:
        return "it could not write its results: is the disk or a quota full?"
    return f"its process ended with exit code {code} and left no result"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
