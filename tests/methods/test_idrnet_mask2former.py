"""Mask2Former+IDRNet: the contract, and what its docstring says of queries, tokens, memory and deletions."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest
import torch

from harness.table.load import check
from harness.yamlfile import parse
from methods import registry
from methods.idrnet.mask2former import Mask2FormerIDRNet, QueryHead
from methods.idrnet.mask2former_options import resolve_for_queries
from methods.segmentor import IGNORE
from tests.plan.test_planner import planned
from tests.support.transformers_models import CLASSES, SMALL, bare_model, batch
from tests.support.transformers_models import build as build_method

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="the extra transformers is not installed"
)
WIDTH, NO_OBJECT = 8, CLASSES


def build(*, seed: int = 0, **options: object) -> Mask2FormerIDRNet:
    return build_method("mask2former", seed=seed, method="idrnet_mask2former", **options)


def head_of(**options: object) -> QueryHead:
    torch.manual_seed(0)
    return QueryHead(WIDTH, 4, CLASSES, resolve_for_queries({"attention_channels": 8, **options}))


def grouped(labels: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries [B, Q, WIDTH], and class logits whose largest is the label's."""
    torch.manual_seed(1)
    of = torch.tensor(labels)
    logits = torch.randn(*of.shape, CLASSES + 1).scatter(2, of[..., None], 9.0)
    return torch.randn(*of.shape, WIDTH), logits


# -------------------------------------------------------------------------------------------------------- the contract


@pytest.mark.parametrize("options", [{}, {"enhancement": "none", "relations": "mean"}, {"relations": "none"}])
def test_gradients_reach_every_trainable_parameter(options: dict):
    model = build(**options).train()
    losses = model.losses(*batch())
    assert losses.keys() == model.own_losses
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    grouped_once = [id(p) for group in model.parameter_groups().values() for p in group]
    assert sorted(grouped_once) == sorted(id(p) for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("label", [IGNORE, 3])
def test_labels_of_one_kind_only_and_a_batch_of_one(label: int):
    images, targets = batch(count=1)
    model = build().train()
    loss = sum(model.losses(images, torch.full_like(targets, label)).values())
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    moved = model.head.memory.abs().sum(1) > 0
    assert moved.tolist() == [k == label for k in range(CLASSES)]


def test_a_step_is_a_function_of_its_seed_and_its_state_can_be_kept():
    def step() -> Mask2FormerIDRNet:
        model = build().train()
        torch.manual_seed(5)
        sum(model.losses(*batch()).values()).backward()
        return model.eval()

    first, second, other = step(), step(), build(seed=9).eval()
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values()):
        assert torch.equal(a, b), name
    other.load_state_dict(first.state_dict())
    images, _ = batch((65, 49))
    scores = first(images)
    assert scores.shape == (2, CLASSES, 65, 49)
    assert torch.equal(scores, other(images))
    torch.testing.assert_close(scores[:1], first(images[:1]), rtol=1e-4, atol=1e-5)


def test_bfloat16_autocast():
    model = build().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = sum(model.losses(*batch()).values())
    loss.backward()
    assert loss.isfinite()
    assert all(x.isfinite().all() for x in model.head.buffers())


# ------------------------------------------------------------------------------------------------- what the text says


def test_stage_1_is_mask2former_as_the_library_trains_it():
    """L_c, and the losses of earlier layers, under the same draws as the bare model's own loss."""
    from tests.support.transformers_models import bare_loss

    model, (images, targets) = build().train(), batch()
    bare = bare_model("mask2former", SimpleNamespace(model=model.model)).train()
    torch.manual_seed(5)
    losses = model.losses(images, targets)
    torch.manual_seed(5)
    expected = bare_loss("mask2former", bare, images, targets)
    torch.testing.assert_close(losses["stage1"] / 0.4 + losses["auxiliary"], expected)


def test_tokens_are_of_the_queries_of_a_class():
    """The mean weighted by a softmax of the class's logit over its queries, and E_k; queries of no object are in none."""
    head = head_of()
    head.memory.copy_(torch.randn(CLASSES, WIDTH))
    queries, logits = grouped([[2, 2, 4, NO_OBJECT]])
    encoded = head.encode(queries, logits)
    assert encoded.present.tolist() == [[False, False, True, False, True]]
    weights = logits[0, :2, 2].softmax(0)
    token = torch.cat([weights @ queries[0, :2], head.memory[2]])
    conv = head.refiner.query.first
    torch.testing.assert_close(encoded.prepared.tokens[0][0][0, 2], conv.project_rows(token, 2))
    torch.testing.assert_close(
        encoded.prepared.tokens[0][0][0, 4], conv.project_rows(torch.cat([queries[0, 2], head.memory[4]]), 2)
    )


def test_queries_of_no_object_and_of_a_deleted_class_get_no_context():
    """What the refiner sees of them is the query and E_y alone; other queries see it when a class is gone."""
    head = head_of().eval()
    head.relations.mean.fill_(1.0)  # every class mixes in every other
    seen: list[torch.Tensor] = []
    head.refiner.query.norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0][0, :, :, 0].T))
    queries, logits = grouped([[2, 2, 4, NO_OBJECT]])
    encoded = head.encode(queries, logits)
    head.predict(encoded, encoded.present)
    head.predict(encoded, encoded.present.scatter(1, torch.tensor([[2]]), False))
    whole, without = seen
    alone = head.refiner.query.first.project(encoded.queries, 0)[0, :, :, 0].T  # E_k is zero at the start
    torch.testing.assert_close(whole[3], alone[3])
    torch.testing.assert_close(without[[0, 1, 3]], alone[[0, 1, 3]])
    assert not torch.allclose(whole[0], alone[0])
    assert not torch.allclose(whole[2], without[2])


def test_the_memory_moves_towards_matched_queries():
    head = head_of(memory_momentum=0.5, processes=1)
    queries, _ = grouped([[2, 2, 4, NO_OBJECT], [2, 1, 1, 1]])
    pairs = [(torch.tensor([0, 3]), torch.tensor([2, 0])), (torch.tensor([1]), torch.tensor([2]))]
    head.learn_memory(queries, pairs)
    torch.testing.assert_close(head.memory[2], 0.5 * (queries[0, 0] + queries[1, 1]) / 2)
    torch.testing.assert_close(head.memory[0], 0.5 * queries[0, 3])
    assert head.memory[[1, 3, 4]].abs().sum() == 0


def test_an_image_without_an_object_deletes_nothing():
    model = build().train()
    with torch.no_grad():
        model.model.class_predictor.weight.zero_()
        model.model.class_predictor.bias.zero_()
        model.model.class_predictor.bias[NO_OBJECT] = 9.0
    sum(model.losses(*batch()).values()).backward()
    assert torch.equal(model.head.relations.mean, torch.eye(CLASSES))
    assert model.measurements() == {"deletions": [0.0] * CLASSES}
    assert model.head.deletion_counts.allclose(torch.full((CLASSES,), 1e-6))
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_a_deleted_class_moves_its_row_by_what_its_absence_does():
    """By hand from two passes: the mean of the loss of each true class, with and without (Eq. 14-15)."""
    model = build(relation_momentum=1.0, processes=1).eval()  # running statistics, so that a pass repeats itself
    model.head.sample = lambda present, counts: present.to(torch.uint8).argmax(1)
    images, targets = batch(count=1)
    outputs = model.outputs(images)
    encoded = model.encode(outputs)
    deleted = int(encoded.present[0].to(torch.uint8).argmax())

    def means(present: torch.Tensor) -> torch.Tensor:
        classes, masks = model.predict(encoded, present, outputs.pixel_decoder_last_hidden_state)
        scores = torch.einsum("bqk,bqhw->bkhw", classes.softmax(-1)[..., :-1], masks.sigmoid()).clamp(min=1e-6).log()
        scores = torch.nn.functional.interpolate(scores, size=targets.shape[1:], mode="bilinear")
        loss = torch.nn.functional.cross_entropy(scores, targets, ignore_index=IGNORE, reduction="none")
        return torch.stack([loss[targets == k].mean() for k in range(CLASSES)])

    with torch.no_grad():
        reserved = encoded.present.clone()
        reserved[0, deleted] = False
        change = means(reserved) - means(encoded.present)
        model.losses(images, targets)
    assert change.abs().max() > 1e-6
    torch.testing.assert_close(model.head.relations.mean[deleted], change, rtol=1e-3, atol=1e-6)
    others = [k for k in range(CLASSES) if k != deleted]
    assert torch.equal(model.head.relations.mean[others], torch.eye(CLASSES)[others])


# -------------------------------------------------------------------------------------------------- names, keys, errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": "segformer_b0"}, "class queries are Mask2Former's, and this is a segformer"),
        ({"config": "mask2former_swin_tiny", "relations": "mean_only"}, "option 'relations' cannot be 'mean_only'"),
        ({"config": SMALL["mask2former"] | {"num_query": 3}}, "Did you mean 'num_queries'?"),
    ],
)
def test_wrong_options_are_said_in_the_plan(options: dict, message: str):
    (wrong,) = registry.check_options(registry.find("idrnet_mask2former"), options)
    assert message in wrong[1]


def test_its_key_holds_the_library_and_idrnets_parts():
    text = """\
paper: ours
title: One row
metric: miou
defaults: {backbone: resnet50_v1c, recipe: idrnet/ade20k}
columns: {miou: {}}
rows: {one: {method: {name: idrnet_mask2former, config: mask2former_swin_tiny}}}
"""
    plan = planned(check(parse(text, "one.yaml")))
    train = next(job for job in plan.jobs.values() if job.kind == "train")
    assert "transformers" in train.parts["packages"]
    assert {"methods.idrnet.relations", "methods.adapters.transformers"} <= train.parts["code"].keys()
