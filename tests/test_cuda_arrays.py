"""What the public functions do with CuPy's arrays, on the stand-in of `cuda_on_host.cupy_arrays`.

They take nothing of theirs for NumPy's, nor NumPy's for theirs, and never look at the values: a
device would have to be waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from test_gpu import IMAGE, LABELS, MOVE, NOISE, SEEDS, VERBS

import gfnoise
from cuda_on_host.cupy_arrays import in_place_of_cupy, ndarray
from gfnoise import GaussianField

LABELS, IMAGE, MOVE = (
    np.ascontiguousarray(one[..., :10, :18, :30]) for one in (LABELS, IMAGE, MOVE)
)
SHAPE = LABELS.shape[1:]


@pytest.fixture
def cupy() -> Iterator[Any]:
    with in_place_of_cupy() as module:
        yield module


# Further ways to call than test_gpu's, as functions of (cupy, labels, image, move); on the host,
# the same with NumPy for CuPy.
MORE: dict[str, Callable[..., Any]] = {
    "bool": lambda xp, labels, image, move: NOISE.marginals(labels > 0),
    "a layout of its own": lambda xp, labels, image, move: NOISE.sample_labels(
        labels, seed=SEEDS, n=2, out=xp.empty((2, *SHAPE, 2), np.uint8).transpose(0, 4, 1, 2, 3)
    ),
    "labels that lie otherwise": lambda xp, labels, image, move: NOISE.sample_labels(
        labels.transpose(0, 3, 2, 1), seed=1
    ),
    "seeds there": lambda xp, labels, image, move: NOISE.sample_labels(
        labels, seed=xp.asarray(SEEDS), order=1
    ),
    "one seed there": lambda xp, labels, image, move: NOISE.displacement(
        (8, 9, 10), seed=xp.asarray(np.int64(4))
    ),
    "parameters per item": lambda xp, labels, image, move: GaussianField(
        [[1.0], [2.0]], [[3.0], [4.0]], ndim=3
    ).sample_labels(labels, seed=[1, 2], window=(slice(2, 9), slice(0, 18, 2), slice(3, 25))),
    "float64": lambda xp, labels, image, move: gfnoise.warp_labels(
        labels, move.astype(np.float64), order=1, ignore_index=1
    ),
    "some axes": lambda xp, labels, image, move: gfnoise.gaussian_filter(
        image[:, ::2, :, ::-1], 1.0, axes=(0, 2), mode="wrap", output=np.float64
    ),
    "float16": lambda xp, labels, image, move: gfnoise.gaussian_filter(
        image.astype(np.float16), 1.0
    ),
    "exact integers": lambda xp, labels, image, move: gfnoise.map_coordinates(
        labels, move[0], order=0, output=np.uint8, cval=3
    ),
    "rounded integers": lambda xp, labels, image, move: gfnoise.map_coordinates(
        image * 1e30, move[0], output=np.int64, mode="nearest"
    ),
    "thresholds": lambda xp, labels, image, move: gfnoise.optimal_threshold(
        image.astype(np.float64), "volume", volume=0.3, ndim=3
    ),
    "accuracy": lambda xp, labels, image, move: gfnoise.optimal_segmentation(
        image, "accuracy", ndim=3
    ),
    "votes of many": lambda xp, labels, image, move: gfnoise.optimal_threshold(
        labels.astype(np.int32), "fbeta", beta=2.0, raters=300, ndim=3
    ),
    "first": lambda xp, labels, image, move: gfnoise.optimal_segmentation(
        image, "volume", ties="first", ndim=3, out=xp.empty((*SHAPE[::-1], 2), bool).T
    ),
    "score": lambda xp, labels, image, move: gfnoise.score(labels > 0, image, "iou", ndim=3),
    "nothing": lambda xp, labels, image, move: gfnoise.optimal_segmentation(image[:0], ndim=3),
}


@pytest.mark.parametrize("name", [*VERBS, *MORE])
def test_results_are_those_of_numpy_and_nothing_is_read(name: str, cupy: Any) -> None:
    arrays = [cupy.asarray(one) for one in (LABELS, IMAGE, MOVE)]
    before = ndarray.reads
    if name in VERBS:
        found, expected = VERBS[name](*arrays), VERBS[name](LABELS, IMAGE, MOVE)
        out = cupy.empty(found.shape, found.dtype)
        assert VERBS[name](*arrays, out=out) is out
        assert np.array_equal(out.values, found.values)
    else:
        found, expected = MORE[name](cupy, *arrays), MORE[name](np, LABELS, IMAGE, MOVE)
    assert ndarray.reads == before
    assert isinstance(found, ndarray)
    assert found.dtype == expected.dtype
    tolerance = 1e-6 if expected.dtype.kind == "f" else 0
    np.testing.assert_allclose(found.values, expected, rtol=tolerance, atol=tolerance)


def test_values_are_read_where_they_are_to_be_checked(cupy: Any) -> None:
    image = cupy.asarray(IMAGE + 0.5)
    gfnoise.check_values(True)
    try:
        with pytest.raises(ValueError, match=r"^marginals must hold values in \[0, 1\]"):
            gfnoise.optimal_threshold(image, ndim=3)
    finally:
        gfnoise.check_values(False)


def test_the_stand_in_refuses_what_cupy_refuses(cupy: Any) -> None:
    image = cupy.asarray(IMAGE)
    before = ndarray.reads
    for wrong in (
        lambda: np.asarray(image),
        lambda: image + IMAGE,
        lambda: np.add(IMAGE, image),
        lambda: np.cbrt(image),
        lambda: cupy.where(image > 0, IMAGE, 0.0),
    ):
        with pytest.raises(TypeError, match=r"Implicit|Unsupported|none of"):
            wrong()
    for missing in (lambda: cupy.lexsort, lambda: image.byteswap):
        with pytest.raises(AttributeError, match="none of the stand-in"):
            missing()
    assert ndarray.reads == before
    assert bool((image > -1).all())
    assert ndarray.reads == before + 1


def test_arrays_of_two_libraries_are_named(cupy: Any) -> None:
    with pytest.raises(TypeError, match="labels of cupy, out of numpy"):
        NOISE.sample_labels(cupy.asarray(LABELS), seed=0, out=np.empty_like(LABELS))
    with pytest.raises(TypeError, match="labels of numpy, seed of cupy"):
        NOISE.sample_labels(LABELS, seed=cupy.asarray(SEEDS))
