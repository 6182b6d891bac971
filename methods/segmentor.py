"""The contract between a method and the training core, and the shape most methods share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from harness.recipes.common import Normalisation
from harness.spec import IGNORE
from methods.fusion import fusable
from methods.layers import conv_bn_relu, resize
from methods.ranks import divisor

Criterion = Callable[[Tensor, Tensor], Tensor]
"""The loss of one head: logits [B, K, h, w], targets [B, H, W] int64 with IGNORE -> scalar."""


class Backbone(nn.Module):
    """Feature maps of an image, finest first.

    images [B, 3, H, W], normalised -> list of [B, channels[i], H / strides[i], W / strides[i]]
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]


class GivenFeatures(Backbone):
    """Takes the place of a backbone and passes feature maps through, so that a head can be counted, timed, tested
    and given foreign weights without a backbone."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int] = ()) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.strides = tuple(strides) or (8,) * len(self.channels)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        return list(features)


class _CrossEntropySum(torch.autograd.Function):
    """Cross-entropy of one image after another; each image's gradient is taken at once, so that its full-size logits
    can go before the next one's are made."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, class_weights: Tensor | None, align_corners: bool) -> Tensor:
        wide = torch.promote_types(logits.dtype, torch.float32)
        total, gradients = logits.new_zeros((), dtype=wide), []
        for image, target in zip(logits.detach().split(1), targets):
            image = image.to(wide, memory_format=torch.channels_last)
            with torch.enable_grad():
                loss = _image_cross_entropy(image.requires_grad_(), target, class_weights, align_corners)
            gradients += torch.autograd.grad(loss, image)
            total += loss.detach()
        ctx.save_for_backward(torch.cat(gradients))
        ctx.dtype = logits.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return (ctx.saved_tensors[0] * gradient).to(ctx.dtype), None, None, None


@fusable
def _image_cross_entropy(image: Tensor, target: Tensor, class_weights: Tensor | None, align_corners: bool) -> Tensor:
    """Of one image [1, K, h, w], with the classes of a pixel side by side in memory, which is several times faster."""
    rows = resize(image, target.shape, align_corners=align_corners).permute(0, 2, 3, 1).flatten(0, 2)
    return F.cross_entropy(rows, target.flatten(), weight=class_weights, ignore_index=IGNORE, reduction="sum")


def cross_entropy_sum(
    logits: Tensor, targets: Tensor, class_weights: Tensor | None = None, *, align_corners: bool = False
) -> Tensor:
    """Cross-entropy at the targets' resolution, at least in float32, summed over valid pixels.

    logits [B, K, h, w], targets [B, H, W] int64 with IGNORE, class_weights [K] -> scalar
    """
    return _CrossEntropySum.apply(logits, targets, class_weights, align_corners)


def pixel_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy at the targets' resolution, mean over the valid pixels of all processes; zero (with a gradient) when
    there is none."""
    return cross_entropy_sum(logits, targets) / divisor(targets != IGNORE)


class Segmentor(nn.Module):
    """The contract of a segmentation method, which the harness trains, tests and counts.

    `forward(images [B, 3, H, W]) -> logits [B, K, h, w]` (h, w of the method's own output stride);
    `losses(images, targets [B, H, W] int64, IGNORE = 255) -> {name: scalar}`, whose sum is minimised. A method that computes
    the losses of all its heads as `self.criterion(logits, targets)` leaves the choice of the pixel loss to the recipe.
    A head that only training uses is the attribute `auxiliary` (or None): it is left out of what is counted and timed.
    Terms that judge features and not logits, so that the recipe's loss has no part in them, are named in `own_losses`.
    """

    backbone: Backbone
    normalisation: Normalisation | None = None
    """What the network must be given, where it was made for one: a recipe may not contradict it."""
    criterion: Criterion = staticmethod(pixel_loss)
    own_losses: frozenset[str] = frozenset()
    """Names of losses that the method defines itself: a recipe's choice of the pixel loss leaves them as they are."""

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        raise AssertionError(f"{type(self).__name__} must define losses()")

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Trainable parameters by role (`backbone`, `head`), which a recipe may give different learning rates."""
        backbone = {id(p) for p in self.backbone.parameters()}
        trainable = [p for p in self.parameters() if p.requires_grad]
        return {
            "backbone": [p for p in trainable if id(p) in backbone],
            "head": [p for p in trainable if id(p) not in backbone],
        }

    @property
    def final_classifier(self) -> nn.Conv2d | None:
        """The 1×1 convolution whose output is the logits: its weight's rows are one token per class, its input what is
        classified. It is called in every forward pass at test time. None: the method's last step is no such layer."""
        return None

    @property
    def pixel_classifier(self) -> nn.Conv2d | None:
        """The 1×1 convolution that classifies pixels, where something is added to its output: what it sees is shown, too."""
        return self.final_classifier

    @property
    def embedding_classifier(self) -> nn.Linear | None:
        """The layer that classifies an image's own class embeddings [B, K, C]: their mean over images are the class tokens
        of a method that makes some. None: those are the rows of the classifier's weight."""
        return None

    def measurements(self) -> dict[str, list[float]]:
        """Counts that the method keeps during training (IDRNet: deletions per class), stored beside the losses."""
        return {}


class FCNHead(nn.Module):
    """3×3 convolution, dropout, classifier (Long et al. 2015, as the field's toolboxes build it).

    x [B, in_channels, H, W] -> logits [B, num_classes, H, W]
    """

    def __init__(self, in_channels: int, num_classes: int, *, channels: int = 512, dropout: float = 0.1) -> None:
        super().__init__()
        self.body = conv_bn_relu(in_channels, channels, 3)
        self.classifier = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(channels, num_classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.body(x))


class EncoderDecoder(Segmentor):
    """Backbone → context module → dropout → classifier, with an auxiliary head on the last but one feature map.

    `context` maps the backbone's feature list to [B, context.channels, h, w].
    """

    def __init__(
        self,
        backbone: Backbone,
        context: nn.Module,
        num_classes: int,
        *,
        dropout: float = 0.1,
        auxiliary_weight: float = 0.4,
        auxiliary_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.context = context
        self.classifier = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(context.channels, num_classes, 1))
        self.auxiliary_weight = auxiliary_weight
        self.auxiliary = None
        if auxiliary_weight and len(backbone.channels) > 1:
            in_channels = backbone.channels[-2]
            self.auxiliary = FCNHead(in_channels, num_classes, channels=auxiliary_channels or in_channels // 2)

    @property
    def final_classifier(self) -> nn.Conv2d:
        return self.classifier[-1]

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.context(self.backbone(images)))

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        features = self.backbone(images)
        losses = {"main": self.criterion(self.classifier(self.context(features)), targets)}
        if self.auxiliary is not None:
            losses["auxiliary"] = self.auxiliary_weight * self.criterion(self.auxiliary(features[-2]), targets)
        return losses
