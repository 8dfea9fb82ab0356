"""Values that another thread changes once they are checked: kernels stay within their tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gfnoise._cpu import metrics, raters, thresholding, volumes

ROOM = 1000
"""Entries around a table: some value of ours would reach them."""


class Framed:
    """A table of zeros within a larger array, whose other entries must stay zero."""

    def __init__(self, *shape: int) -> None:
        self._memory = np.zeros((shape[0] + 2 * ROOM, *shape[1:]), np.int64)
        self.table = self._memory[ROOM:-ROOM]

    def around(self) -> Any:
        return self._memory[:ROOM].any() or self._memory[-ROOM:].any()


def test_votes_of_more_than_the_raters() -> None:
    framed = Framed(4)
    thresholding._levels(np.array([0, 3, 4, 255], np.uint8), framed.table, 0, 4)
    assert framed.table.tolist() == [1, 0, 0, 3]
    assert not framed.around()


def test_labels_of_no_class() -> None:
    framed = Framed(3, 3)
    prediction, target = np.array([[0, 2, 200, 1], [0, 9, 2, 250]], np.uint8)
    metrics._overlap(prediction, target, framed.table, 0, 4)
    assert framed.table.tolist() == [[1, 1, 1], [0, 1, 0], [2, 2, 3]]
    assert not framed.around()


def test_patterns_of_more_labels_than_there_are() -> None:
    framed = Framed(5)
    patterns = np.array([0, 4, 5, 900], np.uint16)
    raters._count(patterns, framed.table, 0, 4)
    assert framed.table.tolist() == [1, 0, 0, 0, 3]
    assert not framed.around()

    memory = np.full((2, 5 + ROOM), np.nan)
    table = np.ascontiguousarray(memory)[:, :5]
    table[:] = np.arange(10).reshape(2, 5)
    found = np.empty((2, 4))
    raters._look_up(patterns, table, found, 0, 4)
    assert found.tolist() == [[0, 4, 4, 4], [5, 9, 9, 9]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_above_one(dtype: Any) -> None:
    framed = Framed((volumes.OCTAVES << volumes.OCTAVE) + 1, 5)
    values = np.array([0.5, 1.0, 1.5, 7.0], dtype)
    size = values.itemsize
    shift = volumes._FRACTION[size] - volumes.OCTAVE
    offset = volumes._BIAS[size] << volumes.OCTAVE
    volumes._histogram(values.view(f"u{size}"), shift, offset, framed.table, 0, 4)
    assert framed.table[-1, 0] == 3
    assert framed.table[:, 0].sum() == 4
    assert not framed.around()
