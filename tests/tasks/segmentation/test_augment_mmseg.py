"""Our transforms against mmsegmentation's on the same inputs with the same draws."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch

from harness.data.annotations.label_maps import LabelReader, read_pair
from harness.data.files import pairs
from harness.data.layout import Root
from harness.tasks.segmentation import augment as T
from harness.tasks.segmentation.loader import MEAN, STD, normalise

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("mmseg", reason="the extra 'mmseg' is not installed")
    from mmcv.transforms import LoadImageFromFile, RandomFlip, RandomResize
    from mmseg.datasets.transforms import LoadAnnotations, PhotoMetricDistortion, RandomCrop
    from mmseg.datasets.transforms import transforms as theirs
    from mmseg.models import SegDataPreProcessor
    from mmseg.structures import SegDataSample


@pytest.fixture(scope="module")
def picture() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (24, 31, 3)).astype(np.uint8)
    label = T.resize_label(rng.integers(0, 6, (12, 16)).astype(np.uint8), (191, 253))
    label[:7] = 255
    return T.resize_image(coarse, (191, 253)), label


def results(image: np.ndarray, label: np.ndarray) -> dict:
    return {"img": image.copy(), "gt_seg_map": label.copy(), "seg_fields": ["gt_seg_map"], "img_shape": label.shape}


def test_loading_and_zero_label(synthetic_root: Callable[[str], Root]) -> None:
    root = synthetic_root("ade20k")
    reader = LabelReader(root.layout)
    for pair in pairs(root, "train"):
        record = {"img_path": pair.image, "seg_map_path": pair.label, "seg_fields": [], "label_map": None}
        record |= {"reduce_zero_label": True}
        record = LoadAnnotations(reduce_zero_label=True)(LoadImageFromFile()(record))
        image, label = read_pair(pair, reader)
        np.testing.assert_array_equal(image, record["img"])
        np.testing.assert_array_equal(label, record["gt_seg_map"])


@pytest.mark.parametrize("keep_ratio", [True, False])
@pytest.mark.parametrize("draw", np.linspace(0, 1, 9).tolist())
def test_resized_arrays_are_equal(
    draw: float, keep_ratio: bool, picture: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = (320, 128)  # mmsegmentation: (width, height), or (long, short)
    monkeypatch.setattr(np.random, "random_sample", lambda: draw)
    resize = RandomResize(scale=base, ratio_range=(0.5, 2.0), keep_ratio=keep_ratio, resize_type="mmseg.Resize")
    expected = resize(results(*picture))
    ours = base if keep_ratio else base[::-1]
    size = T.target_size(picture[1].shape, ours, keep_ratio=keep_ratio, factor=draw * 1.5 + 0.5)
    np.testing.assert_array_equal(T.resize_image(picture[0], size), expected["img"])
    np.testing.assert_array_equal(T.resize_label(picture[1], size), expected["gt_seg_map"])


@pytest.mark.parametrize("ratio", [0.2, 0.3, 0.75, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_cropped_arrays_are_equal(seed: int, ratio: float, picture: tuple[np.ndarray, np.ndarray]) -> None:
    size = (64, 96)
    np.random.seed(seed)
    expected = RandomCrop(crop_size=size, cat_max_ratio=ratio)(results(*picture))
    np.random.seed(seed)
    top, left = T.crop_corner(picture[1], size, ratio, np.random.randint)
    np.testing.assert_array_equal(picture[0][top : top + 64, left : left + 96], expected["img"])
    np.testing.assert_array_equal(picture[1][top : top + 64, left : left + 96], expected["gt_seg_map"])


def test_flipped_arrays_are_equal(picture: tuple[np.ndarray, np.ndarray]) -> None:
    swap = [(1, 2), (4, 5)]
    for pairs_of_labels in ((), swap):
        expected = theirs.RandomFlip(prob=1.0, swap_seg_labels=pairs_of_labels or None)(results(*picture))
        np.testing.assert_array_equal(picture[0][:, ::-1], expected["img"])
        np.testing.assert_array_equal(T.flip_label(picture[1], pairs_of_labels), expected["gt_seg_map"])
    assert issubclass(theirs.RandomFlip, RandomFlip)


class Script:
    """Stands where mmsegmentation's random module is and says what was drawn for us."""

    def __init__(self, drawn: T.Photometric) -> None:
        contrast = [drawn.contrast is not None]
        flags = [drawn.brightness is not None, drawn.contrast_first]
        flags += contrast if drawn.contrast_first else []
        flags += [drawn.saturation is not None, drawn.hue is not None]
        flags += [] if drawn.contrast_first else contrast
        values = [drawn.brightness, drawn.contrast if drawn.contrast_first else None, drawn.saturation]
        values += [None if drawn.contrast_first else drawn.contrast]
        self.flags, self.values, self.hue = flags, [v for v in values if v is not None], drawn.hue

    def randint(self, low: int, high: int | None = None) -> int:
        return int(self.flags.pop(0)) if high is None else self.hue

    def uniform(self, low: float, high: float) -> float:
        return self.values.pop(0)


def test_photometric_is_equal(picture: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    kinds = set()
    for _ in range(120):
        drawn = T.draw_photometric(rng)
        kinds.add(tuple(v is not None for v in drawn[:2]) + tuple(v is not None for v in drawn[3:]))
        script = Script(drawn)
        monkeypatch.setattr(theirs, "random", script)
        expected = PhotoMetricDistortion()(results(*picture))["img"]
        assert not script.flags
        assert not script.values
        ours = T.photometric(picture[0], drawn)
        assert np.abs(ours.astype(int) - expected).max() <= 1, drawn
    assert len(kinds) == 16


def test_normalised_and_padded_batches_are_equal() -> None:
    images = torch.randint(0, 256, (2, 3, 20, 30), dtype=torch.uint8)
    preprocessor = SegDataPreProcessor(mean=MEAN, std=STD, bgr_to_rgb=True, size=(24, 40), pad_val=0, seg_pad_val=255)
    samples = [SegDataSample(metainfo={"img_shape": (20, 30)}) for _ in images]
    for sample in samples:
        from mmengine.structures import PixelData

        sample.gt_sem_seg = PixelData(data=torch.zeros((1, 20, 30), dtype=torch.uint8))
    expected = preprocessor({"inputs": list(images), "data_samples": samples}, training=True)
    ours = [T.pad(image.permute(1, 2, 0).numpy(), np.zeros((20, 30), np.uint8), (24, 40), "corner") for image in images]
    batch = normalise(torch.from_numpy(np.stack([s.image for s in ours])), torch.tensor([s.valid for s in ours]))
    torch.testing.assert_close(batch, expected["inputs"], rtol=0, atol=1e-5)
    for sample, other in zip(ours, expected["data_samples"]):
        np.testing.assert_array_equal(sample.target, other.gt_sem_seg.data[0])
