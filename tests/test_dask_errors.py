"""Dask arrays that cannot be: the messages, and when they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("dask.array")

import dask
import dask.array as da

import gfnoise
from gfnoise import (
    GaussianField,
    gaussian_filter,
    optimal_segmentation,
    optimal_threshold,
    score,
)


def unknown() -> da.Array:
    array = da.zeros((20, 20), chunks=5, dtype=np.uint8)
    return array[array[:, 0] == 0]


LABELS = da.zeros((20, 20), chunks=5, dtype=np.uint8)
FIELD = GaussianField(1.0, 5.0, ndim=2)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: FIELD.sample_labels(unknown(), seed=1),
            ValueError,
            r"labels must be of known shape, got \(nan, 20\): call its compute_chunk_sizes\(\)",
        ),
        (
            lambda: FIELD.marginals(LABELS.astype(object)),
            TypeError,
            r"labels must be of bool or an integer dtype, got object of shape \(20, 20\)",
        ),
        (
            lambda: FIELD.marginals(da.ma.masked_array(LABELS, LABELS)),
            TypeError,
            r"labels must be a dask array of NumPy arrays, got one of numpy\.ma",
        ),
        (
            lambda: FIELD.sample_labels(LABELS, seed=[1, 2]),
            ValueError,
            r"one per item: 1 items, got 2 seeds",
        ),
        (
            lambda: FIELD.sample_labels(LABELS, seed=da.zeros(1, dtype=int)),
            TypeError,
            r"sample_labels takes a dask array as labels alone, got one as seed",
        ),
        (
            lambda: FIELD.sample_labels(LABELS.compute(), seed=1, out=LABELS),
            TypeError,
            r"sample_labels takes a dask array as labels alone, got one as out",
        ),
        (
            lambda: FIELD.sample_labels(LABELS, seed=1, out=np.empty((20, 20), np.uint8)),
            TypeError,
            r"sample_labels makes a new array of a dask array: out must be None, got ndarray",
        ),
        (
            lambda: gaussian_filter(LABELS, 1.0, output=np.empty((20, 20), np.float32)),
            TypeError,
            r"gaussian_filter makes a new array of a dask array: output must be a dtype",
        ),
        (
            lambda: FIELD.sample_labels(LABELS, seed=1, window=np.s_[:30, :]),
            ValueError,
            r"window must be 2 slices within the shape \(20, 20\)",
        ),
        (
            lambda: FIELD.sample_labels(LABELS, seed=1, full_shape=(40, 40)),
            ValueError,
            r"window must be the part of full_shape \(40, 40\) that the labels cover",
        ),
        (
            lambda: GaussianField(1.0, 5.0, ndim=3).marginals(LABELS),
            ValueError,
            r"labels must have at least ndim=3 axes, got 2",
        ),
        (lambda: gaussian_filter(LABELS, -1.0), ValueError, r"sigma must be"),
        (
            lambda: optimal_threshold(LABELS, "f1"),
            ValueError,
            r"metric must be one of 'dice', 'iou'",
        ),
        (
            lambda: optimal_threshold(da.zeros((2, 2, 2, 2), chunks=1)),
            ValueError,
            r"ndim must say how many of the last axes are space",
        ),
        (
            lambda: optimal_threshold(da.full((200, 200), 1.5, chunks=50)),
            ValueError,
            r"marginals must hold values in \[0, 1\] and no NaN, got a minimum of 1.5",
        ),
        (
            lambda: optimal_segmentation(da.full((200, 200), np.nan, chunks=50)),
            ValueError,
            r"marginals must hold values in \[0, 1\] and no NaN",
        ),
        (
            lambda: optimal_segmentation(da.full((99, 99), 7, chunks=50), raters=5),
            ValueError,
            r"marginals must hold values in \[0, 5\] and no NaN, got a minimum of 7",
        ),
        (
            lambda: FIELD.marginals(da.full((20, 20), 3, chunks=5)).compute(),
            ValueError,
            r"labels must be in \{0, 1\} \(or give num_classes\), got 3",
        ),
        (
            lambda: score(LABELS, LABELS),
            NotImplementedError,
            r"score takes no dask arrays, only sample_labels, marginals, gaussian_filter, opt",
        ),
        (
            lambda: gfnoise.warp_labels(LABELS, np.zeros((2, 20, 20))),
            NotImplementedError,
            r"warp_labels takes no dask arrays, only",
        ),
    ],
)
def test_bad_input_is_refused(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_the_experimental_arrays_are_refused() -> None:
    with (
        dask.config.set({"array.query-planning": True}),
        pytest.raises(NotImplementedError, match="without dask's setting array"),
    ):
        FIELD.marginals(LABELS)
