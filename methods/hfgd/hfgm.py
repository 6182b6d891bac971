"""High-level feature guided module (HFGM, Sec. 3.1): class tokens that only the high-level features train.

The teacher is the high-level map (the encoding's output at the backbone's last stride), classified by the tokens. The
student is the decoder's map, classified by the same tokens. Stop-gradients stand before everything that the student takes
from the teacher: the backbone's maps, the high-level map, the tokens. So the student's loss trains the decoder and its
axial attention alone, and the teacher's the backbone, the encoding and the tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from methods.hfgd.car import LOSSES as CAR_LOSSES
from methods.hfgd.encodings import Attending, Encoding
from methods.segmentor import Backbone, Segmentor


class GuidedSegmentor(Segmentor):
    """Backbone → encoding → decoder → axial attention → class tokens, without or with guidance.

    `projection` gives the encoding's output the decoder's width. Without a decoder the high-level map is classified.
    `guided`: whether the teacher is trained beside the student; `stop_gradients`: whether the student leaves what it takes
    from the teacher as it is. At test time nothing of the teacher is classified.
    """

    regularisers = CAR_LOSSES

    def __init__(
        self,
        backbone: Backbone,
        encoding: Encoding,
        projection: nn.Module,
        decoder: nn.Module | None,
        axial: nn.Module | None,
        classifier: nn.Conv2d,
        *,
        guided: bool,
        stop_gradients: bool = True,
        teacher_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.encoding = encoding
        self.projection = projection
        self.decoder = decoder
        self.axial = axial
        self.classifier = classifier
        self.guided = guided
        self.stop_gradients = guided and stop_gradients
        self.teacher_weight = teacher_weight

    @property
    def auxiliary(self) -> nn.Module | None:
        """CAR's linear layer. Training takes its losses there; at test time it is one with the convolution after it."""
        return self.encoding.regularised if isinstance(self.encoding, Attending) else None

    @auxiliary.setter
    def auxiliary(self, value: None) -> None:
        """None merges the two layers, which leaves the logits in evaluation mode as they are."""
        if isinstance(self.encoding, Attending):
            self.encoding.fold()

    @property
    def final_classifier(self) -> nn.Conv2d:
        return self.classifier

    def forward(self, images: Tensor) -> Tensor:
        features = self.backbone(images)
        top = self.projection(self.encoding(features[-1]))
        return self.classifier(self._decode(features[:-1], top, images))

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """`main` (the student's, or of what there is), `teacher`, and the encoding's: CAR's three, or `coarse`."""
        features = self.backbone(images)
        encoded, losses = self.encoding.with_losses(features[-1], targets, self.criterion)
        top = self.projection(encoded)
        if self.guided:
            losses["teacher"] = self.teacher_weight * self.criterion(self.classifier(top), targets)
        lower = features[:-1]
        if self.stop_gradients:
            lower, top = [x.detach() for x in lower], top.detach()
        decoded = self._decode(lower, top, images)
        return {"main": self.criterion(self._student_logits(decoded), targets), **losses}

    def _decode(self, lower: Sequence[Tensor], top: Tensor, images: Tensor | Sequence[Tensor]) -> Tensor:
        """What is classified: the high-level map itself where there is no decoder."""
        if self.decoder is None:
            return top
        size = images.shape[-2:] if isinstance(images, Tensor) else None  # feature maps where there is no backbone
        decoded = self.decoder(lower, top, size)
        return decoded if self.axial is None else decoded + self.axial(decoded)

    def _student_logits(self, decoded: Tensor) -> Tensor:
        if not self.stop_gradients:
            return self.classifier(decoded)
        bias = self.classifier.bias
        return F.conv2d(decoded, self.classifier.weight.detach(), None if bias is None else bias.detach())
