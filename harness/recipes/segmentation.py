"""The segmentation recipe: how a cell is trained and tested.

A recipe is data: `tables/recipes/PAPER.yaml` holds one entry per dataset, named `PAPER/ENTRY` by tables. A profile
(`tables/profiles/NAME.yaml`) changes a recipe for a purpose and is part of every job's key, so its numbers never mix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from harness.recipes.common import Normalisation, Optimizer, ResizeBackend, Schedule
from harness.spec import Fraction, Positive, Size, Spec

Distortion = Literal["contrast_about_mean", "saturation", "brightness"]
NumberFormat = Literal["fp32", "tf32", "bf16", "fp16"]


class Loss(Spec):
    """The pixel loss of every head, where a method leaves it to the recipe.

    `mean`: over the valid pixels, or over all of them, ignored ones counting as zero (as HFGD's authors train).
    `align_corners`: logits are resized to the labels with the centres of the corner pixels on each other.
    `class_weights`: one factor per class. `ohem`: pixels whose true class has a probability below `threshold` count, at
    least `keep` of the valid ones. `focal`: per-class sigmoid with `alpha` and `gamma`. `dice` and `lovasz` are added to the
    cross-entropy with `region_weight`, or replace it at weight 1 with `pixel_weight` 0.
    """

    name: Literal["cross_entropy", "ohem", "focal", "dice", "lovasz"] = "cross_entropy"  # which one
    mean: Literal["valid", "all"] = "valid"
    align_corners: bool = False
    class_weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    threshold: Fraction = 0.7  # ohem
    keep: Fraction = 0.0625  # ohem
    alpha: Fraction = 0.25  # focal
    gamma: float = Field(2.0, ge=0)  # focal
    pixel_weight: float = Field(1.0, ge=0)  # dice, lovasz
    region_weight: float = Field(1.0, gt=0)  # dice, lovasz


class Augmentation(Spec):
    """Training-time transforms in the order they are applied: resize, crop, flip, rotate, photometric, pad.

    `resize` is the base size (long, short) for `keep_ratio`, else (height, width); null: each image's own. It is scaled
    by a factor drawn uniformly from `ratio`, or from the list `scales`. `crop` is (height, width); a crop in which one
    class holds more than `cat_max_ratio` of the valid pixels is drawn again, ten times at most. `photometric` is SSD's
    distortion of brightness, contrast, saturation and hue, or a list of distortions in the order they are applied, each
    with probability one half (brightness ±32, the others by 0.5 to 1.5). Padding is 0 after normalisation.
    """

    resize: tuple[Positive, Positive] | None
    keep_ratio: bool = True
    resize_backend: ResizeBackend = "opencv"  # whose bilinear resize
    ratio: tuple[float, float] = (0.5, 2.0)  # range of the scale factor
    scales: tuple[Annotated[float, Field(gt=0)], ...] = ()
    rotation_degrees: float = Field(0.0, ge=0, le=180)  # at most, either way
    rotation_probability: Fraction = 0.0  # of rotating at all
    crop: Size
    cat_max_ratio: Fraction = 0.75
    flip: Fraction = 0.5  # probability of mirroring left and right
    photometric: bool | tuple[Distortion, ...] = True
    pad: Literal["centre", "corner"] = "centre"  # where the image lies in a crop that is larger


class TestProtocol(Spec):
    """How a trained model is tested. Labels are never resized; logits go straight to the label's size, then argmax.

    `resize` as in Augmentation (null: the image's own size). `slide` cuts the resized image into windows of `window`
    (height, width), `stride` apart, and averages where they overlap: logits, or with `softmax_before_merge` the
    probabilities. Every image is seen at each of `scales` (factors on `resize`) and, with `flip`, mirrored as well;
    the views are averaged at the label's size, as logits or probabilities (`average`). `via_input` resizes logits to the
    input's size before the label's, as mmsegmentation does; where both sizes differ, the numbers do too.
    `softmax_before_resize` makes probabilities of a whole image's logits on the model's own grid, and resizes and averages
    those (sssegmentation's `use_probs_before_resize`; of windows that switch is `softmax_before_merge`).

    `frame` (height, width) pads a smaller image below and to the right, before it is scaled, with what is 0 after
    normalisation. `odd` keeps odd sides odd at every scale, `align_corners` resizes logits with the centres of the
    corner pixels on each other; both as TensorFlow's segmentation codes do.
    """

    __test__ = False  # not a pytest class

    split: str = "val"  # of the dataset
    mode: Literal["whole", "slide"] = "whole"  # the image as a whole, or in windows
    resize: tuple[Positive, Positive] | None = None
    keep_ratio: bool = True  # resize to fit inside, rather than to exactly that size
    resize_backend: ResizeBackend = "opencv"  # whose bilinear resize
    window: Size | None = None
    stride: Size | None = None
    softmax_before_merge: bool = False
    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (1.0,)
    flip: bool = False
    average: Literal["logits", "probabilities"] = "logits"
    via_input: bool = False
    softmax_before_resize: bool = False
    frame: Size | None = None
    odd: bool = False
    align_corners: bool = False
    precision: NumberFormat = "fp32"  # of the network, whatever the training's; the scores are averaged in float32
    max_images: Positive | None = None  # test only so many, for a trial

    @model_validator(mode="after")
    def _windows(self) -> TestProtocol:
        window_settings = [value for value in (self.window, self.stride) if value is not None]
        if len(window_settings) != (2 if self.mode == "slide" else 0):
            raise ValueError("mode 'slide' needs 'window' and 'stride'; mode 'whole' takes neither")
        if window_settings and any(not 1 <= step <= side for side, step in zip(*window_settings)):
            raise ValueError("'stride' must be at least 1 and at most 'window' in both directions")
        return self

    @model_validator(mode="after")
    def _one_softmax(self) -> TestProtocol:
        if self.softmax_before_resize and self.mode == "slide":
            raise ValueError("'softmax_before_resize' is of mode 'whole'; windows take 'softmax_before_merge'")
        if self.softmax_before_merge and self.mode == "whole":
            raise ValueError("'softmax_before_merge' is of mode 'slide'; a whole image takes 'softmax_before_resize'")
        if self.average == "probabilities" and (self.softmax_before_resize or self.softmax_before_merge):
            raise ValueError(
                "'average: probabilities' would take the softmax of probabilities; leave one of the two out"
            )
        return self


class Recipe(Spec):
    """Everything besides the model and the seed that decides a score."""

    dataset: str  # as `python -m harness list datasets` prints it; or my_data.yaml or my_data.py:NAME, counted from the table
    train_split: str = "train"  # of the dataset
    batch_size: Positive = 16  # images per step, over all processes
    epochs: Positive | None = None  # length of the training; or:
    iterations: Positive | None = None  # length of the training; exactly one of the two
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    augmentation: Augmentation
    normalisation: Normalisation = "imagenet"  # what the network is given: of ImageNet per channel, or 2x/255 - 1
    test: TestProtocol = TestProtocol()
    pretrained: bool | str = False  # random weights; true: of HARNESS_WEIGHTS, else timm's; a path: that file's
    loss: Loss = Loss()
    precision: NumberFormat = "fp32"  # of the training; fp16 scales its gradients
    # A batch passes in so many parts, each counting by its pixels: less memory, and the same gradient where the loss is a mean
    # over pixels. Batch norm, losses that rank pixels or count classes (ohem, dice, lovasz) and what a method learns beside
    # its gradients see a part at a time.
    accumulate: Positive = 1
    batch_norm_momentum: Fraction | None = None  # weight of a batch in the running statistics; null: the model's own
    # statistics over the whole batch; over each process's part of it; the backbone's fixed and the heads' synchronised
    batch_norm: Literal["synchronised", "local", "frozen"] = "synchronised"
    channels_last: bool = False  # memory layout NHWC
    # with torch.compile: the losses in one; or the backbone's stages, and upsampling with cross-entropy, each by itself
    compile: bool | Literal["stages"] = False
    deterministic: bool = False  # only algorithms that repeat bit for bit on a GPU; on a CPU they always do
    checkpoint_every: Positive | None = None  # iterations; null: every ten minutes
    # iterations between two tests of the model under `test`, for the curve: weights and losses are the same without them,
    # times and (on a CPU) peak memory are not
    evaluate_every: Positive | None = None
    source: str = ""  # where the values come from: paper section, released configuration
    differs: dict[str, str] = {}  # what the paper's text says where the recipe follows another source

    @model_validator(mode="after")
    def _one_length(self) -> Recipe:
        if (self.epochs is None) == (self.iterations is None):
            raise ValueError("say either 'epochs' or 'iterations'")
        if self.batch_size % self.accumulate:
            raise ValueError(f"'accumulate' {self.accumulate} does not divide 'batch_size' {self.batch_size}")
        return self

    def total_iterations(self, images: int) -> int:
        """Length of the training in iterations, for a training split of `images` images (incomplete batches dropped)."""
        if self.iterations is not None:
            return self.iterations
        assert self.epochs is not None
        return self.epochs * max(1, images // self.batch_size)

    def with_test_changes(self, changes: Mapping[str, Any]) -> TestProtocol:
        """The test protocol with some fields changed; ValueError that says which do not fit."""
        try:
            return TestProtocol.model_validate({**self.test.model_dump(), **changes})
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, issue['loc'])) or 'test'}: {issue['msg']}" for issue in error.errors()]
            raise ValueError("; ".join(lines)) from None

    def config(self) -> dict[str, Any]:
        """What of the recipe decides a number, as JSON: without the remarks."""
        return self.model_dump(mode="json", exclude={"source", "differs"})
