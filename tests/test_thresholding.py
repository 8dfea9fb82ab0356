"""Optimal thresholds, segmentations and scores, against the sort and against exact rationals."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import gfnoise
import oracles

Map = NDArray[np.floating[Any]]
EVERY_BACKEND = True
METRICS = ["dice", "iou", "fbeta", "accuracy", "volume"]
DTYPES = [np.float16, np.float32, np.float64]
N = 4096
RAMP = np.arange(N) / N
BALL = 3 - np.sqrt(((np.indices((16, 16, 16)) - 7.3) ** 2).sum(axis=0)).ravel()

MAPS: dict[str, Callable[[np.random.Generator], Map]] = {
    "uniform": lambda rng: rng.random(N),
    "one half and up": lambda rng: 0.5 + rng.random(N) / 2,
    "one half and down": lambda rng: rng.random(N) / 2,
    "mass at both ends": lambda rng: rng.beta(0.3, 0.3, N),
    "skewed down": lambda rng: rng.beta(1, 8, N),
    "skewed up": lambda rng: rng.beta(8, 1, N),
    "hump": lambda rng: rng.beta(9, 9, N),
    "blurred ball": lambda rng: 1 / (1 + np.exp(-BALL)),
    "sharp ball": lambda rng: np.clip(BALL + 0.5, 0, 1),
    "sparse": lambda rng: np.where(rng.random(N) < 0.01, rng.random(N), 0),
    "almost all ones": lambda rng: np.where(rng.random(N) < 0.01, rng.random(N), 1),
    "one voxel in nothing": lambda rng: np.where(np.arange(N) == 77, 0.3, 0),
    "one voxel in dust": lambda rng: np.where(np.arange(N) == 77, 1, 1e-5),
    "two levels": lambda rng: np.where(rng.random(N) < 0.2, 0.75, 0.125),
    "nine levels": lambda rng: rng.integers(0, 9, N) / 8,
    "ramp up": lambda rng: RAMP,
    "steep ramp down": lambda rng: RAMP[::-1] ** 6,
    "powers of two": lambda rng: 2.0 ** -rng.integers(0, 14, N),
    "small values": lambda rng: rng.random(N) * 1e-3,
    "tiny values": lambda rng: rng.random(N) * 6e-8,  # float16: zero and its least values
    "over all magnitudes": lambda rng: 10 ** rng.uniform(-300, 0, N),
    "within one ulp": lambda rng: np.nextafter(0.25, np.where(rng.random(N) < 0.5, 0, 1)),
}


def close(expected: float, rel: float = 1e-12) -> Any:
    """Equal to within a relative error alone, as the thresholds of tiny values are tiny."""
    return pytest.approx(expected, rel=rel, abs=0)


def sizes(m: NDArray[Any], metric: str = "dice", **options: Any) -> tuple[int, int]:
    """Sizes of the smallest and the largest mask that the library calls optimal."""

    def size(ties: str) -> int:
        return int(gfnoise.optimal_segmentation(m, metric, ties=ties, **options).sum())

    return size("smallest"), size("largest")


# --------------------------------------------------------------------------- the thresholds


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", MAPS)
def test_thresholds_are_those_of_the_sort(kind: str, dtype: Any) -> None:
    m = MAPS[kind](np.random.default_rng(1)).astype(dtype)
    wide = m.astype(np.float64)  # NumPy would round a Python float to the map's dtype
    for metric, beta in [("dice", 1), ("iou", 1), ("fbeta", 0.5), ("fbeta", 2), ("accuracy", 1)]:
        t = gfnoise.optimal_threshold(m, metric, beta=beta)
        expected = oracles.optimal_threshold_sorted(m, metric, beta)
        assert isinstance(t, float)
        assert t == close(expected)
        s = gfnoise.optimal_segmentation(m, metric, beta=beta)
        assert s.dtype == bool
        assert np.array_equal(s, wide >= t)
        smallest = gfnoise.optimal_segmentation(m, metric, beta=beta, ties="smallest")
        assert np.array_equal(smallest, wide > t)
        if metric == "dice":
            assert oracles.score(s, m) == close(2 * t)
    for volume in (None, 0.0, 1e-3, 0.1, 0.5, 1.0):
        t = gfnoise.optimal_threshold(m, "volume", volume=volume)
        assert t == oracles.optimal_threshold_sorted(m, "volume", volume=volume)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["uniform", "blurred ball", "nine levels", "two levels"])
def test_masks_of_float_maps_are_optimal_in_exact_rationals(kind: str, dtype: Any) -> None:
    m = MAPS[kind](np.random.default_rng(2)).astype(dtype)
    for metric in METRICS:
        t, smallest, largest = oracles.optimal_threshold_exact(m, None, metric)
        assert gfnoise.optimal_threshold(m, metric) == close(float(t))
        assert sizes(m, metric) == (smallest, largest)


def test_ties_of_the_papers_kind() -> None:
    votes = np.array([5] * 100 + [1] * 1500, np.uint8).reshape(40, 40)
    assert gfnoise.optimal_threshold(votes, raters=5) == 1 / 5
    assert sizes(votes, raters=5) == (100, 1600)
    as_floats = votes / 5  # 1/5 is no float: the tie is found by snapping
    assert gfnoise.optimal_threshold(as_floats) == 1 / 5
    assert sizes(as_floats) == (100, 1600)
    single = as_floats.astype(np.float32)  # 1/5 rounds up in float32: no tie any more
    assert sizes(single) == oracles.optimal_threshold_exact(single)[1:] == (1600, 1600)


@settings(max_examples=150, deadline=None, derandomize=True)
@example(votes=[0, 0, 0], raters=1, beta=Fraction(1))
@example(votes=[5, 1, 1], raters=5, beta=Fraction(2))
@given(
    votes=st.lists(st.integers(0, 7), min_size=1, max_size=24),
    raters=st.integers(1, 7),
    beta=st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(2)]),
)
def test_votes_are_decided_exactly(votes: list[int], raters: int, beta: Fraction) -> None:
    map_ = np.minimum(votes, raters).astype(np.int16)
    for metric in METRICS:
        options: dict[str, Any] = {"beta": float(beta)} if metric == "fbeta" else {}
        t, *expected = oracles.optimal_threshold_exact(map_, raters, metric, beta)
        found = gfnoise.optimal_threshold(map_, metric, raters=raters, **options)
        assert found == close(float(t), 1e-15)
        assert sizes(map_, metric, raters=raters, **options) == tuple(expected)
        if metric != "volume":  # the rounding of k = floor(sum + 1/2) is not the ties' matter
            assert sizes(map_ / raters, metric, **options) == tuple(expected)


@pytest.mark.parametrize("dtype", [f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)])
def test_votes_of_every_integer_dtype(dtype: str) -> None:
    votes = np.random.default_rng(3).integers(0, 4, (3, 6, 7)).astype(dtype)
    t = gfnoise.optimal_threshold(votes, ndim=2, raters=3)
    assert t.tolist() == [float(oracles.optimal_threshold_exact(v, 3)[0]) for v in votes]


@pytest.mark.parametrize("raters", [1000, 60_000])
def test_many_raters_are_decided_exactly(raters: int) -> None:
    votes = np.random.default_rng(4).integers(0, raters + 1, (9, 11)).astype(np.uint16)
    t, *expected = oracles.optimal_threshold_exact(votes, raters)
    assert gfnoise.optimal_threshold(votes, raters=raters) == close(float(t), 1e-15)
    assert sizes(votes, raters=raters) == tuple(expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_constant_all_zero_all_one_and_single_voxel_maps(dtype: Any) -> None:
    for shape in ((4, 5), (1, 1, 1)):
        for value in (1.0, 0.5, 0.25, 0.125):
            m = np.full(shape, value, dtype)
            size = m.size
            assert gfnoise.optimal_threshold(m) == value / (1 + value)
            assert gfnoise.optimal_threshold(m, "iou") == value / (1 + value)
            t = gfnoise.optimal_threshold(m, "fbeta", beta=2)
            assert t == close(value / (1 + 4 * value), 1e-15)
            assert sizes(m) == (size, size)
            assert sizes(m, "accuracy") == (size * (value > 0.5), size * (value >= 0.5))
        zero = np.zeros(shape, dtype)
        for metric in ("dice", "iou", "fbeta", "accuracy"):
            assert gfnoise.optimal_threshold(zero, metric) == 0.5
            assert sizes(zero, metric) == (0, 0)
            assert gfnoise.score(zero > 0, zero, metric) == 1
        assert gfnoise.optimal_threshold(zero, "volume") == math.inf
        assert sizes(zero, "volume") == (0, 0)
    votes = np.zeros((3, 3), np.uint8)
    assert gfnoise.optimal_threshold(votes, raters=3) == 0.5
    assert sizes(votes, raters=3) == (0, 0)


# ------------------------------------------------------------------ layouts, batches, sizes


@pytest.mark.parametrize("metric", METRICS)
def test_batches_and_ndim(metric: str) -> None:
    m = np.random.default_rng(5).random((2, 3, 6, 7)).astype(np.float32)
    m[1, 1] = 0
    t = gfnoise.optimal_threshold(m, metric, ndim=2)
    s = gfnoise.optimal_segmentation(m, metric, ndim=2)
    assert (t.dtype, t.shape, s.shape) == (np.float64, (2, 3), m.shape)
    for i, j in itertools.product(range(2), range(3)):
        assert t[i, j] == gfnoise.optimal_threshold(m[i, j], metric)
        assert np.array_equal(s[i, j], gfnoise.optimal_segmentation(m[i, j], metric))
    assert gfnoise.optimal_threshold(m, metric, ndim=1).shape == (2, 3, 6)
    assert gfnoise.optimal_threshold(m, metric, ndim=3).shape == (2,)
    if metric != "volume":
        points = gfnoise.score(s, m, metric, ndim=2)
        assert (points.dtype, points.shape) == (np.float64, (2, 3))
        assert points[1, 0] == close(oracles.score(s[1, 0], m[1, 0], metric), 1e-13)


@pytest.mark.long
@pytest.mark.parametrize(("maps", "voxels"), [(5000, 7), (300, 2000), (3, 400_001)])
def test_many_small_and_few_large_maps(maps: int, voxels: int) -> None:
    m = np.random.default_rng(10).random((maps, voxels)).astype(np.float32)
    m **= np.linspace(0.2, 5, maps, dtype=np.float32)[:, None]
    t = gfnoise.optimal_threshold(m, ndim=1)
    assert np.allclose(t, [oracles.optimal_threshold_sorted(x) for x in m], rtol=1e-12, atol=0)
    s = gfnoise.optimal_segmentation(m, ndim=1)
    assert np.array_equal(s, m.astype(np.float64) >= t[:, None])
    assert np.allclose(gfnoise.score(s, m, ndim=1), 2 * t, rtol=1e-12)
    k = gfnoise.optimal_segmentation(m, "volume", ndim=1).sum(axis=1)
    assert abs(k - m.sum(axis=1, dtype=np.float64)).max() <= 0.5 + 1e-9
    votes = (4 * m).astype(np.uint8)
    by_votes = gfnoise.optimal_threshold(votes, ndim=1, raters=4)
    assert np.allclose(by_votes, gfnoise.optimal_threshold(votes / 4, ndim=1), rtol=1e-15)


@pytest.mark.parametrize("dtype", [*DTYPES, np.uint8])
def test_any_layout_gives_the_same(dtype: Any) -> None:
    rng = np.random.default_rng(6)
    votes = rng.integers(0, 6, (6, 7, 8))
    options: dict[str, Any] = {"raters": 5} if dtype == np.uint8 else {}
    m = votes.astype(dtype) if options else (votes / 5).astype(dtype)
    sparse = np.zeros((12, 7, 24), dtype)
    sparse[::2, :, ::3] = m
    locked = m.copy()
    locked.setflags(write=False)
    views = [
        np.asfortranarray(m),
        sparse[::2, :, ::3],
        locked,
        m[::-1, :, ::-1].copy()[::-1, :, ::-1],
    ]
    views.append(m.astype(m.dtype.newbyteorder()))
    for view in views:
        assert gfnoise.optimal_threshold(view, **options) == gfnoise.optimal_threshold(m, **options)
        for ties in ("largest", "smallest"):
            s = gfnoise.optimal_segmentation(m, ties=ties, **options)
            assert np.array_equal(gfnoise.optimal_segmentation(view, ties=ties, **options), s)
        first = gfnoise.optimal_segmentation(m, "volume", ties="first", **options)
        again = gfnoise.optimal_segmentation(view, "volume", ties="first", **options)
        assert np.array_equal(again, first)
    assert np.array_equal(locked, m)
    repeated = np.broadcast_to(m, (3, *m.shape))
    t = gfnoise.optimal_threshold(repeated, ndim=3, **options)
    assert t.tolist() == [gfnoise.optimal_threshold(m, **options)] * 3


def test_empty_maps_have_an_empty_mask() -> None:
    for shape, ndim, lead in [((0, 5, 5), 2, (0,)), ((3, 0, 5), 2, (3,)), ((0,), 1, ())]:
        m = np.zeros(shape, np.float32)
        for metric in METRICS:
            t = gfnoise.optimal_threshold(m, metric, ndim=ndim)
            assert np.shape(t) == lead
            assert np.all(np.asarray(t) == (math.inf if metric == "volume" else 0.5))
            s = gfnoise.optimal_segmentation(m, metric, ndim=ndim)
            assert (s.shape, s.dtype) == (shape, bool)
        assert np.shape(gfnoise.score(m > 0, m, ndim=ndim)) == lead
    assert gfnoise.score(np.zeros((0, 4), bool), np.zeros((0, 4))) == 1


def test_out_is_filled_and_returned() -> None:
    m = np.random.default_rng(7).random((4, 5, 6))
    expected = gfnoise.optimal_segmentation(m, ndim=2)
    plain, wide = np.ones((4, 5, 6), bool), np.ones((4, 5, 12), bool)
    for out in (plain, wide[..., ::2], np.asfortranarray(plain)):
        assert gfnoise.optimal_segmentation(m, ndim=2, out=out) is out
        assert np.array_equal(out, expected)
    assert wide[..., 1::2].all()


def test_exact_at_size_in_float32_without_a_sort_or_a_copy() -> None:
    levels = np.array([1, 0.7, 0.3, 0.1], np.float32)
    counts = [10, 100, 4_000_000, 8_400_000]
    m = np.repeat(levels, counts)
    running = np.cumsum(m, dtype=np.float32)[-1]
    assert abs(running / m.sum(dtype=np.float64) - 1) > 1e-3  # what a float32 sum would lose
    t, *expected = oracles.optimal_threshold_exact(levels, counts=counts)
    gfnoise.optimal_threshold(m[: 1 << 20])  # or what is imported for it would count
    tracemalloc.start()
    found = gfnoise.optimal_threshold(m)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == close(float(t), 1e-13)
    assert peak < m.nbytes / 4
    assert sizes(m) == tuple(expected)
    first = gfnoise.optimal_segmentation(m, "volume", volume=0.25, ties="first")
    assert first[: 12_400_110 // 4].all()
    assert first.sum() == math.floor(0.25 * m.size + 0.5)
    constant = m[-8_400_000:]
    value = Fraction(float(levels[-1]))
    expected_constant = float(value / (1 + value))
    assert gfnoise.optimal_threshold(constant) == close(expected_constant, 1e-13)


# ------------------------------------------------------------------------- ties and volumes


def test_volume_and_its_ties() -> None:
    m = np.array([[0.25, 0.5, 0.5], [0.75, 0.5, 0.5]])  # its sum is 3
    assert gfnoise.optimal_threshold(m, "volume") == 0.5
    assert sizes(m, "volume") == (1, 5)
    first = gfnoise.optimal_segmentation(m, "volume", ties="first")
    assert first.tolist() == [[False, True, True], [True, False, False]]
    for k in range(7):
        first = gfnoise.optimal_segmentation(m, "volume", volume=k / 6, ties="first")
        assert first.sum() == k
        assert m[first].sum() == np.sort(m, axis=None)[6 - k :].sum()
        for column in (np.asfortranarray(m), m[::-1].copy()[::-1]):
            again = gfnoise.optimal_segmentation(column, "volume", volume=k / 6, ties="first")
            assert np.array_equal(again, first)
    by_item = gfnoise.optimal_segmentation(np.stack([m, 1 - m]), "volume", ndim=2, ties="first")
    assert by_item.sum(axis=(1, 2)).tolist() == [3, 3]


def test_first_ties_of_a_large_map_and_its_views() -> None:
    votes = np.random.default_rng(9).integers(0, 4, (60, 70, 80)).astype(np.uint8)
    for view in (votes, votes.T, votes[::-1, ::2, ::-1]):
        expected = np.zeros(view.size, bool)
        first = np.argsort(3 - view.ravel(), kind="stable")[: math.floor(0.4 * view.size + 0.5)]
        expected[first] = True
        for m, raters in ((view, 3), ((view / 3).astype(np.float32), None)):
            options: dict[str, Any] = {"volume": 0.4, "raters": raters, "ties": "first"}
            got = gfnoise.optimal_segmentation(m, "volume", **options)
            assert np.array_equal(got, expected.reshape(view.shape))
    whole = gfnoise.optimal_segmentation(votes, "volume", raters=3, ties="first")
    assert whole.sum() == (2 * int(votes.sum(dtype=np.int64)) + 3) // 6  # floor(sum / 3 + 1/2)


def test_theorem_4_accuracy_and_dice_agree_at_a_given_volume() -> None:
    m = np.array([0.1, 0.8, 0.8, 0.3, 0.55, 0.3, 0.0, 1.0])
    every = np.array(list(itertools.product([False, True], repeat=m.size)))
    maps = np.broadcast_to(m, every.shape)
    points = {name: gfnoise.score(every, maps, name, ndim=1) for name in ("accuracy", "dice")}
    for k in range(m.size + 1):
        of_size = every.sum(axis=1) == k
        best = [of_size & (p >= p[of_size].max() - 1e-12) for p in points.values()]
        assert np.array_equal(*best)
        first = gfnoise.optimal_segmentation(m, "volume", volume=k / m.size, ties="first")
        assert best[0][(every == first).all(axis=1)].item()
    for name, p in points.items():  # Theorem 5: every optimal set lies between the two masks
        optimal = every[p >= p.max() - 1e-12]
        low, high = (gfnoise.optimal_segmentation(m, name, ties=t) for t in ("smallest", "largest"))
        assert np.array_equal(optimal.all(axis=0), low)
        assert np.array_equal(optimal.any(axis=0), high)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), metric=st.sampled_from(METRICS[:4]), power=st.floats(0.1, 10))
def test_no_other_set_scores_better(seed: int, metric: str, power: float) -> None:
    rng = np.random.default_rng(seed)
    m = rng.random((7, 6)) ** power
    best = gfnoise.score(gfnoise.optimal_segmentation(m, metric), m, metric)
    others = np.concatenate([rng.random((30, 7, 6)) < 0.5, m >= rng.random((30, 1, 1))])
    maps = np.broadcast_to(m, others.shape)
    assert gfnoise.score(others, maps, metric, ndim=2).max() <= best + 1e-12


# ---------------------------------------------------------------------------------- scores


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_agree_with_the_oracle(dtype: Any) -> None:
    rng = np.random.default_rng(8)
    m, s = rng.random((5, 6, 7)).astype(dtype), rng.random((5, 6, 7)) < 0.4
    score = {k: gfnoise.score(s, m, k, ndim=2) for k in ("dice", "iou", "fbeta", "accuracy")}
    for metric, found in score.items():
        expected = [oracles.score(a, b, metric) for a, b in zip(s, m, strict=True)]
        assert np.allclose(found, expected, rtol=1e-13, atol=0)
    assert np.allclose(score["dice"], 2 * score["iou"] / (1 + score["iou"]), rtol=1e-13)
    assert np.allclose(score["fbeta"], score["dice"], rtol=1e-13)
    two = gfnoise.score(s, m, "fbeta", beta=2.0, ndim=2)
    assert two[3] == close(oracles.score(s[3], m[3], "fbeta", 2.0), 1e-13)
    flipped = gfnoise.score(~s, m, "accuracy", ndim=2)
    assert np.allclose(score["accuracy"] + flipped, 1, rtol=1e-13)
    whole = gfnoise.score(s, m)
    assert isinstance(whole, float)
    assert whole == close(oracles.score(s, m), 1e-13)
    swapped = gfnoise.score(np.asfortranarray(s), m[::-1].copy()[::-1])
    assert swapped == close(whole, 1e-13)
    t = gfnoise.optimal_threshold(m, "fbeta", beta=2)
    best = gfnoise.score(gfnoise.optimal_segmentation(m, "fbeta", beta=2), m, "fbeta", beta=2)
    assert best == close(5 * t)


# ------------------------------------------------------------------------------- bad input

GOOD = np.full((4, 4), 0.5)
VOTES = np.full((4, 4), 2)


def changed(value: float, dtype: Any = np.float64) -> NDArray[Any]:
    m = np.full((3, 4, 4), 0.5 if np.dtype(dtype).kind == "f" else 2, dtype)
    m[1, 2, 3] = value
    return m


@pytest.mark.parametrize("name", ["optimal_threshold", "optimal_segmentation"])
@pytest.mark.parametrize(
    ("m", "options", "match"),
    [
        (GOOD, {"metric": "jaccard"}, "metric.*'jaccard'"),
        (GOOD, {"metric": None}, "metric.*None"),
        (changed(np.nan), {}, "marginals.*[nN]a[nN]"),
        (changed(np.nan, np.float32), {"metric": "accuracy"}, "marginals.*[nN]a[nN]"),
        (changed(np.nan, np.float16), {"metric": "volume"}, "marginals.*[nN]a[nN]"),
        (changed(np.inf), {}, "marginals.*inf"),
        (changed(1.5), {}, r"marginals.*1\.5"),
        (changed(-0.25, np.float16), {"metric": "accuracy"}, r"marginals.*-0\.25"),
        (changed(np.nextafter(1, 2)), {"metric": "iou"}, r"marginals.*1\.0"),
        (changed(4, np.uint8), {"raters": 3}, "(raters|marginals).*4"),
        (changed(-1, np.int8), {"raters": 3}, "(raters|marginals).*-1"),
        (changed(4, np.int64), {"raters": 3, "metric": "accuracy"}, "(raters|marginals).*4"),
        (GOOD, {"raters": 3}, "(raters|marginals).*float64"),
        (VOTES, {"raters": 0}, "raters.*0"),
        (VOTES, {"raters": -2}, "raters.*-2"),
        (VOTES, {"raters": 2.5}, r"raters.*(2\.5|float)"),
        (GOOD, {"metric": "fbeta", "beta": 0}, "beta.*0"),
        (GOOD, {"metric": "fbeta", "beta": -1.0}, "beta.*-1"),
        (GOOD, {"metric": "fbeta", "beta": np.nan}, "beta.*nan"),
        (GOOD, {"metric": "fbeta", "beta": np.inf}, "beta.*inf"),
        (GOOD, {"metric": "fbeta", "beta": "1"}, "beta.*(str|'1')"),
        (GOOD, {"metric": "volume", "volume": 1.25}, r"volume.*1\.25"),
        (GOOD, {"metric": "volume", "volume": -0.5}, r"volume.*-0\.5"),
        (GOOD, {"metric": "volume", "volume": np.nan}, "volume.*nan"),
        (GOOD, {"ndim": 0}, "ndim.*0"),
        (GOOD, {"ndim": 3}, "ndim.*3"),
        (GOOD, {"ndim": -1}, "ndim.*-1"),
        (GOOD, {"ndim": 1.5}, r"ndim.*(1\.5|float)"),
        (np.full((2, 2, 2, 2), 0.5), {}, "ndim.*(4|four)"),
        (GOOD.astype(object), {}, "marginals.*object"),
        (GOOD.astype(complex), {}, "marginals.*complex128"),
        (GOOD.astype(str), {}, "marginals.*(<U|str)"),
        (VOTES.astype(object), {"raters": 3}, "marginals.*object"),
        ([[0.5, 0.5]], {}, "marginals.*list"),
        (0.5, {}, "marginals.*float"),
        (None, {}, "marginals.*None"),
    ],
)  # fmt: skip
def test_bad_input_is_named(name: str, m: Any, options: dict[str, Any], match: str) -> None:
    with pytest.raises((ValueError, TypeError), match=match):
        getattr(gfnoise, name)(m, **options)


BUFFER = np.full((4, 4), 0.5)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"ties": "all"}, "ties.*'all'"),
        ({"ties": "first"}, "ties.*'first'"),  # only for a given volume
        ({"out": np.ones((4, 5), bool)}, r"out.*\(4, 5\)"),
        ({"out": np.ones((4, 4), np.uint8)}, "out.*uint8"),
        ({"out": np.broadcast_to(True, (4, 4))}, "out.*(read-only|writ)"),
        ({"out": BUFFER.view(bool)[:, ::8]}, "out.*(overlap|memory)"),
        ({"out": [[True]]}, "out.*list"),
    ],
)
def test_bad_ties_and_out_are_named_and_nothing_is_written(
    options: dict[str, Any], match: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=match):
        gfnoise.optimal_segmentation(BUFFER, **options)
    assert np.all(BUFFER == 0.5)


def test_bad_maps_leave_out_alone() -> None:
    for m in (changed(np.nan), changed(2.0)):
        out = np.ones((3, 4, 4), bool)
        with pytest.raises(ValueError, match="marginals"):
            gfnoise.optimal_segmentation(m, ndim=2, out=out)
        assert out.all()


@pytest.mark.parametrize(
    ("segmentation", "m", "options", "match"),
    [
        (GOOD > 0, GOOD, {"metric": "volume"}, "metric.*'volume'"),
        (GOOD > 0, changed(np.nan)[1], {}, "marginals.*[nN]a[nN]"),
        (GOOD > 0, changed(1.5)[1], {}, r"marginals.*1\.5"),
        (GOOD[:3] > 0, GOOD, {}, r"segmentation.*\(3, 4\)"),
        (GOOD, GOOD, {}, "segmentation.*float64"),
        ([[True]], GOOD, {}, "segmentation.*list"),
        (GOOD > 0, [[0.5]], {}, "marginals.*list"),
        (GOOD > 0, None, {}, "marginals.*None"),
        (None, GOOD, {}, "segmentation.*None"),
        (GOOD > 0, GOOD.astype(complex), {}, "marginals.*complex128"),
        (GOOD > 0, GOOD, {"ndim": 3}, "ndim.*3"),
        (GOOD > 0, GOOD, {"metric": "fbeta", "beta": 0}, "beta.*0"),
    ],
)
def test_bad_scores_are_named(segmentation: Any, m: Any, options: Any, match: str) -> None:
    with pytest.raises((ValueError, TypeError), match=match):
        gfnoise.score(segmentation, m, **options)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_a_matrix_is_written_as_the_array_it_is() -> None:
    out = np.matrix(np.zeros((64, 64), bool))
    m = np.random.default_rng(0).random((64, 64))
    assert gfnoise.optimal_segmentation(m, out=out) is out
    assert np.array_equal(np.asarray(out), gfnoise.optimal_segmentation(m))
