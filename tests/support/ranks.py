"""Several processes of one gloo group, forked from the test's own: they need not load torch again, which takes seconds."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess

import torch

from tests.support.waiting import PATIENCE

FORK = multiprocessing.get_context("fork")
EXCEPTION = 1  # exit code of a process whose function raises


def run_ranks(function: Callable[..., None], processes: int, *arguments: object) -> None:
    """Calls `function(*arguments)` once per rank and waits; the tracebacks of ranks that fail are in the test's output."""
    codes = exit_codes(start_ranks(function, processes, *arguments))
    assert codes == [0] * processes, f"exit codes of the ranks: {codes}"


def start_ranks(function: Callable[..., None], processes: int, *arguments: object) -> list[ForkProcess]:
    """One process per rank, with the environment that torchrun gives (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, …)."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(processes)}
    environs = [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
    started = [FORK.Process(target=rank_main, args=(environ, function, arguments)) for environ in environs]
    for process in started:
        process.start()
    return started


def exit_codes(started: list[ForkProcess]) -> list[int | None]:
    """When all have ended. When one dies of an exception, the others, which may wait for it, are killed."""
    running = {process.sentinel: process for process in started}
    while running:
        ended = [running.pop(sentinel) for sentinel in wait(list(running), PATIENCE)]
        for process in ended:
            process.join()
        if not ended or any(process.exitcode == EXCEPTION for process in ended):
            for process in running.values():
                process.kill()
    return [process.exitcode for process in started]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def rank_main(environ: dict[str, str], function: Callable[..., None], arguments: tuple) -> None:
    os.environ.update(environ)
    torch.set_num_threads(1)
    function(*arguments)
