"""The train job as the scheduler calls it: on embedded scenes, interrupted, resumed, and with what a recipe can ask for."""

import os
import shutil
from pathlib import Path

import pytest
import timm
import torch

from harness.data.files import locate, pairs
from harness.errors import DataError, Interrupted, MissingError, OutOfMemory, UserError
from harness.jobs.context import Context
from harness.jobs.job import Measurement
from harness.jobs.kinds import Data, Model, TrainConfig
from harness.recipes.common import Optimizer
from harness.recipes.profile import Synthetic
from harness.recipes.segmentation import Augmentation, Loss, Recipe
from harness.store import curve
from harness.tasks.segmentation import train as train_job
from harness.tasks.segmentation.train import train
from harness.training import checkpoint
from methods.weights import write
from tests.support import tiny_training

TIMES = {"train_throughput", "train_seconds", "data_wait", "train_peak_memory"}


def config(method: str = "fcn", *, seed: int = 3, options: dict | None = None, **recipe) -> TrainConfig:
    defaults = {"batch_size": 2, "iterations": 4, "checkpoint_every": 2}
    return TrainConfig(
        model=Model(name=method, num_classes=11, backbone="timm/test_resnet", options=options or {"channels": 16}),
        data=Data(name="camvid", synthetic=Synthetic(train_images=4, size=(64, 64))),
        recipe=Recipe(
            dataset="camvid", augmentation=Augmentation(resize=(64, 64), crop=(64, 64)), **{**defaults, **recipe}
        ),
        profile="smoke",
        seed=seed,
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def context(folder: Path, cache: Path, **options) -> Context:
    return Context(folder=folder, cache=cache, data_dir=None, device="cpu", threads=1, **options)


def numbers(measured: list[Measurement]) -> dict[str, float]:
    return {m.name: m.value for m in measured if m.name not in TIMES}


@pytest.mark.slow
def test_interrupted_at_every_iteration_and_resumed(tmp_path, cache):
    options = {"channels": 16, "attention_channels": 8, "auxiliary_channels": 8}
    job = config("idrnet", options=options)
    whole = train(job, context(tmp_path / "whole", cache))
    pieces = context(tmp_path / "pieces", cache, should_stop=lambda: True)
    for done in (1, 2, 3):
        with pytest.raises(Interrupted, match=f"after iteration {done} of 4"):
            train(job, pieces)
    resumed = train(job, pieces)
    assert numbers(resumed) == numbers(whole)
    assert "deletions/sky" in numbers(whole)
    assert sum(value for name, value in numbers(whole).items() if name.startswith("deletions/")) == 4 * 2
    weights = checkpoint.load_weights(tmp_path / "whole")
    assert all(torch.equal(w, checkpoint.load_weights(tmp_path / "pieces")[name]) for name, w in weights.items())
    # asked for again, nothing is trained and the same is measured
    assert numbers(train(job, pieces)) == numbers(whole)


def test_bad_files_are_all_named_before_the_first_step(tmp_path):
    """Whichever image a batch would have come to first: nothing is trained on half a dataset."""
    job = config(iterations=1, batch_size=2)
    root = locate(job.data, data_dir=None, cache=tmp_path)
    victims = [Path(pair.image) for pair in pairs(root, "train")[1:3]]
    for victim in victims:
        victim.write_bytes(victim.read_bytes()[:200])
    said = []
    with pytest.raises(DataError, match="2 problems") as refused:
        train(job, context(tmp_path / "job", tmp_path, progress=said.append))
    assert all(victim.name in str(refused.value) for victim in victims)
    assert not curve.read(tmp_path / "job")
    assert (said[-1].done, said[-1].total) == (4, 4)


def test_seeds_pair_methods_and_differ(tmp_path, cache):
    """Under one seed two methods start from the same backbone and see the same images; under another they do not."""

    def start(name, seed):
        training = train_job.build_training(config(name, seed=seed), context(tmp_path, cache))
        batch = next(iter(training.batches(0, 1)))
        return training.model.backbone.state_dict()["body.conv1.0.weight"], batch.ids, batch.images

    first, same, other = start("fcn", 1), start("pspnet", 1), start("fcn", 2)
    assert torch.equal(first[0], same[0])
    assert first[1] == same[1]
    assert torch.equal(first[2], same[2])
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[2], other[2])


def test_normalisation_and_momentum_are_the_recipes(tmp_path, cache):
    training = train_job.build_training(
        config(normalisation="symmetric", batch_norm_momentum=3e-4), context(tmp_path, cache)
    )
    batch = next(iter(training.batches(0, 1)))
    images, _ = training.prepare(batch)
    top, left, height, width = batch.valid[0].tolist()
    inside = slice(top, top + height), slice(left, left + width)
    torch.testing.assert_close(images[0][:, *inside], batch.images[0][:, *inside].float() * 2 / 255 - 1)
    norms = [m for m in training.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert {m.momentum for m in norms} == {3e-4}
    plain = train_job.build_training(config(), context(tmp_path, cache))
    assert {m.momentum for m in plain.model.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {0.1}


def test_shortened(tmp_path, cache):
    job = config(iterations=None, epochs=10).model_copy(update={"shorten": 0.15})
    measured = numbers(train(job, context(tmp_path, cache)))
    assert measured["iterations"] == 3  # 10 epochs of 2 iterations, times 0.15


def test_what_is_measured(tmp_path, cache):
    measured = {m.name: m for m in train(config(), context(tmp_path, cache))}
    losses = [record["loss"] for record in curve.read(tmp_path)]
    assert measured["final_loss"].value == pytest.approx(sum(losses) / 4)
    assert measured["iterations"].value == 4
    assert measured["train_throughput"].unit == "images/s"
    assert measured["train_throughput"].value > 0
    assert 0 <= measured["data_wait"].value <= 100
    assert measured["train_peak_memory"].value > 100


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        {"precision": "bf16"},
        {"precision": "fp16"},
        {"precision": "tf32"},
        {"channels_last": True},
        {"batch_norm": "frozen"},
        {"accumulate": 2},
        {"optimizer": Optimizer(name="adamw", lr=1e-3, fused=True, layer_decay=0.9, decay_norm_and_bias=False)},
        {"loss": Loss(name="lovasz")},
        {"loss": Loss(mean="all", class_weights=(1.0,) * 11)},
    ],
    ids=lambda recipe: "-".join(map(str, recipe)),
)
def test_recipe_options_train_and_resume(tmp_path, cache, recipe):
    job = config(iterations=3, **recipe)
    whole = train(job, context(tmp_path / "whole", cache))
    with pytest.raises(Interrupted):
        train(job, context(tmp_path / "pieces", cache, should_stop=lambda: True))
    assert numbers(train(job, context(tmp_path / "pieces", cache))) == numbers(whole)


def test_frozen_batch_norm_keeps_the_backbones_statistics(tmp_path, cache):
    training = train_job.build_training(config(batch_norm="frozen"), context(tmp_path, cache))
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    training.run()
    moved = {name for name, value in training.model.state_dict().items() if not torch.equal(value, before[name])}
    assert not {name for name in moved if ".bn" in name}
    assert any(name.endswith("running_mean") for name in moved)  # the head's
    assert "backbone.body.conv1.0.weight" in moved


def test_a_loss_the_method_does_not_take_is_refused(tmp_path, cache):
    method = tmp_path / "stubborn.py"
    method.write_text(
        "import torch.nn.functional as F\n"
        "from methods.registry import register\n"
        "from methods.segmentor import Segmentor, FCNHead\n"
        "class Stubborn(Segmentor):\n"
        "    def __init__(self, backbone, num_classes):\n"
        "        super().__init__()\n"
        "        self.backbone, self.head = backbone, FCNHead(backbone.channels[-1], num_classes, channels=8)\n"
        "    def forward(self, images):\n"
        "        return self.head(self.backbone(images)[-1])\n"
        "    def losses(self, images, targets):\n"
        "        logits = F.interpolate(self.head(self.backbone(images)[-1]), targets.shape[-2:])\n"
        "        return {'main': F.cross_entropy(logits, targets, ignore_index=255)}\n"
        "@register('stubborn')\n"
        "def stubborn(backbone, num_classes):\n"
        "    return Stubborn(backbone, num_classes)\n"
    )
    job = config(loss=Loss(name="ohem"))
    job = job.model_copy(update={"model": job.model.model_copy(update={"name": f"{method}:stubborn", "options": {}})})
    with pytest.raises(UserError, match=r"recipe\.loss: Stubborn computes its losses itself"):
        train(job, context(tmp_path / "job", cache))


@pytest.mark.parametrize("name", ["ohem", "focal", "dice", "lovasz"])
def test_idrnet_trains_under_every_loss(tmp_path, cache, name):
    options = {"channels": 16, "attention_channels": 8, "auxiliary_channels": 8}
    measured = {}
    for loss in (Loss(), Loss(name=name, threshold=0.0)):
        job = config("idrnet", options=options, iterations=2, loss=loss)
        measured[loss.name] = numbers(train(job, context(tmp_path / loss.name, cache)))
    assert measured[name]["final_loss"] != pytest.approx(measured["cross_entropy"]["final_loss"], rel=1e-3)
    assert sum(value for key, value in measured[name].items() if key.startswith("deletions/")) == 2 * 2


def test_class_weights_must_fit(tmp_path, cache):
    with pytest.raises(UserError, match="2 weights for 11 classes"):
        train(config(loss=Loss(class_weights=(1.0, 2.0))), context(tmp_path, cache))


@pytest.mark.parametrize(
    ("limit", "advice"), [(2, "2 at a time fit.*accumulate: 2"), (0, "neither does one crop alone")]
)
def test_out_of_memory_says_which_batch_fits(tmp_path, cache, monkeypatch, limit, advice):
    """The allocator refuses steps of more than `limit` images, with torch's own error."""
    training = train_job.build_training(config(batch_size=4), context(tmp_path, cache))
    real = type(training.model).losses

    def losses(self, images, targets):
        if len(images) > limit:
            torch.empty(2**62, dtype=torch.uint8)
        return real(self, images, targets)

    monkeypatch.setattr(type(training.model), "losses", losses)
    with pytest.raises(UserError, match=rf"4 crops of 64 × 64.*does not fit into memory.*{advice}"):
        train(config(batch_size=4), context(tmp_path, cache))


def test_out_of_memory_in_a_test_is_not_laid_to_the_batch(tmp_path, cache, monkeypatch):
    job = config(evaluate_every=2)
    model = type(train_job.build_training(job, context(tmp_path, cache)).model)
    monkeypatch.setattr(train_job, "_preflight", lambda *_: None)
    monkeypatch.setattr(model, "forward", lambda self, images: torch.empty(2**62, dtype=torch.uint8))
    with pytest.raises(OutOfMemory, match="a test of the model during its training does not fit") as told:
        train(job, context(tmp_path, cache))
    assert "evaluate_every" in str(told.value)
    assert "batch" not in str(told.value)


def test_workers_leave_the_trainings_random_numbers_alone(tmp_path, cache):
    """Data workers start anew after an interruption; a draw of theirs would change every dropout mask that follows."""
    source = train_job.build_training(config(), context(tmp_path, cache)).batches.__self__
    alone = [batch.images for batch in source.batches(0, 2)]
    before = torch.get_rng_state()
    source.workers = 1
    together = [batch.images for batch in source.batches(0, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(alone, together))


def with_weights(file: Path, seed: int, **recipe) -> TrainConfig:
    """A job on weights that the seed draws, in a file."""
    torch.manual_seed(seed)
    write(timm.create_model("test_resnet", num_classes=3).state_dict(), file)
    job = config(**recipe)
    return job.model_copy(update={"model": job.model.model_copy(update={"pretrained": str(file)})})


def test_the_digest_of_pretrained_weights_is_recorded(tmp_path, cache):
    job = with_weights(tmp_path / "weights.pth", 1, iterations=1)
    first = train_job.build_training(job, context(tmp_path / "1", cache)).identity["pretrained"]
    train(job, context(tmp_path / "1", cache))
    (final,) = checkpoint.listing(tmp_path / "1")
    assert final.read()["identity"]["pretrained"] == first
    assert len(first["sha256"]) == 64
    other = with_weights(tmp_path / "other.pth", 2)
    assert train_job.build_training(other, context(tmp_path / "2", cache)).identity["pretrained"] != first
    assert train_job.build_training(config(), context(tmp_path / "3", cache)).identity["pretrained"] == {}


def test_going_on_with_exchanged_weights_is_refused_with_the_difference(tmp_path, cache):
    job = with_weights(tmp_path / "weights.pth", 1)
    with pytest.raises(Interrupted):
        train(job, context(tmp_path / "job", cache, should_stop=lambda: True))
    exchanged = with_weights(tmp_path / "weights.pth", 2)
    assert exchanged == job
    with pytest.raises(UserError, match=r"another training.*\n  pretrained\.sha256: [0-9a-f]{64} -> [0-9a-f]{64}\n"):
        train(exchanged, context(tmp_path / "job", cache))


def test_absent_weights_are_said_before_training(tmp_path, cache):
    job = config().model_copy(update={"model": config().model.model_copy(update={"pretrained": "nowhere.pth"})})
    with pytest.raises(MissingError, match=r"no weights at .*nowhere\.pth.*Put a file of them at .*timm/test_resnet"):
        train(job, context(tmp_path / "job", cache))
    assert not (tmp_path / "job").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (
            lambda job: {"model": Model(**{**job.model.model_dump(), "name": "pspnet"})},
            "config.model.name: fcn -> pspnet",
        ),
        (
            lambda job: {"model": Model(**{**job.model.model_dump(), "num_classes": 12})},
            "config.model.num_classes: 11 -> 12",
        ),
        (lambda job: {"recipe": job.recipe.model_copy(update={"batch_size": 4})}, "config.recipe.batch_size: 2 -> 4"),
        (lambda job: {"seed": 4}, "config.seed: 3 -> 4"),
    ],
)
def test_a_checkpoint_of_another_job_is_refused_with_the_difference(tmp_path, cache, change, difference):
    job = config()
    with pytest.raises(Interrupted):
        train(job, context(tmp_path, cache, should_stop=lambda: True))
    with pytest.raises(UserError) as refused:
        train(job.model_copy(update=change(job)), context(tmp_path, cache))
    assert f"\n  {difference}\n" in str(refused.value)
    assert "delete the checkpoint to start anew" in str(refused.value)


def test_a_checkpoint_of_other_code_is_refused_with_the_files(tmp_path, cache):
    """As if one module had been edited, one dropped and one added since."""
    job, code = config(), {"methods.fcn": "1", "methods.layers": "1"}
    with pytest.raises(Interrupted):
        train(job, context(tmp_path, cache, should_stop=lambda: True, parts={"code": code}))
    edited = {"methods.fcn": "2", "methods.novel": "1"}
    with pytest.raises(UserError) as refused:
        train(job, context(tmp_path, cache, parts={"code": edited}))
    for line in ("methods/fcn.py changed", "methods/layers.py is gone", "methods/novel.py is new"):
        assert f"\n  {line}\n" in str(refused.value)
    assert "config" not in str(refused.value)


def test_another_number_of_processes_is_refused_with_what_to_do(tmp_path, cache, monkeypatch):
    job = config()
    with pytest.raises(Interrupted):
        train(job, context(tmp_path, cache, should_stop=lambda: True))
    monkeypatch.setattr(train_job, "world_size", lambda: 2)
    with pytest.raises(UserError, match=r"processes: 1 -> 2\nStart it on 1 again, choose another folder"):
        train(job, context(tmp_path, cache))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None and shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_losses_are_the_same_to_rounding(tmp_path, monkeypatch):
    # kernels of another instruction set may lie in the cache that all processes of this machine share
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))

    def trained(name, **recipe):
        made = tiny_training.training(tmp_path / name, 3, model=tiny_training.PlainSegmentor)
        made.losses = train_job._losses(made.model, config(**recipe).recipe)
        made.run()
        return [line["terms"] for line in curve.losses(tmp_path / name)]

    eager, compiled = trained("eager"), trained("compiled", compile=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert [pytest.approx(terms, rel=1e-4) for terms in eager] == compiled


def test_only_repeatable_algorithms_where_the_recipe_says_so(tmp_path, cache, monkeypatch):
    """Switched on for the training that asks for it and off for the next; cuBLAS is told as well."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    measured = train(config(deterministic=True), context(tmp_path / "on", cache))
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert numbers(train(config(), context(tmp_path / "off", cache))) == numbers(measured)
    assert not torch.are_deterministic_algorithms_enabled()
