"""The loop itself: against a loop written out by hand, and where it stops."""

import json
import re
import threading
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from harness.errors import Exit
from harness.recipes.common import Optimizer, Schedule
from harness.recipes.segmentation import Loss
from harness.store import curve
from harness.tasks.segmentation.losses import build_loss, part_weights
from harness.training import checkpoint, loop, metering
from harness.training.metering import NonFiniteLoss
from harness.training.precision import only_repeatable_algorithms
from harness.training.random_state import seed_everything
from tests.support import tiny_training


def test_equals_a_loop_written_out(tmp_path):
    """Same weights as torch's optimiser driven by hand with the same losses and rates."""
    recipe = Optimizer(lr=0.05, momentum=0.9, weight_decay=1e-3)
    tiny_training.training(tmp_path, 6, optimizer=recipe, schedule=Schedule(power=1.0)).run()
    seed_everything(0)
    model = tiny_training.TinySegmentor().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    for t, batch in enumerate(tiny_training.batches(0, 6)):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - t / 6)
        optimizer.zero_grad()
        losses = model.losses(batch.images, batch.targets)
        sum(losses.values()).backward()
        optimizer.step()
        record = curve.read(tmp_path)[t]
        assert record["terms"] == {name: loss.item() for name, loss in losses.items()}
        assert record["lr"] == optimizer.param_groups[0]["lr"]
    for name, weight in checkpoint.load_weights(tmp_path).items():
        assert torch.equal(weight, model.state_dict()[name]), name


def test_curve_is_the_same_however_seldom_the_losses_are_read(tmp_path):
    def lines(folder, **options):
        tiny_training.training(folder, **options).run()
        return [{k: v for k, v in record.items() if k != "images_per_s"} for record in curve.read(folder)]

    assert lines(tmp_path / "seldom", read_every=5) == lines(tmp_path / "always")


@pytest.mark.parametrize("read_every", [1, 20])
def test_non_finite_loss_names_iteration_and_images(tmp_path, read_every):
    def batches(start, stop):
        for t, batch in zip(range(start, stop), tiny_training.batches(start, stop)):
            if t == 7:
                batch.images[1] = float("nan")
            yield batch

    with pytest.raises(
        NonFiniteLoss, match=r"not finite in iteration 8 .*image7_0, image7_1.*nonfinite\.json"
    ) as caught:
        tiny_training.training(tmp_path, batches=batches, read_every=read_every).run()
    assert caught.value.exit == Exit.FAILED
    report = json.loads((tmp_path / "nonfinite.json").read_text())
    assert report["iteration"] == 8
    assert report["images"] == [f"image7_{i}" for i in range(4)]
    assert report["losses"]["main"] == "nan"
    assert [record["iteration"] for record in curve.read(tmp_path)] == list(range(1, 8))
    saved = checkpoint.listing(tmp_path)
    assert saved[-1].iteration == 6
    assert all(weight.isfinite().all() for weight in saved[-1].read()["model"].values())


def test_clipping_bounds_the_step(tmp_path):
    plain = Optimizer(lr=1.0, momentum=0.0, weight_decay=0.0)
    training = tiny_training.training(tmp_path, 1, optimizer=plain, schedule=Schedule(), clip_norm=1e-3)
    before = [p.detach().clone() for p in training.model.parameters()]
    training.run()
    moved = torch.stack([(a - b).norm() for a, b in zip(training.model.parameters(), before)]).norm().item()
    assert moved == pytest.approx(1e-3, rel=1e-3)


def unequal(start, stop):
    """Batches of four images, of which the first has a labelled pixel, the second none, the others nearly all."""
    for batch in tiny_training.batches(start, stop):
        batch.targets[0].flatten()[1:] = 255
        batch.targets[1] = 255
        yield batch


@pytest.mark.parametrize("mean", ["valid", "all"])
@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulation_is_the_batch_in_one_piece(tmp_path, accumulate, mean):
    """Without normalisation over the batch and dropout, however unequal the parts."""
    criterion = build_loss(Loss(mean=mean), tiny_training.CLASSES)

    def train(folder, accumulate):
        training = tiny_training.training(
            folder,
            3,
            accumulate=accumulate,
            model=tiny_training.PlainSegmentor,
            batches=unequal,
            part_weights=partial(part_weights, mean=mean),
        )
        training.model.criterion = criterion
        training.run()
        return checkpoint.load_weights(folder), [record["loss"] for record in curve.read(folder)]

    whole, losses = train(tmp_path / "1", 1)
    parts, same_losses = train(tmp_path / "2", accumulate)
    assert losses == pytest.approx(same_losses, rel=1e-6)
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, rtol=1e-6, atol=1e-6)


def test_progress_is_seldom_and_ends_at_the_end(tmp_path):
    seen = []
    tally = tiny_training.training(tmp_path, 40).run(progress=seen.append)
    assert (seen[-1].done, seen[-1].total) == (40, 40)
    for part in (r"loss \d", r"\(main \d", r"lr \d", r"memory \d+\.\d\d GiB", r"waiting for data \d+ %"):
        assert re.search(part, seen[-1].text), part
    assert seen[-1].rate > 0
    assert seen[-1].left == 0
    assert len(seen) <= 2 + tally.total_seconds / 0.5
    assert tally.images == 4 * 37  # three iterations warm up
    assert 0 <= tally.waited < tally.seconds <= tally.total_seconds
    assert tally.peak_memory > 1


def test_what_is_left_is_reckoned_from_this_start(tmp_path, monkeypatch):
    """A training that goes on near its end does not take what was done before for its own speed."""
    now, seen = [100.0], []
    monkeypatch.setattr(metering, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    told = metering.Meter(tmp_path, tally := metering.Totals(iteration=30), 40, seen.append)
    for at in (104.0, 106.0):
        now[0] = at
        tally.iteration += 1
        told.note({"main": torch.ones(())}, tiny_training.batch(tally.iteration), 0.1)
    told.close()
    assert [(progress.done, progress.left) for progress in seen] == [(31, 9 * 4.0), (32, 8 * 3.0)]


def test_what_lies_apart_takes_no_wait_out_of_the_time(tmp_path, monkeypatch):
    """Three seconds for a batch, seven for a test before it is used, one for the step: four count for throughput."""
    now = [0.0]
    monkeypatch.setattr(metering, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def slow():
        now[0] += 3
        yield tiny_training.batch(0)

    tally = metering.Totals(iteration=6)
    told = metering.Meter(tmp_path, tally, 8, lambda progress: None)
    told.timed_from = 0
    for batch in told.timed(slow()):
        with told.excluded_from_throughput():
            now[0] += 7
        now[0] += 1
        tally.iteration += 1
        told.note({"main": torch.ones(())}, batch, 0.1)
    told.close()
    assert (tally.waited, tally.seconds, tally.total_seconds) == (3, 4, 11)


def test_a_source_that_ends_early_is_a_bug(tmp_path):
    with pytest.raises(AssertionError, match="ended early"):
        tiny_training.training(tmp_path, 6, batches=lambda start, stop: tiny_training.batches(start, stop - 1)).run()


def test_checkpoints_by_time(tmp_path, monkeypatch):
    """Every ten minutes, however many iterations that is; the thread writes what the state was when it was asked."""
    now, written = [0.0], []
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now[0]))
    real = checkpoint.save

    def save(folder, state, iteration):
        written.append((iteration, state["tally"]["iteration"], threading.current_thread() is threading.main_thread()))
        return real(folder, state, iteration)

    def slow(start, stop):
        for batch in tiny_training.batches(start, stop):
            now[0] += 250
            yield batch

    monkeypatch.setattr(checkpoint, "save", save)
    tiny_training.training(tmp_path, 12, batches=slow, checkpoint_every=None).run()
    assert written == [(3, 3, False), (6, 6, False), (9, 9, False)]


def test_what_is_written_is_a_copy(tmp_path):
    """Weights that move while the thread writes are not in the file."""
    gate, weights = threading.Event(), torch.zeros(4)
    writer = checkpoint.Writer(tmp_path)
    writer._thread.submit(gate.wait)
    writer.save({"w": weights, "nested": [{"also": weights}]}, 1)
    weights.add_(1)
    gate.set()
    writer.wait()
    writer.close()
    state = checkpoint.load(tmp_path)
    assert torch.equal(state["w"], torch.zeros(4))
    assert torch.equal(state["nested"][0]["also"], torch.zeros(4))


def test_cudnn_tries_algorithms_for_crops_alone(tmp_path):
    """Of images in their own sizes, each would be tried anew; and a repeatable training tries nothing."""
    before = torch.backends.cudnn.benchmark
    seen = []
    try:
        only_repeatable_algorithms(False)
        scores = lambda should_stop: seen.append(torch.backends.cudnn.benchmark) or {"miou": 1.0}  # noqa: E731
        tiny_training.training(tmp_path, 3, test=scores, test_every=2).run()
        assert (seen, torch.backends.cudnn.benchmark) == ([False], True)
        only_repeatable_algorithms(True)
        assert torch.backends.cudnn.benchmark is False
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = before
