"""Distances of surfaces, against all pairs of corners, torchmetrics' surfaces and balls."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torchmetrics.functional.segmentation.utils import mask_edges

import oracles_soft as oracles
from gfnoise.metrics import average_surface_distance, hausdorff_distance, surface_dice

MASK = np.zeros((4, 5), np.uint8)


def ball(radius: float, at: tuple[int, ...], size: int = 40) -> NDArray[np.bool_]:
    grid = np.indices((size,) * len(at)) - np.reshape(at, (-1, *(1,) * len(at)))
    return np.asarray((grid**2).sum(0) < radius**2)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=3),
    percentile=st.sampled_from([0.0, 30.0, 50.0, 95.0, 100.0]),
    spacing=st.sampled_from([1.0, 0.5, 2.7]),
    share=st.sampled_from([0.05, 0.5, 0.95]),
    seed=st.integers(0, 99),
)
def test_distances_are_those_of_all_pairs(
    shape: list[int], percentile: float, spacing: float, share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    p, t = rng.random((2, *shape)) < share
    sizes = [spacing] + [1.0] * (len(shape) - 1)
    found = hausdorff_distance(p, t, percentile, spacing=sizes)
    assert found == pytest.approx(oracles.hausdorff_distance(p, t, percentile, sizes), abs=1e-9)
    found = average_surface_distance(p, t, spacing=sizes)
    assert found == pytest.approx(oracles.average_surface_distance(p, t, sizes), abs=1e-9)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 0.7), (1.0, 1.0, 1.0), (2.5, 1.0, 0.8)])
def test_surfaces_are_nearly_those_of_torchmetrics(spacing: tuple[float, ...]) -> None:
    """In 2D their lengths are ours where no two voxels touch by a corner; in 3D, triangles."""
    axes = len(spacing)
    p, t = ball(11.0, (20,) * axes), ball(9.5, (17, 22, 20)[:axes])
    edges = mask_edges(torch.from_numpy(p), torch.from_numpy(t), crop=True, spacing=spacing)
    points = [np.argwhere(one.numpy()) * spacing for one in edges[:2]]
    areas = [area.numpy()[one.numpy()] for one, area in zip(edges[:2], edges[2:], strict=True)]
    far = [cKDTree(points[1 - i]).query(points[i])[0] for i in (0, 1)]
    mean = sum(a @ d for a, d in zip(areas, far, strict=True)) / sum(a.sum() for a in areas)
    found = average_surface_distance(p, t, spacing=spacing)
    assert found == pytest.approx(mean, rel=1e-6 if axes == 2 else 0.02)

    def robust(percentile: float) -> float:
        directed = []
        for area, distance in zip(areas, far, strict=True):
            order = distance.argsort()
            reached = area[order].cumsum(dtype=np.float64)
            share = min(max(percentile / 100, 0), 1) * (1 - 1e-6)
            directed.append(distance[order][np.searchsorted(reached, share * reached[-1])])
        return float(max(directed))

    slack = 0 if axes == 2 else 2  # per cent of the area
    for percentile in (10.0, 50.0, 95.0, 100.0):
        found = hausdorff_distance(p, t, percentile, spacing=spacing)
        assert robust(percentile - slack) - 1e-6 <= found <= robust(percentile + slack) + 1e-6


def test_balls_in_balls_and_beside_them() -> None:
    inner, outer = ball(8.0, (20, 20, 20)), ball(14.0, (20, 20, 20))
    # A surface is a staircase of corners, and the nearest counts: less than between smooth spheres.
    assert average_surface_distance(inner, outer) == pytest.approx(5.75, abs=0.25)
    assert hausdorff_distance(inner, outer) == pytest.approx(6, abs=0.7)
    moved = np.roll(outer, 3, axis=1)
    assert hausdorff_distance(moved, outer) == 3
    # |3 cos| over a sphere is 3/2 on average; 95 % of its area have |cos| below 0.95.
    assert average_surface_distance(moved, outer) == pytest.approx(1.3, abs=0.2)
    assert hausdorff_distance(moved, outer, 95.0) == pytest.approx(2.85, abs=0.2)
    for metric in (average_surface_distance, hausdorff_distance):
        assert metric(moved, outer, spacing=0.5) == pytest.approx(metric(moved, outer) / 2)
        assert metric(outer, moved) == pytest.approx(metric(moved, outer))
        assert metric(outer, outer) == 0


def test_percentiles_rise_to_the_farthest_thorn() -> None:
    square = ball(12.0, (20, 20))
    thorn = square.copy()
    thorn[32:38, 20] = True
    found = [hausdorff_distance(thorn, square, p) for p in (0, 50, 80, 95, 99, 100)]
    assert found == sorted(found)
    assert found[0] == 0
    assert found[-1] == hausdorff_distance(thorn, square) == pytest.approx(6, abs=0.1)
    assert average_surface_distance(thorn, square) < 1


def test_the_last_bit_does_not_decide_a_tie() -> None:
    """Half of a square's outline moves along itself: at 50 per cent, whatever the unit."""
    square = np.zeros((20, 20), bool)
    square[5:15, 5:15] = True
    moved = np.roll(square, 1, axis=0)
    for spacing in 0.1 * np.arange(1, 100):
        half = hausdorff_distance(moved, square, 50.0, spacing=spacing)
        assert half == 0
        assert hausdorff_distance(moved, square, 51.0, spacing=spacing) == pytest.approx(spacing)


def test_empty_masks_and_classes() -> None:
    none, some = np.zeros((9, 9), bool), ball(3.0, (4, 4), 9)
    for metric in (average_surface_distance, hausdorff_distance):
        assert [metric(p, t) for p, t in ((none, none), (none, some), (some, none))] == [
            0,
            math.inf,
            math.inf,
        ]
        assert metric(none[:0], none[:0]) == 0
        assert metric(np.ones_like(none), np.ones_like(none)) == 0
        pairs = np.stack([some, none, some]) + 0, np.stack([some, some, np.roll(some, 1, 0)]) + 0
        assert metric(*pairs, ndim=2).tolist()[:2] == [0, math.inf]
        found = metric(*pairs, num_classes=3, ndim=2)
        assert found.shape == (3, 3)
        assert np.array_equal(found[:, 1], metric(*pairs, ndim=2))
        assert (found[:, 2] == 0).all()
        tensors = [torch.from_numpy(one) for one in pairs]
        assert np.array_equal(metric(*tensors, num_classes=3, ndim=2), found)
    assert surface_dice(none, some, 1.0) == 0


def test_without_scipy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    for metric in (average_surface_distance, hausdorff_distance):
        with pytest.raises(ImportError, match=f"^{metric.__name__} needs SciPy: pip install"):
            metric(MASK, MASK)


@pytest.mark.parametrize("unit", [2.0**-1000, 1e-162, 1e-81, 25.4, 1e78, 1e200, 2.0**1000])
@pytest.mark.parametrize("ndim", [2, 3])
def test_distances_are_in_any_unit(unit: float, ndim: int) -> None:
    rng = np.random.default_rng(ndim)
    one, other = rng.random((2, *[6] * ndim)) < 0.5
    sizes = np.array([1.5, 1.0, 0.75][:ndim])
    assert surface_dice(one, other, unit, spacing=unit * sizes) == pytest.approx(
        surface_dice(one, other, 1.0, spacing=sizes), rel=1e-12
    )
    for metric in (average_surface_distance, hausdorff_distance):
        expected = unit * metric(one, other, spacing=sizes)
        assert metric(one, other, spacing=unit * sizes) == pytest.approx(expected, rel=1e-12, abs=0)


@pytest.mark.parametrize("metric", [average_surface_distance, hausdorff_distance])
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda f: f(MASK, MASK[1:]), ValueError, "target must be of the prediction's shape"),
        (lambda f: f(MASK + 2, MASK), ValueError, r"prediction must be in \{0, 1\}"),
        (lambda f: f(MASK, MASK / 2), TypeError, "target must be of bool or an integer dtype"),
        (
            lambda f: f(MASK[0], MASK[0]),
            ValueError,
            "prediction must have 2 or 3 axes of space, got 1",
        ),
        (
            lambda f: f(MASK, MASK, spacing=[1, 1e7]),
            ValueError,
            "^spacing must not differ",
        ),
        (lambda f: f(MASK, MASK, spacing=-1), ValueError, "spacing must be finite and positive"),
        (
            lambda f: f(MASK, MASK, spacing=[[1, 1]]),
            ValueError,
            r"spacing must be a scalar or of shape \(2,\), got shape \(1, 2\)",
        ),
    ],
)
def test_bad_input_is_refused(metric: Any, call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call(metric)


@pytest.mark.parametrize(
    ("percentile", "error"),
    [(-1, ValueError), (101, ValueError), (math.nan, ValueError), ("95", TypeError)],
)
def test_bad_percentiles_are_refused(percentile: Any, error: Any) -> None:
    with pytest.raises(error, match=r"^percentile must be (a finite number of|at most 100)"):
        hausdorff_distance(MASK, MASK, percentile)
