"""What the checks learn of an array's values, wherever in it they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import gfnoise
from gfnoise import _values

pytestmark = pytest.mark.cpu


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_extremes_are_found_wherever_they_are(dtype: type) -> None:
    """In the parts that threads look at, which are a power of two of bytes."""
    part = (1 << 19) // np.dtype(dtype).itemsize
    values = np.ones(2 * part + 1, dtype)
    for place in (0, part - 1, part, 2 * part - 1, 2 * part):
        for extreme in (0, 2):
            values[place] = extreme
            assert _values.extremes(values) == (min(extreme, 1), max(extreme, 1))
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


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
def test_probabilities_off_by_rounding_are_refused_with_the_remedy(library: Any) -> None:
    """As a sum of softmax channels in float32 gives them; of logits, it would be none."""
    logits = np.random.default_rng(0).normal(0, 3, (5, 40, 40)).astype(np.float32)
    shares = np.exp(logits) / np.exp(logits).sum(0)
    maps = library(shares.sum(0))
    remedy = r"a maximum of 1\.000000\d*: if that is rounding, marginals\.clip\(0, 1\) removes it$"
    for function in (gfnoise.optimal_threshold, gfnoise.optimal_segmentation):
        with pytest.raises(ValueError, match=remedy):
            function(maps)
        assert function(maps.clip(0, 1)) is not None
        for bad in (-shares[0] - 0.1, logits[0], np.full((2, 2), np.nan)):
            with pytest.raises(ValueError, match=r"^marginals must .* maximum of [-.\dnae]+$"):
                function(library(bad))
