"""Transforms: properties that hold for any image, and the recipe's order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.layout import IGNORE
from harness.recipes.segmentation import Augmentation
from harness.tasks.segmentation import augment as T
from harness.tasks.segmentation.loader import MEAN, STD, normalise

sides = st.integers(4, 70)
images = st.tuples(sides, sides, st.integers(0, 2**32 - 1))


def picture(height: int, width: int, seed: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, (height, width)).astype(np.uint8)
    label[rng.random((height, width)) < 0.1] = IGNORE
    return rng.integers(0, 256, (height, width, 3)).astype(np.uint8), label


@settings(max_examples=60, deadline=None)
@given(images, st.tuples(sides, sides), st.floats(0.3, 2.5))
def test_keep_ratio_fits_within_the_base(image: tuple[int, int, int], base: tuple[int, int], factor: float) -> None:
    size = image[:2]
    height, width = T.target_size(size, base, keep_ratio=True, factor=factor)
    long, short = sorted((int(base[0] * factor), int(base[1] * factor)), reverse=True)
    assert max(height, width) <= long + 1
    assert min(height, width) <= max(short, 1) + 1
    assert height == pytest.approx(size[0] * width / size[1], abs=1 + size[0] / size[1])


@settings(max_examples=150, deadline=None)
@given(images, st.tuples(sides, sides), st.tuples(sides, sides))
def test_resizing_only_what_is_kept_is_exact(
    image: tuple[int, int, int], size: tuple[int, int], crop: tuple[int, int]
) -> None:
    picked, _ = picture(*image)
    rng = np.random.default_rng(image[2])
    top, left = (int(rng.integers(0, max(side - cut, 0) + 1)) for side, cut in zip(size, crop))
    whole = T.resize_image(picked, size)[top : top + crop[0], left : left + crop[1]]
    np.testing.assert_array_equal(T.resize_and_crop(picked, size, (top, left), crop), whole)


@settings(max_examples=60, deadline=None)
@given(images, st.tuples(sides, sides), st.sampled_from(["centre", "corner"]))
def test_augment_gives_the_crop_and_ignores_the_padding(
    image: tuple[int, int, int], crop: tuple[int, int], where: str
) -> None:
    how = Augmentation(resize=(60, 40), crop=crop, pad=where)
    sample = T.augment(*picture(*image), how, np.random.default_rng(image[2]))
    assert sample.image.shape == (3, *crop)
    assert sample.target.shape == crop
    top, left, height, width = sample.valid
    inside = np.zeros(crop, bool)
    inside[top : top + height, left : left + width] = True
    assert (sample.target[~inside] == IGNORE).all()
    assert (sample.image[:, ~inside] == 0).all()
    if where == "corner":
        assert (top, left) == (0, 0)
    else:
        assert abs(2 * top + height - crop[0]) <= 1
        assert abs(2 * left + width - crop[1]) <= 1


def test_augment_without_randomness_is_the_image() -> None:
    image, label = picture(20, 30, 0)
    how = Augmentation(resize=(30, 20), ratio=(1, 1), crop=(20, 30), flip=0, photometric=False, cat_max_ratio=1)
    sample = T.augment(image, label, how, np.random.default_rng(0))
    np.testing.assert_array_equal(sample.image, image[..., ::-1].transpose(2, 0, 1))
    np.testing.assert_array_equal(sample.target, label)


@settings(max_examples=60, deadline=None)
@given(images)
def test_flip_twice_is_nothing_and_exchanges_sides(image: tuple[int, int, int]) -> None:
    _, label = picture(*image, classes=20)
    pairs = ((14, 15), (16, 17))
    once = T.flip_label(label, pairs)
    np.testing.assert_array_equal(T.flip_label(once, pairs), label)
    np.testing.assert_array_equal(once == 14, (label == 15)[:, ::-1])
    np.testing.assert_array_equal(once == 17, (label == 16)[:, ::-1])
    np.testing.assert_array_equal(once == IGNORE, (label == IGNORE)[:, ::-1])
    np.testing.assert_array_equal(T.flip_label(label), label[:, ::-1])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 2, IGNORE]), min_size=4, max_size=40), st.floats(0.05, 1))
def test_dominated_agrees_with_counting(values: list[int], ratio: float) -> None:
    label = np.array([values], np.uint8)
    valid = [v for v in values if v != IGNORE]
    counts = np.array([valid.count(v) for v in set(valid)], np.float32)
    expected = len(counts) < 2 or bool(counts.max() / counts.sum() >= ratio)
    assert T.dominated(label, ratio) == expected


def test_crop_is_drawn_again_until_classes_mix() -> None:
    label = np.zeros((8, 40), np.uint8)
    label[:, 30:] = 1
    draws = iter([0, 0, 0, 5, 0, 26, 0, 35])  # top, left of each try
    assert T.crop_corner(label, (8, 8), 0.75, lambda low, high: next(draws)) == (0, 26)


def test_crop_gives_up_after_ten_more_tries() -> None:
    label = np.zeros((8, 40), np.uint8)
    asked: list[int] = []
    T.crop_corner(label, (4, 4), 0.75, lambda low, high: asked.append(high) or 0)
    assert len(asked) == 2 * 11


@settings(max_examples=30, deadline=None)
@given(images, st.integers(0, 2**32 - 1))
def test_rotation_keeps_the_size_and_voids_the_outside(image: tuple[int, int, int], seed: int) -> None:
    picked, label = picture(*image)
    turned, turned_label = T.rotate(picked, label, np.random.default_rng(seed).uniform(-30, 30))
    assert turned.shape == picked.shape
    assert set(np.unique(turned_label)) <= {*np.unique(label), IGNORE}
    same, same_label = T.rotate(picked, label, 0.0)
    np.testing.assert_array_equal(same, picked)
    np.testing.assert_array_equal(same_label, label)


def test_rotation_turns_image_and_label_together() -> None:
    label = np.zeros((61, 61), np.uint8)
    label[5:20, 25:36] = 1
    image = np.repeat(label[..., None] * 200, 3, axis=-1)
    turned, turned_label = T.rotate(image, label, 90.0)
    assert turned_label[30, 12] == 1, "anticlockwise: what was above is now on the left"
    inside = turned_label == 1
    assert (turned[inside][:, 0] > 100).mean() > 0.9
    assert (turned[turned_label == 0][:, 0] < 100).mean() > 0.98


@settings(max_examples=40, deadline=None)
@given(images)
def test_photometric_with_nothing_drawn_is_the_image(image: tuple[int, int, int]) -> None:
    picked, _ = picture(*image)
    assert T.photometric(picked, T.Photometric()) is picked


def test_photometric_draws_cover_the_ranges() -> None:
    rng = np.random.default_rng(0)
    drawn = [T.draw_photometric(rng) for _ in range(4000)]
    for name, low, high in (
        ("brightness", -32, 32),
        ("contrast", 0.5, 1.5),
        ("saturation", 0.5, 1.5),
        ("hue", -18, 17),
    ):
        values = [v for one in drawn if (v := getattr(one, name)) is not None]
        assert 0.45 < len(values) / len(drawn) < 0.55
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(values) <= high
    assert 0.45 < np.mean([one.contrast_first for one in drawn]) < 0.55


def test_normalise_is_the_definition_and_zero_where_padded() -> None:
    images = torch.randint(0, 256, (2, 3, 6, 8), dtype=torch.uint8)
    valid = torch.tensor([[1, 2, 4, 5], [0, 0, 6, 8]], dtype=torch.int32)
    expected = (images.double() - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(normalise(images).double(), expected, rtol=0, atol=1e-5)
    out = normalise(images, valid)
    torch.testing.assert_close(out[1].double(), expected[1], rtol=0, atol=1e-5)
    torch.testing.assert_close(out[0, :, 1:5, 2:7].double(), expected[0, :, 1:5, 2:7], rtol=0, atol=1e-5)
    out[0, :, 1:5, 2:7] = 0
    assert (out[0] == 0).all()


def test_symmetric_normalisation_is_the_definition_and_zero_where_padded() -> None:
    images = torch.randint(0, 256, (1, 3, 6, 8), dtype=torch.uint8)
    valid = torch.tensor([[0, 0, 4, 5]], dtype=torch.int32)
    out = normalise(images, valid, "symmetric")
    expected = images.double() * 2 / 255 - 1
    torch.testing.assert_close(out[..., :4, :5].double(), expected[..., :4, :5], rtol=0, atol=1e-6)
    assert (out[..., 4:, :] == 0).all()
    assert (out[..., 5:] == 0).all()
    torch.testing.assert_close(normalise(images, how="symmetric").double(), expected, rtol=0, atol=1e-6)


def test_listed_scales_of_the_images_own_size() -> None:
    """Every factor of the list and no other, on each image's own size; sides are cut off to whole pixels."""
    scales = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
    how = Augmentation(
        resize=None, scales=scales, crop=(80, 120), flip=0, photometric=False, cat_max_ratio=1, pad="corner"
    )
    image, label = picture(31, 43, 0)
    rng = np.random.default_rng(0)
    seen = {T.augment(image, label, how, rng).valid for _ in range(150)}
    assert seen == {(0, 0, int(31 * s), int(43 * s)) for s in scales}


def test_listed_distortions_are_drawn_in_order_with_even_odds() -> None:
    names = ("contrast_about_mean", "saturation", "brightness")
    rng = np.random.default_rng(0)
    drawn = [T.draw_distortions(rng, names) for _ in range(4000)]
    assert all([name for name, _ in one] == [name for name in names if name in dict(one)] for one in drawn)
    for name, low, high in (("contrast_about_mean", 0.5, 1.5), ("saturation", 0.5, 1.5), ("brightness", -32, 32)):
        values = [dict(one)[name] for one in drawn if name in dict(one)]
        assert 0.45 < len(values) / len(drawn) < 0.55
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(values) <= high


@settings(max_examples=60, deadline=None)
@given(images, st.floats(0.5, 1.5), st.floats(-32, 32))
def test_distortions_are_their_formulas(image: tuple[int, int, int], factor: float, shift: float) -> None:
    picked, _ = picture(*image)
    mean = picked.reshape(-1, 3).mean(axis=0)
    for drawn, expected in (
        ([("brightness", shift)], picked + shift),
        ([("contrast_about_mean", factor)], (picked - mean) * factor + mean),
    ):
        close = np.clip(expected, 0, 255)
        assert np.abs(T.distort(picked, drawn, mean).astype(float) - close).max() <= 1.001
    grey = np.repeat(picked[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(T.distort(grey, [("saturation", factor)], mean), grey)
    assert T.distort(picked, [], mean) is picked


def test_an_augmentation_distorts_as_its_list_says() -> None:
    """Brightness alone: every pixel of a channel moves by the same amount, in about half of the samples."""
    how = Augmentation(resize=None, scales=(1.0,), crop=(9, 9), flip=0, photometric=("brightness",), cat_max_ratio=1)
    image, label = np.full((9, 9, 3), 100, np.uint8), np.zeros((9, 9), np.uint8)
    image[:, :4] = 140
    rng = np.random.default_rng(0)
    shifts = []
    for _ in range(200):
        moved = T.augment(image, label, how, rng).image.astype(int) - image.transpose(2, 0, 1)
        assert len(np.unique(moved)) == 1
        shifts.append(int(moved.flat[0]))
    assert 0.35 < np.mean([shift == 0 for shift in shifts]) < 0.65
    assert min(shifts) < -25
    assert max(shifts) > 25
