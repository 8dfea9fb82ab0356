"""The pieces of work: their arrays, made alike in every process, and when a result is right."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cases import STRUCTURES


@dataclass(frozen=True)
class Noise:
    """The field to match, in voxels: white noise under a Gaussian filter of width `sigma`.

    The filter's autocorrelation is a Gaussian of variance 2 sigma²: the field's length scale is
    sqrt(2) sigma.
    """

    sigma: float
    std: float

    @property
    def length_scale(self) -> float:
        return math.sqrt(2) * self.sigma


def matched(side: int) -> Noise:
    """A filter of 8 voxels and a standard deviation of 4, at 128³."""
    return Noise(sigma=side / 16, std=side / 32)


@dataclass(frozen=True)
class Work:
    """So many (`count`) volumes of `side`³ voxels."""

    kind: str
    side: int
    count: int = 1
    structure: str = "ball"

    @property
    def voxels(self) -> int:
        return self.count * self.side**3

    def describe(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.kind} {self.count}×{self.side}³ {self.structure}"

    def arguments(self) -> tuple[Any, ...]:
        """What an adapter takes."""
        shape = (self.side,) * 3
        label = STRUCTURES[self.structure](shape)
        if self.kind == "noise":
            return np.stack([label] * self.count), matched(self.side)
        if self.kind == "marginals":
            classes = (14,) if self.structure == "organs" else ()
            return label, matched(self.side).std, *classes
        if self.kind == "svls":
            return label % 4, 4
        radii = np.linspace(0.2, 0.35, self.count) if self.count > 1 else [0.3]
        if self.kind == "decisions":
            return (np.stack([_soft_ball(shape, radius) for radius in radii]),)
        if self.kind == "staple":
            rng = np.random.default_rng(0)
            return (np.stack([_rater(shape, rng) for _ in range(self.count)]),)
        raise ValueError(f"no such work: {self.kind}")


def _distance(shape: tuple[int, ...], centre: Any = (0, 0, 0), stretch: Any = (1, 1, 1)) -> Any:
    axes = np.ogrid[tuple(slice(-0.5 + 0.5 / n, 0.5, 1 / n) for n in shape)]
    parts = zip(axes, centre, stretch, strict=True)
    return np.sqrt(sum(((axis - c) / s) ** 2 for axis, c, s in parts))


def _soft_ball(shape: tuple[int, ...], radius: float) -> np.ndarray:
    """A map of probabilities, 1/2 at `radius`."""
    return (1 / (1 + np.exp((_distance(shape) - radius) / 0.02))).astype(np.float32)


def _rater(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A ball as someone outlines it: moved, stretched, a few voxels wrong."""
    distance = _distance(shape, rng.normal(0, 0.02, 3), rng.normal(1, 0.05, 3))
    return ((distance < 0.3) ^ (rng.random(shape) < 0.001)).astype(np.uint8)


def verify(work: Work, ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> None:
    """Raise ValueError if a peer's result is not that of the same work."""
    if theirs.shape != ours.shape:
        raise ValueError(f"its result has shape {theirs.shape}, ours {ours.shape}")
    if work.kind == "decisions":
        (maps,) = work.arguments()
        apart = np.max(_dice(ours, maps) - _dice(theirs, maps))
    else:
        apart = np.max(np.abs(ours - theirs))
    if not apart <= tolerance:
        raise ValueError(f"its result differs by {apart:.2g} from ours, more than {tolerance:g}")


def _dice(masks: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """The Dice of each mask with its map, D_m: what the papers maximise."""
    axes = (1, 2, 3)
    masks = masks.astype(bool)
    both = np.sum(maps * masks, axes, dtype=np.float64)
    return 2 * both / (np.sum(maps, axes, dtype=np.float64) + masks.sum(axes))
