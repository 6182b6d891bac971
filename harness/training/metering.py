"""Metering of a training: times, the curve, progress, and the check that losses are finite."""

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
    """A batch of the data source; only `ids` (one name per image) is used here."""

    @property
    def ids(self) -> Sequence[str]: ...


class Log(Protocol):
    """A log of a training's lines: curve.jsonl, or another such as TensorBoard."""

    def append(self, records: Sequence[Mapping[str, Any]]) -> None: ...

    def close(self) -> None: ...


class NonFiniteLoss(UserError):
    """The loss became NaN or infinite; the batch is named so that it can be looked at."""

    exit = Exit.FAILED


@dataclass
class Totals:
    """Running totals of a training; part of every checkpoint, so that an interruption does not lose them."""

    iteration: int = 0  # iterations done
    images: int = 0  # of the timed iterations
    seconds: float = 0.0  # wall time of the timed iterations
    waited: float = 0.0  # of which: waiting for the next batch
    total_seconds: float = 0.0  # wall time of all iterations and checkpoints
    peak_memory: float = 0.0  # MiB


class Meter:
    """Counts the time of iterations, reads their losses now and then (a read waits for a GPU to catch up), checks
    them, writes them to the curve and reports progress."""

    def __init__(
        self,
        folder: Path,
        totals: Totals,
        iterations: int,
        progress: Callable[[Progress], None],
        *,
        read_every: int = 1,
        log: Callable[[int], Log] | None = None,
    ) -> None:
        self.folder = folder
        self.totals = totals
        self.iterations = iterations
        self.progress = progress
        self.read_every = read_every
        self.logs: list[Log] = []
        if rank() == 0:
            self.logs = [Curve(folder, totals.iteration), *([log(totals.iteration)] if log is not None else [])]
        self.first = totals.iteration
        self.timed_from = totals.iteration + min(WARM_UP, iterations - totals.iteration - 1)
        self.unread_entries: list[tuple[dict[str, Any], dict[str, Tensor], Batch]] = []
        self.waited = 0.0  # since the last read
        self.start_time = self.clock = time.perf_counter()  # the clock is that of the last read
        self.last_shown = -math.inf

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yields the batches and counts the time spent waiting for them."""
        source = iter(batches)
        while True:
            request_time = time.perf_counter()
            batch = next(source, None)
            self.waited += time.perf_counter() - request_time
            if batch is None:
                return
            yield batch

    def note(self, terms: dict[str, Tensor], batch: Batch, rate: float) -> None:
        """Takes the loss terms of the iteration just done, still on their device, and the base learning rate it had."""
        self.unread_entries.append(({"iteration": self.totals.iteration, "lr": rate}, terms, batch))
        if len(self.unread_entries) >= self.read_every or self.totals.iteration == self.timed_from:
            self.read()

    def read(self) -> None:
        """Reads the losses since the last time in one go, checks that they are finite, and writes them to the curve."""
        if not self.unread_entries:
            return
        losses = self._values()
        images, seconds = self._count_time()
        records: list[dict[str, Any]] = []
        for (record, _, batch), terms in zip(self.unread_entries, losses):
            total = sum(terms.values())
            if not math.isfinite(total):
                self._write(records)
                self._stop(record["iteration"], terms, batch)
            records.append({**record, "loss": total, "terms": terms, "images_per_s": images / seconds})
        self._write(records)
        self.unread_entries.clear()
        self._show(records[-1])

    def note_scores(self, scores: Mapping[str, float]) -> None:
        """Takes scores of the model after the iteration last read, in %. On a GPU the memory that they took does not count
        as the training's peak."""
        self._write([{"iteration": self.totals.iteration, **scores}])
        if torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats()

    def _write(self, records: list[dict[str, Any]]) -> None:
        for log in self.logs:
            log.append(records)

    def _values(self) -> list[dict[str, float]]:
        flat = torch.stack([loss.float() for _, terms, _ in self.unread_entries for loss in terms.values()])
        values = iter(average_over_ranks(flat).tolist())
        return [{name: next(values) for name in terms} for _, terms, _ in self.unread_entries]

    def _count_time(self) -> tuple[int, float]:
        totals, now = self.totals, time.perf_counter()
        images, seconds = world_size() * sum(len(batch.ids) for _, _, batch in self.unread_entries), now - self.clock
        totals.total_seconds += seconds
        if totals.iteration > self.timed_from:
            totals.images += images
            totals.seconds += seconds
            totals.waited += self.waited
        device = next(iter(self.unread_entries[0][1].values())).device
        totals.peak_memory = max(totals.peak_memory, peak_memory(device))
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
        last = self.totals.iteration == self.iterations
        if self.clock - self.last_shown < PROGRESS_SECONDS and not last:
            return
        self.last_shown = self.clock
        rate = self.totals.images / self.totals.seconds if self.totals.seconds else record["images_per_s"]
        wait = 100 * self.totals.waited / self.totals.seconds if self.totals.seconds else 0.0
        terms = ", ".join(f"{name} {value:.3g}" for name, value in record["terms"].items())
        memory = f"memory {self.totals.peak_memory / 1024:.2f} GiB"
        text = f"loss {record['loss']:.3f} ({terms}), lr {record['lr']:.2g}, {memory}, waiting for data {wait:.0f} %"
        iteration = self.totals.iteration
        seconds_left = (self.clock - self.start_time) / (iteration - self.first) * (self.iterations - iteration)
        self.progress(Progress(iteration, self.iterations, rate, text, seconds_left))

    @contextlib.contextmanager
    def excluded_from_throughput(self) -> Iterator[None]:
        """What is done inside (a checkpoint, a test) counts as training time, not against throughput."""
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        self.totals.total_seconds += seconds
        self.clock += seconds

    def close(self) -> None:
        for log in self.logs:
            log.close()


def peak_memory(device: torch.device) -> float:
    """Most memory used so far, in MiB: of the process (resident) on a CPU, of torch's allocator on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
