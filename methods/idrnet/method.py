"""IDRNet (Jin et al. 2023): intervention-driven relations between classes, around FCN, PPM, ASPP or UPerNet."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from methods.idrnet.head import IDRHead
from methods.idrnet.options import Options, resolve
from methods.registry import register
from methods.segmentor import Backbone, FCNHead, Segmentor


class IDRNet(Segmentor):
    """Backbone, IDRNet's head, and an auxiliary head on the last but one feature map where there is one."""

    def __init__(self, backbone: Backbone, num_classes: int, options: Options) -> None:
        super().__init__()
        self.options = options
        self.backbone = backbone
        self.head = IDRHead(backbone.channels, num_classes, options)
        self.auxiliary = None
        if options.auxiliary_weight and len(backbone.channels) > 1:
            self.auxiliary = FCNHead(
                backbone.channels[-2], num_classes, channels=options.auxiliary_channels, dropout=options.dropout
            )

    @property
    def final_classifier(self) -> nn.Conv2d | None:
        """Stage 2's; None where that is one layer, which classifies a concatenation that is never built."""
        return self.head.stage2.classify if self.options.classifier_layers == 2 else None

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images))

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """`main` (stage 2), `stage1` and `auxiliary`, weighted; one call is one step of the head's state."""
        features = self.backbone(images)
        losses = self.head.losses(features, targets, self.criterion)
        if self.auxiliary is not None:
            losses["auxiliary"] = self.options.auxiliary_weight * self.criterion(self.auxiliary(features[-2]), targets)
        return losses

    def measurements(self) -> dict[str, list[float]]:
        return self.head.updates_by_class()


@register("idrnet", check="methods.idrnet.options:resolve")
def idrnet(
    backbone: Backbone,
    num_classes: int,
    *,
    preset: str = "released",
    context: str = "none",
    channels: int = 512,
    bins: Sequence[int] = (1, 2, 3, 6),
    dilations: Sequence[int] = (1, 12, 24, 36),
    uper_top: str = "ppm",
    fpn_channels: int = 512,
    coarse_attention: str = "none",
    stage1_from: str = "coarse",
    attention_channels: int = 256,
    enhancement: str = "memory",
    relations: str = "both",
    update: str = "deletion",
    sampling: str = "balanced",
    relation_momentum: float = 0.1,
    memory_momentum: float = 0.1,
    count_start: float = 1e-6,
    dropout: float = 0.1,
    stage1_weight: float = 0.4,
    auxiliary_channels: int = 512,
    representation: str | None = None,
    pooling: str | None = None,
    threshold: str | None = None,
    zero_is_weak: bool | None = None,
    diagnosis: str | None = None,
    observed: str | None = None,
    refiner_input: str | None = None,
    stage2_input: str | None = None,
    classifier_layers: int | None = None,
    auxiliary_weight: float | None = None,
    deletion_moves_norm: bool | None = None,
    reduction: str | None = None,
    processes: int = 8,
) -> Segmentor:
    """IDRNet around `context`, as released or as in the paper.

    `options.Options` says what each option is and `options.CHOICES` what it takes; None leaves it to the preset.
    """
    given = {name: value for name, value in locals().items() if name not in ("backbone", "num_classes")}
    return IDRNet(backbone, num_classes, resolve(given))
