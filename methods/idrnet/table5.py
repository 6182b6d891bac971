"""The modules behind four rows of IDRNet's Table 5, reconstructed from the printed parameters and FLOPs.

None of the four has a published source. What is said here was fitted to the numbers that it meets, so meeting them is
no evidence. UPerNet and ANN: the official modules fed by biased 1×1 adapters that stand for the missing feature maps;
one rule explains both rows. IDRNet and PPM+IDRNet: a plausible guess; other widths fit as well. What the digits do pin
is the 3×3 reduction, a coarse classifier, and that the difference of the two rows is pyramid pooling at 512 channels.
The released IDRNet head is another, larger one: method `idrnet`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from methods.contexts.ann import AsymmetricNonLocal
from methods.contexts.attention import attend
from methods.contexts.ppm import PyramidPooling
from methods.contexts.uper import FeaturePyramid
from methods.layers import conv_bn_relu, resize
from methods.registry import register_context


@register_context("idrnet_table5/upernet")
class UPerNetFromOneMap(nn.Module):
    """Reconstruction of row UPerNet: C2–C4 faked by biased 1×1 convolutions of C5, no fusion convolution.

    Fitted (the fusion convolution was dropped to meet the numbers).
    features [..., [B, in_channels[-1], h, w]] -> [B, 4·width, h, w]
    """

    def __init__(
        self, in_channels: Sequence[int], *, width: int = 512, faked: Sequence[int] = (256, 512, 1024)
    ) -> None:
        super().__init__()
        self.channels = (len(faked) + 1) * width
        self.adapters = nn.ModuleList(nn.Conv2d(in_channels[-1], c, 1) for c in faked)
        self.top = PyramidPooling(in_channels, channels=width)
        self.pyramid = FeaturePyramid(faked, width)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        x = features[-1]
        levels = self.pyramid([*(adapter(x) for adapter in self.adapters), self.top([x])])
        return torch.cat([resize(level, x.shape[-2:]) for level in levels], dim=1)


@register_context("idrnet_table5/ann")
class ANNFromOneMap(nn.Module):
    """Reconstruction of row ANN: C4 faked by a biased 1×1 convolution of C5. Fitted (one of a handful of candidates).

    features [..., [B, in_channels[-1], h, w]] -> [B, channels, h, w]
    """

    def __init__(self, in_channels: Sequence[int], *, channels: int = 512, faked: int = 1024) -> None:
        super().__init__()
        self.channels = channels
        self.adapter = nn.Conv2d(in_channels[-1], faked, 1)
        self.context = AsymmetricNonLocal([faked, in_channels[-1]], channels=channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.context([self.adapter(features[-1]), features[-1]])


class TokenRefiner(nn.Module):
    """Self-attention among class tokens: [B, 6·channels, P, 1], absent [B, P] (True: no such token) -> [B, channels, P, 1]"""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.query = nn.Sequential(conv_bn_relu(6 * channels, inner, 1), conv_bn_relu(inner, inner, 1))
        self.key = nn.Sequential(conv_bn_relu(6 * channels, inner, 1), conv_bn_relu(inner, inner, 1))
        self.value = conv_bn_relu(6 * channels, inner, 1)
        self.out = conv_bn_relu(inner, channels, 1)

    def forward(self, tokens: Tensor, absent: Tensor) -> Tensor:
        bias = torch.zeros_like(absent, dtype=tokens.dtype).masked_fill(absent, float("-inf"))
        mixed = attend(self.query(tokens), self.key(tokens), self.value(tokens), bias=bias[:, None, None, :])
        return self.out(mixed)


@register_context("idrnet_table5/idrnet")
class TokenIDRNet(nn.Module):
    """Reconstruction of row IDRNet: class tokens, two relation matrices, self-attention among tokens. Not identified.

    How many tokens run depends on the classes predicted. On meta tensors nothing is predicted and one token runs: what
    an input without variation, as FLOP counters feed it, gives too. The digits allow nought or one.
    features [..., [B, in_channels[-1], h, w]] -> [B, 2·width (with pyramid pooling: 3·width), h, w]
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        num_classes: int,
        width: int = 512,
        inner: int = 128,
        pyramid_pooling: bool = False,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.channels = (3 if pyramid_pooling else 2) * width
        self.reduce = nn.Conv2d(in_channels[-1], width, 3, padding=1)
        self.coarse_context = PyramidPooling([width], channels=width) if pyramid_pooling else None
        self.coarse = nn.Conv2d(width, num_classes, 1)
        self.refine = TokenRefiner(width, inner)
        # State that is not trained by gradients, at its initial values.
        self.register_buffer("memory", torch.zeros(num_classes, width))
        self.register_buffer("relations", torch.eye(num_classes).repeat(2, 1, 1))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        pixels = self.reduce(features[-1])
        context = [] if self.coarse_context is None else [self.coarse_context([pixels])]
        logits = self.coarse(context[0] if context else pixels)
        tokens, labels, classes, absent = self._tokens(pixels, logits)
        refined = self.refine(tokens, absent).flatten(2).masked_fill(absent[:, None], 0)  # [B, width, P]
        table = refined.new_zeros(*refined.shape[:2], self.num_classes)
        table = table.scatter(2, classes[:, None].expand_as(refined), refined)
        looked_up = table.gather(2, labels.flatten(1)[:, None].expand(-1, table.shape[1], -1)).view_as(pixels)
        return torch.cat([pixels, looked_up, *context], dim=1)

    def _tokens(self, pixels: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tokens [B, 6·width, P, 1] of the predicted classes, labels [B, h, w], classes [B, P], absent [B, P].

        A token is the mean of its class's pixels weighted by the coarse probabilities, and the class's memory, followed
        by what both relation matrices mix into it (paper, Sec. 3.2; pooling as in the released code).
        """
        labels = logits.argmax(dim=1)
        one_hot = labels.flatten(1)[:, None] == torch.arange(self.num_classes, device=labels.device)[:, None]
        weights = logits.flatten(2).masked_fill(~one_hot, float("-inf")).softmax(dim=2).nan_to_num(0)  # [B, K, h·w]
        pooled = torch.matmul(weights.to(pixels.dtype), pixels.flatten(2).transpose(1, 2))
        tokens = torch.cat([pooled, self.memory.to(pooled.dtype).expand_as(pooled)], dim=2)  # [B, K, 2·width]
        present = one_hot.any(dim=2)
        columns = present[:, None, None, :]
        affinity = self.relations.masked_fill(~columns, float("-inf")).softmax(dim=3)  # [B, 2, K, K]
        mean, variance = torch.matmul(affinity.to(tokens.dtype), tokens[:, None]).unbind(1)
        count = 1 if logits.is_meta else int(present.sum(dim=1).max())
        classes = present.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :count]
        every = torch.cat([tokens, mean, variance], dim=2)
        chosen = every.gather(1, classes[..., None].expand(-1, -1, every.shape[2]))
        return chosen.transpose(1, 2).unsqueeze(3), labels, classes, ~present.gather(1, classes)


@register_context("idrnet_table5/ppm_idrnet")
class TokenIDRNetWithPyramidPooling(TokenIDRNet):
    """Reconstruction of row PPM+IDRNet: pyramid pooling of the reduced map (512 to 512 channels) besides. Not identified."""

    def __init__(self, in_channels: Sequence[int], *, num_classes: int, width: int = 512, inner: int = 128) -> None:
        super().__init__(in_channels, num_classes=num_classes, width=width, inner=inner, pyramid_pooling=True)
