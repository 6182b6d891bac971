"""HFGD's and ECENet's recipes read a second time: against the papers' sections, and against mmsegmentation's packaged zoo.

What stands here was read from the sources again and not taken from the recipes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import ROOT
from harness.recipes.segmentation import Recipe
from harness.table.load import load
from harness.table.recipes import recipe

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)  # ECENet, Sec. 4.2; iSeg's default; mmsegmentation's `img_ratios`


def read(name: str) -> Recipe:
    return recipe(name, ROOT / "tables")


def said(found: Recipe, expected: dict[str, Any]) -> dict[str, Any]:
    """The recipe's values under the dotted keys of `expected`."""
    values = {}
    for key in expected:
        value: Any = found
        for part in key.split("."):
            value = getattr(value, part)
        values[key] = value
    return values


# ---------------------------------------------------------------------------------------------------------- the papers

_PLAIN = {  # HFGD, Sec. 4: the table's column Plain
    "batch_size": 16,
    "optimizer.name": "sgd",
    "optimizer.lr": 0.01,
    "optimizer.weight_decay": 2 * 0.0001,  # Keras's L2: the gradient of 0.0001·‖w‖² is 2 · 0.0001 · w
    "schedule.name": "poly",
    "augmentation.crop": (513, 513),
    "batch_norm": "synchronised",
    "pretrained": True,
}
_ADVANCED = {**_PLAIN, "optimizer.name": "adamw", "optimizer.lr": 0.00004, "optimizer.weight_decay": 0.05}
HFGD = {
    "hfgd/pascal_context": {**_PLAIN, "dataset": "pascal_context_59", "iterations": 30_000},  # Sec. 5
    "hfgd/pascal_context_40k": {**_PLAIN, "dataset": "pascal_context_59", "iterations": 40_000},  # Sec. 5, Swin-Large
    "hfgd/pascal_context_90k": {**_PLAIN, "iterations": 90_000},  # Table 2
    "hfgd/pascal_context_180k": {**_PLAIN, "iterations": 180_000},
    "hfgd/coco_stuff10k": {
        **_PLAIN,
        "dataset": "coco_stuff10k_171",
        "iterations": 30_000,
        "test.split": "test",
    },  # T. 17
    "hfgd/coco_stuff10k_90k": {**_PLAIN, "iterations": 90_000},
    "hfgd/coco_stuff10k_180k": {**_PLAIN, "iterations": 180_000},
    "hfgd/cityscapes": {**_PLAIN, "iterations": 30_000, "augmentation.crop": (513, 1025)},  # Sec. 7.1
    "hfgd/pascal_context_advanced": {**_ADVANCED, "dataset": "pascal_context_59", "iterations": 40_000},  # Sec. 5.4
    "hfgd/coco_stuff164k_advanced": {**_ADVANCED, "dataset": "coco_stuff164k", "iterations": 40_000},  # Sec. 6
    "hfgd/coco_stuff10k_advanced": {**_ADVANCED, "dataset": "coco_stuff10k_171", "iterations": 40_000},  # App. B.2
    "hfgd/ade20k_advanced": {**_ADVANCED, "augmentation.crop": (641, 641)},  # App. B.1
    "hfgd/cityscapes_advanced": {**_ADVANCED, "iterations": 60_000, "augmentation.crop": (513, 1025)},  # Sec. 7.2
    "hfgd/cityscapes_advanced_os2": {**_ADVANCED, "iterations": 80_000, "augmentation.crop": (513, 1025)},
    "hfgd/cityscapes_server": {
        **_ADVANCED,
        "batch_size": 32,
        "iterations": 80_000,
        "augmentation.crop": (513, 1025),
        "test.split": "test",
    },
}
_ECENET = {"optimizer.name": "adamw", "augmentation.ratio": (0.5, 2.0), "augmentation.flip": 0.5}  # Sec. 4.2
ECENET = {
    "ecenet/ade20k": {**_ECENET, "iterations": 160_000, "batch_size": 16, "augmentation.crop": (640, 640)},
    "ecenet/ade20k_multi_scale": {**_ECENET, "iterations": 160_000, "test.scales": SCALES},
    "ecenet/ade20k_resnet101": {**_ECENET, "iterations": 160_000, "augmentation.crop": (512, 512)},  # Table 1's row
    "ecenet/pascal_context": {**_ECENET, "iterations": 80_000, "batch_size": 16, "augmentation.crop": (480, 480)},
    "ecenet/cityscapes": {**_ECENET, "iterations": 160_000, "batch_size": 8, "augmentation.crop": (1024, 1024)},
}


@pytest.mark.parametrize(
    ("name", "expected"), [*HFGD.items(), *ECENET.items()], ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_recipe_says_what_its_paper_says(name: str, expected: dict[str, Any]) -> None:
    assert said(read(name), expected) == expected


def test_photometric_distortion_is_the_advanced_settings() -> None:
    """HFGD, Sec. 4: `-` under Plain. The released framework shifts the brightness in both, which the recipe says."""
    plain, advanced = read("hfgd/pascal_context"), read("hfgd/pascal_context_advanced")
    assert plain.augmentation.photometric == ("brightness",)
    assert "released framework" in plain.differs["augmentation.photometric"]
    assert set(advanced.augmentation.photometric) == {"brightness", "saturation", "contrast_about_mean"}


def test_the_resnet101_rows_have_their_own_recipe() -> None:
    """ECENet, Table 1: 512 × 512 for ResNet-101; it was 640 × 640 by mistake."""
    table = load(ROOT / "tables" / "ecenet_table1.yaml")
    for column in ("ss", "ms"):
        assert read(str(table.cell("ecenet_r101", column).recipe)).augmentation.crop == (512, 512)
        assert read(str(table.cell("ecenet_swin_l", column).recipe)).augmentation.crop == (640, 640)


def test_every_value_that_the_papers_leave_open_is_listed() -> None:
    for name in ECENET:
        assert {"optimizer", "schedule", "augmentation.resize", "test"} <= set(read(name).differs) | {"test.mode"}, name
    for name in HFGD:
        assert {"loss", "normalisation", "schedule", "batch_norm_momentum", "augmentation.scales"} <= set(
            read(name).differs
        )


# -------------------------------------------------------------------------------------------------- mmsegmentation's zoo


def zoo(name: str) -> Any:
    """A packaged configuration of mmsegmentation, with what it inherits."""
    mmseg = pytest.importorskip("mmseg")
    from mmengine.config import Config

    return Config.fromfile(str(Path(mmseg.__file__).parent / ".mim" / "configs" / name))


def optimisation(config: Any) -> dict[str, Any]:
    """Optimiser and schedule, in our recipes' terms."""
    optimizer, schedule = config.optim_wrapper.optimizer, config.param_scheduler[-1]
    assert config.train_cfg.max_iters == schedule.end
    return {
        "iterations": schedule.end,
        "optimizer.name": optimizer.type.lower(),
        "optimizer.lr": optimizer.lr,
        "optimizer.weight_decay": optimizer.weight_decay,
        "schedule.power": schedule.power,
        "schedule.floor": schedule.eta_min / optimizer.lr,
    }


def transforms(config: Any) -> dict[str, Any]:
    """Augmentation, in our recipes' terms."""
    steps = {step.type: step for step in config.train_pipeline}
    return {
        "augmentation.resize": tuple(steps["RandomResize"].scale),
        "augmentation.ratio": tuple(steps["RandomResize"].ratio_range),
        "augmentation.crop": tuple(steps["RandomCrop"].crop_size),
        "augmentation.cat_max_ratio": steps["RandomCrop"].cat_max_ratio,
        "augmentation.flip": steps["RandomFlip"].prob,
        "augmentation.photometric": "PhotoMetricDistortion" in steps,
        "augmentation.pad": "corner",
    }


def protocol(config: Any) -> dict[str, Any]:
    """Size and windows of the test, in our recipes' terms."""
    slides = config.model.test_cfg.mode == "slide"
    return {
        "test.resize": tuple(next(step.scale for step in config.test_pipeline if step.type == "Resize")),
        "test.mode": config.model.test_cfg.mode,
        "test.window": tuple(config.model.test_cfg.crop_size) if slides else None,
        "test.stride": tuple(config.model.test_cfg.stride) if slides else None,
    }


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("ecenet/mmseg_ade20k", "pspnet/pspnet_r101-d8_4xb4-160k_ade20k-512x512.py"),
        ("ecenet/mmseg_ade20k", "upernet/upernet_r101_4xb4-160k_ade20k-512x512.py"),
        ("ecenet/mmseg_pascal_context", "pspnet/pspnet_r101-d8_4xb4-40k_pascal-context-59-480x480.py"),
    ],
)
def test_quoted_rows_are_trained_as_the_zoo_has_them(ours: str, theirs: str) -> None:
    config = zoo(theirs)
    expected = optimisation(config) | transforms(config) | protocol(config)
    assert said(read(ours), expected) == expected
    assert read(ours).optimizer.momentum == config.optim_wrapper.optimizer.momentum
    assert read(ours).batch_size == 4 * 4  # 4xb4
    scales = next(step for step in config.tta_pipeline if step.type == "TestTimeAug").transforms[0]
    assert tuple(step.scale_factor for step in scales) == SCALES


def test_open_settings_of_ecenet_are_those_of_the_zoos_upernet_on_swin() -> None:
    config = zoo("swin/swin-large-patch4-window12-in22k-384x384-pre_upernet_8xb2-160k_ade20k-512x512.py")
    ours, expected = read("ecenet/ade20k"), optimisation(config) | transforms(config)
    del expected["augmentation.resize"], expected["augmentation.crop"]  # ECENet's crop is 640
    assert said(ours, expected) == expected
    warmup, optimizer = config.param_scheduler[0], config.optim_wrapper.optimizer
    assert (ours.schedule.warmup_iterations, ours.schedule.warmup_ratio) == (warmup.end, warmup.start_factor)
    assert (ours.optimizer.betas, ours.optimizer.clip_norm) == (tuple(optimizer.betas), None)
    undecayed = {name for name, rule in config.optim_wrapper.paramwise_cfg.custom_keys.items() if rule.decay_mult == 0}
    assert undecayed == {"absolute_pos_embed", "relative_position_bias_table", "norm"}
    assert not ours.optimizer.decay_norm_and_bias
    assert "mmsegmentation decays biases, too" in ours.differs["optimizer"]
    assert config.model.backbone.drop_path_rate == 0.3  # as methods/backbones/swin.py has it


def test_the_base_size_of_640_is_that_of_the_zoos_knet_on_swin() -> None:
    config = zoo("knet/knet-s3_swin-l_upernet_8xb2-adamw-80k_ade20k-640x640.py")
    expected = transforms(config) | {"test.resize": protocol(config)["test.resize"]}
    assert said(read("ecenet/ade20k"), expected) == expected


def test_cityscapes_is_tested_in_the_zoos_windows() -> None:
    config = zoo("segformer/segformer_mit-b5_8xb1-160k_cityscapes-1024x1024.py")
    expected = transforms(config) | protocol(config)
    assert said(read("ecenet/cityscapes"), expected) == expected
