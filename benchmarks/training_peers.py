"""The same training by this harness and by mmengine's Runner with mmsegmentation's model and pipeline, each in a process.

    python benchmarks/training_peers.py ours|mmengine DATASET contiguous|channels_last FOLDER ITERATIONS

FCN on ResNet-18, output stride 16, auxiliary head, a dataset's classes, batch 4, crops of 160 × 160 out of its synthetic
scenes of 480 × 360 resized by 0.75–1.5, flip, photometric distortion, SGD (ours in one kernel, the Runner's as it builds it), no
workers, one thread. Prints one JSON line: images per CPU second and per second of wall time, and peak resident memory.
With PEERS_ON_GPU=1 both train on the GPU, and the memory is that of torch's allocator.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import sys
import time
import warnings
from pathlib import Path

import cv2
import torch

from harness.data import catalogue
from harness.data.annotations.label_maps import LabelReader
from harness.data.files import locate, pairs
from harness.jobs.context import Context
from harness.jobs.kinds import Data, Model, TrainConfig
from harness.recipes.common import Optimizer
from harness.recipes.profile import Synthetic
from harness.recipes.segmentation import Augmentation, Recipe

BATCH, CROP, WARM_UP = 4, (160, 160), 3
SCENES = Synthetic(train_images=24, test_images=1, size=(360, 480))
CHANNELS = 128
DEVICE = "cuda" if os.environ.get("PEERS_ON_GPU") and torch.cuda.is_available() else "cpu"


class Clock:
    """Wall and CPU time from the end of the warm-up to the end of the last iteration."""

    def __init__(self, iterations: int) -> None:
        self.images = (iterations - WARM_UP) * BATCH
        self.done = 0

    def tick(self) -> None:
        self.done += 1
        if DEVICE == "cuda" and self.done * BATCH in (WARM_UP * BATCH, WARM_UP * BATCH + self.images):
            torch.cuda.synchronize()
        self.end = (time.perf_counter(), time.process_time())
        if self.done == WARM_UP:
            self.start = self.end

    def report(self) -> str:
        wall, cpu = (end - start for start, end in zip(self.start, self.end))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        memory = torch.cuda.max_memory_allocated() / 2**20 if DEVICE == "cuda" else memory
        return json.dumps({"per_cpu_second": self.images / cpu, "per_second": self.images / wall, "MiB": memory})


def ours(dataset: str, layout: str, folder: Path, iterations: int) -> Clock:
    from harness.tasks.segmentation.train import build_training

    config = TrainConfig(
        model=Model(
            name="fcn",
            num_classes=catalogue.find(dataset).num_classes,
            backbone="resnet18",
            output_stride=16,
            options={"channels": CHANNELS},
        ),
        data=Data(name=dataset, synthetic=SCENES),
        recipe=Recipe(
            dataset=dataset,
            batch_size=BATCH,
            iterations=iterations,
            optimizer=Optimizer(lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True),
            augmentation=Augmentation(resize=(240, 180), ratio=(0.75, 1.5), crop=CROP),
            checkpoint_every=10**6,
            channels_last=layout == "channels_last",
        ),
        profile="benchmark",
        seed=0,
    )
    shutil.rmtree(folder / "ours", ignore_errors=True)  # or it would go on from there
    clock = Clock(iterations)
    context = Context(
        folder=folder / "ours",
        cache=folder,
        data_dir=None,
        device=DEVICE,
        threads=1,
        should_stop=lambda: clock.tick() or False,  # asked once after every iteration
    )
    build_training(config, context).run(should_stop=context.should_stop)
    return clock


def training_ids(dataset: str, folder: Path) -> Path:
    """The same scenes with labels as training ids, which mmsegmentation reads as they are."""
    root = locate(Data(name=dataset, synthetic=SCENES), data_dir=None, cache=folder)
    reader, out = LabelReader(root.layout), folder / f"{dataset}_training_ids"
    for name in ("images", "labels"):
        (out / name).mkdir(parents=True, exist_ok=True)
    for i, pair in enumerate(pairs(root, "train")):
        shutil.copy(pair.image, out / "images" / f"{i:03d}{Path(pair.image).suffix}")
        cv2.imwrite(str(out / "labels" / f"{i:03d}.png"), reader.read(pair.label))
    return out


def mmengine(dataset: str, layout: str, folder: Path, iterations: int) -> Clock:
    warnings.simplefilter("ignore")
    from mmengine.config import Config
    from mmengine.hooks import Hook
    from mmengine.runner import Runner
    from mmseg.utils import register_all_modules

    register_all_modules()
    clock = Clock(iterations)

    class Ticks(Hook):
        priority = "LOWEST"

        def before_train(self, runner: Runner) -> None:
            if layout == "channels_last":
                runner.model.to(memory_format=torch.channels_last)

        def after_train_iter(self, *arguments, **options) -> None:
            clock.tick()

    classes = catalogue.find(dataset).num_classes
    settings = _mmengine_config(training_ids(dataset, folder), classes, iterations)
    runner = Runner.from_cfg(Config({**settings, "work_dir": str(folder / "mmengine")}))
    runner.register_hook(Ticks())
    runner.train()
    return clock


def _mmseg_model(classes: int) -> dict:
    head = {"type": "FCNHead", "num_convs": 1, "concat_input": False, "num_classes": classes, "dropout_ratio": 0.1}
    norm = {"type": "BN", "requires_grad": True}
    return {
        "type": "EncoderDecoder",
        "data_preprocessor": {
            "type": "SegDataPreProcessor",
            "mean": [123.675, 116.28, 103.53],
            "std": [58.395, 57.12, 57.375],
            "bgr_to_rgb": True,
            "pad_val": 0,
            "seg_pad_val": 255,
            "size": CROP,
        },
        "backbone": {
            "type": "ResNet",
            "depth": 18,
            "strides": (1, 2, 2, 1),
            "dilations": (1, 1, 1, 2),
            "norm_cfg": norm,
            "norm_eval": False,
        },
        "decode_head": {**head, "in_channels": 512, "in_index": 3, "channels": CHANNELS, "norm_cfg": norm},
        "auxiliary_head": {
            **head,
            "in_channels": 256,
            "in_index": 2,
            "channels": 128,
            "norm_cfg": norm,
            "loss_decode": {"type": "CrossEntropyLoss", "loss_weight": 0.4},
        },
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }


def _mmseg_dataset(data: Path, classes: int) -> dict:
    pipeline = [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations"},
        {"type": "RandomResize", "scale": (240, 180), "ratio_range": (0.75, 1.5), "keep_ratio": True},
        {"type": "RandomCrop", "crop_size": CROP, "cat_max_ratio": 0.75},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PhotoMetricDistortion"},
        {"type": "PackSegInputs"},
    ]
    return {
        "type": "BaseSegDataset",
        "data_root": str(data),
        "data_prefix": {"img_path": "images", "seg_map_path": "labels"},
        "img_suffix": next((data / "images").iterdir()).suffix,
        "seg_map_suffix": ".png",
        "metainfo": {"classes": [str(i) for i in range(classes)]},
        "pipeline": pipeline,
    }


def _mmengine_config(data: Path, classes: int, iterations: int) -> dict:
    return {
        "default_scope": "mmseg",
        "model": _mmseg_model(classes),
        "train_dataloader": {
            "batch_size": BATCH,
            "num_workers": 0,
            "sampler": {"type": "InfiniteSampler", "shuffle": True},
            "dataset": _mmseg_dataset(data, classes),
        },
        "optim_wrapper": {
            "type": "OptimWrapper",
            "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4},
        },
        "param_scheduler": [
            {"type": "PolyLR", "eta_min": 0, "power": 0.9, "begin": 0, "end": iterations, "by_epoch": False}
        ],
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": iterations, "val_interval": 10**6},
        "default_hooks": {
            "timer": {"type": "IterTimerHook"},
            "logger": {"type": "LoggerHook", "interval": 50, "log_metric_by_epoch": False},
            "param_scheduler": {"type": "ParamSchedulerHook"},
            "checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": 10**6, "save_last": False},
        },
        "log_level": "WARNING",
    }


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    who, dataset, layout, where, count = sys.argv[1:]
    torch.manual_seed(0)
    print({"ours": ours, "mmengine": mmengine}[who](dataset, layout, Path(where), int(count)).report())
