"""Training samples: an image and its target, moved together at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

import gfnoise
import targets
from gfnoise.torch import item_seed
from phantoms import Case
from settings import Settings

SHIFT = 1 / 16  # of the side, at most, along each axis
ANGLE = np.pi / 12  # at most, about each axis
SMOOTHING = 1 / 64  # of the side: the largest sigma


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """Images and targets (1, z, y, x) of an epoch, a function of the seeds, epoch and index."""

    def __init__(self, cases: Sequence[Case], settings: Settings):
        self.cases, self.settings, self.epoch = cases, settings, 0

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        settings, case = self.settings, self.cases[index]
        image, target = case.image, targets.target(case, settings, self.epoch, index)
        seed = item_seed(settings.stream("augmentation"), self.epoch, index)
        rng = np.random.default_rng(seed)
        if rng.random() < settings.augment:
            image, target = augmented(image, target, rng)
        return torch.from_numpy(image)[None], torch.from_numpy(target)[None]


def augmented(
    image: np.ndarray, target: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Shift and rotate both, smooth the image. A target of zeros and ones remains one."""
    size = np.array(image.shape)
    coordinates = moved_grid(image.shape, rng.uniform(-ANGLE, ANGLE, 3), rng.uniform(-1, 1, 3))
    image = gfnoise.map_coordinates(image, coordinates, order=1, mode="nearest")
    soft = bool(((target != 0) & (target != 1)).any())
    target = gfnoise.map_coordinates(target, coordinates, order=int(soft), mode="nearest")
    sigma = rng.uniform(0, SMOOTHING) * size
    return gfnoise.gaussian_filter(image, sigma.tolist(), mode="nearest"), target


def moved_grid(shape: Sequence[int], angles: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Where a turned and shifted grid lies: (3, z, y, x), in voxels."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = (k for k in range(3) if k != axis)
        one = np.eye(3)
        one[[i, j, i, j], [i, j, j, i]] = (
            np.cos(angle),
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
        )
        turn = turn @ one
    middle = (np.array(shape) - 1) / 2
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) - middle
    moved = grid @ turn.T + middle + shares * SHIFT * np.array(shape)
    return np.ascontiguousarray(np.moveaxis(moved, -1, 0), np.float32)
