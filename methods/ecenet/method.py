"""ECENet (Liu et al. 2023): class embeddings taken from masks, and updated by the masks of ever finer levels."""

from __future__ import annotations

from torch import Tensor, nn

from methods.ecenet.head import ECEHead, Prediction, mask_sum
from methods.ecenet.layers import resize
from methods.ecenet.losses import diversity_loss, mask_losses
from methods.ecenet.options import Options, resolve
from methods.registry import register
from methods.segmentor import Backbone, Segmentor


class ECENet(Segmentor):
    """Backbone and ECENet's head, without an auxiliary head: any would break the published parameters.

    Logits come at the images' size: the published FLOPs include that last resize. Given feature maps instead of images,
    they stay at the finest map's size.
    """

    own_losses = frozenset({"focal", "dice", "diversity"})

    def __init__(self, backbone: Backbone, num_classes: int, options: Options) -> None:
        super().__init__()
        self.options = options
        self.backbone = backbone
        self.head = ECEHead(backbone.channels, num_classes, options)

    @property
    def pixel_classifier(self) -> nn.Conv2d:
        return self.head.classifier[-1]

    @property
    def embedding_classifier(self) -> nn.Linear:
        return self.head.classify_embeddings

    def forward(self, images: Tensor) -> Tensor:
        logits = self.head(self.backbone(images)).logits
        return resize(logits, images.shape[-2:]) if isinstance(images, Tensor) else logits

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """`main` (pixel loss), `focal` and `dice` of the masks, `diversity` of the features, weighted (Eq. 11, 12)."""
        options, prediction = self.options, self.head(self.backbone(images))
        losses = {"main": self.criterion(prediction.logits, targets)}
        if options.focal_weight or options.dice_weight:
            focal, dice = mask_losses(self._supervised(prediction), targets)
            losses |= {"focal": options.focal_weight * focal, "dice": options.dice_weight * dice}
        if prediction.diverse and options.diversity_weight:
            losses["diversity"] = options.diversity_weight * diversity_loss(prediction.diverse, targets)
        return losses

    def _supervised(self, prediction: Prediction) -> Tensor:
        """The sum of masks that the mask loss sees, at the size of the finest of them."""
        masks = prediction.masks
        chosen = masks[:-1] if self.options.supervised_masks == "coarse" and len(masks) > 1 else masks
        return mask_sum(chosen)


@register("ecenet", check="methods.ecenet.options:resolve")
def ecenet(
    backbone: Backbone,
    num_classes: int,
    *,
    preset: str = "paper",
    channels: int = 256,
    heads: int = 4,
    alpha: float = 1.0,
    reconstruction: bool = True,
    updater: str = "gated",
    diversity_weight: float = 0.2,
    focal_weight: float = 5.0,
    dice_weight: float = 2.0,
    dropout: float = 0.1,
    recalibration: str | None = None,
    attention: str | None = None,
    query_activation: str | None = None,
    supervised_masks: str | None = None,
) -> Segmentor:
    """ECENet, as in the paper or as released.

    `options.Options` says what each option is and `options.CHOICES` what it takes; None leaves it to the preset.
    """
    given = {name: value for name, value in locals().items() if name not in ("backbone", "num_classes")}
    return ECENet(backbone, num_classes, resolve(given))
