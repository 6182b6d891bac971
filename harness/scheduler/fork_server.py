"""Processes of local jobs, forked from a server that has their modules loaded, so that a job starts in milliseconds.

The server runs the code of a snapshot in a session of its own: Ctrl-C in a terminal reaches neither it nor jobs. It hears of
the front end through a pipe. When that closes, however the front end ended, jobs are asked to save, and killed after a
grace; when the server itself is killed, the kernel kills the jobs. What a job leaves of its process group (data workers)
ends with it.

Libraries that only some jobs need are loaded before the first of these (LIBRARIES), and then by none of them.

Requests and replies are lines of JSON: `{"start": 3, …}`, `{"signal": 3, "number": 15}`; `{"ready": true}`,
`{"started": 3, "pid": 4711}`, `{"ended": 3, "code": 0}`.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.jobs.kinds import load
from harness.scheduler.worker import execute, run_other_rank, wait_for_first_rank, write_output_to
from harness.store.store import Failure

GRACE = 30.0  # seconds a job may take to save and stop before it is killed
_PATIENCE = 10.0  # seconds that an idle server may take to end
_START = """\
import sys
sys.path[:] = [sys.argv[1], *filter(None, sys.path)]
from harness.scheduler.fork_server import serve
serve()
"""
LIBRARIES = {"mmseg": ("mmseg.models",)}
"""{package in a job's key: what the server imports before such a job}: it takes seconds, and a job starts in milliseconds."""
_PR_SET_PDEATHSIG = 1  # Linux: the signal that a process gets when its parent dies


class ForkServer:
    """The front end's side. Jobs are known by numbers, before their processes are there and after they have ended.

    `code`: the snapshot; `lock`: a descriptor that the server and its jobs inherit, so that nobody sweeps it.
    """

    def __init__(self, code: Path, lock: int) -> None:
        self.code = code
        command = [sys.executable, "-c", _START, str(code.resolve())]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            pass_fds=(lock,),
            bufsize=0,
        )
        self._is_ready = False
        self._numbers = itertools.count()
        self._pids: dict[int, int | None] = {}  # of running jobs
        self._codes: dict[int, int] = {}  # of ended ones that nobody has asked for
        self._rest = b""

    @property
    def is_usable(self) -> bool:
        """Whether it can start jobs: it runs, and its code is there."""
        return self._process.poll() is None and self.code.is_dir()

    @property
    def is_idle(self) -> bool:
        return not self._pids

    @property
    def is_ready(self) -> bool:
        """Whether it has loaded its modules; before that it starts no process."""
        self.wait((), 0.0)
        return self._is_ready

    def start(
        self, function: str, arguments: Sequence[Any], environ: Mapping[str, str], modules: Sequence[str] = ()
    ) -> int:
        """Calls `module:function` with these arguments (JSON) in a process of its own with this environment and the front end's
        working directory; the exit code is what it returns. `modules` are imported first, by the server, unless they are
        there. Gives the number of the process.
        """
        number = next(self._numbers)
        self._pids[number] = None
        request = {"function": function, "arguments": [*arguments], "environ": dict(environ), "folder": os.getcwd()}
        self._send({"start": number, "modules": [*modules], **request})
        return number

    def signal(self, number: int, signal_number: int) -> None:
        """Sends a signal to a job; SIGKILL ends all processes of it."""
        self._send({"signal": number, "number": int(signal_number)})

    def wait(self, numbers: Collection[int], timeout: float) -> None:
        """Returns when one of these jobs has ended, or after `timeout` seconds."""
        assert self._process.stdout is not None
        replies, end = self._process.stdout.fileno(), time.monotonic() + timeout
        while self._pids and self._codes.keys().isdisjoint(numbers):
            readable, _, _ = select.select([replies], [], [], max(0.0, end - time.monotonic()))
            if not readable:
                return
            self._read(replies)

    def exit_code(self, number: int) -> int | None:
        """The exit code of a job that has ended, given once; minus the number of the signal that killed it."""
        return self._codes.pop(number, None)

    def kill(self) -> None:
        """Ends the server and every job at once."""
        self._process.kill()
        self._lost()
        self._process.wait()

    def close(self) -> None:
        """Ends an idle server."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if not self.is_ready:
            self._process.kill()
        self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process.stdout.close()

    def _send(self, request: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it was killed: `wait` finds out
            self._process.stdin.write(json.dumps(request).encode() + b"\n")

    def _read(self, replies: int) -> None:
        chunk = os.read(replies, 1 << 16)
        if not chunk:
            self._lost()
            return
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for reply in map(json.loads, lines):
            if "started" in reply:
                self._pids[reply["started"]] = reply["pid"]
            elif "ended" in reply:
                self._pids.pop(reply["ended"], None)
                self._codes[reply["ended"]] = reply["code"]
            else:
                self._is_ready = True

    def _lost(self) -> None:
        """The server is gone, and the kernel kills its jobs; their own processes are ended here."""
        for number, pid in self._pids.items():
            if pid is not None:
                with contextlib.suppress(OSError):
                    os.killpg(pid, signal.SIGKILL)
            self._codes[number] = -int(signal.SIGKILL)
        self._pids.clear()


# ------------------------------------------------------------------------------------------------- the server's process


def serve() -> None:
    """Loads what jobs need and starts them as the front end asks, until it is gone and the last has ended."""
    requests, replies = os.dup(0), os.dup(1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(Exception):  # code that cannot be imported: its jobs say so
        importlib.import_module("harness.scheduler.preload")
    _Server(requests, replies).run()


class _Server:
    def __init__(self, requests: int, replies: int) -> None:
        self._requests, self._replies = requests, replies
        self._jobs: dict[int, int] = {}  # {process: number}
        self._rest = b""
        self._asked_modules: set[str] = set()
        self._deadline: float | None = None  # set when the front end is gone
        self._wake, written = os.pipe()
        for end in (self._wake, written):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda number, frame: None)

    def run(self) -> None:
        self._reply({"ready": True})
        while self._deadline is None or self._jobs:
            open_ends = [self._wake, *([self._requests] if self._deadline is None else [])]
            timeout = None if self._deadline is None else max(0.1, self._deadline - time.monotonic())
            readable, _, _ = select.select(open_ends, [], [], timeout)
            if self._wake in readable and signal.SIGTERM in os.read(self._wake, 4096):
                self._end()
            if self._requests in readable:
                self._answer(os.read(self._requests, 1 << 16))
            if self._deadline is not None and time.monotonic() >= self._deadline:
                for process in self._jobs:
                    _kill_group(process)
            self._reap()

    def _answer(self, chunk: bytes) -> None:
        if not chunk:
            self._end()
            return
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for request in map(json.loads, lines):
            if "start" in request:
                self._start(request)
                continue
            process = next((p for p, number in self._jobs.items() if number == request["signal"]), None)
            if process is not None and request["number"] == signal.SIGKILL:
                _kill_group(process)
            elif process is not None:
                os.kill(process, request["number"])

    def _end(self) -> None:
        """The front end is gone: jobs save and stop."""
        if self._deadline is None:
            self._deadline = time.monotonic() + GRACE
            for process in self._jobs:
                os.kill(process, signal.SIGTERM)

    def _start(self, request: Mapping[str, Any]) -> None:
        for module in request["modules"]:
            if module not in self._asked_modules:
                self._asked_modules.add(module)
                _import(module)
        server = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            process = os.fork()
        except OSError as error:
            print(f"no process can be started: {error}", file=sys.stderr)
            self._reply({"ended": request["start"], "code": 1})
            process = -1
        if process == 0:
            _run(request, server, before, (self._requests, self._replies, self._wake))
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if process > 0:
            with contextlib.suppress(OSError):  # it does so itself, too
                os.setpgid(process, process)
            self._jobs[process] = request["start"]
            self._reply({"started": request["start"], "pid": process})

    def _reap(self) -> None:
        for process, number in list(self._jobs.items()):
            if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            _kill_group(process)  # what it left behind, while its number is not given to another
            _, status = os.waitpid(process, 0)
            del self._jobs[process]
            self._reply({"ended": number, "code": os.waitstatus_to_exitcode(status)})

    def _reply(self, reply: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the front end is gone
            os.write(self._replies, json.dumps(reply).encode() + b"\n")


def _import(module: str) -> None:
    """Imports a library before jobs are forked that need it; what is wrong with it is for them to say.

    Some ask on import whether there is a GPU. PyTorch then asks NVML: asked itself, CUDA would work in no forked process.
    """
    question = "PYTORCH_NVML_BASED_CUDA_CHECK"
    before = os.environ.get(question)
    os.environ[question] = "1"
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module(module)
    del os.environ[question]
    os.environ.update({question: before} if before is not None else {})


def _kill_group(process: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(process, signal.SIGKILL)


def _run(request: Mapping[str, Any], server: int, mask: set[Any], ends: tuple[int, ...]) -> None:
    """Runs a job in the forked process, and ends it."""
    code = 1
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        _die_with(server)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for end in ends:
            os.close(end)
        os.environ.clear()
        os.environ.update(request["environ"])
        os.chdir(request["folder"])
        code = int(load(request["function"])(*request["arguments"]))
    except BaseException:
        with contextlib.suppress(OSError, ValueError):
            traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(
            OSError, ValueError
        ):  # a log that takes no more, or is closed, must not change the code
            stream.flush()
    os._exit(code)  # no clean-up of what belongs to the server


RUN_JOB = f"{__name__}:run_job"
"""What a job's process calls."""


def run_job(folder: str, earlier: dict[str, Any] | None) -> int:
    """Runs the job in `folder`; `earlier`: the failure that it is to repeat, see `execute`."""
    return execute(Path(folder), earlier=Failure(**earlier) if earlier is not None else None)


RUN_RANK = f"{__name__}:run_rank"
"""What the further processes of a job on several call."""


def run_rank(folder: str) -> int:
    """Takes part in the job in `folder`; its output goes to the job's log, too."""
    write_output_to(Path(folder) / "log.txt")
    wait_for_first_rank(Path(folder))
    return run_other_rank(Path(folder))


def _die_with(parent: int) -> None:
    """Has the kernel kill this process when its parent dies, where it can."""
    with contextlib.suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


# --------------------------------------------------------------------------------------------- one server per snapshot

_servers: dict[str, ForkServer] = {}  # by the snapshot's digest: a further run of the same code starts at once


def running(digest: str) -> ForkServer | None:
    """The server of this process for a snapshot, if there is one; those of other code end when their jobs have."""
    for name, server in list(_servers.items()):
        if not server.is_usable or (name != digest and server.is_idle):
            server.close()
            del _servers[name]
    return _servers.get(digest)


@atexit.register
def _close_all() -> None:
    for server in _servers.values():
        server.close()
    _servers.clear()


def launch(code: Path, lock: int) -> ForkServer:
    """Starts a server for a snapshot; later runs of the same code in this process use it, too."""
    _servers[code.name] = ForkServer(code, lock)
    return _servers[code.name]


@contextlib.contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Ctrl-C inside the block is acted on at its end, so that no process is started and then forgotten."""
    previous = signal.getsignal(signal.SIGINT)
    if not callable(previous) or threading.current_thread() is not threading.main_thread():
        yield  # ignored, or for another thread
        return
    received: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if received:
            previous(signal.SIGINT, None)
