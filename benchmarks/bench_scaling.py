"""`sample_labels` against all that its time and memory may grow with, beside a copy of the labels.

One thing is varied at a time; the rest is a ball of 128³, the paper's noise and every thread. The
copy moves two bytes per voxel, the least that any code must. Expected per voxel: a fixed part that
fades with the size; no growth with items or classes; operations in proportion to the terms of the
last axis, n/b + 4.1, where the length scale b is short.
"""

import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from noise import NOISE

import gfnoise
from cases import AMPLITUDE, MIDDLE, SMALL, ball, cells
from gfnoise._cpu import _pool

SIDES = [16, 24] if SMALL else [32, 64, 128, 256, 512]
ITEMS = [1, 2] if SMALL else [1, 2, 4, 8, 16, 32]
ITEM = (16,) * 3 if SMALL else (64,) * 3
CLASSES = [2, 4] if SMALL else [2, 4, 8, 16, 32, 64]
LENGTH_SCALES = [4, 8] if SMALL else [1, 2, 4, 8, 16, 32]
THREADS = sorted({*(1 << i for i in range(_pool.threads().bit_length())), _pool.threads()})
SECONDS = 1.0  # for all rounds of a case, but three at least

both_orders = pytest.mark.parametrize("order", [0, 1])
cube = lru_cache(maxsize=1)(lambda side: ball((side,) * 3)[None])


@pytest.mark.parametrize("side", SIDES)
@both_orders
def test_voxels(race, order, side):
    measure(race, cube(side), order)


@pytest.mark.parametrize("items", ITEMS)
@both_orders
def test_items(race, order, items):
    measure(race, np.stack([ball(ITEM)] * items), order)


@pytest.mark.parametrize("classes", CLASSES)
@both_orders
def test_classes(race, order, classes):
    """Every border stays where it is."""
    measure(race, cells(MIDDLE, classes)[None], order)


@pytest.mark.parametrize("length_scale", LENGTH_SCALES)
@both_orders
def test_length_scale(race, order, length_scale):
    """In voxels."""
    noise = gfnoise.GaussianField(AMPLITUDE * MIDDLE[0], length_scale, ndim=3)
    measure(race, ball(MIDDLE)[None], order, noise)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("threads", THREADS)
def test_threads(race, monkeypatch, threads, side):
    monkeypatch.setattr(_pool, "threads", lambda: threads)
    measure(race, cube(side))


def measure(
    race: Any, labels: np.ndarray, order: int = 0, noise: gfnoise.GaussianField = NOISE
) -> None:
    """Verify, then time in turns with a copy; what both find goes into the JSON."""

    def sample() -> np.ndarray:
        return noise.sample_labels(labels, seed=range(len(labels)), order=order)

    verify(sample(), labels, noise, order)
    start = time.perf_counter()
    sample()
    rounds = int(np.clip(SECONDS / (time.perf_counter() - start), 3, 15))
    copy = copier(labels)
    copy()
    race.benchmark.extra_info |= {
        "copy_median": race.turns(sample, copy, rounds),
        "voxels": labels.size,
        "threads": _pool.threads(),
        "extra_bytes_per_voxel": race.extra_bytes(sample) / labels.size,
    }


def verify(sample: np.ndarray, labels: np.ndarray, noise: Any, order: int) -> None:
    """A part of the last item is the label at displaced points, by SciPy's votes."""
    shape = labels.shape[1:]
    centre = (int(0.8 * shape[0]), shape[1] // 2, shape[2] // 2)  # on the ball's border
    part = tuple(slice(i - 4, min(i + 4, n)) for i, n in zip(centre, shape, strict=True))
    field = noise.displacement(shape, seed=range(len(labels)), window=part)[-1]
    points, voted = np.mgrid[part] + field, 0
    for label in np.unique(sample[-1][part]):
        votes = scipy.ndimage.map_coordinates(
            labels[-1] == label, points, np.float32, order=order, mode="grid-constant"
        )
        assert (sample[-1][part][votes > 0.501] == label).all()
        voted += np.count_nonzero(votes > 0.501)
    assert voted > 0.5 * field[0].size


def copier(labels: np.ndarray) -> Callable[[], None]:
    """What copies the labels to memory that is there, by as many threads as are of use."""
    parts = min(_pool.threads(), max(1, labels.size >> 20))
    pairs = zip(
        np.array_split(np.empty_like(labels).ravel(), parts),
        np.array_split(labels.ravel(), parts),
        strict=True,
    )
    tasks = [partial(np.copyto, *pair) for pair in pairs]
    return lambda: _pool.run(tasks)
