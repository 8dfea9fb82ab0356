"""`map_coordinates` and `warp_labels` against SciPy's `map_coordinates`."""

import numpy as np
import pytest
import scipy.ndimage
from noise import NOISE

import gfnoise
from cases import MIDDLE, STRUCTURES

SHAPE = MIDDLE


def coordinates(dtype: str) -> np.ndarray:
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"))
    return (grid + NOISE.displacement(SHAPE, seed=0)).astype(dtype)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_map_coordinates(race, order, dtype):
    image = np.random.default_rng(0).random(SHAPE, np.float32)
    at = coordinates(dtype)
    race(
        lambda: gfnoise.map_coordinates(image, at, order=order),
        lambda: scipy.ndimage.map_coordinates(image, at, order=order),
        name="scipy.ndimage.map_coordinates",
        voxels=image.size,
        verify=lambda result, expected: np.testing.assert_allclose(result, expected, atol=1e-6),
    )


@pytest.mark.parametrize("order", [0, 1])
def test_warp_labels(race, order):
    labels, at = STRUCTURES["ball"](SHAPE), coordinates("float64")
    field = NOISE.displacement(SHAPE, seed=0)

    def verify(result: np.ndarray, expected: np.ndarray) -> None:
        """Equal but for ties, and for SciPy's border: within half a voxel it is outside."""
        assert np.mean(result[8:-8, 8:-8, 8:-8] != expected[8:-8, 8:-8, 8:-8]) < 1e-4

    race(
        lambda: gfnoise.warp_labels(labels, field, order=order),
        lambda: np.round(scipy.ndimage.map_coordinates(labels, at, np.float32, order=order)).astype(
            np.uint8
        ),
        name="scipy.ndimage.map_coordinates, rounded",
        voxels=labels.size,
        verify=verify,
    )
