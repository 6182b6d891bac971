"""What a training tells about itself: times, the curve, progress, and where a loss stops being finite."""

from __future__ import annotations

import contextlib
import json
import math
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from harness.errors import Exit, UserError
from harness.files import write_json
from harness.jobs.context import Progress
from harness.store.curve import Curve
from harness.training.distributed import gather_texts
from methods.ranks import average_over_ranks, rank, world_size

WARM_UP = 3
"""Iterations after each start that do not count for throughput: allocators, caches and data workers fill up."""

PROGRESS_SECONDS = 0.5


class Batch(Protocol):
    """What a source of data hands out; only `ids` (one name per image) is looked at here."""

    ids: Sequence[str]


class Log(Protocol):
    """What keeps the lines of a training: curve.jsonl, and others that are asked for."""

    def append(self, records: Sequence[Mapping[str, Any]]) -> None: ...

    def close(self) -> None: ...


class NonFiniteLoss(UserError):
    """The loss became NaN or infinite; the batch is named so that it can be looked at."""

    exit = Exit.FAILED


@dataclass
class Totals:
    """What has been measured so far; part of every checkpoint, so that an interruption does not lose it."""

    iteration: int = 0  # iterations done
    images: int = 0  # of the timed iterations
    seconds: float = 0.0  # wall time of the timed iterations
    waited: float = 0.0  # of which: waiting for the next batch
    total_seconds: float = 0.0  # wall time of all iterations and checkpoints
    peak_memory: float = 0.0  # MiB


class Meter:
    """Counts the time of iterations, reads their losses now and then (a read waits for a GPU to catch up), checks them,
    writes them to the curve and tells how far the training is."""

    def __init__(
        self,
        folder: Path,
        tally: Totals,
        iterations: int,
        progress: Callable[[Progress], None],
        *,
        read_every: int = 1,
        log: Callable[[int], Log] | None = None,
    ) -> None:
        self.folder = folder
        self.tally = tally
        self.iterations = iterations
        self.progress = progress
        self.read_every = read_every
        self.logs: list[Log] = []
        if rank() == 0:
            self.logs = [Curve(folder, tally.iteration), *([log(tally.iteration)] if log is not None else [])]
        self.first = tally.iteration
        self.timed_from = tally.iteration + min(WARM_UP, iterations - tally.iteration - 1)
        self.pending: list[tuple[dict[str, Any], dict[str, Tensor], Batch]] = []
        self.waited = 0.0  # since the last read
        self.started = self.clock = time.perf_counter()  # the clock is that of the last read
        self.shown = -math.inf

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Passes the batches on and counts the time spent waiting for them."""
        source = iter(batches)
        while True:
            asked = time.perf_counter()
            batch = next(source, None)
            self.waited += time.perf_counter() - asked
            if batch is None:
                return
            yield batch

    def note(self, terms: dict[str, Tensor], batch: Batch, rate: float) -> None:
        """Takes the loss terms of the iteration just done, still on their device, and the base learning rate it had."""
        self.pending.append(({"iteration": self.tally.iteration, "lr": rate}, terms, batch))
        if len(self.pending) >= self.read_every or self.tally.iteration == self.timed_from:
            self.read()

    def read(self) -> None:
        """Reads the losses since the last time in one go, checks that they are finite, and writes them to the curve."""
        if not self.pending:
            return
        losses = self._values()
        images, seconds = self._count_time()
        records = []
        for (record, _, batch), terms in zip(self.pending, losses):
            total = sum(terms.values())
            if not math.isfinite(total):
                self._write(records)
                self._stop(record["iteration"], terms, batch)
            records.append({**record, "loss": total, "terms": terms, "images_per_s": images / seconds})
        self._write(records)
        self.pending.clear()
        self._show(records[-1])

    def note_scores(self, scores: Mapping[str, float]) -> None:
        """Takes scores of the model after the iteration last read, in %. On a GPU the memory that they took does not count
        as the training's peak."""
        self._write([{"iteration": self.tally.iteration, **scores}])
        if torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats()

    def _write(self, records: list[dict[str, Any]]) -> None:
        for log in self.logs:
            log.append(records)

    def _values(self) -> list[dict[str, float]]:
        flat = torch.stack([loss.float() for _, terms, _ in self.pending for loss in terms.values()])
        values = iter(average_over_ranks(flat).tolist())
        return [{name: next(values) for name in terms} for _, terms, _ in self.pending]

    def _count_time(self) -> tuple[int, float]:
        tally, now = self.tally, time.perf_counter()
        images, seconds = world_size() * sum(len(batch.ids) for _, _, batch in self.pending), now - self.clock
        tally.total_seconds += seconds
        if tally.iteration > self.timed_from:
            tally.images += images
            tally.seconds += seconds
            tally.waited += self.waited
        device = next(iter(self.pending[0][1].values())).device
        tally.peak_memory = max(tally.peak_memory, peak_memory(device))
        self.clock, self.waited = now, 0.0
        return images, seconds

    def _stop(self, iteration: int, losses: dict[str, float], batch: Batch) -> None:
        file = self.folder / "nonfinite.json"
        ids = [id for part in gather_texts(json.dumps(list(batch.ids))) for id in json.loads(part)]
        report = {"iteration": iteration, "losses": {k: str(v) for k, v in losses.items()}, "images": ids}
        write_json(file, report)
        terms = ", ".join(f"{name} {value}" for name, value in losses.items())
        raise NonFiniteLoss(
            f"the loss is not finite in iteration {iteration} ({terms}). Images of that batch: {', '.join(ids)} "
            f"(also in {file}). Look at their labels, lower recipe.optimizer.lr or set recipe.optimizer.clip_norm"
        )

    def _show(self, record: Mapping[str, Any]) -> None:
        last = self.tally.iteration == self.iterations
        if self.clock - self.shown < PROGRESS_SECONDS and not last:
            return
        self.shown = self.clock
        rate = self.tally.images / self.tally.seconds if self.tally.seconds else record["images_per_s"]
        wait = 100 * self.tally.waited / self.tally.seconds if self.tally.seconds else 0.0
        terms = ", ".join(f"{name} {value:.3g}" for name, value in record["terms"].items())
        memory = f"memory {self.tally.peak_memory / 1024:.2f} GiB"
        text = f"loss {record['loss']:.3f} ({terms}), lr {record['lr']:.2g}, {memory}, waiting for data {wait:.0f} %"
        done = self.tally.iteration
        left = (self.clock - self.started) / (done - self.first) * (self.iterations - done)
        self.progress(Progress(done, self.iterations, rate, text, left))

    @contextlib.contextmanager
    def excluded_from_throughput(self) -> Iterator[None]:
        """What is done inside (a checkpoint, a test) counts as training time, not against throughput."""
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        self.tally.total_seconds += seconds
        self.clock += seconds

    def close(self) -> None:
        for log in self.logs:
            log.close()


def peak_memory(device: torch.device) -> float:
    """Most memory used so far, in MiB: of the process (resident) on a CPU, of torch's allocator on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
