"""A row under mmengine's Runner: mmsegmentation's transforms, preprocessor, sampler, optimiser wrapper, schedule, loops and IoU.

Of this harness are the row's model (as methods/adapters builds it, so with the same first weights under the same seed), the
recipe's numbers, the lists of files, and what a label's raw value means.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import Interrupted
from harness.jobs.context import Context, Progress
from harness.recipes.segmentation import Loss, Recipe, TestProtocol

if TYPE_CHECKING:
    from torch import nn

METHOD = "adapters/mmsegmentation"
_LEVELS = {"imagenet": ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]), "symmetric": ([127.5] * 3, [127.5] * 3)}


@dataclass(frozen=True)
class Work:
    """What a peer is given. `train` and `test`: (image, label) files; `read_label`: a label file as training ids, uint8
    [H, W]."""

    model: nn.Module
    recipe: Recipe
    protocol: TestProtocol
    iterations: int
    seed: int
    train: Sequence[tuple[str, str]]
    test: Sequence[tuple[str, str]]
    read_label: Callable[[str], Any]
    classes: Sequence[str]
    context: Context


def refusals(method: str, recipe: Recipe, protocol: TestProtocol, *, mirrors_labels: bool) -> Iterator[str]:
    """Why mmsegmentation's own engine cannot do the same; nothing where it can."""
    augmentation, optimizer = recipe.augmentation, recipe.optimizer
    single = protocol.scales == (1.0,) and not protocol.flip
    allowed = {
        f"the method is '{method}'; the peer takes rows of '{METHOD}'": method == METHOD,
        "the test has several scales or flips": single,
        "the test has a frame, odd sides or aligned corners": not (
            protocol.frame or protocol.odd or protocol.align_corners
        ),
        "the recipe has a loss of its own": recipe.loss == Loss(),
        "batches are accumulated": recipe.accumulate == 1,
        "batch norm is not synchronised as there": recipe.batch_norm == "synchronised"
        and recipe.batch_norm_momentum is None,
        "images are resized to a list of scales, rotated or distorted in another way": augmentation.resize is not None
        and not augmentation.scales
        and not augmentation.rotation_degrees
        and isinstance(augmentation.photometric, bool),
        "rates decay per layer": optimizer.layer_decay is None,
        "labels change when an image is mirrored": not mirrors_labels,
    }
    return (reason for reason, fits in allowed.items() if not fits)


def train_and_test(work: Work) -> dict[str, float]:
    """{miou, aacc, macc} in %, as mmsegmentation's IoUMetric rounds them. Interrupted where the job is asked to stop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mmengine.device.utils as mmengine_device
        from mmengine.runner import Runner
        from mmseg.utils import register_all_modules

        register_all_modules(init_default_scope=True)
        mmengine_device.DEVICE = work.context.device  # the job's, whatever the machine has
        runner = Runner(**_settings(work))
        runner.train()
        scores = runner.test()
    return {name.lower(): float(scores[name]) for name in ("mIoU", "aAcc", "mAcc")}


def _settings(work: Work) -> dict[str, Any]:
    recipe, optimizer = work.recipe, work.recipe.optimizer
    return {
        "model": _prepared(work),
        "work_dir": str(work.context.folder / "mmengine"),
        "default_scope": "mmseg",
        "experiment_name": Path(work.context.folder).name,
        "randomness": {"seed": work.seed},
        "train_dataloader": _loader(work.train, work, _training_pipeline(recipe), recipe.batch_size),
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": work.iterations, "val_interval": work.iterations + 1},
        "optim_wrapper": _wrapper(recipe),
        "param_scheduler": _schedule(recipe, work.iterations, optimizer.lr),
        "test_dataloader": _loader(work.test, work, _test_pipeline(work.protocol), 1),
        "test_evaluator": {"type": "IoUMetric", "iou_metrics": ["mIoU"]},
        "test_cfg": {"type": "TestLoop"},
        "default_hooks": {
            "logger": {"type": "LoggerHook", "interval": 50, "log_metric_by_epoch": False},
            "checkpoint": None,
        },
        "custom_hooks": [_progress_hook(work)],
        "log_level": "WARNING",
    }


def _prepared(work: Work) -> nn.Module:
    """The bare model of the row with mmsegmentation's own preprocessor and test settings."""
    from mmengine.config import ConfigDict
    from mmseg.models import SegDataPreProcessor

    mean, std = _LEVELS[work.recipe.normalisation]
    model: Any = work.model.model
    model.data_preprocessor = SegDataPreProcessor(
        mean=mean, std=std, bgr_to_rgb=True, pad_val=0, seg_pad_val=255, size=work.recipe.augmentation.crop
    )
    model.test_cfg = ConfigDict(mode="whole")
    if work.protocol.mode == "slide":
        model.test_cfg = ConfigDict(mode="slide", crop_size=work.protocol.window, stride=work.protocol.stride)
    return model


def _wrapper(recipe: Recipe) -> dict[str, Any]:
    given = recipe.optimizer
    own = {"momentum": given.momentum} if given.name == "sgd" else {"betas": given.betas, "eps": given.eps}
    kind = {"sgd": "SGD", "adamw": "AdamW"}[given.name]
    rules: dict[str, Any] = {"custom_keys": {name: {"lr_mult": rate} for name, rate in given.multipliers.items()}}
    if not given.decay_norm_and_bias:
        rules |= {"norm_decay_mult": 0.0, "bias_decay_mult": 0.0}
        rules["custom_keys"] |= {
            name: {"decay_mult": 0.0} for name in ("pos_embed", "cls_token", "relative_position_bias")
        }
    wrapper: dict[str, Any] = {
        "type": "OptimWrapper",
        "optimizer": {"type": kind, "lr": given.lr, "weight_decay": given.weight_decay, **own},
        "paramwise_cfg": rules,
    }
    if given.clip_norm is not None:
        wrapper["clip_grad"] = {"max_norm": given.clip_norm}
    if recipe.precision in ("fp16", "bf16"):
        wrapper |= {"type": "AmpOptimWrapper", "dtype": {"fp16": "float16", "bf16": "bfloat16"}[recipe.precision]}
    return wrapper


def _schedule(recipe: Recipe, iterations: int, lr: float) -> list[dict[str, Any]]:
    """The floor is one rate for all groups there; here it is a part of each group's own."""
    given = recipe.schedule
    parts: list[dict[str, Any]] = [
        {"type": "PolyLR", "power": given.power, "eta_min": given.floor * lr, "end": iterations}
    ]
    if given.warmup_iterations:
        parts.append(
            {"type": "LinearLR", "start_factor": max(given.warmup_ratio, 1e-9), "end": given.warmup_iterations}
        )
    return [{"begin": 0, "by_epoch": False, **part} for part in parts]


def _training_pipeline(recipe: Recipe) -> list[Mapping[str, Any]]:
    given = recipe.augmentation
    steps: list[Mapping[str, Any]] = [
        {"type": "RandomResize", "scale": given.resize, "ratio_range": given.ratio, "keep_ratio": given.keep_ratio},
        {"type": "RandomCrop", "crop_size": given.crop, "cat_max_ratio": given.cat_max_ratio},
        {"type": "RandomFlip", "prob": given.flip},
    ]
    return [*steps, *([{"type": "PhotoMetricDistortion"}] if given.photometric else [])]


def _test_pipeline(protocol: TestProtocol) -> list[Mapping[str, Any]]:
    if protocol.resize is None:
        return []
    return [{"type": "Resize", "scale": protocol.resize, "keep_ratio": protocol.keep_ratio}]


def _loader(
    files: Sequence[tuple[str, str]], work: Work, steps: list[Mapping[str, Any]], batch_size: int
) -> dict[str, Any]:
    """A loader of mmengine's on a dataset of mmsegmentation's; labels are read after the resize of a test, as there."""
    from mmseg.datasets import BaseSegDataset

    class Files(BaseSegDataset):
        """Files that are listed already, and labels that are read as training ids."""

        def load_data_list(self) -> list[dict[str, Any]]:
            common: dict[str, Any] = {"label_map": None, "reduce_zero_label": False}
            return [{"img_path": image, "seg_map_path": label, **common, "seg_fields": []} for image, label in files]

    def read_label(results: dict[str, Any]) -> dict[str, Any]:
        results["gt_seg_map"] = work.read_label(results["seg_map_path"])
        results["seg_fields"].append("gt_seg_map")
        return results

    training = batch_size > 1 or files is work.train
    order = [
        {"type": "LoadImageFromFile"},
        *([read_label] if training else []),
        *steps,
        *([] if training else [read_label]),
    ]
    metainfo = {"classes": tuple(work.classes), "palette": [[i, i, i] for i in range(len(work.classes))]}
    dataset = Files(pipeline=[*order, {"type": "PackSegInputs"}], metainfo=metainfo, test_mode=not training)
    sampler = {"type": "InfiniteSampler", "shuffle": True} if training else {"type": "DefaultSampler", "shuffle": False}
    return {"batch_size": batch_size, "num_workers": 0, "sampler": sampler, "dataset": dataset}


def _progress_hook(work: Work) -> Any:
    from mmengine.hooks import Hook

    class Report(Hook):
        """Says how far the training is, and ends it where the job is asked to stop."""

        def after_train_iter(
            self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Mapping[str, Any] | None = None
        ) -> None:
            loss = f"loss {float((outputs or {}).get('loss', float('nan'))):.3f}"
            work.context.progress(Progress(runner.iter + 1, work.iterations, text=loss))
            if work.context.should_stop():
                raise Interrupted("a peer's training starts over when it is run again")

    return Report()
