"""The normals of the CPU's kernels, against mathematical functions of more digits."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest

from gfnoise._cpu import _random

pytestmark = pytest.mark.cpu


@numba.njit
def pairs(first: np.ndarray, second: np.ndarray, out: np.ndarray) -> None:
    for i in range(first.size):
        out[0, i], out[1, i] = _random.normal_pair(first[i], second[i])


def edges(count: int) -> np.ndarray:
    """Words next to the powers of two, to where quarters of a turn meet, and any others."""
    powers = 2 ** np.arange(33)
    eighths = np.arange(9) * 2**29
    root = round(2**32 / math.sqrt(2)) + np.zeros(1, np.int64)
    near = np.concatenate([powers, eighths, root])[:, None] + np.arange(-3, 4)
    others = np.random.default_rng(0).integers(0, 2**32, count)
    return np.concatenate([near[(near >= 0) & (near < 2**32)], others]).astype(np.uint32)


@pytest.mark.skipif(
    np.finfo(np.longdouble).eps == np.finfo(np.float64).eps, reason="has no float of more digits"
)
def test_normals_of_words_at_the_edges() -> None:
    words = edges(100_000)
    first, second = words, np.random.default_rng(1).permutation(words)
    found = np.empty((2, words.size))
    pairs(first, second, found)
    parts = [(word.astype(np.longdouble) + 0.5) / 2**32 for word in (first, second)]
    radius = np.sqrt(-2 * np.log(parts[0]))
    angle = 8 * np.arctan(np.longdouble(1)) * parts[1]
    for got, wave in zip(found, (np.cos(angle), np.sin(angle)), strict=True):
        assert np.abs(got / radius - wave).max() < 7e-16
    assert np.abs(np.hypot(*found) / radius - 1).max() < 7e-16
    assert np.abs(found).max() > 5
