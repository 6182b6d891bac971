"""IDRNet as a method: options, awkward input, precision, compilation, host synchronisation."""

from __future__ import annotations

import copy

import pytest
import torch

from harness.errors import UserError
from methods import registry
from methods.idrnet.options import CHOICES, DIFFERENCES
from methods.segmentor import IGNORE, GivenFeatures, pixel_loss
from tests.support.host_waits import Synchronisations

K = 6
CHANNELS = (3, 4, 5, 9)
SMALL = {"channels": 8, "attention_channels": 4, "fpn_channels": 6, "auxiliary_channels": 7, "dilations": (1, 2)}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def build(seed=0, **options):
    torch.manual_seed(seed)
    return registry.build("idrnet", GivenFeatures(CHANNELS), K, **{**SMALL, **options})


def sample(batch=3):
    torch.manual_seed(1)
    sizes = ((12, 14), (6, 7), (6, 7), (6, 7))
    features = [torch.randn(batch, c, *s) for c, s in zip(CHANNELS, sizes)]
    targets = torch.randint(0, K, (batch, 48, 56))
    targets[:, :4] = IGNORE
    return features, targets


def step(model, features, targets):
    torch.manual_seed(2)
    losses = model.train().losses(features, targets)
    sum(losses.values()).backward()
    return losses


def assert_finite(model, losses):
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert all(b.isfinite().all() for b in model.buffers())


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", CHOICES["preset"])
@pytest.mark.parametrize("context", CHOICES["context"])
def test_presets_around_each_context(context, preset):
    model = build(context=context, preset=preset)
    features, targets = sample()
    losses = step(model, features, targets)
    assert set(losses) == ({"main", "stage1", "auxiliary"} if preset == "released" else {"main", "stage1"})
    assert_finite(model, losses)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert model.eval()(features).shape == (3, K, *((12, 14) if context == "uper" else (6, 7)))
    assert model.head.memory.abs().max() > 0
    assert sum(model.measurements()["deletions"]) == 3


def outcome(**options):
    """All that a step yields: losses, gradients, state. With a coarse context and mixed relations every option shows."""
    model = build(context="ppm", **options)
    with torch.no_grad():
        for matrix in model.head.relations.matrices().values():
            matrix.copy_(torch.randint(-1, 2, (K, K)))  # weak, zero and strong entries
    losses = step(model, *sample())
    gradients = [p.grad.flatten() for p in model.head.parameters()]
    state = [b.flatten().float() for b in model.head.buffers()]
    return torch.cat([torch.stack(list(losses.values())), *gradients, *state])


@pytest.mark.slow
@pytest.mark.parametrize("name", DIFFERENCES)
def test_each_difference_has_an_effect(name):
    """Paper against code, one option at a time; the released choice is the default."""
    released, paper = DIFFERENCES[name]
    default = outcome()
    assert torch.equal(outcome(**{name: released}), default)
    changed = outcome(**{name: paper})
    assert changed.shape != default.shape or not torch.allclose(changed, default, rtol=1e-4, atol=1e-6)


def test_none_leaves_the_choice_to_the_preset():
    chosen = build(preset="paper", pooling="softmax", zero_is_weak=True).options
    assert chosen.pooling == "softmax"
    assert chosen.zero_is_weak is True
    assert {n: getattr(chosen, n) for n in DIFFERENCES if n not in ("pooling", "zero_is_weak")} == {
        n: paper for n, (_, paper) in DIFFERENCES.items() if n not in ("pooling", "zero_is_weak")
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"context": "ppn"}, ["'context'", "'ppn'", "ppm"]),
        ({"relations": True}, ["'relations'", "both"]),
        ({"classifier_layers": True}, ["'classifier_layers'"]),
        ({"channels": 0}, ["'channels'", "positive"]),
        ({"count_start": 0.0}, ["'count_start'", "(0, 1]"]),
    ],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(UserError) as error:
        build(**options)
    assert all(word in str(error.value) for word in words)


def test_uper_needs_several_maps():
    with pytest.raises(UserError, match="more than one feature map"):
        registry.build("idrnet", GivenFeatures((9,)), K, context="uper")


# --- Table 3 and Table 4 ----------------------------------------------------------------------------------------------


def test_no_enhancement_leaves_the_memory_out():
    plain, enhanced = build(enhancement="none"), build()
    assert plain.head.memory is None
    assert plain.head.refiner.query.first.in_channels == 3 * 8  # f and two contexts
    assert enhanced.head.refiner.query.first.in_channels == 6 * 8
    assert_finite(plain, step(plain, *sample()))


def test_orthogonal_enhancement_is_random_and_stays():
    model = build(enhancement="orthogonal")
    before = model.head.memory.clone()
    torch.testing.assert_close(before @ before.T, torch.eye(K), atol=1e-5, rtol=0)
    step(model, *sample())
    assert torch.equal(model.head.memory, before)


@pytest.mark.parametrize(("relations", "names"), [("mean", ["mean"]), ("variance", ["variance"]), ("none", [])])
def test_relations_in_part(relations, names):
    model = build(relations=relations)
    losses = step(model, *sample())
    assert_finite(model, losses)
    matrices = model.head.relations.matrices()
    assert list(matrices) == names
    assert all(not torch.equal(m, torch.eye(K)) for m in matrices.values())
    assert model.measurements().keys() == ({"deletions"} if names else set())


def test_balanced_deletion_evens_out_what_random_deletion_does_not():
    """Class 0 is in every image, each of the five others in one of five.

    At random class 0 takes half of the deletions; balanced, its share a settles where a = (1 - a) / (1 + 4a).
    """
    counts = {}
    for sampling in ("balanced", "random"):
        model = build(sampling=sampling)
        torch.manual_seed(0)
        for rare in torch.randint(1, K, (300,)).tolist():
            present = torch.zeros(1, K, dtype=torch.bool)
            present[0, [0, rare]] = True
            deleted = model.head.sample(present, model.head.deletion_counts)
            model.head.deletion_counts.index_add_(0, deleted, torch.ones(1))
        counts[sampling] = model.head.deletion_counts / 300
    assert counts["random"][0] == pytest.approx(0.5, abs=0.08)
    assert counts["balanced"][0] == pytest.approx((20**0.5 - 2) / 8, abs=0.05)


def test_back_propagation_moves_the_matrices_instead_of_deletions():
    model = build(update="backprop")
    features, targets = sample()
    losses = step(model, features, targets)
    assert_finite(model, losses)
    for matrix in model.head.relations.matrices().values():
        assert torch.equal(matrix, torch.eye(K))
        assert matrix.requires_grad
        assert matrix.grad.abs().max() > 0
    torch.manual_seed(2)
    present = model.head.encode(features).assignment.present_BK
    assert model.measurements() == {"updates": present.sum(0).float().tolist()}


# --- the recipe's loss --------------------------------------------------------------------------------------------------


def test_deletions_are_diagnosed_by_cross_entropy_under_any_loss():
    """The same state, with and without the per-pixel losses shared; the gradients are the criterion's."""
    usual, other, scaled = build(), build(), build()
    other.criterion = lambda logits, targets: pixel_loss(logits, targets)
    scaled.criterion = lambda logits, targets: 2 * pixel_loss(logits, targets)
    outcomes = [step(model, *sample()) for model in (usual, other, scaled)]
    for name, value in usual.head.named_buffers():
        assert torch.equal(dict(other.head.named_buffers())[name], value), name
        assert torch.equal(dict(scaled.head.named_buffers())[name], value), name
    for name, loss in outcomes[0].items():
        torch.testing.assert_close(outcomes[1][name], loss)
    for a, b, c in zip(*(model.parameters() for model in (usual, other, scaled))):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(c.grad, 2 * a.grad, rtol=1e-4, atol=1e-6)


# --- state ------------------------------------------------------------------------------------------------------------


def test_a_step_counts_one_deletion_per_image():
    model = build()
    features, targets = sample(batch=4)
    for n in (4, 8):
        step(model, features, targets)
        assert float(model.head.deletion_counts.sum()) == pytest.approx(n / 8, abs=1e-4)  # as of eight processes' mean
        assert sum(model.measurements()["deletions"]) == n


def test_state_moves_only_in_training_steps_and_survives_a_round_trip():
    model = build()
    features, targets = sample()
    fresh = copy.deepcopy(model.state_dict())
    model.eval()(features)
    assert all(torch.equal(v, fresh[k]) for k, v in model.state_dict().items())
    step(model, features, targets)
    other = build(seed=5)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.eval()(features), model.eval()(features), rtol=0, atol=0)
    assert other.measurements() == model.measurements()


def test_norm_statistics_can_be_kept_out_of_the_deletion_pass():
    """As released the refiner's statistics move twice per step; frozen, once, and what is before it always once."""
    for moves, times in ((True, 2), (False, 1)):
        model = build(deletion_moves_norm=moves)
        step(model, *sample())
        assert int(model.head.refiner.query.norm[0].num_batches_tracked) == times
        assert int(model.head.stage2.norm[0].num_batches_tracked) == times
        assert int(model.head.bottleneck[1].num_batches_tracked) == 1


def test_both_passes_share_their_dropout(monkeypatch):
    """One mask of whole channels per step, drawn once; the difference of the losses is the deletion's alone."""
    model = build(dropout=0.5)
    masks, predict = [], model.head.predict
    monkeypatch.setattr(model.head, "predict", lambda e, present, mask: masks.append(mask) or predict(e, present, mask))
    step(model, *sample())
    assert len(masks) == 2
    assert masks[0] is masks[1]
    assert masks[0].shape == (3, 8, 1, 1)
    assert set(masks[0].unique().tolist()) == {0.0, 2.0}
    assert model.eval().head.stage2.draw_mask(masks[0]) is None


def test_dropout_takes_effect():
    classifier = build(dropout=0.5).head.stage2
    projected = [torch.randn(2, 8, 3, 3)]
    kept, dropped = (classifier(projected, torch.full((2, 8, 1, 1), m)) for m in (1.0, 0.0))
    torch.testing.assert_close(classifier(projected), kept)
    torch.testing.assert_close(dropped, classifier.classify.bias[:, None, None].expand_as(dropped))
    assert not torch.allclose(kept, dropped)


# --- awkward input ----------------------------------------------------------------------------------------------------


def test_all_labels_ignored():
    model = build()
    features, targets = sample()
    losses = step(model, features, torch.full_like(targets, IGNORE))
    assert all(loss.item() == 0 for loss in losses.values())
    assert torch.equal(model.head.relations.mean, torch.eye(K))
    assert not model.head.memory.any()
    assert_finite(model, losses)


def force(model, classes):
    """Stage 1 predicts nothing but these classes."""
    with torch.no_grad():
        model.head.stage1.classify.bias[[k for k in range(K) if k not in classes]] -= 1e4


@pytest.mark.parametrize("preset", CHOICES["preset"])
def test_only_one_class_is_predicted_and_it_is_deleted(preset):
    model = build(preset=preset, classifier_layers=2)
    force(model, [3])
    losses = step(model, *sample())
    assert_finite(model, losses)
    assert model.measurements() == {"deletions": [0, 0, 0, 3, 0, 0]}
    with torch.no_grad():
        weights = model.head.relations.weights(torch.zeros(1, K, dtype=torch.bool))
    assert not torch.stack(weights).any()


def test_deleted_class_need_not_be_in_the_truth():
    model = build()
    force(model, [3])
    features, targets = sample()
    targets[targets == 3] = 2
    step(model, features, targets)
    assert model.head.relations.mean[3, 3] == 1  # not observed: stays
    assert model.head.relations.mean[3, 2] != 0  # observed although never predicted


@pytest.mark.parametrize("context", CHOICES["context"])
def test_batch_of_one(context):
    model = build(context=context)
    assert_finite(model, step(model, *sample(batch=1)))


def test_one_pixel():
    """A map of one cell, in a batch of one: nothing varies, and everything is defined."""
    model = build()
    features, targets = sample(batch=1)
    assert_finite(model, step(model, [x[..., :1, :1] for x in features], targets))


def test_images_without_any_class_are_defined():
    present = torch.zeros(2, K, dtype=torch.bool)
    model = build()
    assert model.head.sample(present, model.head.deletion_counts).tolist() == [0, 0]
    assert not torch.stack(model.head.relations.weights(present)).any()


# --- precision, compilation, synchronisation --------------------------------------------------------------------------


@pytest.mark.parametrize("context", ["none", "uper"])
def test_bf16_autocast(context):
    model = build(context=context)
    features, targets = sample()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = step(model, features, targets)
        assert model.eval()(features).dtype == torch.bfloat16
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    assert_finite(model, losses)
    assert model.head.relations.mean.dtype == torch.float32


def test_float16_weights_with_overflowing_relations():
    """-1e16 overflows float16; a row of weak relations is still evenly mixed, and the logits are finite."""
    model = build().half().eval()
    model.head.relations.mean.fill_(-6e4)
    model.head.relations.variance.fill_(6e4)
    features, _ = sample()
    assert model([x.half() for x in features]).isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("context", CHOICES["context"])
def test_compiles_without_a_graph_break(context):
    model = build(context=context).eval()
    features, _ = sample()
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(features), model(features))


def test_the_counter_of_synchronisations_counts():
    with Synchronisations() as seen:
        x = torch.arange(4)
        x.max().item()
        x[x > 1]
        x.unique()
    assert seen.count >= 3


@pytest.mark.parametrize("options", [{}, {"context": "uper"}, {"preset": "paper"}, {"update": "backprop"}])
def test_host_synchronisations(options):
    """None, neither in evaluation nor in a training step with its deletion pass."""
    model = build(**options)
    features, targets = sample()
    with Synchronisations() as seen, torch.no_grad():
        model.eval()(features)
    assert seen.count == 0
    with Synchronisations() as seen:
        sum(model.train().losses(features, targets).values()).backward()
    assert seen.count == 0
