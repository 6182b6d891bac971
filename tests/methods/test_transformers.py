"""transformers' models under our core: the contract, the same numbers as the bare library, weights, clear errors."""

from __future__ import annotations

import copy
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from harness import ROOT
from harness.errors import MissingError, UserError
from harness.jobs.context import Context
from harness.jobs.kinds import ComplexityConfig, Model
from harness.recipes.common import Optimizer
from harness.table.load import check
from harness.tasks.complexity import measure
from harness.tasks.segmentation.loader import check_normalisation
from harness.training.optim import build_optimizer
from harness.yamlfile import parse
from methods import registry
from methods.adapters import transformers_configs
from methods.build import build_model, without_auxiliary
from methods.segmentor import IGNORE, pixel_loss
from tests.plan.test_planner import planned
from tests.support.transformers_models import CLASSES, MASKS, PIXELS, SMALL, SWIN, bare_loss, bare_model, batch, build

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="the extra transformers is not installed"
)


def total(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    assert losses
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    return sum(losses.values())


# -------------------------------------------------------------------------------------------------------- the contract


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL)
def test_logits_are_a_map_of_classes(kind: str):
    model = build(kind).eval()
    for size in [(64, 48), (65, 49)]:
        images, _ = batch(size)
        logits = model(images)
        assert logits.shape[:2] == (2, CLASSES)
        assert logits.isfinite().all()
        torch.testing.assert_close(model(images[:1]), logits[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", SMALL)
def test_gradients_reach_every_trainable_parameter_and_groups_hold_each_once(kind: str):
    model = build(kind).train()
    total(model.losses(*batch())).backward()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert [name for name, p in model.named_parameters() if (p.grad is not None) != (name in trained)] == []
    grouped = [id(p) for group in model.parameter_groups().values() for p in group]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert min(map(len, model.parameter_groups().values())) > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL)
def test_labels_of_one_kind_only_and_a_batch_of_one(kind: str):
    images, targets = batch(count=1)
    for label in (IGNORE, 3):
        model = build(kind).train()
        losses = model.losses(images, torch.full_like(targets, label))
        total(losses).backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
        if label == IGNORE:
            no_mask = [losses[name] for name in ("mask", "dice", "main") if name in losses]
            assert no_mask
            assert all(loss == 0 for loss in no_mask)


def test_ignored_pixels_belong_to_no_mask():
    from methods.adapters.transformers import mask_labels

    targets = torch.tensor([[[IGNORE, 0], [2, 2]], [[IGNORE, IGNORE], [IGNORE, IGNORE]]])
    masks, classes = mask_labels(targets)
    assert [c.tolist() for c in classes] == [[0, 2], []]
    assert masks[0].tolist() == [[[0, 1], [0, 0]], [[0, 0], [1, 1]]]
    assert masks[1].shape == (0, 2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL)
def test_a_step_is_a_function_of_its_seed_and_a_prediction_changes_nothing(kind: str):
    def step() -> torch.nn.Module:
        model = build(kind).train()
        torch.manual_seed(5)
        total(model.losses(*batch())).backward()
        return model

    first, second = step(), step()
    for (name, a), b in zip(first.named_parameters(), second.parameters()):
        assert not a.requires_grad or torch.equal(a.grad, b.grad), name
    other, images = build(kind, seed=9), batch()[0]
    other.load_state_dict(first.state_dict())
    before = copy.deepcopy(first.eval().state_dict())
    assert torch.equal(first(images), other.eval()(images))
    assert all(torch.equal(before[name], value) for name, value in first.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL)
def test_bfloat16_autocast(kind: str):
    images, targets = batch()
    model = build(kind).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = total(model.losses(images, targets))
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL)
def test_the_recipe_chooses_the_loss_of_pixels_and_no_other(kind: str):
    def losses(factor: float) -> dict[str, torch.Tensor]:
        model = build(kind).train()
        model.criterion = lambda logits, targets: factor * pixel_loss(logits, targets)
        torch.manual_seed(5)
        return model.losses(*batch())

    usual, thrice = losses(1), losses(3)
    own = build(kind).own_losses
    assert set(usual) == (own if kind in MASKS else ({"main"} if kind == "segformer" else {"main", "auxiliary"}))
    for name, loss in usual.items():
        torch.testing.assert_close(thrice[name], loss * (1 if name in own else 3), msg=name)


def test_the_auxiliary_head_can_go():
    model = build("upernet")
    model.auxiliary = None
    assert model.losses(*batch()).keys() == {"main"}
    assert not any("auxiliary" in name for name in model.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL)
def test_complexity_is_counted(kind: str):
    here = Path()
    model = Model(name="adapters/transformers", options={"config": SMALL[kind]}, num_classes=CLASSES, backbone="own")
    config = ComplexityConfig(model=model, input=((1, 3, 64, 64),), convention="fvcore")
    context = Context(folder=here, cache=here, data_dir=None, device="cpu", threads=1)
    parameters, flops = (m.value for m in measure.count(config, context))
    own = without_auxiliary(build(kind))
    assert parameters == sum(p.numel() for p in own.parameters() if p.requires_grad)
    assert flops > parameters


# ---------------------------------------------------------------------------------------- the numbers are the library's


@pytest.mark.parametrize("kind", PIXELS)
def test_logits_are_the_bare_models(kind: str):
    ours = build(kind).eval()
    images, _ = batch()
    assert torch.equal(ours(images), bare_model(kind, ours).eval()(images).logits)


@pytest.mark.parametrize("kind", MASKS)
def test_scores_are_those_of_the_librarys_post_processing(kind: str):
    """At its own size of an image, 384 × 384. It multiplies MaskFormer's masks before it resizes them; the authors after."""
    import transformers

    ours = build(kind).eval()
    images, size = torch.randn(1, 3, 384, 384), (384, 384)
    outputs = bare_model(kind, ours).eval()(images, output_hidden_states=True)
    if kind == "maskformer":
        outputs.masks_queries_logits = F.interpolate(outputs.masks_queries_logits, size=size, mode="bilinear")
    names = {"mask2former": "Mask2FormerImageProcessor", "maskformer": "MaskFormerImageProcessor"}
    process = getattr(transformers, names[kind])().post_process_semantic_segmentation
    (theirs,) = process(outputs, target_sizes=[size], return_segmentation_scores=True)
    scores = ours(images)
    torch.testing.assert_close(scores[0], theirs.segmentation_scores)
    assert torch.equal(scores[0].argmax(0), theirs.segmentation)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL)
def test_five_steps_are_those_of_the_bare_model(kind: str):
    """The same weights, batch, draws and optimiser: the same losses, by labels that the library's own code makes."""
    ours = build(kind).train()
    bare = bare_model(kind, ours).train()
    images, targets = batch()
    recipe = Optimizer(name="adamw", lr=1e-3, weight_decay=0.05, betas=(0.9, 0.999))
    optimizer = build_optimizer(ours, recipe)
    theirs = torch.optim.AdamW(bare.parameters(), lr=1e-3, weight_decay=0.05, betas=(0.9, 0.999))
    for step in range(5):
        sums = []
        for model, steps in ((ours, optimizer), (bare, theirs)):
            torch.manual_seed(step)
            steps.zero_grad()
            loss = total(ours.losses(images, targets)) if model is ours else bare_loss(kind, bare, images, targets)
            loss.backward()
            steps.step()
            sums.append(loss.item())
        assert sums[0] == pytest.approx(sums[1], rel=1e-5), step


# ------------------------------------------------------------------------------------------------------------- weights


def loaded(kind: str, file: Path) -> torch.nn.Module:
    model = Model(
        name="adapters/transformers",
        options={"config": SMALL[kind]},
        num_classes=CLASSES,
        backbone="own",
        pretrained=str(file),
    )
    return build_model(model)


def test_weights_of_a_whole_model(tmp_path: Path):
    save_file(build("mask2former", seed=3).model.state_dict(), tmp_path / "whole.safetensors")
    images, _ = batch()
    model = loaded("mask2former", tmp_path / "whole.safetensors")
    assert torch.equal(model.eval()(images), build("mask2former", seed=3).eval()(images))


@pytest.mark.parametrize("kind", ["mask2former", "upernet"])
def test_weights_of_an_image_classifier_are_the_backbones(kind: str, tmp_path: Path):
    """In the names in which the library writes them, which are older than those of its modules."""
    import transformers

    settings = {key: value for key, value in SWIN.items() if key not in ("model_type", "out_features")}
    classifier = transformers.SwinForImageClassification(transformers.SwinConfig(**settings))
    classifier.save_pretrained(tmp_path)
    backbone = loaded(kind, tmp_path / "model.safetensors").backbone.state_dict()
    theirs = classifier.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in backbone.items() if name in theirs)
    assert len(backbone.keys() & theirs.keys()) > 50


def test_weights_that_do_not_fit_are_listed(tmp_path: Path):
    state = build("segformer").model.state_dict()
    state["decode_head.classifier.bias"] = torch.zeros(150)
    del state["decode_head.classifier.weight"]
    state["decode_head.other"] = torch.zeros(1)
    save_file(state, tmp_path / "odd.safetensors")
    with pytest.raises(UserError, match="nothing was loaded") as caught:
        loaded("segformer", tmp_path / "odd.safetensors")
    for line in (
        "missing decode_head.classifier.weight",
        "unexpected decode_head.other",
        "decode_head.classifier.bias is (150,), should be (5,)",
    ):
        assert line in str(caught.value)


def test_weights_without_a_file_are_not_downloaded():
    model = Model(
        name="adapters/transformers",
        options={"config": "segformer_b0"},
        num_classes=2,
        backbone="own",
        pretrained=True,
    )
    with pytest.raises(
        MissingError, match="weights of the backbone of 'adapters/transformers/segformer_b0' are not here"
    ):
        build_model(model)


# -------------------------------------------------------------------------------------------------- names, keys, errors


def test_a_recipe_that_contradicts_the_model_is_refused():
    with pytest.raises(UserError, match="write `normalisation: symmetric` in the recipe"):
        check_normalisation(build("dpt"), "imagenet")
    check_normalisation(build("segformer"), "imagenet")


@pytest.mark.parametrize("name", transformers_configs.PRESETS)
def test_every_named_configuration_is_one_of_the_library(name: str):
    import transformers

    entry = registry.find("adapters/transformers")
    assert registry.check_options(entry, {"config": name}) == []
    config = transformers_configs.read(name)
    given = transformers.AutoConfig.for_model(**config, num_labels=CLASSES)
    kind = transformers_configs.ARCHITECTURES[config["model_type"]]
    assert type(given) is getattr(transformers, kind.model).config_class
    with torch.device("meta"):
        build_model(
            Model(name="adapters/transformers", options={"config": name, "depth": 1}, num_classes=9, backbone="own")
        )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("mask2former_swin_larg", "Did you mean 'mask2former_swin_large'?"),
        ({"model_type": "segformerr"}, "Did you mean 'segformer'?"),
        ({"model_type": "oneformer"}, "tokenizer's vocabulary is a download"),
        ({"model_type": "mask2former", "num_query": 10}, "Did you mean 'num_queries'?"),
        (
            {"model_type": "upernet", "backbone_config": {"model_type": "swin", "depth": [2]}},
            "'config': transformers' configuration of swin has no key 'backbone_config.depth'. Did you mean 'depths'?",
        ),
    ],
)
def test_a_configuration_that_cannot_be_is_said_in_the_plan(config: object, message: str):
    (wrong,) = registry.check_options(registry.find("adapters/transformers"), {"config": config})
    assert wrong[0] == "config"
    assert message in wrong[1]


@pytest.mark.slow
def test_what_the_library_refuses_is_said():
    config = {"model_type": "beit", "out_indices": [1, 2]}
    with pytest.raises(UserError, match=r"transformers cannot build this beit: .*4 integers"):
        build_model(Model(name="adapters/transformers", options={"config": config}, num_classes=2, backbone="own"))


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    transformers_configs.fields.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"pip install 'segmentation-harness\[transformers\]'"):
        transformers_configs.check({"config": "segformer_b0"})


TABLE = """\
paper: ours
title: One row
metric: miou
defaults: {backbone: resnet50_v1c, recipe: idrnet/ade20k}
columns: {miou: {}}
rows: {one: {method: {name: adapters/transformers, config: segformer_b0}}}
"""


def test_its_version_is_in_the_key():
    plan = planned(check(parse(TABLE, "one.yaml")))
    train = next(job for job in plan.jobs.values() if job.kind == "train")
    assert train.config["model"]["backbone"] == "own"
    assert train.parts["packages"].keys() == {"transformers"}
    assert train.parts["packages"]["transformers"] != "absent"
    assert {"methods.adapters.transformers", "methods.adapters.transformers_configs"} <= train.parts["code"].keys()


@pytest.mark.slow
def test_listing_and_planning_import_nothing_of_it(tmp_path: Path):
    (tmp_path / "one.yaml").write_text(TABLE)
    commands = [["list", "methods"], ["plan", str(tmp_path / "one.yaml"), "--results", str(tmp_path / "results")]]
    code = (
        f"import sys\nfrom harness.cli.main import main\nfor command in {commands!r}: main(command)\n"
        "sys.exit(' '.join(m for m in ('transformers', 'torch', 'mmseg') if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "adapters/transformers" in done.stdout
