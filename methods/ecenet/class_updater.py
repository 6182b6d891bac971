"""The class updater (ECENet, Sec. 3.4): embeddings of classes take up what a finer level's masks say of them."""

from __future__ import annotations

from torch import Tensor, nn

from harness.errors import UserError, nearest


class GatedUpdater(nn.Module):
    """Eq. 9 and 10, as K-Net's kernel update (Zhang et al. 2021), and after it a linear layer, a norm and a ReLU.

    The equations end before those last three layers; without them the published parameters are missed.
    extracted [B, N, C] (Ĝ), embeddings [B, N, C] (G) -> updated embeddings [B, N, C]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.from_extracted = nn.Linear(channels, 2 * channels)
        self.from_embeddings = nn.Linear(channels, channels)
        self.gate = nn.Sequential(nn.Linear(channels, channels), nn.LayerNorm(channels), nn.Sigmoid())
        self.norm = nn.LayerNorm(channels)
        self.output = nn.Sequential(nn.Linear(channels, channels), nn.LayerNorm(channels), nn.ReLU(inplace=True))

    def forward(self, extracted: Tensor, embeddings: Tensor) -> Tensor:
        factor, addend = self.from_extracted(extracted).chunk(2, dim=-1)
        gate = self.gate(factor * self.from_embeddings(embeddings))
        return self.output(gate * self.norm(addend) + embeddings)


class SumUpdater(nn.Module):
    """Table 6's “plus”, which the paper does not define further: G + Ĝ, without parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, extracted: Tensor, embeddings: Tensor) -> Tensor:
        return embeddings + extracted


UPDATERS: dict[str, type[nn.Module]] = {"gated": GatedUpdater, "plus": SumUpdater}


def build_updater(name: str, channels: int) -> nn.Module:
    """The updater called `gated` or `plus`; raises UserError for another name."""
    if name not in UPDATERS:
        tail = nearest(name, UPDATERS, label="updaters are")
        raise UserError(f"unknown updater '{name}'.{tail}")
    return UPDATERS[name](channels)
