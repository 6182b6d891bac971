"""Whole image, sliding window, several scales and flips: by definition, and against mmsegmentation's."""

from __future__ import annotations

import copy
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.recipes.segmentation import TestProtocol
from harness.tasks.segmentation.loader import geometry, normalise
from harness.tasks.segmentation.protocols import NonFiniteScores, class_ids, predict, scores_at, windows

K = 5


class Strided(nn.Module):
    """A model of output stride 4 whose answer depends on where the image begins and on its surroundings."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 7, 4, 3), nn.ReLU(), nn.Conv2d(8, K, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return Strided().eval()


def view(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def test_whole_goes_straight_to_the_labels_size(model: nn.Module) -> None:
    image = view(40, 52)
    with torch.inference_mode():
        logits = model(normalise(image[None]))
    expected = F.interpolate(logits, size=(97, 71), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(scores_at(model, [image], (97, 71), TestProtocol()), expected)
    prediction = predict(model, [image], (97, 71), TestProtocol())
    assert prediction.dtype == torch.uint8
    torch.testing.assert_close(prediction.long(), expected.argmax(0))
    through = F.interpolate(F.interpolate(logits, size=(40, 52), mode="bilinear"), size=(97, 71), mode="bilinear")[0]
    torch.testing.assert_close(scores_at(model, [image], (97, 71), TestProtocol(via_input=True)), through)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(1, 3), st.integers(0, 1000))
def test_class_ids_are_the_argmax_and_the_first_of_ties(classes: int, levels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 10 * levels, (classes, 4, 5), generator=generator).float()
    ids = class_ids(scores)
    assert ids.dtype == torch.uint8
    expected = scores.numpy().argmax(0)  # NumPy says which of equal ones: the first
    np.testing.assert_array_equal(ids.numpy(), expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", [(0, 0, 0), (2, 1, 3), (4, 3, 4)])
def test_scores_that_are_not_finite_are_refused(value: float, place: tuple[int, int, int]) -> None:
    scores = torch.randn(5, 4, 5)
    scores[place] = value
    with pytest.raises(NonFiniteScores, match="not finite"):
        class_ids(scores)
    scores[place] = -float("inf")  # a class that is out of the question
    assert class_ids(scores)[place[1:]] != place[0]


sides = st.integers(1, 60)


@settings(max_examples=200, deadline=None)
@given(st.tuples(sides, sides), st.tuples(sides, sides), st.tuples(sides, sides))
def test_windows_cover_the_image_and_stay_in_it(
    size: tuple[int, int], window: tuple[int, int], stride: tuple[int, int]
) -> None:
    stride = (min(stride[0], window[0]), min(stride[1], window[1]))
    cover = np.zeros(size, int)
    for top, left, bottom, right in windows(size, window, stride):
        assert 0 <= top < bottom <= size[0]
        assert 0 <= left < right <= size[1]
        assert (bottom - top, right - left) == (min(window[0], size[0]), min(window[1], size[1]))
        cover[top:bottom, left:right] += 1
    assert cover.min() >= 1


def slide(window: tuple[int, int], stride: tuple[int, int], **more: object) -> TestProtocol:
    return TestProtocol(mode="slide", window=window, stride=stride, **more)


def test_one_window_is_the_whole_image(model: nn.Module) -> None:
    image = view(33, 47)
    whole = scores_at(model, [image], (33, 47), TestProtocol())
    torch.testing.assert_close(scores_at(model, [image], (33, 47), slide((64, 64), (40, 40))), whole)


def test_softmax_before_merge_averages_probabilities(model: nn.Module) -> None:
    image = view(33, 60)
    merged = scores_at(model, [image], (33, 60), slide((24, 24), (16, 16), softmax_before_merge=True))
    torch.testing.assert_close(merged.sum(0), torch.ones(33, 60))
    assert (merged >= 0).all()
    logits = scores_at(model, [image], (33, 60), slide((24, 24), (16, 16)))
    assert (merged - logits.softmax(0)).abs().max() > 1e-4, "averaging logits is something else"


@pytest.mark.parametrize("flip", [False, True])
def test_softmax_before_resize_is_taken_on_the_models_own_grid(model: nn.Module, flip: bool) -> None:
    """Every view's probabilities are resized to the label's size and averaged: sssegmentation's order of things."""
    views, size, pairs = [view(20, 28, 1), view(40, 56, 2)], (45, 61), ((1, 2),)
    maps = []
    with torch.inference_mode():
        for one in views:
            image = normalise(one[None])
            maps.append(model(image).softmax(dim=1))
            if flip:
                maps.append(model(image.flip(3)).softmax(dim=1)[:, [0, 2, 1, 3, 4]].flip(3))
    resized = [F.interpolate(x, size=size, mode="bilinear", align_corners=False)[0] for x in maps]
    protocol = TestProtocol(softmax_before_resize=True, scales=(0.5, 1), flip=flip)
    found = scores_at(model, views, size, protocol, mirror_pairs=pairs)
    torch.testing.assert_close(found, sum(resized) / len(resized))
    torch.testing.assert_close(found.sum(0), torch.ones(size))
    later = scores_at(model, views, size, TestProtocol(average="probabilities", scales=(0.5, 1), flip=flip))
    assert (found - later).abs().max() > 1e-4, "the softmax of resized logits is something else"


def test_views_are_averaged(model: nn.Module) -> None:
    views = [view(20, 28, 1), view(40, 56, 2)]
    alone = [scores_at(model, [one], (40, 56), TestProtocol()) for one in views]
    both = scores_at(model, views, (40, 56), TestProtocol(scales=(0.5, 1)))
    torch.testing.assert_close(both, (alone[0] + alone[1]) / 2)
    both = scores_at(model, views, (40, 56), TestProtocol(scales=(0.5, 1), average="probabilities"))
    torch.testing.assert_close(both, (alone[0].softmax(0) + alone[1].softmax(0)) / 2)


def test_flip_makes_the_answer_mirror_symmetric(model: nn.Module) -> None:
    image = view(32, 48)
    protocol = TestProtocol(flip=True)
    straight = scores_at(model, [image], (32, 48), protocol)
    mirrored = scores_at(model, [image.flip(-1)], (32, 48), protocol)
    torch.testing.assert_close(mirrored.flip(-1), straight)
    pairs = ((1, 2), (3, 4))
    straight = scores_at(model, [image], (32, 48), protocol, mirror_pairs=pairs)
    mirrored = scores_at(model, [image.flip(-1)], (32, 48), protocol, mirror_pairs=pairs)
    torch.testing.assert_close(mirrored.flip(-1)[[0, 2, 1, 4, 3]], straight)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "slide"},
        {"window": (4, 4)},
        {"mode": "slide", "window": (4, 4), "stride": (5, 4)},
        {"scales": ()},
        {"mode": "slide", "window": (4, 4), "stride": (4, 4), "softmax_before_resize": True},
        {"softmax_before_merge": True},
        {"softmax_before_resize": True, "average": "probabilities"},
    ],
)
def test_protocols_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"window|stride|scales|softmax"):
        TestProtocol(**wrong)


def mmseg_model(test_cfg: dict) -> nn.Module:
    """A real mmsegmentation segmentor, small."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("mmseg", reason="the extra 'mmseg' is not installed")
        from mmengine.config import ConfigDict
        from mmseg.registry import MODELS
        from mmseg.utils import register_all_modules

        register_all_modules()
        torch.manual_seed(0)
        head = {"type": "FCNHead", "in_channels": 64, "in_index": 1, "channels": 16, "num_convs": 1, "num_classes": K}
        backbone = {"type": "ResNet", "depth": 18, "num_stages": 2, "out_indices": (0, 1), "base_channels": 32}
        backbone |= {"strides": (1, 2), "dilations": (1, 1)}
        return MODELS.build(
            {
                "type": "EncoderDecoder",
                "backbone": backbone,
                "decode_head": head | {"align_corners": False, "norm_cfg": {"type": "BN"}},
                "test_cfg": ConfigDict(test_cfg),
            }
        ).eval()


@pytest.mark.parametrize("size", [(40, 56), (61, 97), (30, 30)])
def test_slide_is_mmsegmentations(size: tuple[int, int]) -> None:
    theirs = mmseg_model({"mode": "slide", "crop_size": (32, 40), "stride": (21, 26)})
    image = view(*size)
    with torch.inference_mode():
        expected = theirs.inference(normalise(image[None]), [{"ori_shape": size, "img_shape": size}])[0]
    ours = scores_at(_Ours(theirs), [image], size, slide((32, 40), (21, 26)))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["whole", "slide"])
def test_scales_and_flip_are_mmsegmentations(mode: str) -> None:
    windowed = {"crop_size": (32, 40), "stride": (21, 26)} if mode == "slide" else {}
    theirs = mmseg_model({"mode": mode, **windowed})
    from mmseg.models import SegTTAModel
    from mmseg.structures import SegDataSample

    size = (48, 66)
    views = [view(24, 33, 1), view(48, 66, 2), view(60, 83, 3)]
    samples = []
    for one in views:
        for flip in (False, True):
            info = {"ori_shape": size, "img_shape": one.shape[-2:], "img_path": "x.jpg"}
            info |= {"flip": flip, "flip_direction": "horizontal" if flip else None}
            images = normalise(one[None]).flip(-1) if flip else normalise(one[None])
            with torch.inference_mode():
                samples.append(theirs.predict(images, [SegDataSample(metainfo=info)]))
    averaging = SimpleNamespace(module=SimpleNamespace(out_channels=K))
    merged = SegTTAModel.merge_preds(averaging, [[copy.deepcopy(one[0]) for one in samples]])[0].pred_sem_seg.data[0]
    common = {"scales": (0.5, 1, 1.25), "flip": True, "via_input": True}
    if mode == "slide":
        common |= {"mode": "slide", "window": (32, 40), "stride": (21, 26)}
    ours = scores_at(_Ours(theirs), views, size, TestProtocol(average="probabilities", **common))
    expected = sum(one[0].seg_logits.data.softmax(0) for one in samples) / len(samples)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    assert (ours.argmax(0) == merged).float().mean() > 0.999  # all but exact ties
    ours = scores_at(_Ours(theirs), views, size, TestProtocol(average="logits", **common))
    expected = sum(one[0].seg_logits.data for one in samples) / len(samples)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


class _Ours(nn.Module):
    """An mmsegmentation segmentor as the contract wants it: images to logits at the head's own stride."""

    def __init__(self, segmentor: nn.Module) -> None:
        super().__init__()
        self.segmentor = segmentor

    def forward(self, images: Tensor) -> Tensor:
        return self.segmentor._forward(images)


def test_a_framed_image_is_padded_scaled_and_cut_out_again(model: nn.Module) -> None:
    """Symmetric normalisation, zeros below and to the right, corners aligned, logits averaged over scales and flips."""
    protocol = TestProtocol(frame=(45, 61), odd=True, align_corners=True, via_input=True, scales=(0.5, 1.0), flip=True)
    sizes = geometry((40, 52), protocol)
    views = [view(*size, seed) for seed, (size, _) in enumerate(sizes.views)]
    assert [frame for _, frame in sizes.views] == [(23, 31), (45, 61)]
    total = torch.zeros(K, 45, 61)
    with torch.inference_mode():
        for one, (_, frame) in zip(views, sizes.views):
            padded = torch.zeros(1, 3, *frame)
            padded[..., : one.shape[1], : one.shape[2]] = one.float() * 2 / 255 - 1
            for flips in ([], [-1]):
                logits = model(padded.flip(flips))
                for size in (frame, sizes.frame):
                    logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=True)
                total += logits.flip(flips)[0]
    found = scores_at(model, views, (40, 52), protocol, normalisation="symmetric")
    torch.testing.assert_close(found, total[:, :40, :52] / 4)


def test_aligned_corners_alone(model: nn.Module) -> None:
    image = view(40, 52)
    with torch.inference_mode():
        logits = model(normalise(image[None]))
    expected = F.interpolate(logits, size=(40, 52), mode="bilinear", align_corners=True)[0]
    torch.testing.assert_close(scores_at(model, [image], (40, 52), TestProtocol(align_corners=True)), expected)
    assert not torch.allclose(scores_at(model, [image], (40, 52), TestProtocol()), expected)


@pytest.mark.parametrize(
    "protocol",
    [
        TestProtocol(flip=True, scales=(0.5, 1.0)),
        TestProtocol(flip=True, frame=(64, 64), average="probabilities"),
        TestProtocol(mode="slide", window=(24, 24), stride=(16, 16)),
        TestProtocol(mode="slide", window=(24, 24), stride=(16, 16), flip=True, softmax_before_merge=True),
        TestProtocol(mode="slide", window=(90, 24), stride=(90, 7), flip=True),
    ],
    ids=["flip", "frame", "slide", "slide and flip", "one window high"],
)
@pytest.mark.parametrize("at_once", [2, 3, 8])
def test_in_batches_the_scores_are_the_same(protocol: TestProtocol, at_once: int) -> None:
    """Windows and mirror images through the model together, in batches that come out even or not: to 1e-5."""
    seen = []

    class Watched(Strided):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(len(images))
            return super().forward(images)

    watched = Watched().eval()
    views = [view(*size) for size, _ in geometry((40, 52), protocol).views]
    how = {"mirror_pairs": ((1, 2),)}
    one_by_one = scores_at(watched, views, (40, 52), protocol, **how)
    assert set(seen) == {1}
    passes = len(seen)
    seen.clear()
    together = scores_at(watched, views, (40, 52), protocol, at_once=at_once, **how)
    torch.testing.assert_close(together, one_by_one, rtol=1e-5, atol=1e-5)
    assert sum(seen) == passes > len(seen)
    assert max(seen) <= at_once
