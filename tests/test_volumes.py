"""Volumes of optimal decisions: the theorems of paper 001 in exact rationals, bounds and curves."""

from __future__ import annotations

import itertools
import math
import sys
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import gfnoise
import oracles
from gfnoise._cpu import _pool

METRICS = ["dice", "iou", "fbeta", "accuracy"]
BETAS = [Fraction(1, 2), Fraction(1), Fraction(2)]
property_test = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def votes(draw: st.DrawFn, most: int = 7) -> tuple[list[int], int]:
    """A small map of votes, and out of how many; ties are the rule."""
    raters = draw(st.integers(1, 5))
    return draw(st.lists(st.integers(0, raters), min_size=1, max_size=most)), raters


def exact(levels: list[int], raters: int) -> list[Fraction]:
    return [Fraction(level, raters) for level in levels]


def value(metric: str, m: list[Fraction], s: tuple[int, ...], beta: Fraction) -> Fraction:
    """Score of a mask under a map, in rationals (Definitions 1 and 2)."""
    inside = sum((p for one, p in zip(s, m, strict=True) if one), Fraction(0))
    return oracles._value(metric, inside, sum(s), sum(m, Fraction(0)), len(m), beta**2)


def maximisers(metric: str, m: list[Fraction], sets: Any, beta: Fraction) -> set[tuple[int, ...]]:
    scores = {s: value(metric, m, s, beta) for s in sets}
    return {s for s, score in scores.items() if score == max(scores.values())}


def subsets(voxels: int) -> list[tuple[int, ...]]:
    return list(itertools.product((0, 1), repeat=voxels))


def as_tuple(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(one) for one in mask)


# ------------------------------------------------------------ the theorems, on all masks there are


@property_test
@given(map_=votes(), beta=st.sampled_from(BETAS))
def test_theorems_1_2_and_5_the_optimal_masks_and_their_volumes(
    map_: tuple[list[int], int], beta: Fraction
) -> None:
    """The optimal masks of all 2^n are those between the smallest and the largest."""
    levels, raters = map_
    m, array = exact(levels, raters), np.array(levels)
    for metric in METRICS:
        options: dict[str, Any] = {"raters": raters, "beta": float(beta)}
        found = gfnoise.volume_range(array, metric, **options)
        low, high = (
            as_tuple(gfnoise.optimal_segmentation(array, metric, ties=ties, **options))
            for ties in ("smallest", "largest")
        )
        between = {
            s for s in subsets(len(m)) if np.all(np.array(low) <= s) and np.all(s <= np.array(high))
        }
        weight = beta if metric == "fbeta" else Fraction(1)
        assert maximisers(metric, m, subsets(len(m)), weight) == between
        assert (found.least, found.most) == (sum(low), sum(high))
        assert found.voxels == len(m)
        assert found.mean == pytest.approx(float(sum(m)), rel=1e-15)
        # The intervals of (7) and (11), and the union of the S_{m,v} over them (17).
        best = max(value(metric, m, s, weight) for s in subsets(len(m)))
        t = {"iou": best / (1 + best), "accuracy": Fraction(1, 2)}.get(
            metric, best / (1 + weight**2)
        )
        t = 1 - (t if sum(m) else Fraction(1, 2))
        assert found.least == len(m) * oracles.volume_cdf(m, t, left=True)
        assert found.most == len(m) * oracles.volume_cdf(m, t)
        union = set().union(*(oracles.top_sets(m, k) for k in range(found.least, found.most + 1)))
        assert union == between


@property_test
@given(map_=votes(), t=st.fractions(0, 1))
def test_theorem_5_at_every_level(map_: tuple[list[int], int], t: Fraction) -> None:
    m = exact(*map_)
    for level in {t, *(1 - p for p in m)} - {Fraction(0)}:
        least = len(m) * oracles.volume_cdf(m, level, left=True)
        most = len(m) * oracles.volume_cdf(m, level)
        s0, s1 = [p > 1 - level for p in m], [p >= 1 - level for p in m]
        assert (sum(s0), sum(s1)) == (least, most)
        union = set().union(*(oracles.top_sets(m, k) for k in range(int(least), int(most) + 1)))
        assert union == {
            s
            for s in subsets(len(m))
            if all(a <= b <= c for a, b, c in zip(s0, s, s1, strict=True))
        }


@property_test
@given(map_=votes())
def test_lemma_1_and_theorem_4_at_every_volume(map_: tuple[list[int], int]) -> None:
    """At a volume k, the masks of the most mass, accuracy and Dice are the top-k sets."""
    levels, raters = map_
    m = exact(levels, raters)
    curves = gfnoise.volume_curves(np.array(levels), raters=raters)
    for k in range(len(m) + 1):
        v = Fraction(k, len(m))
        of_size = [s for s in subsets(len(m)) if sum(s) == k]
        most = max(sum(p for one, p in zip(s, m, strict=True) if one) for s in of_size)
        assert most == len(m) * oracles.volume_mass(m, v)
        top = oracles.top_sets(m, k)
        for metric in ("accuracy", "dice"):
            best = maximisers(metric, m, of_size, Fraction(1))
            # Without any mass all masks of a volume have a Dice of 0.
            assert best == top or (metric == "dice" and not sum(m))
            curve = getattr(curves, metric)(k / len(m))
            assert curve == pytest.approx(
                float(value(metric, m, min(best), Fraction(1))), abs=1e-15
            )
        first = gfnoise.optimal_segmentation(
            np.array(levels), "volume", volume=k / len(m), raters=raters, ties="first"
        )
        assert as_tuple(first) in top


@property_test
@given(map_=votes(most=30))
def test_theorem_3_and_the_bounds(map_: tuple[list[int], int]) -> None:
    levels, raters = map_
    array = np.array(levels)
    ranges = {metric: gfnoise.volume_range(array, metric, raters=raters) for metric in METRICS}
    assert ranges["accuracy"].most <= ranges["dice"].least
    for metric, beta in itertools.product(METRICS, BETAS):
        found = gfnoise.volume_range(array, metric, raters=raters, beta=float(beta))
        mean = Fraction(int(array.sum()), raters * array.size)
        low, high = exact_bounds(mean, metric, beta)
        assert low <= Fraction(int(found.least), array.size)
        assert Fraction(int(found.most), array.size) <= high
        bounds = gfnoise.volume_bounds(float(mean), metric, beta=float(beta))
        assert bounds.least == pytest.approx(float(low), rel=1e-14, abs=1e-15)
        assert bounds.most == pytest.approx(float(high), rel=1e-14, abs=0)


@property_test
@given(map_=votes(most=12), k=st.integers(1, 12))
def test_when_the_dice_optimal_mask_is_larger(map_: tuple[list[int], int], k: int) -> None:
    """Than a level set: if its least value is above half of its Dice; the page in examples/."""
    m = sorted(exact(*map_), reverse=True)
    level = m[min(k, len(m)) - 1]
    mask = tuple(int(p >= level) for p in m)
    half = value("dice", m, mask, Fraction(1)) / 2
    found = gfnoise.volume_range(np.array(map_[0]), raters=map_[1])
    if not sum(m):
        return
    assert (level > half) == (found.least >= sum(mask))
    assert (level < half) == (found.most < sum(mask))
    assert level != half or found.most == sum(mask)


# ------------------------------------------------------------------- bounds, and their extremes


def exact_bounds(v: Fraction, metric: str, beta: Fraction = Fraction(1)) -> tuple[Any, Any]:
    """(8), (12), and the bound for F-beta."""
    if metric == "accuracy":
        return max(2 * v - 1, Fraction(0)), min(2 * v, Fraction(1))
    weight = beta**2 if metric == "fbeta" else 1
    return weight * v**2 / (1 - v + weight * v), Fraction(1)


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


# ----------------------------------------------------------------------------- soft-Dice


def soft_dice(m: list[Fraction], c: list[Fraction]) -> Fraction:
    """1 - SD_m(c) (paper 000, eq. 2); 0/0 is 1."""
    return oracles._ratio(
        2 * sum((a * b for a, b in zip(m, c, strict=True)), Fraction(0)), sum(m) + sum(c)
    )


@property_test
@given(map_=votes(), data=st.data())
def test_optimal_soft_segmentations(map_: tuple[list[int], int], data: st.DataObject) -> None:
    """(10), (14), (16), and the volumes of the optima: those of the optimal masks, and between."""
    levels, raters = map_
    m, array = exact(levels, raters), np.array(levels)
    if not sum(m):
        return
    found = gfnoise.volume_range(array, raters=raters)
    small, large = (
        [
            Fraction(one)
            for one in as_tuple(gfnoise.optimal_segmentation(array, raters=raters, ties=ties))
        ]
        for ties in ("smallest", "largest")
    )
    best = max(value("dice", m, s, Fraction(1)) for s in subsets(len(m)))
    unit = st.fractions(0, 1, max_denominator=6)
    shares = [data.draw(unit) for _ in m]
    between = [a + q * (b - a) for a, b, q in zip(small, large, shares, strict=True)]
    assert soft_dice(m, between) == best  # any value at the threshold
    assert found.least <= sum(between) <= found.most
    q = data.draw(unit)
    mixed = [(1 - q) * a + q * b for a, b in zip(small, large, strict=True)]
    assert sum(mixed) == (1 - q) * int(found.least) + q * int(found.most)
    # Everything else is worse.
    other = [data.draw(unit) for _ in m]
    inside = all(a <= c <= b for a, c, b in zip(small, other, large, strict=True))
    assert (soft_dice(m, other) == best) == inside
    # Thresholded, an optimum is an optimal mask (14); cross-entropy's optimum is m itself (16).
    assert value("dice", m, tuple(int(2 * c >= 1) for c in between), Fraction(1)) == best
    assert soft_dice(m, [Fraction(2 * p >= best) for p in m]) == best


@property_test
@given(map_=votes(), data=st.data())
def test_what_is_nearly_optimal_for_soft_dice_is_so_for_dice_once_thresholded(
    map_: tuple[list[int], int], data: st.DataObject
) -> None:
    """Paper 002: D* - D(s) <= 2 (D* - D(c)) (|c| + |m|) / (|s| + |m|), for s = [c >= 1/2].

    As D* - D(c) = 2 sum |m - D*/2| |c - c*| / (|c| + |m|) for the optimum c* that is nearest, and
    thresholding at 1/2 at most doubles |c - c*| wherever c* is 0 or 1.
    """
    m = exact(*map_)
    if not sum(m):
        return
    best = max(value("dice", m, s, Fraction(1)) for s in subsets(len(m)))
    c = [data.draw(st.fractions(0, 1, max_denominator=12)) for _ in m]
    s = tuple(int(2 * one >= 1) for one in c)
    gap, soft_gap = best - value("dice", m, s, Fraction(1)), best - soft_dice(m, c)
    assert 0 <= gap <= 2 * soft_gap * (sum(c) + sum(m)) / (sum(s) + sum(m))


def test_a_sequence_that_converges_to_optimal_soft_dice() -> None:
    """Gradient ascent of soft-Dice, by logits as a network has them; thresholded along the way."""
    m = gfnoise.GaussianField(4.0, 6.0, ndim=2).marginals(np.pad(np.ones((12, 9), np.uint8), 12))
    m = m.astype(np.float64)
    found = gfnoise.volume_range(m)
    best = 2 * gfnoise.optimal_threshold(m)
    logits, soft, hard = np.zeros(m.shape), [], []
    for _ in range(6000):
        c = 1 / (1 + np.exp(-logits))
        total = c.sum() + m.sum()
        soft.append(2 * (c * m).sum() / total)
        hard.append(float(gfnoise.score(c >= 0.5, m)))
        logits += 200 * (2 * m / total - soft[-1] / total) * c * (1 - c)
    assert soft[-1] == pytest.approx(best, abs=2e-3)
    assert soft[0] < soft[-1] < best
    assert hard[-1] == pytest.approx(best, abs=1e-6)
    assert c.sum() == pytest.approx(float(found.most), rel=0.02)
    assert found.most > 1.02 * found.mean  # the bias of its volume; cross-entropy has none


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
def test_bad_maps(name: str, m: Any, options: dict[str, Any], match: str) -> None:
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
    device = SimpleNamespace(id=0)
    cuda = SimpleNamespace(Device=lambda: device)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
    array = type("ndarray", (), {"__module__": "cupy", "device": device})()
    with pytest.raises(NotImplementedError, match=f"^{name} has no kernels for CuPy arrays"):
        getattr(gfnoise, name)(array)
