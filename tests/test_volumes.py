"""Volumes of optimal decisions: bounds, ranges and curves."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gfnoise
import oracles
from devices import cupy_array
from gfnoise._cpu import _pool, thresholding
from oracles_exact import exact, exact_bounds, votes

METRICS = ["dice", "iou", "fbeta", "accuracy"]
BETAS = [Fraction(1, 2), Fraction(1), Fraction(2)]
property_test = settings(max_examples=60, deadline=None, derandomize=True)


# ------------------------------------------------------------------- bounds, and their extremes


MEANS = [Fraction(2, 5), Fraction(1, 10), Fraction(1, 2), Fraction(7, 9), Fraction(1)]


@pytest.mark.parametrize("v", MEANS, ids=str)
def test_the_bounds_of_accuracy_are_sharp(v: Fraction) -> None:
    """Figure 3: 1/2 on a volume of 2 v, or 1 on 2 v - 1 and 1/2 on the rest; both ends at once."""
    voxels = v.denominator
    sure = max(int(voxels * (2 * v - 1)), 0)
    array = np.repeat(
        [2, 1, 0], [sure, int(2 * v * voxels) - 2 * sure, voxels - int(2 * v * voxels) + sure]
    )
    found = gfnoise.volume_range(array, "accuracy", raters=2)
    assert found.mean == v * voxels
    assert (found.least, found.most) == tuple(voxels * end for end in exact_bounds(v, "accuracy"))
    as_floats = gfnoise.volume_range(array / 2, "accuracy")
    assert as_floats == found


@pytest.mark.parametrize("v", MEANS, ids=str)
@pytest.mark.parametrize("beta", BETAS, ids=str)
def test_the_bounds_of_dice_and_fbeta_are_sharp(v: Fraction, beta: Fraction) -> None:
    """Figure 4: 1 on the least volume, and the threshold itself on the rest."""
    least, _ = exact_bounds(v, "fbeta", beta)
    level = v / (1 + beta**2 * v)
    raters, voxels = level.denominator, 2 * least.denominator
    sure = int(least * voxels)
    array = np.repeat([raters, int(level * raters)], [sure, voxels - sure])
    found = gfnoise.volume_range(array, "fbeta", raters=raters, beta=float(beta))
    assert found.mean == pytest.approx(float(v * voxels), rel=1e-15)
    assert (found.least, found.most) == (sure, voxels)
    if beta == 1:
        assert least == v**2
        for metric in ("dice", "iou"):
            assert gfnoise.volume_range(array, metric, raters=raters) == found


def test_bounds_of_arrays() -> None:
    v = np.linspace(0, 1, 11).reshape(1, 11)
    for metric in METRICS:
        bounds = gfnoise.volume_bounds(v, metric, beta=2.0)
        assert bounds.least.shape == bounds.most.shape == v.shape
        assert np.all((bounds.least <= v + 1e-15) & (v <= bounds.most))
        one = [gfnoise.volume_bounds(float(one), metric, beta=2.0) for one in v[0]]
        assert np.array_equal(bounds, np.transpose([one], (2, 0, 1)))
    assert gfnoise.volume_bounds(1, "dice") == (1.0, 1.0)
    assert gfnoise.volume_bounds(np.float32(0.5), "accuracy") == (0.0, 1.0)
    tiny, huge = (gfnoise.volume_bounds(0.5, "fbeta", beta=beta) for beta in (1e-6, 1e6))
    assert 0 < tiny.least < 1e-12
    assert huge.least == pytest.approx(0.5, rel=1e-11)  # recall alone: as large as the mean


# ----------------------------------------------------------------------------- volume_range


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("metric", METRICS)
def test_ranges_of_batches_and_layouts(metric: str, dtype: Any) -> None:
    rng = np.random.default_rng(3)
    levels = rng.integers(0, 5, (2, 3, 5, 7))
    m = (levels / (1 if dtype == np.uint8 else 4)).astype(dtype)
    raters = 4 if dtype == np.uint8 else None
    found = gfnoise.volume_range(m, metric, ndim=2, raters=raters)
    assert found.least.dtype == found.most.dtype == np.int64
    assert found.mean.dtype == np.float64
    assert found.voxels == 35
    for i, j in np.ndindex(2, 3):
        _, *sizes = oracles.optimal_threshold_exact(m[i, j], raters, metric)
        assert (found.least[i, j], found.most[i, j]) == tuple(sizes)
        assert found.mean[i, j] == levels[i, j].sum() / 4
    wide = np.zeros((4, 3, 5, 14), dtype)
    wide[::2, ..., ::2] = m
    locked = m.copy()
    locked.setflags(write=False)
    swapped = m.astype(m.dtype.newbyteorder())
    for view in (wide[::2, ..., ::2], locked, swapped, np.asfortranarray(m)):
        again = gfnoise.volume_range(view, metric, ndim=2, raters=raters)
        assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))


@pytest.mark.parametrize(("maps", "voxels"), [(3000, 7), (40, 9000), (3, 600_001)])
def test_ranges_of_many_small_and_few_large_maps(
    maps: int, voxels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    m = np.random.default_rng(4).random((maps, voxels)).astype(np.float32)
    m **= np.linspace(0.2, 5, maps, dtype=np.float32)[:, None]
    found = gfnoise.volume_range(m, ndim=1)
    for ties, part in (("smallest", found.least), ("largest", found.most)):
        mask = gfnoise.optimal_segmentation(m, ndim=1, ties=ties)
        assert np.array_equal(part, np.count_nonzero(mask, axis=1))
    assert found.mean == pytest.approx(m.sum(1, dtype=np.float64), rel=1e-13)
    for threads in (1, 4):
        monkeypatch.setattr(_pool, "threads", lambda threads=threads: threads)
        again = gfnoise.volume_range(m, ndim=1)
        assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))


def test_ranges_of_maps_without_mass_or_voxels() -> None:
    for metric in METRICS:
        assert gfnoise.volume_range(np.zeros((3, 4)), metric) == (0, 0, 0.0, 12)
        assert gfnoise.volume_range(np.zeros((3, 4), np.uint8), metric, raters=3) == (0, 0, 0.0, 12)
        assert gfnoise.volume_range(np.ones((3, 4)), metric) == (12, 12, 12.0, 12)
        assert gfnoise.volume_range(np.zeros((0, 4)), metric) == (0, 0, 0.0, 0)
        none = gfnoise.volume_range(np.zeros((0, 4)), metric, ndim=1)
        assert [np.shape(part) for part in none] == [(0,), (0,), (0,), ()]
    half = gfnoise.volume_range(np.full(8, 0.5, np.float32), "accuracy")
    assert half == (0, 8, 4.0, 8)  # all or none: as good


# ---------------------------------------------------------------------------- volume_curves


@property_test
@given(map_=votes(most=12), share=st.fractions(0, 1, max_denominator=50))
def test_curves_of_votes(map_: tuple[list[int], int], share: Fraction) -> None:
    levels, raters = map_
    m, array = exact(levels, raters), np.array(levels)
    mean = sum(m) / len(m)
    curves = gfnoise.volume_curves(array, raters=raters)
    assert (curves.width, curves.error) == (0, 0)
    assert np.all(np.diff(curves.volumes) > 0)
    for k in range(len(m) + 1):
        v = Fraction(k, len(m))
        assert curves.quantile(k / len(m)) == float(oracles.volume_quantile(m, v))
    for level in range(raters + 1):
        t = Fraction(level, raters)
        assert curves.cdf(level / raters) == float(oracles.volume_cdf(m, t))
    mass = oracles.volume_mass(m, share)
    a = share + 1 - mean - 2 * (share - mass)  # (10)
    assert curves.accuracy(float(share)) == pytest.approx(float(a), abs=1e-15)
    if mean + share:
        d = 2 * mass / (mean + share)  # (14)
        assert curves.dice(float(share)) == pytest.approx(float(d), abs=1e-15)
    # The optima of the curves are the optimal volumes (Theorems 1 and 2).
    for metric in ("accuracy", "dice"):
        knots = getattr(curves, metric)(curves.volumes)
        best = curves.volumes[knots >= knots.max() - 1e-12] * len(m)
        found = gfnoise.volume_range(array, metric, raters=raters)
        if sum(m):
            assert (round(best.min()), round(best.max())) == (found.least, found.most)


N = 70_001
LARGE = {
    "uniform": lambda rng: rng.random(N),
    "skewed": lambda rng: rng.beta(0.2, 3, N),
    "few levels": lambda rng: rng.integers(0, 6, N) / 5,
    "one value": lambda rng: np.full(N, 0.7),
    "zeros and ones": lambda rng: (rng.random(N) < 0.1).astype(float),
    "zeros": lambda rng: np.zeros(N),
    "minus zeros": lambda rng: np.where(rng.random(N) < 0.5, -0.0, rng.random(N)),
    "dust": lambda rng: rng.random(N) * 1e-30,
    "finest dust": lambda rng: rng.random(N) * 1e-44,
    "over all magnitudes": lambda rng: 10 ** rng.uniform(-320, 0, N),
    "just below one": lambda rng: 1 - rng.random(N) * 1e-6,
    "at the edges of bins": lambda rng: (1 + rng.integers(0, 257, N) / 256) / 2,
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", LARGE)
def test_curves_of_large_maps_are_off_by_what_they_say(kind: str, dtype: Any) -> None:
    m = LARGE[kind](np.random.default_rng(5)).astype(dtype)
    binned = gfnoise.volume_curves(m)
    truth = gfnoise.volume_curves(m, exact=True)
    assert (truth.width, truth.error) == (0, 0)
    mean = m.sum(dtype=np.float64) / N
    assert truth.masses[-1] == pytest.approx(mean, rel=1e-12)
    assert binned.masses[-1] == pytest.approx(mean, rel=1e-12, abs=1e-38)
    assert binned.width <= 2**-9
    assert binned.error <= mean * 2**-10 + 1e-38
    if kind in ("few levels", "one value", "zeros and ones", "zeros", "at the edges of bins"):
        assert (binned.width, binned.error) == (0, 0)
    if kind == "zeros":
        assert not binned.masses.any()
    v = np.concatenate([np.linspace(0, 1, 3001), binned.volumes])
    small = 1e-13  # the sort sums 70,001 values one by one
    off = truth.quantile(v) - binned.quantile(v)
    assert abs(off).max() <= binned.width + small
    off = truth.accuracy(v) - binned.accuracy(v)
    assert off.min() >= -small
    assert off.max() <= 2 * binned.error + small
    off = (truth.dice(v) - binned.dice(v)) * (mean + v)
    assert off.min() >= -small
    assert off.max() <= 2 * binned.error + small
    at_knots = truth.accuracy(binned.volumes) - binned.accuracy(binned.volumes)
    assert abs(at_knots).max() <= small
    t = np.linspace(0, 1, 501)
    assert np.all(truth.cdf(np.maximum(t - binned.width - small, 0)) <= binned.cdf(t))
    assert np.all(binned.cdf(t) <= truth.cdf(np.minimum(t + binned.width + small, 1)))


def test_curves_do_not_depend_on_threads_or_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    m = np.random.default_rng(6).random((60, 110, 150)).astype(np.float32)
    curves = gfnoise.volume_curves(m)
    locked = m.copy()
    locked.setflags(write=False)
    for threads, view in ((1, m), (4, np.asfortranarray(m)), (3, m.astype(">f4")), (2, locked)):
        monkeypatch.setattr(_pool, "threads", lambda threads=threads: threads)
        again = gfnoise.volume_curves(view)
        for name in ("volumes", "masses", "quantiles", "width", "error"):
            assert np.array_equal(getattr(curves, name), getattr(again, name))
    levels = np.repeat([0.0, 0.3, 0.7, 1.0], 150_000)  # no lane of the threads sees them all
    few = gfnoise.volume_curves(levels)
    assert (few.width, few.error, few.quantiles.tolist()) == (0, 0, [0, 1 - 0.7, 0.7, 1])
    votes = (m * 5).astype(np.int16)
    by_votes, by_floats = gfnoise.volume_curves(votes, raters=5), gfnoise.volume_curves(votes / 5)
    assert np.array_equal(by_votes.volumes, by_floats.volumes)
    assert by_votes.masses == pytest.approx(by_floats.masses, rel=1e-12)


def test_the_best_of_the_curves_is_the_score_of_the_optimal_mask() -> None:
    m = np.random.default_rng(7).random((50, 60, 40)) ** 3
    for curves in (gfnoise.volume_curves(m), gfnoise.volume_curves(m, exact=True)):
        for metric in ("accuracy", "dice"):
            mask = gfnoise.optimal_segmentation(m, metric)
            best = getattr(curves, metric)(curves.volumes).max()
            allowed = 2 * curves.error / curves.masses[-1] + 1e-13
            assert 0 <= gfnoise.score(mask, m, metric) - best + 1e-13 <= allowed + 1e-13


def test_small_maps_are_exact() -> None:
    m = np.random.default_rng(8).random((16, 16)).astype(np.float32)
    curves = gfnoise.volume_curves(m)
    assert (curves.width, curves.error, len(curves.volumes)) == (0, 0, 257)
    assert curves.dice(0.5).shape == ()
    assert curves.dice([[0.25, 0.5]]).shape == (1, 2)
    empty = gfnoise.volume_curves(np.zeros(3))
    assert empty.dice([0, 0.5]).tolist() == [1, 0]
    assert empty.accuracy([0, 1]).tolist() == [1, 0]


# ------------------------------------------------------------------------------- bad input

GOOD = np.full((3, 4), 0.5)
BAD_MAPS = [
    (np.where(np.eye(3) > 0, np.nan, 0.5), {}, "^marginals .*NaN"),
    (GOOD * 3, {}, r"^marginals .*\[0, 1\].*1\.5"),
    (-GOOD, {}, r"^marginals .*-0\.5"),
    (GOOD.astype(complex), {}, "^marginals .*complex128"),
    (GOOD, {"raters": 3}, "^marginals .*float64"),
    (np.full((3, 4), 4), {"raters": 3}, "^marginals .*4"),
    (np.ones((3, 4), int), {"raters": 0}, "^raters .*0"),
    (np.ones((3, 4), int), {"raters": 1.5}, r"^raters .*1\.5"),
    (np.ones((3, 4), int), {"raters": 70_000}, "^raters .*65535, got 70000"),
    ([[0.5]], {}, "^marginals .*list"),
    (np.ma.masked_array(GOOD), {}, "^marginals .*MaskedArray"),
]  # fmt: skip


@pytest.mark.parametrize(("m", "options", "match"), BAD_MAPS)
@pytest.mark.parametrize("name", ["volume_range", "volume_curves"])
def test_bad_maps_are_refused(name: str, m: Any, options: dict[str, Any], match: str) -> None:
    with pytest.raises((ValueError, TypeError), match=match):
        getattr(gfnoise, name)(m, **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"metric": "volume"}, "^metric .*'volume'"),
        ({"metric": None}, "^metric .*None"),
        ({"ndim": 3}, "^ndim .*2 axes.*3"),
        ({"metric": "fbeta", "beta": 0}, "^beta .*0"),
        ({"metric": "fbeta", "beta": math.nan}, "^beta .*nan"),
    ],
)
def test_bad_arguments_of_ranges(options: dict[str, Any], match: str) -> None:
    with pytest.raises((ValueError, TypeError), match=match):
        gfnoise.volume_range(GOOD, **options)


def test_bad_maps_of_curves() -> None:
    with pytest.raises(
        ValueError, match=r"^marginals must be one map of at most 3 axes.*\(1, 2, 3, 4\)"
    ):
        gfnoise.volume_curves(np.zeros((1, 2, 3, 4)))
    for shape in ((0,), (3, 0)):
        with pytest.raises(ValueError, match=r"^marginals must hold a voxel, got .*0"):
            gfnoise.volume_curves(np.zeros(shape))
    curves = gfnoise.volume_curves(GOOD)
    for name, argument in (("cdf", "t"), ("quantile", "v"), ("accuracy", "v"), ("dice", "v")):
        masked = np.ma.array([0.5, 0.5], mask=[True, False])
        for bad in (-0.1, 1.5, np.nan, [0.5, 2.0], "half", None, True, 1j, masked):
            with pytest.raises((ValueError, TypeError), match=f"^{argument} must"):
                getattr(curves, name)(bad)


@pytest.mark.parametrize(
    "v",
    [
        -0.1,
        1.5,
        math.nan,
        math.inf,
        "half",
        None,
        True,
        np.array([0.5, np.nan]),
        np.array([2.0]),
        np.array(["a"]),
        [0.5],
    ],
)
def test_bad_mean_volumes(v: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"^mean_volume must"):
        gfnoise.volume_bounds(v)


def test_bad_metrics_of_bounds() -> None:
    with pytest.raises(ValueError, match=r"^metric .*'volume'"):
        gfnoise.volume_bounds(0.5, "volume")
    with pytest.raises(ValueError, match=r"^beta .*0"):
        gfnoise.volume_bounds(0.5, "fbeta", beta=0.0)


@pytest.mark.parametrize("name", ["volume_range", "volume_bounds", "volume_curves"])
def test_arrays_of_cupy_have_no_kernels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    array = cupy_array(monkeypatch)
    with pytest.raises(NotImplementedError, match=f"^{name} has no kernels for CuPy arrays"):
        getattr(gfnoise, name)(array)


def test_votes_of_a_large_map_are_counted_in_parts() -> None:
    """Of several tasks, whose counts are added up; the last part is smaller."""
    rng = np.random.default_rng(2)
    votes = rng.integers(0, 6, (2, 700_001), np.uint8)
    for most in (5, 200, 65535):
        counts = thresholding.count_votes(votes, most)
        expected = [np.bincount(one, minlength=most + 1) for one in votes]
        np.testing.assert_array_equal(counts, expected)
