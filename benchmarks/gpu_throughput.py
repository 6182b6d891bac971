"""Training throughput: images/s, utilisation, peak memory, kernels and host waits of the harness's own step.

    PYTHONPATH=. python benchmarks/gpu_throughput.py OUT.csv [--device cpu --side 64 --batch 2 --steps 2] [--only METHOD ...]

One line of CSV per method × precision × memory layout × compile, written as soon as it is measured; what fails is a line with its
error. Batches lie in page-locked memory, so that the step alone is timed; `loader` lines time the input pipeline alone.
Utilisation is the FLOPs of a step (forward and backward, two per multiply-add, counted on `meta`) over what the card could do.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.jobs.context import Context
from harness.jobs.kinds import Data, Model, TrainConfig
from harness.recipes.profile import Synthetic
from harness.recipes.segmentation import Augmentation, Recipe
from harness.tasks.segmentation.loader import Batch
from harness.tasks.segmentation.step_count import StepCounter, count_step
from harness.tasks.segmentation.train import assemble, build_training
from methods.build import build_model

MODELS = {  # method: (backbone, output stride, options)
    "fcn": ("resnet50_v1c", 8, {}),
    "pspnet": ("resnet50_v1c", 8, {}),
    "deeplabv3": ("resnet50_v1c", 8, {}),
    "upernet": ("resnet50_v1c", 8, {}),
    "idrnet": ("resnet50_v1c", 8, {}),
    "ocrnet": ("resnet50_v1c", 8, {}),
    "hfgd": ("hfgd_resnet50", None, {}),
    "ecenet": ("resnet50_v1c", 32, {}),
    "upernet swin": ("swin_large", None, {}),
}
PEAK = {  # TFLOPS of dense products by card and precision, as NVIDIA's data sheets say
    "H200": {"fp32": 67, "tf32": 494, "bf16": 989},
    "H100": {"fp32": 67, "tf32": 494, "bf16": 989},
    "A100": {"fp32": 19.5, "tf32": 156, "bf16": 312},
    "V100": {"fp32": 15.7, "tf32": 15.7, "bf16": 15.7},
    "3090": {"fp32": 35.6, "tf32": 35.6, "bf16": 71},
}
FIELDS = ("method", "precision", "layout", "compile", "batch", "side", "images_per_s", "milliseconds", "utilisation")
FIELDS += ("peak_gib", "counted_gib", "kernels", "waits", "tflop_per_image", "device", "torch", "error")
WARM_UP = 5


def config(
    name: str, precision: str, layout: str, compiled: bool | str, batch: int, side: int, classes: int = 150
) -> TrainConfig:
    backbone, stride, options = MODELS[name]
    method = name.partition(" ")[0]
    return TrainConfig(
        model=Model(name=method, num_classes=classes, backbone=backbone, output_stride=stride, options=options),
        data=Data(name="ade20k", synthetic=Synthetic(train_images=4 * batch, size=(side, side))),
        recipe=Recipe(
            dataset="ade20k",
            batch_size=batch,
            iterations=1000,
            augmentation=Augmentation(resize=(4 * side, side), crop=(side, side)),
            precision=precision,
            channels_last=layout == "nhwc",
            compile=compiled,
        ),
        profile="benchmark",
        seed=0,
    )


def step_flops(job: TrainConfig) -> float:
    """FLOPs of a step per image."""
    with torch.device("meta"):
        model = build_model(job.model).train()
        images = torch.zeros(2, 3, *job.recipe.augmentation.crop)
        targets = torch.zeros(2, *job.recipe.augmentation.crop, dtype=torch.int64)
    model.criterion = lambda logits, targets: logits.float().mean()
    with StepCounter(), FlopCounterMode(display=False) as counter:
        sum(model.losses(images, targets).values()).backward()
    return counter.get_total_flops() / 2


def batch_of(job: TrainConfig, device: str) -> Batch:
    height, width = job.recipe.augmentation.crop
    size = job.recipe.batch_size
    images = torch.randint(0, 256, (size, 3, height, width), dtype=torch.uint8)
    targets = torch.randint(0, job.model.num_classes, (size, height // 32 + 1, width // 32 + 1)).byte()
    targets = targets.repeat_interleave(32, 1).repeat_interleave(32, 2)[:, :height, :width].contiguous()
    valid = torch.tensor([[0, 0, height, width]] * size, dtype=torch.int32)
    tensors = [x.pin_memory() if device == "cuda" else x for x in (images, targets, valid)]
    return Batch(*tensors, [str(i) for i in range(size)])


def measure(job: TrainConfig, device: str, steps: int) -> dict[str, float]:
    torch.manual_seed(0)
    context = Context(folder=Path(), cache=Path(), data_dir=None, device=device, threads=torch.get_num_threads())
    training = assemble(build_model(job.model), job, context, lambda start, stop: iter(()), 1000)
    training.model.train()
    batch = batch_of(job, device)

    def run(count: int) -> float:
        synchronise(device)
        start = time.perf_counter()
        for _ in range(count):
            training._step(batch, 1e-3)
        synchronise(device)
        return time.perf_counter() - start

    run(WARM_UP if device == "cuda" else 1)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = min(run(steps) for _ in range(3)) / steps
    peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else float("nan")
    return {"images_per_s": job.recipe.batch_size / seconds, "milliseconds": 1000 * seconds, "peak_gib": peak}


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def utilisation(flops_per_second: float, precision: str, card: str) -> float:
    """Share of the card's peak; NaN for a card that is not listed."""
    peak = next((rates[precision] for name, rates in PEAK.items() if name in card), float("nan"))
    return flops_per_second / (1e12 * peak)


def lines(arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    card = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    precisions = ("fp32", "tf32", "bf16") if arguments.device == "cuda" else ("fp32",)
    compiles = (False, True, "stages") if arguments.device == "cuda" else (False,)
    for name in arguments.only or MODELS:
        known: dict[str, float] = {}
        for precision, layout, compiled in itertools.product(precisions, ("nchw", "nhwc"), compiles):
            job = config(name, precision, layout, compiled, arguments.batch, arguments.side)
            line: dict[str, object] = dict.fromkeys(FIELDS, "")
            line |= {"method": name, "precision": precision, "layout": layout, "compile": compiled}
            line |= {"batch": arguments.batch, "side": arguments.side, "device": card, "torch": torch.__version__}
            try:
                if not known:
                    count = count_step(job)
                    known = {"kernels": count.kernels, "waits": len(count.waits), "counted_gib": count.peak_gib}
                    known["tflop_per_image"] = step_flops(job) / 1e12
                line |= known | measure(job, arguments.device, arguments.steps)
                rate = float(str(line["images_per_s"])) * known["tflop_per_image"] * 1e12
                line["utilisation"] = utilisation(rate, precision, card)
            except Exception as error:  # a line of its own; the next one may well work
                line["error"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            torch._dynamo.reset()
            if arguments.device == "cuda":
                torch.cuda.empty_cache()
            yield line


def loader_line(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Images per second of the input pipeline alone, with as many workers as a job has."""
    job = config("fcn", "fp32", "nchw", False, arguments.batch, arguments.side)
    context = Context(folder=folder / "job", cache=folder, data_dir=None, device="cpu", threads=1)
    source = build_training(job, context).batches.__self__  # type: ignore[attr-defined]
    source.workers = min(8, torch.get_num_threads()) if arguments.device == "cuda" else 0
    batches = source.batches(0, 3 * arguments.steps)
    for _ in range(arguments.steps):
        next(batches)
    start = time.perf_counter()
    count = sum(len(batch.ids) for batch in batches)
    line: dict[str, object] = dict.fromkeys(FIELDS, "")
    rate = count / (time.perf_counter() - start)
    return line | {"method": f"loader, {source.workers} workers", "side": arguments.side, "images_per_s": rate}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--only", nargs="*", choices=list(MODELS))
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        with tempfile.TemporaryDirectory() as folder:
            for line in itertools.chain([loader_line(arguments, Path(folder))], lines(arguments)):
                writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in line.items()})
                file.flush()
                print({k: v for k, v in line.items() if v != ""}, flush=True)


if __name__ == "__main__":
    main()
