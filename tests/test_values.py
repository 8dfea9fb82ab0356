"""What the checks learn of an array's values, wherever in it they are."""

from __future__ import annotations

import numpy as np
import pytest

import gfnoise
from gfnoise import _array

pytestmark = pytest.mark.cpu


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_extremes_are_found_wherever_they_are(dtype: type) -> None:
    """In the parts that threads look at, which are a power of two of bytes."""
    part = (1 << 19) // np.dtype(dtype).itemsize
    values = np.ones(2 * part + 1, dtype)
    for place in (0, part - 1, part, 2 * part - 1, 2 * part):
        for extreme in (0, 2):
            values[place] = extreme
            assert _array.extremes(values) == (min(extreme, 1), max(extreme, 1))
        values[place] = 1


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_one_stranger_is_found_anywhere(dtype: type) -> None:
    """In a label of several blocks, and of several tasks, whole or not."""
    shape = (3, 97, 231)
    for at in (0, 1, 4095, 4096, 40_000, (1 << 16) - 1, 1 << 16, 3 * 97 * 231 - 1):
        labels = np.zeros(shape, dtype)
        labels.flat[at] = 3
        with pytest.raises(ValueError, match=r"labels must be in \[0, 2\], got 3"):
            gfnoise.smooth_labels(labels, 3, 0.1)
        gfnoise.smooth_labels(labels, 3, 0.1, ignore_index=3)
        labels.flat[at] = np.iinfo(dtype).min
        if np.iinfo(dtype).min:
            with pytest.raises(ValueError, match=r"labels must be in \[0, 2\], got -"):
                gfnoise.smooth_labels(labels, 3, 0.1)
