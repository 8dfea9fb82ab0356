"""Overlap, lesions, surfaces, entropies and calibration, against plain twins and torchmetrics."""

from __future__ import annotations

import doctest
import importlib
import inspect
import math
import pkgutil
import re
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchmetrics.functional.classification import multiclass_calibration_error

import gfnoise.metrics as metrics
import oracles_soft as oracles
from devices import cupy_array
from gfnoise._cpu import _pool
from gfnoise.metrics import (
    adaptive_calibration_error,
    brier_score,
    calibration_error,
    composite_score,
    dice,
    entropy,
    entropy_error,
    lesion_rates,
    precision,
    recall,
    reliability_curve,
    search_threshold,
    surface_dice,
    volume_difference,
)

OVERLAPS = {"dice": dice, "precision": precision, "recall": recall, "volume": volume_difference}


def softmax(shape: tuple[int, ...], axis: int, dtype: Any = np.float32) -> NDArray[Any]:
    logits = 3 * np.random.default_rng(11).standard_normal(shape)
    p = np.exp(logits - logits.max(axis, keepdims=True))
    return (p / p.sum(axis, keepdims=True)).astype(dtype)


# -------------------------------------------------------------------------------- documentation


@pytest.mark.parametrize("name", [one.name for one in pkgutil.iter_modules(metrics.__path__)])
def test_examples_of_the_docstrings_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"gfnoise.metrics.{name}")).failed == 0


@pytest.mark.parametrize("name", metrics.__all__)
def test_everything_public_is_documented(name: str) -> None:
    one = getattr(metrics, name)
    text = inspect.getdoc(one) or ""
    parameters = re.search(r"^Parameters\n-+\n(.*?)(?=^\w+\n-+\n|\Z)", text, re.M | re.S)
    assert parameters is not None
    listed = re.findall(r"^([a-z][\w, ]*?)(?: : .*)?$", parameters[1], re.M)
    assert [n for line in listed for n in line.split(", ")] == list(
        inspect.signature(one).parameters
    )
    if not inspect.isclass(one):
        for section in ("Returns", "Raises", "Examples"):
            assert f"\n{section}\n---" in text


# -------------------------------------------------------------------------------------- overlap


def plain_overlap(p: NDArray[Any], t: NDArray[Any]) -> dict[str, float]:
    p, t = p > 0, t > 0
    both, ours, theirs = int((p & t).sum()), int(p.sum()), int(t.sum())
    short = theirs - ours
    return {
        "dice": 2 * both / (ours + theirs) if ours + theirs else 1.0,
        "precision": both / ours if ours else 1.0,
        "recall": both / theirs if theirs else 1.0,
        "volume": short / theirs if theirs else -math.inf if short else 0.0,
    }


@pytest.mark.parametrize("dtype", ["?", "u1", ">i4", "i8"])
@pytest.mark.parametrize("classes", [None, 1, 2, 3, 300])
def test_overlap_of_masks_and_classes(dtype: str, classes: int | None) -> None:
    rng = np.random.default_rng(3)
    top = min(classes or 2, 2 if dtype == "?" else 200)
    prediction, target = rng.integers(0, top, (2, 3, 2, 5, 6, 7)).astype(dtype)
    for name, metric in OVERLAPS.items():
        found = metric(prediction, target, num_classes=classes, ndim=3)
        assert found.dtype == np.float64
        assert found.shape == ((3, 2) if classes is None else (3, 2, classes))
        for item in np.ndindex(3, 2):
            for c in [1] if classes is None else range(0, classes, 7):
                expected = plain_overlap(prediction[item] == c, target[item] == c)[name]
                value = found[item] if classes is None else found[(*item, c)]
                assert value == pytest.approx(expected, rel=1e-12)


def test_overlap_of_nothing() -> None:
    none, some = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    for p, t, expected in [
        (none, none, (1, 1, 1, 0)),
        (none, some, (0, 1, 0, 1)),
        (some, none, (0, 0, 1, -math.inf)),
        (none[:0], none[:0], (1, 1, 1, 0)),
    ]:
        assert tuple(metric(p, t) for metric in OVERLAPS.values()) == expected
    assert volume_difference(some, none, absolute=True) == math.inf
    half = np.array([1, 1, 1, 0])
    assert volume_difference(half, np.array([1, 1, 0, 0]), absolute=True) == 0.5
    assert dice(np.zeros((0, 4, 5), bool), np.zeros((0, 4, 5), bool), ndim=2).shape == (0,)


def test_threads_change_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    p, t = np.random.default_rng(0).integers(0, 4, (2, 70, 60, 50))
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(_pool, "threads", lambda threads=threads: threads)
        found.append(dice(p, t, num_classes=4))
    assert np.array_equal(*found)


# ---------------------------------------------------------------------------------- one threshold


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_the_threshold_search_tries_them_all(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    p = (rng.integers(0, 21, (3, 8, 9, 10)) / 20).astype(dtype)
    target = rng.random(p.shape) < p
    found = search_threshold(p, target, ndim=3)
    levels = np.arange(1, 20) / 20
    np.testing.assert_allclose(found.thresholds, levels)
    kind = np.float64 if dtype == np.float64 else np.float32
    for item in range(3):
        wide = p[item].astype(kind)
        expected = [dice(wide >= kind(t), target[item]) for t in levels]
        np.testing.assert_allclose(found.dice[item], expected)
    best = found.dice.mean(0)
    assert best[np.flatnonzero(levels == found.threshold)[0]] == best.max()


def test_one_threshold_beside_the_optimal_ones() -> None:
    """Of calibrated maps no threshold for all is better than the optimum of each, on average."""
    import gfnoise

    p = np.random.default_rng(1).beta(0.4, 1.6, (6, 4000))
    draws = np.random.default_rng(2).random((40, *p.shape)) < p
    masks = gfnoise.optimal_segmentation(p, ndim=1)
    own = np.mean([dice(masks, truth, ndim=1).mean() for truth in draws])
    every = np.mean([search_threshold(p, truth, ndim=1).dice.mean(0) for truth in draws], axis=0)
    assert own >= every.max() - 1e-3


def test_the_composite_score() -> None:
    values = np.random.default_rng(0).random((5, 4))
    z = (values - values.mean(0)) / values.std(0)
    np.testing.assert_allclose(composite_score(values), z.sum(1))
    weights = [1, 1, 1, -1]
    np.testing.assert_allclose(composite_score(values, weights), z @ weights)
    assert abs(composite_score(values, weights).mean()) < 1e-12
    values[:, 1] = 0.1 + 0.2
    assert np.isfinite(composite_score(values)).all()
    for size in (1e308, 1e-308):
        assert composite_score([[size], [-size], [size], [-size]]).tolist() == [1, -1, 1, -1]


# -------------------------------------------------------------------------------- lesions, surfaces


def test_lesions_found_and_invented() -> None:
    target = np.zeros((2, 12, 12), bool)
    target[0, 1:3, 1:3] = target[0, 5:7, 5:7] = target[0, 9:11, 9:11] = True
    prediction = np.zeros_like(target)
    prediction[0, 2, 2] = prediction[0, 6, 1] = prediction[0, 5, 5] = True
    prediction[1, 3, 3] = True
    rates = lesion_rates(prediction, target, ndim=2)
    np.testing.assert_allclose(rates.true_positive, [2 / 3, 1])
    np.testing.assert_allclose(rates.false_detection, [1 / 3, 1])
    nothing = lesion_rates(0 * prediction, target, ndim=2)
    assert nothing.true_positive.tolist() == [0, 1]
    assert nothing.false_detection.tolist() == [0, 0]
    corner = np.array([[1, 0], [0, 1]])
    one = np.array([[1, 0], [0, 0]])
    assert lesion_rates(one, corner).true_positive == 1
    assert lesion_rates(one, corner, connectivity=1).true_positive == 0.5


@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=3),
    tolerance=st.sampled_from([0.0, 0.5, 1.0, 1.7, 5.0]),
    spacing=st.sampled_from([1.0, 0.5, 2.0]),
    share=st.sampled_from([0.05, 0.5, 0.95]),
    seed=st.integers(0, 99),
)
def test_surface_dice_is_that_of_all_pairs(
    shape: list[int], tolerance: float, spacing: float, share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    p, t = rng.random((2, *shape)) < share
    sizes = [spacing] + [1.0] * (len(shape) - 1)
    found = surface_dice(p, t, tolerance, spacing=sizes)
    assert found == pytest.approx(oracles.surface_dice(p, t, tolerance, sizes), abs=1e-9)


def test_surface_dice_of_shifted_balls() -> None:
    z, y, x = np.ogrid[:40, :40, :40]
    ball = (z - 20) ** 2 + (y - 20) ** 2 + (x - 17) ** 2 < 144
    moved = np.roll(ball, 4, axis=2)
    assert surface_dice(ball, ball, 0.0) == 1
    assert surface_dice(ball, moved, 4.0) == 1
    # Of a sphere moved by d along x, the other is about |d cos(angle)| away: half within d / 2,
    # and a little more, as the distances between corners of voxels come in steps.
    assert surface_dice(ball, moved, 2.0) == pytest.approx(0.55, abs=0.06)
    assert surface_dice(ball, moved, 1.0, spacing=0.5) == surface_dice(ball, moved, 2.0)
    labels = np.stack([ball + 0, moved + 0])
    classes = surface_dice(labels, labels[::-1], 2.0, num_classes=3, ndim=3)
    assert classes.shape == (2, 3)
    assert classes[:, 2].tolist() == [1, 1]


def test_without_scipy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    mask = np.zeros((3, 3), bool)
    for call in (lambda: lesion_rates(mask, mask), lambda: surface_dice(mask, mask, 1.0)):
        with pytest.raises(ImportError, match=r'needs SciPy: pip install "gfnoise\[metrics\]"'):
            call()


# ------------------------------------------------------------------------- Brier score, entropy


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, bool])
def test_brier_score_agrees_with_the_oracle(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    p = rng.random((2, 3, 30, 31, 70)).astype(np.float64 if dtype == np.float64 else np.float32)
    y = (rng.random(p.shape) < 0.5).astype(dtype)
    expected = ((p.astype(float) - y) ** 2).mean((2, 3, 4))
    np.testing.assert_allclose(brier_score(p, y, ndim=3), expected, rtol=1e-6)
    assert np.isnan(brier_score(p[0, 0, :0], y[0, 0, :0]))


def test_entropy_of_both_sides_and_of_classes() -> None:
    p = np.array([[0.0, 1.0, 0.5, 0.2]])
    expected = -sum(q * math.log(q) for q in (0.5, 0.5, 0.2, 0.8))
    assert entropy(p, ndim=1)[0] == pytest.approx(expected)
    classes = np.stack([1 - p, p], 1)
    np.testing.assert_allclose(entropy(classes, num_classes=2, ndim=1), entropy(p, ndim=1))
    grid = np.linspace(0, 1, 21)
    assert grid[entropy(grid[:, None], ndim=1).argmax()] == 0.5
    uniform = np.full((3, 5, 7), 1 / 3, np.float32)
    assert entropy(uniform, num_classes=3) == pytest.approx(35 * math.log(3), rel=1e-6)


def test_entropy_error_is_the_mean_over_the_maps() -> None:
    p, y = np.random.default_rng(0).random((2, 4, 6, 7))
    expected = abs(entropy(p, ndim=2) - entropy(y, ndim=2)).mean()
    assert entropy_error(p, y, ndim=2) == pytest.approx(expected)
    assert entropy_error(p, p, ndim=2) == 0
    assert math.isnan(entropy_error(p[:0], y[:0], ndim=2))


# ----------------------------------------------------------------------------------- calibration


@pytest.mark.parametrize("bins", [1, 7, 10, 15])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_ece_is_torchmetrics(classes: int, bins: int) -> None:
    p = softmax((classes, 30, 31, 7), 0)
    labels = np.random.default_rng(1).integers(0, classes, p.shape[1:])
    found = calibration_error(p, labels, num_classes=classes, bins=bins)
    expected = multiclass_calibration_error(
        torch.from_numpy(p).reshape(classes, -1).T,
        torch.from_numpy(labels).ravel(),
        num_classes=classes,
        n_bins=bins,
        norm="l1",
    )
    assert found == pytest.approx(expected.item(), abs=5e-6)  # it adds up in float32
    plain = oracles.calibration_error(p.reshape(classes, -1).astype(float), labels.ravel(), bins)
    assert found == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_binary_map_is_two_classes(dtype: Any) -> None:
    p = np.random.default_rng(5).random((3, 20, 40)).astype(dtype)
    p[0, :5] = 0.5
    labels = np.random.default_rng(6).random(p.shape) < p
    both = np.stack([1 - p, p], 1)
    one = reliability_curve(p, labels, ndim=2)
    two = reliability_curve(both, labels, num_classes=2, ndim=2)
    assert np.array_equal(one.voxels, two.voxels)
    np.testing.assert_allclose(one.accuracy, two.accuracy)
    assert one.voxels.shape == (3, 10)
    assert not one.voxels[:, :5].any()
    assert np.isnan(one.accuracy[:, :5]).all()
    assert (one.error() < 0.2).all()


def test_bins_are_closed_below_and_the_last_above() -> None:
    confidences = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    for dtype in (np.float32, np.float64):
        p = np.repeat(confidences, 2).astype(dtype)
        curve = reliability_curve(p, np.ones(12, bool))
        assert curve.voxels.tolist() == [0] * 5 + [2, 2, 2, 2, 4]
    for dtype in (np.float32, np.float64):
        for bins in (10, 49):
            edges = (np.arange(bins + 1) / bins).astype(dtype)
            edges = edges[(edges > 0.5) & (edges < 1)]  # a binary map is at least 1/2 sure
            below = np.nextafter(edges, dtype(0))
            voxels = reliability_curve(below, np.ones(below.size, bool), bins=bins).voxels
            first = bins - 1 - edges.size
            assert voxels.tolist() == [0] * first + [1] * edges.size + [0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_edges_of_all_bins_are_where_they_should_be(dtype: Any) -> None:
    for bins in [*range(1, 130), 1000, 65537, (1 << 20) + 1]:
        edges = (np.arange(1, bins) / bins).astype(dtype)
        edges = edges[edges >= 0.5][:: 1 + bins // 1000]
        near = [edges, np.nextafter(edges, dtype(1)), np.nextafter(edges, dtype(0)), [0.5, 1]]
        values = np.concatenate(near).astype(dtype).clip(0.5, 1)
        # A float32 does not tell the edges of so many bins apart: it is compared with them.
        exact = (np.arange(1, bins) / bins).astype(dtype if bins < 1 << 20 else np.float64)
        expected = np.bincount(np.searchsorted(exact, values, "right"), minlength=bins)
        voxels = reliability_curve(values, np.ones(values.size, bool), bins=bins).voxels
        assert np.array_equal(voxels, expected), bins


def test_calibrated_maps_have_little_error_and_hard_wrong_ones_all() -> None:
    rng = np.random.default_rng(8)
    p = rng.random(200_000)
    assert calibration_error(p, rng.random(p.size) < p) < 0.005
    hard = np.ones(100)
    assert calibration_error(hard, np.zeros(100, bool)) == 1
    assert calibration_error(hard, np.ones(100, bool)) == 0
    assert calibration_error(np.zeros((0, 3)), np.zeros((0, 3), bool)) == 0


@pytest.mark.parametrize(("classes", "voxels"), [(1, 50), (2, 400), (4, 333), (3, 7)])
def test_tace_is_the_plain_one(classes: int, voxels: int) -> None:
    p = softmax((2, classes + (classes == 1), voxels), 1, np.float64)
    p[:, 0, : voxels // 4] = 1e-4
    rest = p[:, 1:]
    rest *= (1 - p[:, :1]) / rest.sum(1, keepdims=True)
    labels = np.random.default_rng(4).integers(0, max(classes, 2), (2, voxels))
    for item in range(2):
        if classes == 1:
            found = adaptive_calibration_error(p[item, 1], labels[item])
            expected = oracles.adaptive_calibration_error(p[item, 1:], 1 - labels[item])
        else:
            found = adaptive_calibration_error(p[item], labels[item], num_classes=classes)
            expected = oracles.adaptive_calibration_error(p[item], labels[item])
        assert found == pytest.approx(expected, abs=1e-12)
    if classes > 1:
        batch = adaptive_calibration_error(p, labels, num_classes=classes, ndim=1)
        assert batch[1] == found


def test_tace_leaves_out_what_is_below_its_threshold() -> None:
    p = np.full(1000, 5e-4)
    assert adaptive_calibration_error(p, np.ones(1000, bool)) == 0
    assert adaptive_calibration_error(p, np.ones(1000, bool), threshold=0.0) > 0.99


def test_tensors_give_tensors() -> None:
    rng = np.random.default_rng(0)
    p, labels = rng.random((2, 8, 9)), rng.integers(0, 2, (2, 8, 9))
    q, y = torch.from_numpy(p), torch.from_numpy(labels)
    assert np.array_equal(dice(y, y.flip(0), ndim=2).numpy(), dice(labels, labels[::-1], ndim=2))
    curve, plain = reliability_curve(q, y, ndim=2), reliability_curve(p, labels, ndim=2)
    np.testing.assert_array_equal(curve.accuracy.numpy(), plain.accuracy)
    np.testing.assert_allclose(curve.error().numpy(), plain.error())
    assert search_threshold(q, y, ndim=2).threshold == search_threshold(p, labels, ndim=2).threshold
    with pytest.raises(TypeError, match=r"takes arrays of one library|tensor"):
        dice(y, labels, ndim=2)
    scores = composite_score(q[0].requires_grad_().detach(), weights=[1] * 9)
    np.testing.assert_array_equal(scores.numpy(), composite_score(p[0]))
    with pytest.raises(NotImplementedError, match=r"^composite_score has no gradient"):
        composite_score(q[0].requires_grad_())


def test_any_layout_gives_the_same() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (2, 8, 9)).astype(np.int16)
    p = rng.random((2, 8, 9)).astype(np.float32)

    def everything(q: NDArray[Any], y: NDArray[Any]) -> list[Any]:
        return [
            dice(y, y[::-1], ndim=2).tolist(),
            surface_dice(y, y[::-1], 1.0, ndim=2).tolist(),
            brier_score(q, y, ndim=2).tolist(),
            entropy(q, ndim=2).tolist(),
            calibration_error(q, y, ndim=2).tolist(),
            adaptive_calibration_error(q, y, ndim=2).tolist(),
            search_threshold(q, y, ndim=2).dice.tolist(),
        ]

    expected = everything(p, labels)
    frozen = [one.copy() for one in (p, labels)]
    for one in frozen:
        one.flags.writeable = False
    assert everything(*frozen) == expected
    assert everything(p.astype(">f4"), labels.astype(">i2")) == expected
    assert everything(*(np.asfortranarray(one) for one in (p, labels))) == expected
    assert everything(*(one[:, ::-1].copy()[:, ::-1] for one in (p, labels))) == expected


@pytest.mark.parametrize(
    "name", [n for n in metrics.__all__ if n.islower() and n != "composite_score"]
)
def test_arrays_of_cupy_have_no_kernels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, array = getattr(metrics, name), cupy_array(monkeypatch)
    more = [1.0] if name == "surface_dice" else []
    both = () if name == "entropy" else (array,)
    with pytest.raises(NotImplementedError, match=f"^{name} has no kernels for CuPy arrays yet"):
        function(array, *both, *more)
