"""`gaussian_filter` and `marginals` against SciPy and Listing 1 of Nordström et al. 2023."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from noise import NOISE

import gfnoise
import listings
from cases import AMPLITUDE, MIDDLE, SHAPES, STRUCTURES, shape_id


def close(result: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(result, expected, atol=1e-6)


def as_sampled(labels: np.ndarray, **options: Any) -> Callable[[np.ndarray, np.ndarray], None]:
    """Verify integrated weights by sampled ones, SciPy's: they differ by 1 / (24 sigma²)."""

    def verify(result: np.ndarray, expected: np.ndarray) -> None:
        close(NOISE.marginals(labels, method="sampled", **options), expected)
        np.testing.assert_allclose(result, expected, atol=0.06)

    return verify


@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
def test_marginals(race, shape):
    labels = STRUCTURES["ball"](shape)
    sigma = AMPLITUDE * np.array(shape)
    race(
        lambda: NOISE.marginals(labels),
        lambda: scipy.ndimage.gaussian_filter(labels.astype(np.float32), sigma, mode="constant"),
        name="scipy.ndimage.gaussian_filter, float32",
        voxels=labels.size,
        verify=as_sampled(labels),
    )


def test_listing_1(race):
    labels = STRUCTURES["ball"](MIDDLE)
    race(
        lambda: NOISE.marginals(labels, method="sampled"),
        lambda: listings.noisy_marginals(labels, AMPLITUDE),
        name="Listing 1",
        voxels=labels.size,
        verify=close,
    )


def test_classes(race):
    labels = STRUCTURES["organs"](MIDDLE)

    def one_hot() -> np.ndarray:
        sigma = AMPLITUDE * MIDDLE[0]
        return np.stack(
            [
                scipy.ndimage.gaussian_filter(
                    (labels == label).astype(np.float32),
                    sigma,
                    mode="constant",
                    cval=float(label == 0),
                )
                for label in range(14)
            ]
        )

    race(
        lambda: NOISE.marginals(labels, num_classes=14),
        one_hot,
        name="scipy.ndimage.gaussian_filter, float32, class by class",
        voxels=labels.size,
        verify=as_sampled(labels, num_classes=14),
    )


@pytest.mark.parametrize("sigma", [1, 2, 4, 8])
def test_gaussian_filter(race, sigma):
    image = np.random.default_rng(0).random(MIDDLE, np.float32)
    race(
        lambda: gfnoise.gaussian_filter(image, sigma),
        lambda: scipy.ndimage.gaussian_filter(image, sigma),
        name="scipy.ndimage.gaussian_filter, float32",
        voxels=image.size,
        verify=close,
    )


def test_gaussian_filter_of_labels(race):
    labels = STRUCTURES["ball"](MIDDLE)
    race(
        lambda: gfnoise.gaussian_filter(labels, 2.56),
        lambda: scipy.ndimage.gaussian_filter(labels, 2.56, output=np.float32),
        name="scipy.ndimage.gaussian_filter, uint8 to float32",
        voxels=labels.size,
        verify=close,
    )


def test_gaussian_filter_of_a_line(race):
    """A single line is filtered by a single thread."""
    line = np.random.default_rng(0).random(1 << 21, np.float32)
    race(
        lambda: gfnoise.gaussian_filter(line, 4),
        lambda: scipy.ndimage.gaussian_filter(line, 4),
        name="scipy.ndimage.gaussian_filter, float32",
        voxels=line.size,
        verify=close,
    )
