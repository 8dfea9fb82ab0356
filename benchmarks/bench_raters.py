"""STAPLE against SimpleITK's, the other fusions against NumPy."""

import numpy as np
import pytest
import SimpleITK as sitk

import gfnoise
from cases import AMPLITUDE, LENGTH_SCALE, MIDDLE, STRUCTURES

RATERS = 4
NOISE = gfnoise.GaussianField(2 * AMPLITUDE, LENGTH_SCALE, spacing="unit", ndim=3)


def masks() -> np.ndarray:
    return NOISE.sample_labels(STRUCTURES["ball"](MIDDLE), seed=0, n=RATERS)


def test_staple(race):
    raters = masks()
    images = [sitk.GetImageFromArray(mask) for mask in raters]
    fuse = sitk.STAPLEImageFilter()
    fuse.SetForegroundValue(1)

    def verify(result: np.ndarray, expected: np.ndarray) -> None:
        np.testing.assert_allclose(result, expected, atol=2e-4)  # SimpleITK stops earlier
        assert np.array_equal(result >= 0.5, expected >= 0.5)

    race(
        lambda: gfnoise.staple(raters).probability,
        lambda: sitk.GetArrayFromImage(fuse.Execute(images)),
        name="SimpleITK STAPLEImageFilter",
        voxels=raters[0].size,
        verify=verify,
    )


@pytest.mark.parametrize(
    ("method", "reference"),
    [
        ("average", lambda m: m.mean(0, dtype=np.float32)),
        ("majority", lambda m: (2 * m.sum(0, dtype=np.uint8) >= RATERS).astype(np.uint8)),
        ("union", lambda m: m.max(0)),
    ],
    ids=["average", "majority", "union"],
)
def test_fuse_raters(race, method, reference):
    raters = masks()
    race(
        lambda: gfnoise.fuse_raters(raters, method),
        lambda: reference(raters),
        name="NumPy",
        voxels=raters[0].size,
        verify=np.testing.assert_array_equal,
    )
