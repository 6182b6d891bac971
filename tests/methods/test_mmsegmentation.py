"""mmsegmentation's models under our core: the contract, the same training as under its own engine, recipes, clear errors."""

from __future__ import annotations

import copy
import importlib.util

import pytest
import torch
import yaml

from harness.cli.main import main
from harness.errors import MissingError, UserError
from harness.jobs.kinds import Model
from harness.recipes.common import Optimizer
from harness.recipes.segmentation import Recipe
from harness.table.load import check
from harness.tasks.segmentation.loader import check_normalisation
from harness.training.optim import build_optimizer
from harness.yamlfile import parse
from methods import registry
from methods.adapters import mmsegmentation_configs
from methods.build import build_model
from methods.segmentor import IGNORE
from tests.plan.test_planner import planned
from tests.table.test_schema import GOOD, problems

pytestmark = pytest.mark.skipif(importlib.util.find_spec("mmseg") is None, reason="the extra mmseg is not installed")

SMALL = {
    "pspnet_r18-d8_4xb2-80k_cityscapes-512x1024": "imagenet",  # an auxiliary head
    "segformer_mit-b0_8xb2-160k_ade20k-512x512": "imagenet",
    "segmenter_vit-t_mask_8xb1-160k_ade20k-512x512": "symmetric",
}
CLASSES = 5


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    targets = torch.randint(CLASSES, (2, 64, 64))
    targets[:, :7] = IGNORE
    return torch.randn(2, 3, 64, 64), targets


def build(config: object):
    torch.manual_seed(0)
    return build_model(
        Model(name="adapters/mmsegmentation", options={"config": config}, num_classes=CLASSES, backbone="own")
    )


@pytest.mark.slow
@pytest.mark.parametrize("config", SMALL)
def test_the_contract(config: str):
    model = build(config)
    losses = model.losses(*batch())
    assert losses
    assert all(loss.shape == () and loss.isfinite() and "acc" not in name for name, loss in losses.items())
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert {*map(id, model.parameter_groups()["backbone"])} == {*map(id, model.backbone.parameters())}
    model.eval()
    assert model(batch()[0]).shape == (2, CLASSES, 64, 64)
    trained_alone = {name.split(".")[0] for name in losses}
    model.auxiliary = None
    assert {name.split(".")[0] for name in model.losses(*batch())} == trained_alone - {"aux"}
    assert model.normalisation == SMALL[config]


@pytest.mark.slow
def test_five_steps_are_those_of_mmengine():
    """The same weights, batch and optimiser under `model.train_step` of mmsegmentation's own engine: the same losses."""
    from mmengine.optim import OptimWrapper

    ours = build("pspnet_r18-d8_4xb2-80k_cityscapes-512x1024")
    for module in ours.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.p = 0.0  # the two would draw other masks
    theirs = copy.deepcopy(ours.model)
    images, targets = batch()
    samples = their_samples(targets)
    theirs.data_preprocessor = torch.nn.Identity()  # ours are normalised already
    theirs.data_preprocessor.forward = lambda data, training: data
    recipe = Optimizer(lr=0.01, momentum=0.9, weight_decay=5e-4)
    optimizer = build_optimizer(ours, recipe)
    sgd = torch.optim.SGD(theirs.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    wrapper = OptimWrapper(sgd)
    for _ in range(5):
        optimizer.zero_grad()
        total = sum(ours.losses(images, targets).values())
        total.backward()
        optimizer.step()
        log = theirs.train_step({"inputs": images, "data_samples": samples}, wrapper)
        assert total.item() == pytest.approx(log["loss"].item(), rel=1e-5)


def their_samples(targets: torch.Tensor) -> list:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    samples = []
    for target in targets:
        sample = SegDataSample(metainfo={"img_shape": tuple(target.shape)})
        sample.gt_sem_seg = PixelData(data=target[None])
        samples.append(sample)
    return samples


def test_a_recipe_that_contradicts_the_model_is_refused():
    model = build("segmenter_vit-t_mask_8xb1-160k_ade20k-512x512")
    check_normalisation(model, "symmetric")
    with pytest.raises(UserError, match="write `normalisation: symmetric` in the recipe"):
        check_normalisation(model, "imagenet")


def recipe_of(config: str, capsys: pytest.CaptureFixture[str]) -> tuple[Recipe, str]:
    assert main(["recipe", "from-mmsegmentation", config]) == 0
    out, err = capsys.readouterr()
    return Recipe.model_validate(yaml.safe_load(out)[config]), err


def test_a_recipe_says_what_the_configuration_says(capsys: pytest.CaptureFixture[str]):
    recipe, missing = recipe_of("pspnet_r50-d8_4xb2-40k_cityscapes-512x1024", capsys)
    assert missing == ""
    assert (recipe.dataset, recipe.batch_size, recipe.iterations) == ("cityscapes", 8, 40_000)
    assert recipe.optimizer == Optimizer(name="sgd", lr=0.01, momentum=0.9, weight_decay=5e-4)
    assert (recipe.schedule.power, recipe.schedule.floor) == (0.9, 0.01)
    assert (recipe.augmentation.resize, recipe.augmentation.crop) == ((2048, 1024), (512, 1024))
    assert recipe.test.via_input


def test_what_a_recipe_cannot_say_is_listed(capsys: pytest.CaptureFixture[str]):
    recipe, missing = recipe_of("beit-base_upernet_8xb2-160k_ade20k-640x640", capsys)
    assert (recipe.optimizer.layer_decay, recipe.test.window, recipe.test.stride) == (0.9, (640, 640), (426, 426))
    assert "the polynomial begins at iteration 1500 there" in missing
    _, missing = recipe_of("beit-large_upernet_8xb1-amp-160k_ade20k-640x640", capsys)
    assert "optim_wrapper.accumulative_counts: there a step takes 2 batches; here one" in missing


@pytest.mark.slow
def test_every_configuration_of_the_zoo_has_a_recipe_or_says_why_not(capsys: pytest.CaptureFixture[str]):
    """One of every folder: valid as a recipe, unless what is missing explains it."""
    unexplained: list[str] = []
    folders = {file.parent: name for name, file in mmsegmentation_configs.configurations().items()}
    for name in folders.values():
        if mmsegmentation_configs.configurations()[name].parent.name in mmsegmentation_configs.NEEDS_OPERATORS:
            continue
        assert main(["recipe", "from-mmsegmentation", name]) == 0
        out, err = capsys.readouterr()
        try:
            Recipe.model_validate(yaml.safe_load(out)[name])
        except ValueError:
            unexplained.append(name)
        if any(word in err for word in ("dataset: ", "crop", "batch_size: ", "optimizer: ")):
            unexplained = [other for other in unexplained if other != name]
    assert unexplained == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("pspnet_r50-d8_4xb2-40k_cityscape-512x1024", "Did you mean 'pspnet_r50-d8_4xb2-40k_cityscapes-512x1024'?"),
        ("mask2former_r50_8xb2-90k_cityscapes-512x1024", "needs mmcv's compiled operators or mmdetection"),
        ("configs/mine.py", "python -m harness recipe from-mmsegmentation FILE prints the model"),
        ({"backbone": {}}, "a mapping with 'backbone' and 'decode_head'"),
    ],
)
def test_a_configuration_that_cannot_be_is_said_in_the_plan(config: object, message: str):
    (wrong,) = registry.check_options(registry.find("adapters/mmsegmentation"), {"config": config})
    assert message in wrong[1]


def test_parts_that_do_not_exist_are_said():
    config = {"type": "EncoderDecoder", "backbone": {"type": "ResNext50"}, "decode_head": {"type": "FCNHead"}}
    with pytest.raises(
        UserError, match=r"mmsegmentation cannot build EncoderDecoder of this configuration: .*ResNext50"
    ):
        build(config)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    mmsegmentation_configs.configurations.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"pip install 'segmentation-harness\[mmseg\]'"):
        mmsegmentation_configs.find("pspnet_r50-d8_4xb2-40k_cityscapes-512x1024")


def test_a_row_that_gives_it_a_backbone_is_told():
    row = f"method: {{name: adapters/mmsegmentation, config: {next(iter(SMALL))}}}, model: {{backbone: swin_base}}"
    (found,) = problems(GOOD.replace("method: fcn", row, 1))
    assert found[1:] == (
        "rows.fcn.model.backbone",
        "method 'adapters/mmsegmentation' has a backbone of its own; leave 'backbone' out",
    )


def test_its_version_is_in_the_key_and_its_backbone_is_its_own_under_every_profile():
    text = f"""\
paper: ours
title: One row
metric: miou
defaults: {{backbone: resnet50_v1c, recipe: idrnet/ade20k}}
columns: {{miou: {{}}}}
rows: {{one: {{method: {{name: adapters/mmsegmentation, config: {next(iter(SMALL))}}}}}}}
"""
    plan = planned(check(parse(text, "one.yaml")))
    train = next(job for job in plan.jobs.values() if job.kind == "train")
    assert train.config["model"]["backbone"] == "own"
    assert {"mmseg", "mmengine"} <= train.parts["packages"].keys()
    assert "timm" not in train.parts["packages"]
    assert "methods.adapters.mmsegmentation" in train.parts["code"]
