"""Out of memory: the advice names a batch that fits, that batch runs, and the GPU is clean for the next job."""

import re

import pytest
import torch

from harness.errors import OutOfMemory
from harness.tasks.segmentation.step_count import count_step
from harness.tasks.segmentation.train import train
from tests.support.gpu_cases import DEVICE, context, job, training

pytestmark = [pytest.mark.gpu]


@pytest.mark.cuda
def test_advice_that_fits(tmp_path):
    """All but 3 GiB of the GPU are taken: 64 crops do not fit, and as many as the error says do."""
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(free - 3 * 2**30, dtype=torch.uint8, device=DEVICE)
    config = job(batch_size=64, images=64, side=512, backbone="resnet50", iterations=2)
    with pytest.raises(OutOfMemory, match=r"\d+ at a time fit") as caught:
        train(config, context(tmp_path / "large", tmp_path / "cache"))
    parts = int(re.search(r"recipe\.accumulate: (\d+)", str(caught.value))[1])
    fitting = config.model_copy(update={"recipe": config.recipe.model_copy(update={"accumulate": parts})})
    torch.cuda.empty_cache()
    train(fitting, context(tmp_path / "fits", tmp_path / "cache"))
    del taken
    torch.cuda.empty_cache()
    train(job(iterations=2), context(tmp_path / "next", tmp_path / "cache"))


@pytest.mark.parametrize("method", ["fcn", "idrnet"])
def test_the_count_on_meta_is_what_the_gpu_takes(tmp_path, method):
    """Counted bytes bound what the allocator held at most, and by no more than half."""
    config = job(method, side=256, batch_size=4) if DEVICE == "cuda" else job(method)
    counted = count_step(config).peak_bytes
    run = training(config, tmp_path / "job")
    run.model.train()
    batch = next(iter(run.batches(0, 1)))
    run._step(batch, 1.0)
    if DEVICE != "cuda":
        assert counted > 0
        return
    torch.cuda.reset_peak_memory_stats()
    run._step(batch, 1.0)
    torch.cuda.synchronize()
    held = torch.cuda.max_memory_allocated()
    assert 0.67 * held <= counted <= 1.5 * held, (held / 2**20, counted / 2**20)
