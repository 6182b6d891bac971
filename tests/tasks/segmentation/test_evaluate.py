"""The job itself: a training's checkpoint becomes measurements and a confusion matrix."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor, nn

from harness.data import catalogue
from harness.data.files import locate, pairs
from harness.data.layout import IGNORE
from harness.errors import DataError, Interrupted, UserError
from harness.jobs.context import Context, Progress
from harness.jobs.kinds import Data, EvaluateConfig, Model
from harness.recipes.profile import Synthetic
from harness.recipes.segmentation import TestProtocol
from harness.tasks.segmentation import evaluate
from harness.tasks.segmentation.loader import images_for_testing
from harness.training import distributed
from harness.training.tf32 import fp32_products
from methods.build import build_model
from tests.support.count_together import measure_as_rank, measured
from tests.support.ranks import run_ranks

SCENES = Synthetic(train_images=2, test_images=4, size=(32, 48))
DATA = Data(name="camvid", synthetic=SCENES)


class Oracle(nn.Module):
    """Answers with the labels themselves, except that every class 0 pixel becomes class 1."""

    def __init__(self, labels: list[Tensor]) -> None:
        super().__init__()
        self.labels = iter(labels)

    def forward(self, images: Tensor) -> Tensor:
        label = next(self.labels).long()
        label[label == 0] = 1
        label[label == IGNORE] = 2
        return nn.functional.one_hot(label, 11).permute(2, 0, 1)[None].float()


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(
        folder=tmp_path,
        cache=tmp_path / "cache",
        data_dir=None,
        device="cpu",
        threads=1,
        needs={"train": tmp_path / "train"},
    )


@pytest.fixture
def oracle(context: Context, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    root = locate(DATA, data_dir=None, cache=context.cache)
    labels = [item.label for item in images_for_testing(root, "val", TestProtocol())]
    monkeypatch.setattr(evaluate, "trained_model", lambda config, folder, device: Oracle(labels))
    return labels


def config(**changes: object) -> EvaluateConfig:
    given = {"model": Model(name="any", num_classes=11), "data": DATA, "protocol": TestProtocol(), "profile": "smoke"}
    return EvaluateConfig(**{**given, "seed": 0, **changes})


def test_measurements_and_matrix(context: Context, oracle: list[Tensor]) -> None:
    measured = {m.name: m.value for m in evaluate.evaluate(config(), context)}
    truth = torch.cat([label.flatten() for label in oracle])
    counts = torch.bincount(truth[truth != IGNORE].long(), minlength=11).double()
    present = [k for k in range(11) if counts[k] > 0]
    names = locate(DATA, data_dir=None, cache=context.cache).dataset.classes
    iou = dict.fromkeys(present, 1.0) | {0: 0.0, 1: float(counts[1] / (counts[0] + counts[1]))}
    assert counts[0] > 0
    assert measured["images"] == 4
    assert measured["aacc"] == pytest.approx(float(100 * (1 - counts[0] / counts.sum())))
    assert measured["miou"] == pytest.approx(100 * np.mean(list(iou.values())))
    assert measured["macc"] == pytest.approx(100 * np.mean([k != 0 for k in present]))
    assert {n.removeprefix("iou/") for n in measured if n.startswith("iou/")} == {names[k] for k in iou}
    for k, value in iou.items():
        assert measured[f"iou/{names[k]}"] == pytest.approx(100 * value)
    matrix = np.load(context.folder / "confusion.npy")
    assert matrix.dtype == np.int64
    assert matrix.sum() == truth.numel()
    assert matrix[11].sum() == (truth == IGNORE).sum()


def test_progress_and_stopping(context: Context, oracle: list[Tensor]) -> None:
    seen: list[Progress] = []
    stopped = Context(**{**context.__dict__, "progress": seen.append, "should_stop": lambda: len(seen) == 2})
    with pytest.raises(Interrupted, match="after 2 of 4 images"):
        evaluate.evaluate(config(), stopped)
    assert [(p.done, p.total) for p in seen] == [(1, 4), (2, 4)]
    assert all(p.rate > 0 for p in seen)
    assert not (context.folder / "confusion.npy").exists()


def test_wrong_number_of_classes_is_refused(context: Context) -> None:
    with pytest.raises(UserError, match="the model has 19 classes, dataset 'camvid' has 11"):
        evaluate.evaluate(config(model=Model(name="any", num_classes=19)), context)


def test_bad_image_is_never_skipped(context: Context, oracle: list[Tensor]) -> None:
    root = locate(DATA, data_dir=None, cache=context.cache)
    victim = Path(pairs(root, "val")[2].label)
    victim.write_bytes(victim.read_bytes()[:60])
    with pytest.raises(DataError, match=victim.name):
        evaluate.evaluate(config(), context)


@pytest.mark.slow
def test_memory_does_not_grow_with_images(context: Context) -> None:
    class Constant(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.zeros(1, 11, 1, 1)

    data = Data(name="camvid", synthetic=Synthetic(train_images=1, test_images=36, size=(576, 768)))
    root = locate(data, data_dir=None, cache=context.cache)
    resident: list[int] = []
    watch = Context(**{**context.__dict__, "progress": lambda p: resident.append(psutil.Process().memory_info().rss)})
    evaluate.confusion_of(Constant(), root, TestProtocol(), watch)
    kept = 20 * 576 * 768 * 5  # images, labels and predictions of twenty, had they been kept
    assert min(resident[30:]) - max(resident[5:10]) < kept / 2, "beyond what the allocator breathes"


@pytest.mark.parametrize(
    ("trained", "tested", "split", "other"),
    [
        ("cityscapes", "dark_zurich", "val", "lip"),
        ("cityscapes", "nighttime_driving", "test", "lip"),
        ("lip", "cihp", "val", "cityscapes"),
    ],
)
def test_another_dataset_with_the_same_classes(
    trained: str, tested: str, split: str, other: str, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cross-domain: a checkpoint of one dataset on another with as many classes; not on one with others."""
    classes = catalogue.find(trained).num_classes

    class First(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.eye(classes)[0].view(1, classes, 1, 1)

    monkeypatch.setattr(evaluate, "trained_model", lambda config, folder, device: First())
    given = {"model": Model(name="any", num_classes=classes), "protocol": TestProtocol(split=split)}
    measured = {
        m.name: m.value for m in evaluate.evaluate(config(**given, data=Data(name=tested, synthetic=SCENES)), context)
    }
    matrix = np.load(context.folder / "confusion.npy")
    assert measured["images"] == 4
    assert measured["aacc"] == pytest.approx(100 * matrix[0].sum() / matrix[:classes].sum())
    with pytest.raises(UserError, match=rf"{classes} classes, dataset '{other}' has"):
        evaluate.evaluate(config(**given, data=Data(name=other, synthetic=SCENES)), context)


@pytest.mark.slow
def test_several_processes_measure_what_one_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes share five images, and the reading of their files, through gloo; the numbers are equal, not close."""
    (tmp_path / "together").mkdir()
    (tmp_path / "alone").mkdir()
    run_ranks(measure_as_rank, 2, tmp_path / "together")
    monkeypatch.setattr(evaluate, "trained_model", evaluate.trained_model)  # put back what the next line replaces
    alone = measured(tmp_path / "alone")
    assert alone["images"] == 5
    for rank in range(2):
        assert json.loads((tmp_path / "together" / f"{rank}.json").read_text()) == alone
    matrices = [np.load(tmp_path / folder / "confusion.npy") for folder in ("alone", "together")]
    assert matrices[0].sum() == 5 * 32 * 48
    np.testing.assert_array_equal(*matrices)


def test_a_diverged_model_is_refused_with_the_image(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Conv2d(3, 11, 3)
    model.weight.data[4] = float("nan")
    monkeypatch.setattr(evaluate, "trained_model", lambda config, folder, device: model.eval())
    first = pairs(locate(DATA, data_dir=None, cache=context.cache), "val")[0].id
    with pytest.raises(UserError, match=rf"image '{first}' of split 'val': the model's scores are not finite"):
        evaluate.evaluate(config(), context)
    assert not (context.folder / "confusion.npy").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("encoding", "folds"), [("sa_car", True), ("identity", False)])
def test_cars_linear_layer_is_one_with_the_next_at_test_time(
    encoding: str, folds: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a training saved is tested by the network that Table 9 counts, and its logits are the unfolded ones."""
    options = {"decoder": "none", "hfgm": "none", "encoding": encoding, "inner": 16, "channels": 8}
    model = Model(name="hfgd", options=options, num_classes=11, backbone="resnet18", output_stride=32)
    trained = build_model(model)
    trained(torch.randn(2, 3, 64, 64))  # moves the running statistics
    images = torch.randn(1, 3, 65, 65)
    with torch.no_grad():
        expected = trained.eval()(images)
    monkeypatch.setattr("harness.training.checkpoint.load_weights", lambda folder: trained.state_dict())
    tested = evaluate.trained_model(config(model=model), tmp_path, "cpu")
    assert (trained.auxiliary is not None) == folds
    assert tested.auxiliary is None
    assert not tested.training
    with torch.no_grad():
        torch.testing.assert_close(tested(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_trained_weights_are_used(tmp_path: Path, context: Context) -> None:
    """The whole way: train two steps, evaluate, and again with other weights."""
    from harness.jobs.kinds import TrainConfig
    from harness.recipes.segmentation import Augmentation, Recipe
    from harness.tasks.segmentation.train import train

    model = Model(name="fcn", num_classes=11, backbone="resnet18", output_stride=32)
    how = Augmentation(resize=(48, 32), crop=(32, 32))
    results = []
    for seed in (0, 1):
        folder = tmp_path / f"train{seed}"
        folder.mkdir()
        recipe = Recipe(dataset="camvid", batch_size=2, iterations=2, augmentation=how)
        there = Context(**{**context.__dict__, "folder": folder})
        train(TrainConfig(model=model, data=DATA, recipe=recipe, profile="smoke", seed=seed), there)
        tested = Context(**{**context.__dict__, "needs": {"train": folder}})
        results.append(evaluate.evaluate(config(model=model, seed=seed), tested))
        assert results[-1] == evaluate.evaluate(config(model=model, seed=seed), tested)
    assert results[0] != results[1]


def test_unreadable_checkpoint_is_a_user_error(tmp_path: Path, context: Context) -> None:
    (tmp_path / "train").mkdir()
    model = Model(name="fcn", num_classes=11, backbone="resnet18", output_stride=32)
    with pytest.raises(UserError):
        evaluate.evaluate(config(model=model), context)


def test_normalisation_is_the_trainings(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an evaluation gives the model is what its configuration says, and between -1 and 1 where symmetric."""
    seen: list[float] = []

    class Watch(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(float(images.abs().max()))
            return torch.zeros(1, 11, 1, 1)

    monkeypatch.setattr(evaluate, "trained_model", lambda config, folder, device: Watch())
    evaluate.evaluate(config(normalisation="symmetric"), context)
    assert 0.5 < max(seen) <= 1
    seen.clear()
    evaluate.evaluate(config(), context)
    assert 1.5 < max(seen) < 3


@pytest.mark.parametrize("around", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize(
    "mode", [{}, {"mode": "slide", "window": (32, 32), "stride": (16, 16)}], ids=["whole", "slide"]
)
def test_a_test_has_a_precision_of_its_own(
    mode: dict, precision: str, around: bool, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands around it: torch's default, TF32 in convolutions alone, or a training that tests itself."""
    seen = set()

    class Watch(nn.Conv2d):
        def forward(self, images: Tensor) -> Tensor:
            scores = super().forward(images)
            seen.add((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, scores.dtype))
            return scores

    monkeypatch.setattr(evaluate, "trained_model", lambda config, folder, device: Watch(3, 11, 1))
    with fp32_products(tf32=around):
        evaluate.evaluate(config(protocol=TestProtocol(precision=precision, max_images=1, **mode)), context)
        assert torch.backends.cudnn.allow_tf32 == around
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    assert seen == {(precision == "tf32", precision == "tf32", dtype)}


def _ranked(folder: Path) -> None:
    """One of two processes, of which the second's images alone get scores that are not finite."""
    where = Context(folder=folder, cache=folder / "cache", data_dir=None, device="cpu", threads=1)
    root = locate(DATA, data_dir=None, cache=where.cache)
    with distributed.process_group("cpu") as me:
        model = nn.Conv2d(3, 11, 3).eval()
        model.weight.data *= float("nan") if me.rank else 1
        try:
            evaluate.confusion_of(model, root, TestProtocol(), where)
        except Exception as error:
            (folder / f"{me.rank}.txt").write_text(f"{type(error).__name__}: {error}")


@pytest.mark.slow
def test_processes_refuse_a_diverged_model_alike(tmp_path: Path) -> None:
    """Also the one whose own scores are finite, in place of waiting for counts that do not come."""
    second = pairs(locate(DATA, data_dir=None, cache=tmp_path / "cache"), "val")[1].id
    run_ranks(_ranked, 2, tmp_path)
    told = {(tmp_path / f"{rank}.txt").read_text() for rank in range(2)}
    assert len(told) == 1
    assert told.pop().startswith(f"NonFiniteScores: image '{second}' of split 'val'")
