"""`sample_labels` against Listing 2 of Nordström et al. 2023."""

import numpy as np
import pytest
from noise import NOISE

import gfnoise
import listings
from cases import AMPLITUDE, LENGTH_SCALE, MIDDLE, SHAPES, STRUCTURES, shape_id


def listing(labels: np.ndarray, order: int = 1, length_scale: float = LENGTH_SCALE) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack(
        [
            listings.noisy_sample(one, AMPLITUDE, length_scale, rng, order=order)
            for one in labels.reshape(-1, *labels.shape[-3:])
        ]
    )


def check(labels: np.ndarray, order: int, noise: gfnoise.GaussianField = NOISE):
    """The sample is the label moved by its field, and moved as much as the listing moves it."""

    def verify(sample: np.ndarray, expected: np.ndarray) -> None:
        field = noise.displacement(labels.shape[-3:], seed=range(len(labels)))
        np.testing.assert_array_equal(sample, gfnoise.warp_labels(labels, field, order=order))
        ours, theirs = (np.mean(noisy != labels) for noisy in (sample, expected))
        assert 0.5 * theirs < ours < 2 * theirs

    return verify


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
def test_sample_labels(race, shape, order):
    labels = STRUCTURES["ball"](shape)[None]
    race(
        lambda: NOISE.sample_labels(labels, seed=[0], order=order),
        lambda: listing(labels),
        name="Listing 2, order 1",
        voxels=labels.size,
        verify=check(labels, order),
    )


@pytest.mark.parametrize("structure", ["nodule", "organs"])
def test_structure(race, structure):
    labels = STRUCTURES[structure](MIDDLE)[None]
    race(
        lambda: NOISE.sample_labels(labels, seed=[0], order=1),
        lambda: listing(labels),
        name="Listing 2, order 1",
        voxels=labels.size,
        verify=check(labels, 1),
    )


@pytest.mark.parametrize("shape", SHAPES[::2], ids=shape_id)
def test_eight_items(race, shape):
    labels = np.stack([STRUCTURES["ball"](shape)] * 8)
    race(
        lambda: NOISE.sample_labels(labels, seed=range(8), order=1),
        lambda: listing(labels),
        name="Listing 2, order 1, item by item",
        voxels=labels.size,
        verify=check(labels, 1),
    )


def test_cubic_spline(race):
    """SciPy's default spline order, which Listing 2 leaves in place."""
    labels = STRUCTURES["ball"](MIDDLE)[None]
    race(
        lambda: NOISE.sample_labels(labels, seed=[0], order=1),
        lambda: listing(labels, order=3),
        name="Listing 2, order 3",
        voxels=labels.size,
        verify=check(labels, 1),
    )


def test_short_length_scale(race):
    """Of one voxel: the field has as many terms as the label has voxels, the filter few taps."""
    labels, b = STRUCTURES["ball"](MIDDLE)[None], 1 / MIDDLE[0]
    noise = gfnoise.GaussianField(AMPLITUDE, b, spacing="unit", ndim=3)
    race(
        lambda: noise.sample_labels(labels, seed=[0], order=1),
        lambda: listing(labels, length_scale=b),
        name="Listing 2, order 1",
        voxels=labels.size,
        verify=check(labels, 1, noise),
    )
