"""Phantoms of three organs, drawn from formulas: a label, and an image that carries its border."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import gfnoise

ORGANS = ("kidney", "aorta", "esophagus")
WINDOW = 300.0  # HU: images are clipped to +-WINDOW and divided by it
FAT, MUSCLE, BONE, LUNG = -100.0, 30.0, 200.0, -700.0  # HU
INTENSITY = {"kidney": 120.0, "aorta": 140.0, "esophagus": 50.0}  # HU
BLUR = 0.6 / 64  # of the cube's side: the scanner's point spread
GRAIN = 1.5 / 64  # of the cube's side: the texture's correlation length
TEXTURE, NOISE = 12.0, 10.0  # HU


@dataclass(frozen=True, eq=False)
class Case:
    """A patch: an image near [-1, 1], its clean label, and its raters' masks where it has any."""

    name: str
    image: np.ndarray  # float32 (z, y, x)
    label: np.ndarray  # uint8 (z, y, x)
    raters: np.ndarray | None = None  # uint8 (raters, z, y, x)


class Phantoms(Sequence[Case]):
    """Phantoms of an organ, numbered: each follows from the seeds, its number and the size alone.

    All lengths are shares of the cube's side, and all positions those of voxel centres in it. So
    a phantom of another size is the same organ on another grid, with other noise in its image.
    """

    def __init__(self, organ: str, count: int, size: int, seeds: Sequence[int] = (0,)):
        if organ not in ORGANS:
            raise ValueError(f"organ must be one of {', '.join(ORGANS)}, got {organ!r}")
        if size < 8 or count < 1:
            raise ValueError(f"a phantom has 8 voxels a side at least, got {count} of size {size}")
        self.organ, self.count, self.size, self.seeds = organ, count, size, tuple(seeds)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Case:
        if not 0 <= index < self.count:
            raise IndexError(index)
        shape = np.random.default_rng([*self.seeds, ORGANS.index(self.organ), index])
        noise = np.random.default_rng([*self.seeds, ORGANS.index(self.organ), index, self.size])
        axis = (np.arange(self.size) + 0.5) / self.size - 0.5
        grid = np.meshgrid(axis, axis, axis, indexing="ij")
        inside = _SHAPES[self.organ](shape, *grid)
        image = _background(shape, self.organ, *grid, inside)
        image = np.where(inside > 0, INTENSITY[self.organ] + shape.normal(0, 8), image)
        image = _scanned(image.astype(np.float32), noise)
        name = f"{self.organ}-{'-'.join(map(str, self.seeds))}-{index:04d}"
        return Case(name, image, (inside > 0).astype(np.uint8))


def kidney(rng: np.random.Generator, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """An ellipsoid with a notch where the vessels enter; positive inside, as all shapes."""
    turn = rng.uniform(-0.4, 0.4)
    z, y = np.cos(turn) * z - np.sin(turn) * y, np.sin(turn) * z + np.cos(turn) * y
    radii = np.array([15, 9.5, 9.5]) / 64 * rng.uniform(0.9, 1.1, 3)
    body = 1 - np.sqrt(sum((w / r) ** 2 for w, r in zip((z, y, x), radii, strict=True)))
    depth, size = radii[2] * rng.uniform(1.1, 1.3), radii[2] * rng.uniform(0.4, 0.6)
    notch = np.sqrt(z**2 + y**2 + (x - depth) ** 2) / size - 1
    return np.minimum(body * radii.min(), notch * size)  # about a length


def aorta(rng: np.random.Generator, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A thick tube, radius 4 to 5.5 voxels of 64."""
    return tube(rng, z, y, x, radius=rng.uniform(4, 5.5) / 64, bend=3 / 64)


def esophagus(rng: np.random.Generator, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A thin tube, radius 2.3 to 3 voxels of 64, that bends more."""
    return tube(rng, z, y, x, radius=rng.uniform(2.3, 3) / 64, bend=5 / 64)


def tube(
    rng: np.random.Generator,
    z: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    *,
    radius: float,
    bend: float,
) -> np.ndarray:
    """A curved tube through the cube from end to end; its radius less the distance to its axis.

    The axis is a sine of about a wave in y and one in x. The distance is that in the plane of z,
    times the cosine of the axis' slope: right to first order of the curvature.
    """
    aside, slope = [], np.ones_like(z)
    for across in (y, x):
        height, wave, phase = rng.uniform(0.3, 1) * bend, rng.uniform(0.7, 1.4), rng.uniform(0, 1)
        turns = 2 * np.pi * (wave * z + phase)
        aside.append(across - height * np.sin(turns))
        slope += (height * 2 * np.pi * wave * np.cos(turns)) ** 2
    return radius - np.hypot(*aside) / np.sqrt(slope)


_SHAPES = {"kidney": kidney, "aorta": aorta, "esophagus": esophagus}
_NEIGHBOURS = {  # (HU, radius, distance from the middle), in voxels of 64
    "kidney": ((BONE, 7, 26), (90.0, 11, 27), (MUSCLE, 8, 24)),
    "aorta": ((BONE, 9, 18), (60.0, 4, 14), (LUNG, 12, 26)),
    "esophagus": ((BONE, 9, 20), (150.0, 5, 13), (LUNG, 10, 24)),
}


def _background(
    rng: np.random.Generator,
    organ: str,
    z: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    inside: np.ndarray,
) -> np.ndarray:
    """Fat with neighbours: round ones about a kidney, columns along a tube; none touches it."""
    image = np.full(z.shape, FAT)
    first = rng.uniform(0, 2 * np.pi)
    for number, (value, radius, distance) in enumerate(_NEIGHBOURS[organ]):
        angle = first + (number + rng.uniform(-0.2, 0.2)) * 2 * np.pi / 3
        size = radius * rng.uniform(0.85, 1.15) / 64
        across = np.hypot(y - distance / 64 * np.sin(angle), x - distance / 64 * np.cos(angle))
        along = z - rng.uniform(-0.15, 0.15) if organ == "kidney" else 0.25 * z
        image[np.hypot(across, along) < size] = value + rng.normal(0, 10)
    image[inside > -1.2 / 64] = FAT  # a rim of fat
    return image


def _scanned(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur, texture and noise; then as networks see it."""
    size = image.shape[0]
    grain = gfnoise.gaussian_filter(
        rng.standard_normal(image.shape, np.float32), max(GRAIN * size, 0.5), mode="wrap"
    )
    image = gfnoise.gaussian_filter(image, BLUR * size, mode="nearest")
    image += TEXTURE * grain / grain.std()
    image += NOISE * rng.standard_normal(image.shape, np.float32)
    return np.clip(image / WINDOW, -1, 1)
