"""The contract of a method (methods.segmentor.Segmentor), clause by clause, on a tiny backbone and images of a few pixels."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.conformance.clause import Broken, Clause, NotApplicable
from harness.conformance.pyramid import TinyPyramid
from harness.errors import UserError
from harness.jobs.context import Context
from harness.jobs.kinds import OWN_BACKBONE, ComplexityConfig, Model
from harness.tasks.complexity import conventions, measure
from harness.tasks.segmentation.preflight import BrokenContract, check_losses, checked_logits
from methods import registry
from methods.segmentor import IGNORE, EncoderDecoder, Segmentor, pixel_loss

NUM_CLASSES = 7
SMALL = {"channels": 16, "inner": 8}  # given to methods that have these options
_REFUSAL = "count this model under another convention"


@dataclass(frozen=True)
class MethodSubject:
    """A method, or a context module as part of one: its name, and options that are laid over small ones."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "method"

    @property
    def entry(self) -> registry.Entry:
        return registry.find(self.name, self.kind)

    def all_options(self) -> dict[str, Any]:
        """The options with which it is built; UserError where they are not its own."""
        entry = self.entry
        chosen = {**{k: v for k, v in SMALL.items() if k in (entry.options or {})}, **self.options}
        classes = (
            {"num_classes": NUM_CLASSES} if self.kind == "context" and "num_classes" in (entry.options or {}) else {}
        )
        wrong = registry.check_options(entry, {**classes, **chosen})
        if wrong:
            raise UserError("; ".join(message for _, message in wrong))
        return {**classes, **chosen}

    def build(self, *, seed: int = 0) -> Segmentor:
        """A new model with the random weights of a seed."""
        torch.manual_seed(seed)
        build, options = self.entry.load(), self.all_options()
        if self.entry.own_backbone:
            return build(NUM_CLASSES, False, **options)
        backbone = TinyPyramid()
        if self.kind == "context":
            return EncoderDecoder(backbone, build(backbone.channels, **options), NUM_CLASSES)
        return build(backbone, NUM_CLASSES, **options)


def batch(size: tuple[int, int] = (64, 48), count: int = 2, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Images [count, 3, H, W] and targets [count, H, W] of random classes, whose first five rows are ignored."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, *size, generator=generator)
    targets = torch.randint(NUM_CLASSES, (count, *size), generator=generator)
    targets[:, :5] = IGNORE
    return images, targets


def total(model: Segmentor, images: Tensor, targets: Tensor) -> Tensor:
    """The sum of the losses; Broken where they are no finite scalars."""
    terms = model.losses(images, targets)
    try:
        check_losses(terms, type(model).__name__)
    except BrokenContract as error:
        raise Broken(str(error)) from None
    return torch.stack([*terms.values()]).sum()


def without_chance(model: Segmentor) -> Segmentor:
    """Training mode in which a pass depends neither on chance nor on what else is in the batch."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.Dropout | nn.Dropout2d):
            module.eval()
    return model


def _check_gradients(model: Segmentor, where: str) -> None:
    bad = [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    if bad:
        raise Broken(f"{where}: gradients that are not finite: {_names(bad)}")


def _names(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _close(a: Tensor, b: Tensor, what: str, **tolerance: float) -> None:
    try:
        torch.testing.assert_close(a, b, **tolerance)
    except AssertionError as error:
        raise Broken(f"{what}: {' '.join(str(error).split())[:200]}") from None


# ------------------------------------------------------------------------------------------------------------- clauses


def is_a_segmentor(subject: MethodSubject) -> None:
    model = subject.build()
    if not isinstance(model, Segmentor):
        raise Broken(f"building it gives a {type(model).__name__}; expected is a methods.segmentor.Segmentor")
    if not any(p.requires_grad for p in model.parameters()):
        raise Broken("the model has no trainable parameter")


def logits_are_a_map_of_classes(subject: MethodSubject) -> None:
    model = subject.build().eval()
    for size in ((64, 48), (65, 49), (33, 97)):
        try:
            logits = checked_logits(model(batch(size)[0]), 2, NUM_CLASSES, type(model).__name__)
        except BrokenContract as error:
            raise Broken(f"images of {size[0]}×{size[1]}: {error}") from None
        strides = (1, 2, 4, 8, 16, 32)
        sides = {tuple(math.ceil(n / s) for n in size) for s in strides} | {
            tuple(n // s for n in size) for s in strides
        }
        if tuple(logits.shape[2:]) not in sides:
            found = "×".join(map(str, logits.shape[2:]))
            raise Broken(
                f"images of {size[0]}×{size[1]} give logits of {found}; sides are divided by 1, 2, 4, … and rounded"
            )
        if not logits.isfinite().all():
            raise Broken(f"images of {size[0]}×{size[1]} give logits that are not finite")


def gradients_reach_every_trainable_parameter(subject: MethodSubject) -> None:
    for size in ((64, 48), (65, 49)):
        model = subject.build().train()
        total(model, *batch(size)).backward()
        without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        if without:
            raise Broken(f"no gradient reaches {_names(without)}; freeze them (requires_grad) or use them")
        _check_gradients(model, f"images of {size[0]}×{size[1]}")


def parameter_groups_hold_every_trainable_parameter_once(subject: MethodSubject) -> None:
    model = subject.build()
    grouped = [id(p) for group in model.parameter_groups().values() for p in group]
    names = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    missing = [name for p, name in names.items() if p not in grouped]
    if missing:
        raise Broken(f"parameter_groups() leaves out {_names(missing)}")
    if len(set(grouped)) < len(grouped) or set(grouped) - names.keys():
        raise Broken("parameter_groups() holds a parameter twice, or one that is not trained")


def ignored_pixels_do_not_count(subject: MethodSubject) -> None:
    images, targets = batch()
    targets[1] = IGNORE
    one = without_chance(subject.build()).losses(images[:1], targets[:1])
    two = without_chance(subject.build()).losses(images, targets)
    if one.keys() != two.keys():
        raise Broken(f"losses are {', '.join(one)} of one image and {', '.join(two)} of two")
    for name, loss in one.items():
        _close(two[name], loss, f"an image without a labelled pixel changes the loss '{name}'")


def labels_of_one_kind_only(subject: MethodSubject) -> None:
    for label, what in ((IGNORE, "no labelled pixel"), (3, "a single class")):
        images, targets = batch()
        model = subject.build().train()
        loss = total(model, images, torch.full_like(targets, label))
        loss.backward()
        _check_gradients(model, f"a batch of {what}")
        if label == IGNORE and loss != 0:
            raise Broken(f"a batch without a labelled pixel has the loss {loss.item():.4g}; expected is 0")


def the_criterion_is_the_loss_of_every_head(subject: MethodSubject) -> None:
    model = without_chance(subject.build())
    own = model.own_losses
    usual = model.losses(*batch())
    if not own <= usual.keys():
        raise Broken(f"own_losses names {', '.join(sorted(own - usual.keys()))}, which losses() does not give")
    model = without_chance(subject.build())
    model.criterion = lambda logits, targets: 3 * pixel_loss(logits, targets)
    for name, loss in model.losses(*batch()).items():
        factor = 1 if name in own else 3
        what = "does not use self.criterion" if factor == 3 else "is in own_losses and uses self.criterion"
        _close(loss, usual[name] * factor, f"the loss '{name}' {what}")


def a_batch_of_one_trains_and_predicts(subject: MethodSubject) -> None:
    images, targets = batch((65, 49), count=1)
    model = subject.build().train()
    total(model, images, targets).backward()
    if not model.eval()(images).isfinite().all():
        raise Broken("logits of one image are not finite after a training pass")


def training_is_a_function_of_its_seed(subject: MethodSubject) -> None:
    def step() -> Segmentor:
        model = subject.build().train()
        torch.manual_seed(5)
        total(model, *batch()).backward()
        return model

    first, second = step(), step()
    for (name, a), b in zip(first.named_parameters(), second.parameters()):
        if a.requires_grad and not (a.grad is not None and b.grad is not None and torch.equal(a.grad, b.grad)):
            raise Broken(f"two equal steps give two gradients of {name}")
    for (name, a), b in zip(first.named_buffers(), second.buffers()):
        if not torch.equal(a, b):
            raise Broken(f"two equal steps give two values of the buffer {name}")


def predicting_repeats_itself_and_changes_nothing(subject: MethodSubject) -> None:
    images, _ = batch()
    model = subject.build().eval()
    before = copy.deepcopy(model.state_dict())
    if not torch.equal(model(images), model(images)):
        raise Broken("two forwards of one image in evaluation mode differ")
    changed = [name for name, value in model.state_dict().items() if not torch.equal(before[name], value)]
    if changed:
        raise Broken(f"a forward in evaluation mode changes {_names(changed)}")


def a_prediction_does_not_depend_on_the_rest_of_the_batch(subject: MethodSubject) -> None:
    images, _ = batch()
    model = subject.build().eval()
    _close(model(images)[:1], model(images[:1]), "an image's logits change with its neighbours", rtol=1e-4, atol=1e-5)


def a_state_dict_is_the_whole_model(subject: MethodSubject) -> None:
    images, targets = batch()
    model, other = subject.build().train(), subject.build(seed=9)
    total(model, images, targets)
    other.load_state_dict(model.state_dict())
    if not torch.equal(model.eval()(images), other.eval()(images)):
        raise Broken(
            "a model that loads the state of another one predicts something else: something is not in the state"
        )


def the_final_classifier_makes_the_logits(subject: MethodSubject) -> None:
    images, _ = batch((65, 49))
    model = subject.build().eval()
    layer = model.final_classifier
    if layer is None:
        raise NotApplicable("it names no final classifier")
    seen: list[tuple[Tensor, Tensor]] = []
    handle = layer.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    logits = model(images)
    handle.remove()
    if len(seen) != 1:
        raise Broken(f"final_classifier is called {len(seen)} times in a forward; expected is once")
    ((features, output),) = seen
    if tuple(layer.weight.shape) != (NUM_CLASSES, features.shape[1], 1, 1) or not torch.equal(logits, output):
        raise Broken("final_classifier is no 1×1 convolution whose output is the logits")
    bias = torch.zeros(NUM_CLASSES) if layer.bias is None else layer.bias
    by_hand = torch.einsum("kc,bchw->bkhw", layer.weight[:, :, 0, 0], features) + bias[:, None, None]
    if (by_hand.argmax(1) == logits.argmax(1)).float().mean() <= 0.999:
        raise Broken("the classes of weight × input of final_classifier are not those of the logits")
    _close(by_hand, logits, "weight × input of final_classifier is not the logits", rtol=1e-4, atol=1e-4)


def it_runs_in_bfloat16(subject: MethodSubject) -> None:
    images, targets = batch()
    model = subject.build().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = total(model, images, targets)
    loss.backward()
    _check_gradients(model, "bfloat16")
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        if not model.eval()(images).isfinite().all():
            raise Broken("logits are not finite in bfloat16")


def it_can_be_counted(subject: MethodSubject) -> None:
    if subject.kind != "method":
        raise NotApplicable("a context module is counted as part of a method")
    for convention in sorted(conventions.COUNTERS):
        try:
            parameters, flops = count(subject, convention)
        except UserError as error:  # a convention may refuse an operator whose count nobody has published
            if _REFUSAL not in str(error):
                raise
            continue
        if not parameters > 0 or not flops > 0:
            raise Broken(f"convention {convention} counts {parameters:g} parameters and {flops:g} FLOPs")


def count(subject: MethodSubject, convention: str) -> tuple[float, float]:
    """(parameters, FLOPs) on a ResNet-18 at output stride 8 and images of 64×64, as a person would ask for them."""
    settings: dict[str, Any] = {"backbone": "resnet18", "output_stride": 8}
    if subject.entry.own_backbone:
        settings = {"backbone": OWN_BACKBONE}
    model = Model(name=subject.name, options=subject.all_options(), num_classes=NUM_CLASSES, **settings)
    config = ComplexityConfig(model=model, input=((1, 3, 64, 64),), convention=convention)
    here = Path()
    with warnings.catch_warnings():  # of torch's own tracing, which says nothing of the method
        warnings.simplefilter("ignore", FutureWarning)
        measured = measure.count(config, Context(folder=here, cache=here, data_dir=None, device="cpu", threads=1))
    parameters, flops = (m.value for m in measured)
    return parameters, flops


def _clauses(*pairs: tuple[str, Callable[[MethodSubject], None]]) -> tuple[Clause[MethodSubject], ...]:
    return tuple(Clause(promise, check, needed=check is is_a_segmentor) for promise, check in pairs)


CLAUSES = _clauses(
    ("building it gives a Segmentor with something to train", is_a_segmentor),
    ("forward(images) gives finite logits [B, K, h, w], at odd sizes too", logits_are_a_map_of_classes),
    ("a gradient reaches every trainable parameter", gradients_reach_every_trainable_parameter),
    ("parameter_groups() holds every trainable parameter once", parameter_groups_hold_every_trainable_parameter_once),
    ("pixels labelled 255 do not count", ignored_pixels_do_not_count),
    ("a batch without labels, or of one class, has finite losses and gradients", labels_of_one_kind_only),
    ("the recipe's loss reaches every head (self.criterion)", the_criterion_is_the_loss_of_every_head),
    ("a batch of one image trains and predicts", a_batch_of_one_trains_and_predicts),
    ("a training step is a function of its seed", training_is_a_function_of_its_seed),
    ("a prediction repeats itself and changes nothing", predicting_repeats_itself_and_changes_nothing),
    ("a prediction does not depend on the rest of the batch", a_prediction_does_not_depend_on_the_rest_of_the_batch),
    ("its state dict is the whole model", a_state_dict_is_the_whole_model),
    ("final_classifier, where there is one, makes the logits", the_final_classifier_makes_the_logits),
    ("it runs in bfloat16", it_runs_in_bfloat16),
    ("parameters and FLOPs can be counted", it_can_be_counted),
)
