"""Which pixels are looked at, and that what is seen there is what the classifier decides on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from harness.data.annotations.label_maps import LabelReader
from harness.data.files import locate, pairs
from harness.data.layout import Root
from harness.errors import UserError
from harness.jobs.kinds import Data, Model
from harness.recipes.profile import Synthetic
from harness.recipes.segmentation import TestProtocol
from harness.tasks.segmentation import features
from harness.tasks.segmentation.loader import images_for_testing
from harness.tasks.segmentation.protocols import scores_at
from methods.build import build_model

ALL = tuple(range(11))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    data = Data(name="camvid", synthetic=Synthetic(train_images=2, test_images=4, size=(64, 96)))
    return locate(data, data_dir=None, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(3)
    return build_model(Model(name="fcn", options={"channels": 8}, num_classes=11, backbone="resnet18")).eval()


def labels(root: Root) -> list[np.ndarray]:
    reader = LabelReader(root.layout)
    return [reader.read(pair.label) for pair in pairs(root, "val")]


@pytest.mark.parametrize("per_class", [1, 7, 10_000])
def test_a_sample_is_bounded_true_and_without_repeats(root: Root, per_class: int):
    sample = features.draw(pairs(root, "val"), root, ALL, per_class)
    maps = labels(root)
    assert [int(maps[i][y, x]) for i, y, x in sample.places] == sample.labels.tolist()
    assert len(np.unique(sample.places, axis=0)) == len(sample.places)
    held = np.bincount(np.concatenate([m.ravel() for m in maps]), minlength=256)[:11]
    assert sample.counts.tolist() == held.tolist()
    assert np.bincount(sample.labels, minlength=11).tolist() == np.minimum(held, per_class).tolist()


def test_a_sample_is_spread_over_images_and_follows_its_seed(root: Root):
    maps = labels(root)
    common = max(ALL, key=lambda k: sum((m == k).any() for m in maps))
    images = [pair for pair, m in zip(pairs(root, "val"), maps) if (m == common).sum() >= 4]
    assert len(images) > 1
    drawn = features.draw(images, root, [common], 2 * len(images))
    assert np.bincount(drawn.places[:, 0]).tolist() == [2] * len(images)
    assert set(drawn.labels.tolist()) == {common}
    again, other = (features.draw(images, root, [common], 2 * len(images), seed=seed) for seed in (0, 1))
    assert np.array_equal(drawn.places, again.places)
    assert not np.array_equal(drawn.places, other.places)


def test_classes_do_not_move_each_others_pixels(root: Root):
    every, one = (features.draw(pairs(root, "val"), root, classes, 5) for classes in (ALL, [1]))
    assert np.array_equal(every.places[every.labels == 1], one.places)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"resize": (48, 40), "keep_ratio": False},
        {"align_corners": True},
        {"align_corners": True, "resize": (60, 50), "keep_ratio": False},
        {"frame": (80, 112), "scales": (0.5, 1.0), "flip": True},
    ],
)
def test_token_times_feature_is_the_logit_of_the_pixel(root: Root, model: nn.Module, settings: dict):
    protocol = TestProtocol(**settings)
    single = protocol.model_copy(update={"scales": (1.0,), "flip": False})
    sample = features.draw(pairs(root, "val"), root, ALL, 30)
    layer = features.classifier_of(model, "fcn")
    seen, tokens = features.extract(model, layer, sample, root, protocol)
    assert seen.shape == (len(sample.labels), 8)
    assert tokens.shape == (11, 8)
    logits = seen @ tokens.T + layer.bias.detach().numpy()
    items = list(images_for_testing(root, "val", single))
    full = [scores_at(model, item.views, item.label.shape, single).numpy() for item in items]
    expected = np.stack([full[i][:, y, x] for i, y, x in sample.places])
    if "frame" in settings:  # where logits pass through the frame's size, they are interpolated twice
        assert (logits.argmax(1) == expected.argmax(1)).mean() > 0.97
    else:
        np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["idrnet", "ocrnet", "upernet", "pspnet"])
def test_methods_show_what_their_last_layer_sees(root: Root, name: str):
    """Also where it sees a finer grid than the backbone's last map, or a map that is put together of several."""
    torch.manual_seed(5)
    model = build_model(Model(name=name, options={"channels": 8}, num_classes=11, backbone="resnet18")).eval()
    sample = features.draw(pairs(root, "val"), root, ALL, 5)
    layer = features.classifier_of(model, name)
    seen, tokens = features.extract(model, layer, sample, root, TestProtocol())
    logits = seen @ tokens.T + layer.bias.detach().numpy()
    items = list(images_for_testing(root, "val", TestProtocol()))
    full = [scores_at(model, item.views, item.label.shape, TestProtocol()).numpy() for item in items]
    np.testing.assert_allclose(logits, [full[i][:, y, x] for i, y, x in sample.places], rtol=1e-3, atol=1e-3)


def test_windows_give_every_pixel_the_features_of_one_that_covers_it(root: Root, model: nn.Module):
    """A window as large as the image is the whole image; smaller ones see less, but every pixel is seen."""
    sample = features.draw(pairs(root, "val"), root, ALL, 30)
    layer = features.classifier_of(model, "fcn")
    whole, _ = features.extract(model, layer, sample, root, TestProtocol())
    slide = {"mode": "slide", "stride": (16, 32)}
    large, _ = features.extract(model, layer, sample, root, TestProtocol(window=(64, 96), **slide))
    np.testing.assert_allclose(large, whole, rtol=1e-5, atol=1e-6)
    small, _ = features.extract(model, layer, sample, root, TestProtocol(window=(32, 64), **slide))
    assert np.abs(small).sum(axis=1).all()
    assert not np.allclose(small, whole)


def test_extraction_leaves_the_model_as_it_was(root: Root, model: nn.Module):
    layer = features.classifier_of(model, "fcn")
    features.extract(model, layer, features.draw(pairs(root, "val"), root, ALL, 1), root, TestProtocol())
    assert not layer._forward_pre_hooks


@pytest.mark.slow
def test_tokens_of_a_method_that_embeds_classes_are_means_over_images(root: Root):
    """Class embeddings differ between images there; the sampled images' mean is shown."""
    torch.manual_seed(3)
    options = {"channels": 8, "heads": 2}
    model = build_model(Model(name="ecenet", options=options, num_classes=11, backbone="resnet18")).eval()
    sample = features.draw(pairs(root, "val"), root, ALL, 2)
    layer = features.classifier_of(model, "the_row")
    found, tokens = features.extract(model, layer, sample, root, TestProtocol())
    embeddings = []
    for item in images_for_testing(root, "val", TestProtocol()):
        image = features.normalise(item.image[None], how="imagenet")
        with torch.inference_mode():
            embeddings.append(model.head(model.backbone(image)).embeddings)
    used = np.unique(sample.places[:, 0])
    expected = torch.cat(embeddings)[used].mean(dim=0)
    torch.testing.assert_close(torch.from_numpy(tokens), expected, rtol=1e-4, atol=1e-5)
    assert found.shape == (len(sample.labels), 8)
    assert not layer._forward_pre_hooks
    assert not model.embedding_classifier._forward_pre_hooks


def test_a_method_without_a_final_classifier_is_told_so():
    model = build_model(Model(name="idrnet", options={"classifier_layers": 1}, num_classes=11, backbone="resnet18"))
    with pytest.raises(UserError, match="the_row: IDRNet names no final classifier"):
        features.classifier_of(model, "the_row")
    with pytest.raises(UserError, match="the_row: Identity names no"):
        features.classifier_of(nn.Identity(), "the_row")


def test_classes_by_name():
    names = ("sky", "road", "car")
    assert features.chosen_classes(names, []) == [0, 1, 2]
    assert features.chosen_classes(names, ["car", "sky"]) == [0, 2]
    with pytest.raises(UserError, match="Did you mean 'road'"):
        features.chosen_classes(names, ["raod"])


def test_no_class_in_any_image(root: Root, tmp_path: Path):
    present = {k for m in labels(root) for k in np.unique(m).tolist()}
    absent = next((k for k in ALL if k not in present), None)
    sample = features.draw(pairs(root, "val")[:0], root, ALL, 5)
    assert sample.places.shape == (0, 3)
    if absent is not None:
        assert len(features.draw(pairs(root, "val"), root, [absent], 5).labels) == 0
