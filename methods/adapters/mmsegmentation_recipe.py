"""The recipe of a configuration of mmsegmentation, and a list of what has no counterpart in a recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.errors import UserError
from methods.adapters import mmsegmentation_configs as configs

DATASETS = {
    "ADE20KDataset": "ade20k",
    "CityscapesDataset": "cityscapes",
    "COCOStuff10kDataset": "coco_stuff10k",
    "COCOStuffDataset": "coco_stuff164k",
    "DarkZurichDataset": "dark_zurich",
    "LIPDataset": "lip",
    "NightDrivingDataset": "nighttime_driving",
    "PascalContextDataset": "pascal_context_60",
    "PascalContextDataset59": "pascal_context_59",
}
_LOADING = ("LoadImageFromFile", "LoadAnnotations", "PackSegInputs")


@dataclass
class Translation:
    """`recipe`: fields of a recipe file's entry. `missing`: what of the configuration is not in them, a sentence each."""

    recipe: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def translate(config: Mapping[str, Any], name: str) -> Translation:
    """What a recipe can say of a whole configuration. `name` is the configuration's, which tells the number of GPUs."""
    made = Translation()
    _data(config, name, made)
    _length(config, made)
    _optimizer(config.get("optim_wrapper") or {}, made)
    _schedule(config, made)
    _augmentation(config, made)
    _test(config, made)
    _normalisation(config, made)
    made.recipe["source"] = f"mmsegmentation's configuration {name}"
    return made


def _dataset(loader: Mapping[str, Any]) -> Mapping[str, Any]:
    """The dataset of a loader, also where another one repeats it."""
    dataset = loader.get("dataset") or {}
    while "dataset" in dataset:
        dataset = dataset["dataset"]
    return dataset


def _data(config: Mapping[str, Any], name: str, made: Translation) -> None:
    loader = config.get("train_dataloader") or {}
    kind = _dataset(loader).get("type", "")
    made.recipe["dataset"] = DATASETS.get(kind, "")
    if not made.recipe["dataset"]:
        made.missing.append(f"dataset: the catalogue has none for {kind or 'a configuration without a dataset'}")
    per_gpu = loader.get("batch_size")
    gpus = re.search(r"(?:^|_)(\d+)xb(\d+)(?:_|-|$)", name)
    if per_gpu is None:
        made.missing.append("batch_size: the configuration has no training loader")
    elif gpus is None:
        made.recipe["batch_size"] = per_gpu
        made.missing.append(f"batch_size: {per_gpu} a GPU; the name does not say on how many")
    else:
        made.recipe["batch_size"] = int(gpus[1]) * per_gpu


def _length(config: Mapping[str, Any], made: Translation) -> None:
    loop = config.get("train_cfg") or {}
    if "max_iters" in loop:
        made.recipe["iterations"] = loop["max_iters"]
    elif "max_epochs" in loop:
        made.recipe["epochs"] = loop["max_epochs"]
    else:
        made.missing.append("iterations: the configuration has no length")


def _optimizer(wrapper: Mapping[str, Any], made: Translation) -> None:
    given = dict(wrapper.get("optimizer") or {})
    kind = given.pop("type", "")
    optimizer: dict[str, Any] = {"name": kind.lower()}
    if kind not in ("SGD", "AdamW"):
        made.missing.append(f"optimizer: {kind or 'none'}; recipes have SGD and AdamW")
        return
    for key in ("lr", "momentum", "weight_decay", "eps"):
        if key in given:
            optimizer[key] = given.pop(key)
    if "betas" in given:
        optimizer["betas"] = list(given.pop("betas"))
    if kind == "SGD":
        optimizer.setdefault("momentum", 0.0)  # torch's own defaults, where the configuration is silent
    optimizer.setdefault("weight_decay", 0.0 if kind == "SGD" else 0.01)
    made.missing += [f"optimizer.{key}: {value}" for key, value in given.items()]
    clip = wrapper.get("clip_grad")
    if clip and clip.get("norm_type", 2) == 2:
        optimizer["clip_norm"] = clip["max_norm"]
    elif clip:
        made.missing.append(f"clip_grad: {dict(clip)}")
    if wrapper.get("accumulative_counts", 1) > 1:
        batches = wrapper["accumulative_counts"]
        made.missing.append(f"optim_wrapper.accumulative_counts: there a step takes {batches} batches; here one")
    _rules_of_parameters(wrapper, optimizer, made)
    made.recipe["optimizer"] = optimizer
    if wrapper.get("type") == "AmpOptimWrapper":
        made.recipe["precision"] = "bf16" if wrapper.get("dtype") == "bfloat16" else "fp16"


def _rules_of_parameters(wrapper: Mapping[str, Any], optimizer: dict[str, Any], made: Translation) -> None:
    rules = dict(wrapper.get("paramwise_cfg") or {})
    constructor = wrapper.get("constructor", "")
    if constructor:
        rate = rules.pop("decay_rate", rules.pop("layer_decay_rate", None))
        if rate is not None and rules.pop("decay_type", "layer_wise") == "layer_wise":
            optimizer["layer_decay"] = rate
            optimizer["decay_norm_and_bias"] = False
            rules.pop("num_layers", None)
        else:
            made.missing.append(f"optim_wrapper.constructor: {constructor} with {wrapper.get('paramwise_cfg')}")
            return
    custom = dict(rules.pop("custom_keys", None) or {})
    undecayed = {key for key, rule in custom.items() if rule.get("decay_mult") == 0 and rule.get("lr_mult", 1) == 1}
    if undecayed:
        optimizer["decay_norm_and_bias"] = False
        others = sorted(
            undecayed - {"norm", "absolute_pos_embed", "relative_position_bias_table", "pos_embed", "pos_block"}
        )
        if others:
            made.missing.append(f"paramwise_cfg: no weight decay of {', '.join(others)}")
        if "norm" in undecayed:
            made.missing.append("paramwise_cfg: biases are decayed there and not here, where norms are not")
    for key, rule in custom.items():
        if key in undecayed:
            continue
        multiplier = rule.get("lr_mult")
        if key in ("head", "backbone") and multiplier is not None and rule.keys() == {"lr_mult"}:
            optimizer.setdefault("multipliers", {})[key] = multiplier
        else:
            made.missing.append(f"paramwise_cfg.custom_keys.{key}: {dict(rule)}")
    made.missing += [f"paramwise_cfg.{key}: {value}" for key, value in rules.items()]


def _schedule(config: Mapping[str, Any], made: Translation) -> None:
    given = config.get("param_scheduler") or []
    schedule: dict[str, Any] = {}
    lr = made.recipe.get("optimizer", {}).get("lr")
    for part in [given] if isinstance(given, Mapping) else given:
        kind = part.get("type")
        if kind == "PolyLR":
            schedule["power"] = part.get("power", 1.0)
            if part.get("eta_min") and lr:
                schedule["floor"] = part["eta_min"] / lr
            if part.get("begin"):
                made.missing.append(
                    f"param_scheduler: the polynomial begins at iteration {part['begin']} there, and at 0 under the warm-up here"
                )
        elif kind == "LinearLR" and not part.get("begin"):
            schedule |= {"warmup_iterations": part["end"], "warmup_ratio": part.get("start_factor", 1 / 3)}
        else:
            made.missing.append(f"param_scheduler: {dict(part)}")
    made.recipe["schedule"] = schedule


def _augmentation(config: Mapping[str, Any], made: Translation) -> None:
    pipeline = _dataset(config.get("train_dataloader") or {}).get("pipeline") or []
    result: dict[str, Any] = {"resize": None, "flip": 0.0, "photometric": False, "pad": "corner"}
    for step in pipeline:
        kind, rest = step["type"], {key: value for key, value in step.items() if key != "type"}
        if kind == "RandomResize":
            result |= {"resize": list(rest["scale"]), "ratio": list(rest.get("ratio_range") or (1.0, 1.0))}
            result["keep_ratio"] = rest.get("keep_ratio", False)
        elif kind == "RandomChoiceResize":
            made.missing.append(f"train_pipeline.RandomChoiceResize: {rest}")
        elif kind == "Resize":
            result |= {"resize": list(rest["scale"]), "ratio": [1.0, 1.0], "keep_ratio": rest.get("keep_ratio", False)}
        elif kind == "RandomCrop":
            size = rest["crop_size"]
            result["crop"] = list(size) if isinstance(size, Sequence) else [size, size]
            result["cat_max_ratio"] = rest.get("cat_max_ratio", 1.0)
        elif kind == "RandomFlip":
            result["flip"] = rest.get("prob") or 0.0
        elif kind == "PhotoMetricDistortion":
            result["photometric"] = True
            made.missing += [f"train_pipeline.PhotoMetricDistortion.{key}: {value}" for key, value in rest.items()]
        elif kind not in _LOADING:
            made.missing.append(f"train_pipeline.{kind}: {rest}")
    if "crop" not in result:
        made.missing.append("train_pipeline: it has no RandomCrop, and a recipe needs a crop")
    made.recipe["augmentation"] = result


def _normalisation(config: Mapping[str, Any], made: Translation) -> None:
    try:
        normalisation = configs.normalisation_of((config.get("model") or {}).get("data_preprocessor"))
    except UserError as error:
        made.missing.append(f"normalisation: {error}")
    else:
        made.recipe |= {"normalisation": normalisation} if normalisation is not None else {}


def _test(config: Mapping[str, Any], made: Translation) -> None:
    test: dict[str, Any] = {"via_input": True}
    how = (config.get("model") or {}).get("test_cfg") or {}
    if how.get("mode") == "slide":
        test |= {"mode": "slide", "window": list(how["crop_size"]), "stride": list(how["stride"])}
    pipeline = _dataset(config.get("test_dataloader") or {}).get("pipeline") or []
    for step in pipeline:
        if step["type"] == "Resize":
            test |= {"resize": list(step["scale"]), "keep_ratio": step.get("keep_ratio", False)}
        elif step["type"] not in _LOADING:
            made.missing.append(f"test_pipeline.{step['type']}")
    made.recipe["test"] = test
