"""What the public functions take of CuPy, and what they refuse, beyond `test_gpu.py`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_gpu import IMAGE, LABELS, MOVE, NOISE, SEEDS, assert_alike, assert_no_wait

import gfnoise
from devices import GPU
from gfnoise import GaussianField
from gfnoise.metrics import composite_score, search_threshold

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not GPU, reason="no GPU, or no CuPy")]
if GPU:
    import cupy

LABELS, IMAGE, MOVE = (
    np.ascontiguousarray(one[..., :10, :18, :30]) for one in (LABELS, IMAGE, MOVE)
)
SHAPE = LABELS.shape[1:]


@functools.cache
def there(library: Any) -> Any:
    """The seeds, brought to the device once: that may wait."""
    return library.asarray(SEEDS)


# Functions of (cupy, labels, image, move), or of NumPy in place of CuPy. Of fields that are drawn:
DRAWN: dict[str, Callable[..., Any]] = {
    "a layout of its own": lambda xp, labels, image, move: NOISE.sample_labels(
        labels, seed=SEEDS, n=2, out=xp.empty((2, *SHAPE, 2), np.uint8).transpose(0, 4, 1, 2, 3)
    ),
    "labels that lie otherwise": lambda xp, labels, image, move: NOISE.sample_labels(
        labels.transpose(0, 3, 2, 1), seed=1
    ),
    "seeds there": lambda xp, labels, image, move: NOISE.sample_labels(
        labels, seed=there(xp), order=1
    ),
    "one seed there": lambda xp, labels, image, move: NOISE.displacement(
        (8, 9, 10), seed=xp.asarray(np.int64(4))
    ),
    "parameters per item": lambda xp, labels, image, move: GaussianField(
        [[1.0], [2.0]], [[3.0], [4.0]], ndim=3
    ).sample_labels(labels, seed=[1, 2], window=(slice(2, 9), slice(0, 18, 2), slice(3, 25))),
}
# Of none:
CALLS: dict[str, Callable[..., Any]] = {
    "bool": lambda xp, labels, image, move: NOISE.marginals(labels > 0),
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


@pytest.mark.parametrize("name", [*DRAWN, *CALLS])
def test_results_are_those_of_numpy_and_nothing_is_waited_for(name: str) -> None:
    call, arrays = {**DRAWN, **CALLS}[name], [cupy.asarray(one) for one in (LABELS, IMAGE, MOVE)]
    expected, found = call(np, LABELS, IMAGE, MOVE), call(cupy, *arrays)
    if name in DRAWN:
        assert_alike(found, expected, atol=1e-4)
    else:
        assert isinstance(found, cupy.ndarray)
        assert found.dtype == expected.dtype
        tolerance = 1e-6 if expected.dtype.kind == "f" else 0
        np.testing.assert_allclose(found.get(), expected, rtol=tolerance, atol=tolerance)
    del found  # so that there is room for another: an allocation may wait
    assert_no_wait(lambda: call(cupy, *arrays))


class Handed:
    """An array by its address alone, as a tensor is."""

    def __init__(self, array: Any) -> None:
        self.owner, self.__cuda_array_interface__ = array, array.__cuda_array_interface__


def test_outputs_that_overlap_by_their_addresses() -> None:
    rows = cupy.zeros((80, 40), np.uint8)
    noise = GaussianField(2.0, 5.0, ndim=2)
    whole, first, second = (cupy.asarray(Handed(one)) for one in (rows, rows[:40], rows[40:]))
    assert noise.sample_labels(first, seed=0, out=second) is second
    even, odd = (cupy.asarray(Handed(rows[start::2])) for start in (0, 1))
    assert noise.sample_labels(even, seed=0, out=odd) is odd
    for out in (rows[20:60], whole[39:79], rows[1:41, ::-1]):
        with pytest.raises(ValueError, match="out must not share memory with labels"):
            noise.sample_labels(first, seed=0, out=cupy.asarray(Handed(out)))


def test_arrays_of_the_device_are_no_parameters() -> None:
    one = cupy.asarray(1.0)
    for call in (
        lambda: GaussianField(one, 3.0, ndim=2),
        lambda: GaussianField(1.0, [one, one], ndim=2),
        lambda: NOISE.sample_labels(LABELS, seed=[cupy.asarray(3), 4]),
        lambda: gfnoise.gaussian_filter(cupy.asarray(IMAGE), [one] * 4),
    ):
        with pytest.raises(TypeError, match=r"^\w+ must be"):
            call()
    for given in ((cupy.ones((3, 2)),), (np.ones((3, 2)), cupy.ones(2))):
        with pytest.raises(NotImplementedError, match=r"^composite_score has no kernels for CuPy"):
            composite_score(*given)
    with pytest.raises(TypeError, match=r"^search_threshold takes arrays of one library"):
        search_threshold(IMAGE, IMAGE > 0.5, thresholds=cupy.asarray([0.5]), ndim=2)
    mask = LABELS[0] > 0
    for seeded in (
        lambda seed: gfnoise.expected_score(mask, mask, NOISE, n=3, seed=seed),
        lambda seed: gfnoise.fuse_raters(LABELS > 0, "random", seed=seed),
    ):
        with pytest.raises(TypeError, match=r"of numpy, seed of cupy"):
            seeded(cupy.asarray(3))


class Named(cupy.ndarray if GPU else object):
    """A class of one's own."""


def test_classes_of_arrays() -> None:
    labels, image = cupy.asarray(LABELS), cupy.asarray(IMAGE)
    expected = NOISE.sample_labels(labels, seed=SEEDS)
    assert (NOISE.sample_labels(labels.view(Named), seed=SEEDS) == expected).all()
    out = cupy.empty_like(labels).view(Named)
    assert NOISE.sample_labels(labels, seed=SEEDS, out=out) is out
    assert (out == expected).all()
    masks = gfnoise.optimal_segmentation(image.view(Named), ndim=3)
    assert (masks == gfnoise.optimal_segmentation(image, ndim=3)).all()
