"""`optimal_threshold` and `optimal_segmentation` against Listing 3 of Nordström et al. 2023."""

import numpy as np
import pytest
from noise import NOISE

import gfnoise
import listings
from cases import MIDDLE, SHAPES, STRUCTURES, shape_id


def sorted_threshold(m: np.ndarray) -> np.ndarray:
    """Listing 3 up to its threshold, in float64."""
    psi = np.flip(np.sort(m.ravel()))
    return np.asarray(np.max(np.cumsum(psi) / (psi.sum() + np.arange(1, psi.size + 1))))


def close(result: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(result, expected, rtol=1e-10)


@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_optimal_threshold(race, shape, dtype):
    m = NOISE.marginals(STRUCTURES["ball"](shape)).astype(dtype)
    wide = m.astype(np.float64)
    race(
        lambda: gfnoise.optimal_threshold(m),
        lambda: sorted_threshold(wide),
        name="Listing 3, float64",
        voxels=m.size,
        verify=close,
    )


def test_optimal_segmentation(race):
    m = NOISE.marginals(STRUCTURES["ball"](MIDDLE))
    race(
        lambda: gfnoise.optimal_segmentation(m),
        lambda: listings.dice_optimal(m),
        name="Listing 3, float64",
        voxels=m.size,
        verify=np.testing.assert_array_equal,
    )


def test_many_small_maps(race):
    """A sort of a kilobyte is quick, and the descent has its tables to clear."""
    m = np.random.default_rng(0).random((512, 32, 32), np.float32) ** 4
    race(
        lambda: gfnoise.optimal_threshold(m, ndim=2),
        lambda: np.array([sorted_threshold(one.astype(np.float64)) for one in m]),
        name="Listing 3, float64, map by map",
        voxels=m.size,
        verify=close,
    )
