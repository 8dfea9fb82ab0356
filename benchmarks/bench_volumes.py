"""`volume_range`, `volume_curves` and `expected_score` against a sort and against samples at once.

Expected of a float32 map, in bytes per voxel: 12 for the threshold and 4 for the sizes; 8 for the
range check and the histogram, whose tables stay in cache.
"""

import numpy as np
import pytest
from noise import NOISE

import gfnoise
from cases import MIDDLE, SHAPES, STRUCTURES, shape_id


def sorted_range(m: np.ndarray) -> np.ndarray:
    """Threshold by Listing 3's sort, in float64, and the sizes of both level sets."""
    psi = np.flip(np.sort(m.ravel()))
    t = np.max(np.cumsum(psi) / (psi.sum() + np.arange(1, psi.size + 1)))
    return np.array([np.count_nonzero(m > t), np.count_nonzero(m >= t), m.sum()])


def sorted_curves(m: np.ndarray) -> np.ndarray:
    """Best accuracy and Dice at every volume, by a sort in float64."""
    psi = np.flip(np.sort(m.ravel()))
    mass, size = np.append(0, np.cumsum(psi)), np.arange(psi.size + 1)
    return np.stack([(m.size - mass[-1] - size + 2 * mass) / m.size, 2 * mass / (mass[-1] + size)])


def same_best(result: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(result.max(1), expected.max(1), rtol=1e-4)


@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
def test_volume_range(race, shape):
    m = NOISE.marginals(STRUCTURES["ball"](shape))
    wide = m.astype(np.float64)
    race(
        lambda: np.array(gfnoise.volume_range(m)[:3]),
        lambda: sorted_range(wide),
        name="a sort in float64",
        voxels=m.size,
        verify=lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-10),
    )


@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
@pytest.mark.parametrize("exact", [False, True], ids=["binned", "exact"])
def test_volume_curves(race, shape, exact):
    m = NOISE.marginals(STRUCTURES["ball"](shape))
    wide = m.astype(np.float64)

    def knots() -> np.ndarray:
        curves = gfnoise.volume_curves(m, exact=exact)
        return np.stack([curves.accuracy(curves.volumes), curves.dice(curves.volumes)])

    race(
        knots,
        lambda: sorted_curves(wide),
        name="a sort in float64",
        voxels=m.size,
        verify=same_best,
    )


def test_expected_score(race):
    """Where memory is not the matter, drawing all samples at once is as quick."""
    label = STRUCTURES["ball"](MIDDLE)
    mask, n = label > 0, 16

    def at_once() -> np.ndarray:
        samples = NOISE.sample_labels(label, seed=0, n=n)
        scores = gfnoise.score(np.broadcast_to(mask, samples.shape), samples, ndim=3)
        return np.array([scores.mean(), scores.std(ddof=1) / np.sqrt(n)])

    def close(ours: np.ndarray, theirs: np.ndarray) -> None:
        assert abs(ours[0] - theirs[0]) < 6 * np.hypot(ours[1], theirs[1])

    race(
        lambda: np.array(gfnoise.expected_score(mask, label, NOISE, n=n, seed=0)),
        at_once,
        name="sample_labels and score, all samples at once",
        voxels=n * label.size,
        verify=close,
    )
