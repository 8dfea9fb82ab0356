"""How far a field reaches: a bound that holds."""

from __future__ import annotations

import numpy as np
import pytest

from gfnoise import GaussianField
from gfnoise._cpu import field as kernels
from gfnoise._dask import reach
from gfnoise._window import whole

pytestmark = pytest.mark.cpu


@pytest.mark.parametrize(
    ("shape", "length"),
    [
        ((90, 80), 30.0),
        ((300, 200), 9.0),
        ((60, 50, 70), 15.0),
        ((40, 40, 40), 1.3),
        ((20, 30), 1e9),
    ],
)
def test_no_field_reaches_further_than_its_bound(shape: tuple[int, ...], length: float) -> None:
    ndim, items, a = len(shape), 6, 1e4
    streams = {
        "seeds": np.arange(items, dtype=np.uint64),
        "numbers": np.zeros(items, np.uint32),
        "amplitude": np.full((items, ndim), a),
        "length_scale": np.full((items, ndim), length),
    }
    bound = reach.reach(kernels, **streams, raters=2, window=whole(shape))
    moves = GaussianField(a, length, ndim=ndim).displacement(shape, 2, seed=[*range(items)])
    furthest = abs(moves).max(axis=(0, 1, *range(3, moves.ndim)))
    assert np.all(np.ceil(furthest) <= bound)
    assert max(bound) < 7 * a  # no more than it should be: the largest of 1e5 normals is 4.4


@pytest.mark.parametrize("angle", [0.25, 0.65])
def test_the_bound_of_a_coarse_grid_holds(angle: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the grid is much coarser than the voxels, and in slabs."""
    monkeypatch.setattr(reach, "_ANGLES", (angle,))
    monkeypatch.setattr(reach, "_HELD", 500)
    shape, a = (150, 160), 1e4
    for seed in range(5):
        streams = {
            "seeds": np.array([seed], np.uint64),
            "numbers": np.zeros(1, np.uint32),
            "amplitude": np.full((1, 2), a),
            "length_scale": np.full((1, 2), 25.0),
        }
        bound = reach.reach(kernels, **streams, raters=1, window=whole(shape))
        move = GaussianField(a, 25.0, ndim=2).displacement(shape, seed=seed)
        assert np.all(abs(move).max(axis=(1, 2)) < bound)
