"""The same training by this harness and by mmengine's Runner with mmsegmentation's model and pipeline, each in a process.

    python benchmarks/training_peers.py ours|mmengine FOLDER ITERATIONS

FCN on ResNet-18, output stride 16, auxiliary head, ADE20K's 150 classes, batch 4, crops of 160 × 160 out of 480 × 360 JPEGs
resized by 0.75–1.5, flip, photometric distortion, SGD, no workers, one thread. Prints one JSON line: images per
CPU second and per second of wall time, and peak resident memory.
"""

from __future__ import annotations

import json
import logging
import resource
import shutil
import sys
import time
import warnings
from pathlib import Path

import torch

from harness.data import catalog, synthetic
from harness.job import Context, Data, Model, TrainConfig
from harness.recipe import Augmentation, Optimizer, Recipe, Synthetic

DATASET, CLASSES = "ade20k", 150
BATCH, CROP, WARM_UP = 4, (160, 160), 3
SCENES = Synthetic(train_images=24, test_images=1, size=(360, 480))
CHANNELS = 128


class Clock:
    """Wall and CPU time from the end of the warm-up to the end of the last iteration."""

    def __init__(self, iterations: int) -> None:
        self.images = (iterations - WARM_UP) * BATCH
        self.done = 0

    def tick(self) -> None:
        self.done += 1
        self.end = (time.perf_counter(), time.process_time())
        if self.done == WARM_UP:
            self.start = self.end

    def report(self) -> str:
        wall, cpu = (end - start for start, end in zip(self.start, self.end))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        return json.dumps({"per_cpu_second": self.images / cpu, "per_second": self.images / wall, "MiB": memory})


def ours(folder: Path, iterations: int) -> Clock:
    from harness.training.run import build_training

    config = TrainConfig(
        model=Model(
            name="fcn", num_classes=CLASSES, backbone="resnet18", output_stride=16, options={"channels": CHANNELS}
        ),
        data=Data(name=DATASET, synthetic=SCENES),
        recipe=Recipe(
            dataset=DATASET,
            batch_size=BATCH,
            iterations=iterations,
            optimizer=Optimizer(lr=0.01, momentum=0.9, weight_decay=5e-4),
            augmentation=Augmentation(resize=(240, 180), ratio=(0.75, 1.5), crop=CROP),
            checkpoint_every=10**6,
            channels_last=True,
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
        device="cpu",
        threads=1,
        should_stop=lambda: clock.tick() or False,  # asked once after every iteration
    )
    build_training(config, context).run(should_stop=context.should_stop)
    return clock


def mmengine(folder: Path, iterations: int) -> Clock:
    warnings.simplefilter("ignore")
    from mmengine.config import Config
    from mmengine.hooks import Hook
    from mmengine.runner import Runner
    from mmseg.utils import register_all_modules

    register_all_modules()
    clock = Clock(iterations)

    class Ticks(Hook):
        priority = "LOWEST"

        def after_train_iter(self, *arguments, **options) -> None:
            clock.tick()

    data = synthetic.write_once(catalog.find(DATASET), SCENES, folder)
    runner = Runner.from_cfg(Config({**_mmengine_config(data, iterations), "work_dir": str(folder / "mmengine")}))
    runner.register_hook(Ticks())
    runner.train()
    return clock


def _mmseg_model() -> dict:
    head = {"type": "FCNHead", "num_convs": 1, "concat_input": False, "num_classes": CLASSES, "dropout_ratio": 0.1}
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


def _mmseg_dataset(data: Path) -> dict:
    pipeline = [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations", "reduce_zero_label": True},
        {"type": "RandomResize", "scale": (240, 180), "ratio_range": (0.75, 1.5), "keep_ratio": True},
        {"type": "RandomCrop", "crop_size": CROP, "cat_max_ratio": 0.75},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PhotoMetricDistortion"},
        {"type": "PackSegInputs"},
    ]
    return {
        "type": "BaseSegDataset",
        "data_root": str(data),
        "data_prefix": {"img_path": "images/training", "seg_map_path": "annotations/training"},
        "img_suffix": ".jpg",
        "seg_map_suffix": ".png",
        "metainfo": {"classes": [str(i) for i in range(CLASSES)]},
        "reduce_zero_label": True,
        "pipeline": pipeline,
    }


def _mmengine_config(data: Path, iterations: int) -> dict:
    return {
        "default_scope": "mmseg",
        "model": _mmseg_model(),
        "train_dataloader": {
            "batch_size": BATCH,
            "num_workers": 0,
            "sampler": {"type": "InfiniteSampler", "shuffle": True},
            "dataset": _mmseg_dataset(data),
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
    who, where, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    torch.manual_seed(0)
    print({"ours": ours, "mmengine": mmengine}[who](where, count).report())
