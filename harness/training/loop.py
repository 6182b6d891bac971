"""The training loop, independent of the method, which it reaches through `Segmentor.losses` alone.

One iteration is one step of the optimiser on one batch. Data order and learning rate are functions of the iteration, so
the state to save is the model, the optimiser, the random generators and what has been measured so far.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import Interrupted
from harness.jobs.context import Progress
from harness.training import checkpoint, distributed, random_state
from harness.training.metering import Batch, Log, Meter, Totals
from harness.training.optim import set_learning_rate
from harness.training.precision import Precision, sizes_that_vary
from methods.ranks import rank


@dataclass
class Training:
    """Everything one training is made of.

    `batches(start, stop)` yields the batches of iterations start … stop - 1; `prepare` turns one into images
    [B, 3, H, W] float, normalised, and targets [B, H, W] int64, both on the model's device. `factor(t)` is what the base
    learning rates are multiplied by in iteration t. `identity` says what is trained; a checkpoint of anything else is
    refused. On several processes each has its own `batches`, its part of every batch, and the same everything else.
    """

    model: nn.Module  # a Segmentor
    optimizer: torch.optim.Optimizer
    factor: Callable[[int], float]
    batches: Callable[[int, int], Iterable[Batch]]
    prepare: Callable[[Any], tuple[Tensor, Tensor]]
    iterations: int
    folder: Path
    losses: distributed.Losses | None = None  # the model's, wrapped: compiled, data-parallel
    precision: Precision = field(default_factory=Precision)
    checkpoint_every: int | None = None  # iterations between two checkpoints; None: by time
    checkpoint_seconds: float = 600.0
    accumulate: int = 1  # a batch goes through the model in so many equal parts, which saves memory
    # how much the mean over each part of a batch contributes to that over the whole, from the parts' targets
    part_weights: Callable[[Sequence[Tensor]], Sequence[Tensor | float]] = lambda parts: [1 / len(parts)] * len(parts)
    clip_norm: float | None = None
    identity: Mapping[str, Any] = field(default_factory=dict)
    read_every: int = 1  # iterations between two reads of the losses; each read waits for a GPU to catch up
    test_every: int | None = None  # iterations between two calls of `test`
    # gives scores of the model for the curve; raises Interrupted where its argument says so
    test: Callable[[Callable[[], bool]], Mapping[str, float]] | None = None
    preflight: Callable[[], None] | None = None  # called before the first iteration; raises where training is in vain
    log: Callable[[int], Log] | None = None  # opens another log beside the curve, of the iterations after the given one

    def run(
        self,
        progress: Callable[[Progress], None] = lambda progress: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Totals:
        """Trains to the end, from the newest checkpoint if there is one.

        Raises Interrupted after saving when `should_stop` says so, NonFiniteLoss, and OutputError when the folder cannot
        be written; after all of them the same call goes on from the newest checkpoint.
        """
        totals = self._resume()
        if totals.iteration == self.iterations:
            return totals
        if self.preflight is not None and not totals.iteration:
            self.preflight()
        self.model.train()
        meter = Meter(self.folder, totals, self.iterations, progress, read_every=self.read_every, log=self.log)
        vote, writer, saved_at = distributed.Vote(2), checkpoint.Writer(self.folder), time.monotonic()
        try:
            for batch in meter.timed(self.batches(totals.iteration, self.iterations)):
                if self.test_every and totals.iteration and totals.iteration % self.test_every == 0:
                    self._test(meter, writer, should_stop)
                factor = self.factor(totals.iteration)
                terms = self._step(batch, factor)
                totals.iteration += 1
                meter.note(terms, batch, self.optimizer.defaults["lr"] * factor)
                last = totals.iteration == self.iterations
                writer.check()
                due = self.checkpoint_every is None and time.monotonic() - saved_at >= self.checkpoint_seconds
                saved_at = time.monotonic() if due else saved_at
                stop, save = vote.cast(should_stop(), due and rank() == 0)
                stop = stop and not last
                if last or stop or save or (self.checkpoint_every and totals.iteration % self.checkpoint_every == 0):
                    if last or stop:
                        vote.close()
                    meter.read()  # nothing is saved before its loss is known to be finite
                    with meter.excluded_from_throughput():
                        self._save(totals, writer, final=last, wait=stop)
                if stop:
                    raise self._interruption(totals)
        finally:
            writer.close()
            meter.close()
        assert totals.iteration == self.iterations, "the source of batches ended early"
        return totals

    def _step(self, batch: Any, factor: float) -> dict[str, Tensor]:
        """One step of the optimiser; gives the loss terms, whose sum was minimised, still on their device."""
        images, targets = self.prepare(batch)
        compute, scaler = self.losses or self.model.losses, self.precision.scaler
        set_learning_rate(self.optimizer, factor)
        self.optimizer.zero_grad(set_to_none=True)
        parts = list(zip(images.chunk(self.accumulate), targets.chunk(self.accumulate)))
        weights = self.part_weights([part_targets for _, part_targets in parts])
        loss_terms: dict[str, Any] = {}
        for i, (share, (part_images, part_targets)) in enumerate(zip(weights, parts)):
            with distributed.no_sync(compute) if i + 1 < len(parts) else nullcontext():
                with self.precision.autocast():
                    losses = compute(part_images, part_targets)
                scaler.scale(sum(losses.values()) * share).backward()
            loss_terms = {name: loss_terms.get(name, 0) + loss.detach() * share for name, loss in losses.items()}
        if self.clip_norm is not None:
            scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        scaler.step(self.optimizer)
        scaler.update()
        return loss_terms

    def _test(self, meter: Meter, writer: checkpoint.Writer, should_stop: Callable[[], bool]) -> None:
        """Scores of the model as it stands, for the curve. Weights, statistics and random numbers stay as they are.

        It comes after the checkpoint of its iteration, so that a training which goes on from there tests again.
        """
        assert self.test is not None
        meter.read()
        random = random_state.capture()
        self.model.eval()
        stopped = False
        with meter.excluded_from_throughput():
            try:
                with distributed.statistics_of_rank_0(self.model), sizes_that_vary():
                    meter.note_scores(self.test(should_stop))
            except Interrupted:
                stopped = True
        self.model.train()
        random_state.restore(random)
        if stopped:
            self._save(meter.totals, writer, final=False, wait=True)
            raise self._interruption(meter.totals)

    def _interruption(self, totals: Totals) -> Interrupted:
        return Interrupted(f"stopped after iteration {totals.iteration} of {self.iterations}; state saved")

    def _save(self, totals: Totals, writer: checkpoint.Writer, *, final: bool, wait: bool) -> None:
        """Rank 0 writes, in a thread while the training goes on, or at once with `wait` and at the end; the random generators
        of every rank go along."""
        random = distributed.gather_texts(random_state.capture())
        if rank() == 0:
            state = {"identity": dict(self.identity), "tally": asdict(totals), "model": self.model.state_dict()}
            if not final:
                state |= {"optimizer": self.optimizer.state_dict(), "scaler": self.precision.scaler.state_dict()}
                state["random"] = random
            writer.save(state, totals.iteration, final=final)
        if final or wait:
            writer.wait()
            distributed.barrier()

    def _resume(self) -> Totals:
        """Restores the newest intact checkpoint; rank 0 sets corrupt ones aside before the others read."""
        state = distributed.first_rank_first(lambda: checkpoint.load(self.folder))
        if state is None:
            return Totals()
        checkpoint.check_identity(self.folder, state["identity"], self.identity)
        self.model.load_state_dict(state["model"])
        if "optimizer" in state:
            self.optimizer.load_state_dict(state["optimizer"])
            self.precision.scaler.load_state_dict(state["scaler"])
            random_state.restore(state["random"][rank()])
        return Totals(**state["tally"])
