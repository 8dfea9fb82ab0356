"""A 3D U-Net as Nordström et al. 2023, and a lean one: one class with a list of channels.

    python examples/05_marginal_thresholding/networks.py

prints the parameters of the U-Net, of LUnet, and of the U-Net that is narrowed to LUnet's count.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gfnoise.torch import NormReLU

UNET = (16, 32, 64, 128, 256)
LUNET = (16,) * 5
HEADS = ("sigmoid", "normrelu")


class UNet(nn.Module):
    """Two convolutions per level, strided ones between, transposed ones back up.

    Parameters
    ----------
    channels : sequence of int
        Of each level, the input's resolution first. All alike: LUnet.
    """

    def __init__(self, channels: Sequence[int]):
        super().__init__()
        channels = tuple(channels)
        if not channels or min(channels) < 1:
            raise ValueError(f"channels must be positive integers, one per level, got {channels}")
        self.channels = channels
        pairs = list(itertools.pairwise(channels))
        self.first = block(1, channels[0])
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv3d(a, b, 2, stride=2), block(b, b)) for a, b in pairs
        )
        self.up = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, stride=2) for a, b in pairs[::-1])
        self.join = nn.ModuleList(block(2 * a, a) for a, _ in pairs[::-1])
        self.last = nn.Conv3d(channels[0], 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Compute logits, (B, 1, *space)."""
        step = 2 ** len(self.down)
        space = tuple(image.shape[2:])
        if any(n % step or n < 2 * step for n in space):
            raise ValueError(
                f"a network of {len(self.channels)} levels takes sides that are multiples of "
                f"{step}, {2 * step} at least, got {space}"
            )
        kept = [self.first(image)]
        for stage in self.down:
            kept.append(stage(kept[-1]))
        x = kept.pop()
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([kept.pop(), up(x)], 1))
        return self.last(x)


def block(channels: int, features: int) -> nn.Sequential:
    """Two convolutions with instance norm and ReLU."""
    layers: list[nn.Module] = []
    for width in (channels, features):
        norm = nn.InstanceNorm3d(features, affine=True)
        layers += [nn.Conv3d(width, features, 3, padding=1), norm, nn.ReLU()]
    return nn.Sequential(*layers)


def probabilities(logits: Tensor, head: str) -> Tensor:
    """What a head makes of logits."""
    return logits.sigmoid() if head == "sigmoid" else NormReLU()(logits)


def parameters(channels: Sequence[int]) -> int:
    """Count the parameters of a network."""
    with torch.device("meta"):
        return sum(one.numel() for one in UNet(channels).parameters())


def narrowed(count: int, levels: int = len(UNET)) -> tuple[int, ...]:
    """Channels that double, up to rounding, of the network of about `count` parameters."""
    widths = {
        tuple(round(first / 16 * 2**level) for level in range(levels)) for first in range(16, 257)
    }
    return min(sorted(widths), key=lambda channels: abs(parameters(channels) - count))


def main() -> None:
    """Print the counts."""
    lean = parameters(LUNET)
    for name, channels in (("U-Net", UNET), ("LUnet", LUNET), ("narrow U-Net", narrowed(lean))):
        count = parameters(channels)
        listed = ", ".join(map(str, channels))
        print(f"{name:>12}: {count:9,} parameters, {count / lean:5.1f} of LUnet's ({listed})")


if __name__ == "__main__":
    main()
