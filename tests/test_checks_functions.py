"""Arguments of the functions beside the noise model's: what is wrong is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gfnoise
from gfnoise import GaussianField


@pytest.mark.parametrize("output", ["foo", 3, [("a",)], "i3"])
def test_an_output_that_is_no_dtype(output: Any) -> None:
    image = np.zeros((4, 5))
    with pytest.raises(TypeError, match=r"^output must be a dtype, got "):
        gfnoise.gaussian_filter(image, 1.0, output=output)
    with pytest.raises(TypeError, match=r"^output must be a dtype, got "):
        gfnoise.map_coordinates(image, np.zeros((2, 3)), output=output)


def test_maps_without_an_axis() -> None:
    for raters in (None, 3):
        with pytest.raises(ValueError, match=r"^marginals must have an axis of space, got none"):
            gfnoise.optimal_threshold(np.array(1), raters=raters)
    with pytest.raises(ValueError, match=r"^marginals must have an axis of space, got none"):
        gfnoise.score(np.array(1), np.array(0.5))


@pytest.mark.parametrize("value", [-1, 2, 255])
def test_masks_of_other_values(value: int) -> None:
    mask = np.array([[0, 1], [1, value]])
    with pytest.raises(ValueError, match=rf"^segmentation must be in \{{0, 1\}}, got {value}$"):
        gfnoise.score(mask, np.full(mask.shape, 0.5))


def test_parameters_that_require_a_gradient() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"^amplitude must be a number or a regular array of num"):
        GaussianField(torch.nn.Parameter(torch.ones(2)), 3.0, ndim=2)
