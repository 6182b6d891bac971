"""Code of another checkout, run in a fork of the test's process: what is installed is loaded already, which takes seconds;
what is the checkout's is loaded anew from its files as they are."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import runpy
import sys
import tempfile
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

FORK = multiprocessing.get_context("fork")
OURS = ("harness", "methods", "reports", "tests")


def run(source: str, root: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> Any:
    """What `source` leaves in `answer` (JSON), run in the checkout at `root` with `arguments` as it would be by `python -c`."""
    reader, writer = FORK.Pipe(duplex=False)
    child = FORK.Process(target=_run, args=(writer, source, root, arguments, environ or {}))
    child.start()
    writer.close()
    try:
        answer = json.loads(reader.recv_bytes())
    except EOFError:
        answer = "it ended without an answer"
    child.join()
    assert child.exitcode == 0, answer
    return answer


def _run(writer: Connection, source: str, root: Path, arguments: tuple[str, ...], environ: Mapping[str, str]) -> None:
    try:
        os.environ.update(environ)
        os.chdir(root)
        for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
            del sys.modules[name]
        sys.path.insert(0, str(root))
        sys.argv = ["-c", *arguments]
        importlib.invalidate_caches()
        sys.dont_write_bytecode = True  # it is told apart by seconds, and tests edit faster
        with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
            script.write(source)
            script.flush()
            answer = runpy.run_path(script.name)["answer"]
        writer.send_bytes(json.dumps(answer).encode())
    except BaseException:
        writer.send_bytes(json.dumps(traceback.format_exc()).encode())
        raise
