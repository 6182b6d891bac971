"""Training beside its data workers: how long the step waits for data, and what the loop costs beside the bare step."""

import time

import pytest
import torch

from harness.jobs.kinds import KINDS
from harness.recipes.profile import Synthetic
from harness.recipes.segmentation import Augmentation
from tests.support.gpu_cases import DEVICE, context, job, pinned, training

pytestmark = pytest.mark.gpu
ON_GPU = DEVICE == "cuda"
SIZES = {  # dataset's usual image (height, width), crop, batch
    "ade20k": ((512, 683), (512, 512), 16),
    "cityscapes": ((1024, 2048), (512, 1024), 8),
}
SMALL = ((48, 64), (32, 32), 2)


def of_size(name, iterations):
    image, crop, batch = SIZES[name] if ON_GPU else SMALL
    config = job(backbone="resnet50_v1c" if ON_GPU else "resnet18", iterations=iterations, batch_size=batch)
    scenes = Synthetic(train_images=4 * batch, test_images=1, size=image)
    augmentation = Augmentation(resize=(4 * image[0], image[0]), crop=crop)
    recipe = config.recipe.model_copy(update={"augmentation": augmentation, "precision": "bf16" if ON_GPU else "fp32"})
    return config.model_copy(update={"recipe": recipe, "data": config.data.model_copy(update={"synthetic": scenes})})


@pytest.mark.parametrize("name", SIZES)
def test_a_training_does_not_wait_for_its_data(tmp_path, name):
    config = of_size(name, 120 if ON_GPU else 3)
    threads = torch.get_num_threads()
    found = KINDS["train"].run(config.model_dump(mode="json"), context(tmp_path / "job", tmp_path, threads=threads))
    wait = next(m.value for m in found if m.name == "data_wait")
    assert 0 <= wait <= (2 if ON_GPU else 100), (
        f"{wait:.1f} % of the time goes into waiting for data, with {threads} CPUs"
    )


def test_the_loop_costs_little_beside_the_bare_step(tmp_path):
    steps = 40 if ON_GPU else 2
    run = training(of_size("ade20k", 10 * steps), tmp_path / "job")
    batch = pinned(next(iter(run.batches(0, 1))))
    run.batches = lambda start, stop: (batch for _ in range(start, stop))
    run.preflight = None
    run.model.train()

    def seconds(action) -> float:
        if ON_GPU:
            torch.cuda.synchronize()
        start = time.perf_counter()
        action()
        if ON_GPU:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def bare() -> None:
        for _ in range(steps):
            run._step(batch, 1.0)

    def stopped_after(count):
        calls = []
        return lambda: calls.append(1) or len(calls) >= count

    def loop() -> None:
        from harness.errors import Interrupted

        with pytest.raises(Interrupted):
            run.run(should_stop=stopped_after(steps))

    seconds(bare)
    step, whole = min(seconds(bare) for _ in range(3)), seconds(loop)
    saving = sum(f.stat().st_size for f in (tmp_path / "job").glob("checkpoint-*.pt")) / 0.5e9  # stopping saves once
    assert not ON_GPU or whole - saving <= 1.03 * step
