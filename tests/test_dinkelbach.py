"""Dinkelbach's passes: what a pass makes of a block, and maps whose sample misleads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import gfnoise
import oracles
from gfnoise._cpu import _dinkelbach, _maps, _pool

Map = NDArray[np.floating[Any]]
VOXELS = 40_000
STRIDE = round(_dinkelbach._GOLDEN * VOXELS ** (1 / 3)) | 1
SAMPLED = np.arange(VOXELS) % STRIDE == 0
SEVERAL = np.random.default_rng(2).random(VOXELS)


def survey(values: Map, low: float, high: float) -> tuple[NDArray[np.bool_], list[float]]:
    """The blocks near, and the sums, of one map."""
    maps = values[None]
    bounds = np.array([[low, high]], values.dtype)
    near = np.empty((1, -(-values.size // _maps.BLOCK)), np.bool_)
    sums = np.empty((1, 1, 3))
    _dinkelbach._survey(maps, bounds, near, sums, 0, 1, 0, values.size)
    return near[0], sums[0, 0].tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 7, 63, 64, 65, 128, 500])
@pytest.mark.parametrize(
    ("low", "high"), [(0.0, np.inf), (0.5, 0.5), (0.4, 0.6), (0.0, 0.5), (0.99, np.inf), (2.0, 3.0)]
)
def test_a_survey_sums_and_counts_what_is_not_near(
    dtype: Any, size: int, low: float, high: float
) -> None:
    values = np.linspace(0, 1, 500).astype(dtype)[:size]
    values[size // 2 :: 5] = -0.0
    near, (mass, inside, count) = survey(values, low, high)
    blocks = np.split(values, range(_maps.BLOCK, size, _maps.BLOCK))
    low, high = dtype(low), dtype(high)
    is_near = [bool(np.any((b > 0) & (b >= low) & (b < high))) for b in blocks]
    assert near.tolist() == is_near
    settled = [b for b, other in zip(blocks, is_near, strict=True) if not other]
    above = np.concatenate([np.zeros(0, dtype), *(b[b >= high] for b in settled)])
    assert count == above.size
    assert inside == pytest.approx(above.sum(dtype=np.float64), rel=1e-14)
    assert mass == pytest.approx(values.sum(dtype=np.float64), rel=1e-14)


# The sample is right, empty, of what is largest, of what is least, or of a single value that lies
# within the map's others: guesses above the threshold and below it.
MISLEADING: dict[str, Callable[[], Map]] = {
    "as the map": lambda: SEVERAL,
    "empty": lambda: np.where(SAMPLED, 0, SEVERAL),
    "empty, of few": lambda: np.where(SAMPLED | (SEVERAL < 0.999), 0, SEVERAL),
    "all ones": lambda: np.where(SAMPLED, 1, SEVERAL / 9),
    "dust": lambda: np.where(SAMPLED, 1e-6, SEVERAL),
    "a level": lambda: np.where(SAMPLED, 0.7, np.round(SEVERAL, 1)),
    "all there is": lambda: np.where(SAMPLED, SEVERAL, 0),
    "nothing": lambda: np.zeros(VOXELS),
    "ones": lambda: np.ones(VOXELS),
    "one voxel": lambda: np.where(np.arange(VOXELS) == 77, 0.3, 0),
    "subnormal": lambda: np.where(SAMPLED, 0, 1e-44 * np.round(9 * SEVERAL)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", MISLEADING)
@pytest.mark.parametrize("beta", [1e-3, 0.5, 1.0, 2.0])
def test_a_sample_that_misleads_costs_a_pass_and_no_more(
    kind: str, dtype: Any, beta: float
) -> None:
    m = MISLEADING[kind]().astype(dtype)
    expected = oracles.optimal_threshold_sorted(m, "fbeta", beta)
    found = gfnoise.optimal_threshold(m, "fbeta", beta=beta)
    assert found == pytest.approx(expected, rel=1e-12, abs=0)
    assert _dinkelbach._best(m[None], beta**2)[1] >= 0  # and not where a pass ended too early
    mask = gfnoise.optimal_segmentation(m, "fbeta", beta=beta)
    assert oracles.score(mask, m, "fbeta", beta) == pytest.approx(
        oracles.score(m.astype(np.float64) >= expected, m, "fbeta", beta), rel=1e-12
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    voxels=st.integers(8193, 60_000),
    power=st.floats(0.1, 30),
    levels=st.sampled_from([0, 3, 100]),
)
def test_large_maps_agree_with_the_oracles(
    seed: int, voxels: int, power: float, levels: int
) -> None:
    m = np.random.default_rng(seed).random((2, voxels)) ** power
    m = np.round(levels * m) / levels if levels else m
    for maps in (m, m.astype(np.float32)):
        found = gfnoise.optimal_threshold(maps, ndim=1)
        expected = (
            [oracles.optimal_threshold_exact(each)[0] for each in maps]
            if levels
            else [oracles.optimal_threshold_sorted(each) for each in maps]
        )
        np.testing.assert_allclose(found, np.array(expected, float), rtol=1e-12, atol=0)


def test_the_number_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    m = np.random.default_rng(3).random(1_000_003).astype(np.float32) ** 9
    found = set()
    for threads in (1, 2, 5):
        monkeypatch.setattr(_pool, "threads", lambda threads=threads: threads)
        found.add(gfnoise.optimal_threshold(m))
    assert len(found) == 1
    assert found.pop() == pytest.approx(oracles.optimal_threshold_sorted(m), rel=1e-12)


def test_ties_of_a_large_map() -> None:
    """1/5 is no float: the threshold is snapped to it, and both masks are optimal."""
    m = np.array([1.0] * 1000 + [1 / 5] * 15_000)
    assert gfnoise.optimal_threshold(m) == 1 / 5
    sizes = [gfnoise.optimal_segmentation(m, ties=ties).sum() for ties in ("smallest", "largest")]
    assert sizes == [1000, 16_000]
