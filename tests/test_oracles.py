"""The oracles against known answers, and the comparators against input that is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import oracles

# ---------------------------------------------------------------------------- random numbers


@pytest.mark.parametrize(
    "answer",
    [
        "00000000 00000000 00000000 00000000|00000000 00000000|6627e8d5 e169c58d bc57ac4c 9b00dbd8",
        "ffffffff ffffffff ffffffff ffffffff|ffffffff ffffffff|408f276d 41c83b0e a20bc7c6 6d5451fd",
        "243f6a88 85a308d3 13198a2e 03707344|a4093822 299f31d0|d16cfe09 94fdcceb 5001e420 24126ea1",
    ],
)
def test_philox_known_answers_of_random123(answer: str) -> None:
    c, k, expected = ([int(word, 16) for word in text.split()] for text in answer.split("|"))
    assert list(oracles.philox4x32(c, k)) == expected
    arrays = oracles.philox4x32([np.full(3, word, np.uint64) for word in c], k)
    assert [set(array.tolist()) for array in arrays] == [{word} for word in expected]


def test_normals_are_normal_and_their_streams_differ() -> None:
    index = np.arange(50_000, dtype=np.uint64)
    z = oracles.normals(2**40 + 7, 3, 5, index)
    assert z.shape == (4, 50_000)
    assert z.dtype == np.float32
    assert np.all(abs(z.mean(axis=1)) < 6 / math.sqrt(50_000))
    assert np.allclose(np.cov(z), np.eye(4), atol=6 * math.sqrt(2 / 50_000))
    others = [(7, 3, 5, index), (2**40 + 7, 4, 5, index), (2**40 + 7, 3, 6, index)]
    others.append((2**40 + 7, 3, 5, index + np.uint64(2**42)))
    for other in others:
        assert abs(np.corrcoef(z[0], oracles.normals(*other)[0])[0, 1]) < 6 / math.sqrt(50_000)


# -------------------------------------------------------------------------------- the field


@pytest.mark.parametrize("n", [1, 2, 3, 13, 64])
@pytest.mark.parametrize("b", [0.1, 0.5, 1.0, 2.0, 6.8, 100.0])
def test_basis_has_the_kernel(n: int, b: float) -> None:
    basis = oracles.fourier_basis(n, b)
    x = np.arange(n)
    kernel = np.exp(-((x[:, None] - x) ** 2) / (2 * b**2))
    covariance = basis.T @ basis
    assert abs(covariance - kernel).max() < 1e-3
    assert abs(np.diag(covariance) - 1).max() < 1e-12


def test_displacement_scales_windows_and_streams() -> None:
    whole = oracles.displacement((6, 9, 7), (1, 2, 0), (2, 3, 4), seed=11, item=1, rater=2)
    assert whole.shape == (3, 6, 9, 7)
    assert not whole[2].any()
    window = (slice(1, 5, 2), slice(0, 3), slice(6, 7))
    part = oracles.displacement((6, 9, 7), (1, 2, 0), (2, 3, 4), 11, 1, 2, window)
    assert np.allclose(part, whole[(slice(None), *window)], atol=1e-12)
    double = oracles.displacement((6, 9, 7), (2, 4, 0), (2, 3, 4), seed=11, item=1, rater=2)
    assert np.allclose(double, 2 * whole, atol=1e-12)
    other = oracles.displacement((6, 9, 7), (1, 2, 0), (2, 3, 4), seed=11, item=1, rater=3)
    assert abs(other - whole).max() > 0.1


def test_displacement_has_the_variance_everywhere() -> None:
    fields = np.stack([oracles.displacement((5, 6), 1.5, 2.0, seed) for seed in range(4000)])
    assert np.all(abs(fields.var(axis=0) / 2.25 - 1) < 6 * math.sqrt(2 / 4000))
    assert np.all(abs((fields[:, 0] * fields[:, 1]).mean(axis=0)) < 2.25 * 6 / math.sqrt(4000))


@pytest.mark.parametrize("b", [0.3, 1.0, 2.5])
def test_theorem3_has_the_law_border_included(b: float) -> None:
    n = 20_000
    field = oracles.theorem3_field((4, 5), 1.5, b, np.random.default_rng(1), n).reshape(n, 20)
    points = np.indices((4, 5)).reshape(2, 20)
    squared = ((points[:, :, None] - points[:, None]) ** 2).sum(axis=0)
    covariance = 2.25 * np.exp(-squared / (2 * b**2))
    error = abs(field.T @ field / n - covariance)
    assert error.max() < 6 * 2.25 * math.sqrt(2 / n)


def test_theorem3_is_the_gaussian_filter_where_that_is_right() -> None:
    got = oracles.theorem3_field((12,), 2.0, 4.0, np.random.default_rng(5), 3)
    noise = 2 * np.random.default_rng(5).standard_normal((3, 12 + 48))
    sigma = 4 / math.sqrt(2)
    filtered = ndimage.gaussian_filter1d(noise, sigma, mode="constant", radius=24)
    assert np.allclose(got, math.sqrt(math.sqrt(2 * math.pi) * 4) * filtered[:, 24:-24], atol=1e-5)


# --------------------------------------------------------------------------------- the warp


def test_warp_by_whole_voxels_is_a_shift() -> None:
    labels = np.random.default_rng(0).integers(0, 4, (5, 6, 7)).astype(np.int16)
    step = np.array([1, -2, 3], np.float32).reshape(3, 1, 1, 1) * np.ones((1, 5, 6, 7), np.float32)
    for mode, order in [(m, o) for m in ("constant", "nearest") for o in (0, 1)]:
        scipy_mode = "grid-constant" if mode == "constant" else mode
        expected = ndimage.shift(labels, (-1, 2, -3), order=0, mode=scipy_mode, cval=3)
        assert np.array_equal(oracles.warp(labels, step, order, mode, 3), expected)
        assert oracles.warp_margin(labels, step, order, mode, 3).min() >= 0.5


def test_warp_order_1_is_interpolate_and_round_for_binary_labels() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, (9, 8)).astype(np.uint8)
    move = rng.normal(0, 2, (2, 9, 8)).astype(np.float32)
    smooth = ndimage.map_coordinates(
        labels.astype(float), np.indices((9, 8)) + move, order=1, mode="grid-constant"
    )
    got, margin = oracles.warp(labels, move, 1), oracles.warp_margin(labels, move, 1)
    assert np.array_equal(got, smooth > 0.5)
    assert np.allclose(margin, abs(2 * smooth - 1), atol=1e-5)


def test_warp_ties_ignore_and_empty_votes() -> None:
    labels = np.array([[3, 1, 255, 255]], np.uint8)
    half = np.zeros((2, 1, 4), np.float32)
    half[1] = 0.5
    assert oracles.warp(labels, half, 1, "nearest").tolist() == [[1, 1, 255, 255]]
    assert oracles.warp(labels, half, 1, "nearest", 0, 255).tolist() == [[1, 1, 255, 255]]
    assert oracles.warp_margin(labels, half, 1, "nearest").tolist() == [[0, 0, 1, 1]]
    assert oracles.warp(labels, 4 * half, 1, "nearest", 0, 255).tolist() == [[3, 1, 255, 255]]
    assert oracles.warp(labels, 4 * half, 0, "constant", 7, 255).tolist() == [[3, 1, 255, 255]]
    assert oracles.warp(labels, -4 * half, 0, "constant", 7, 255).tolist() == [[7, 7, 255, 255]]
    assert oracles.warp(labels, -4 * half, 0, "constant", 255, 255).tolist() == [[3, 1, 255, 255]]
    far = np.full((2, 1, 4), 1e30, np.float32)
    assert oracles.warp(labels, far, 1, "constant", 9).tolist() == [[9] * 4]


# ---------------------------------------------------------------------------- the marginals


def test_marginals_of_a_full_box() -> None:
    m = oracles.marginals(np.ones((32, 32, 32), bool), 1.5)
    assert m[0, 0, 0] == pytest.approx(0.2507127863, abs=5e-11)
    assert m[0, 16, 16] == pytest.approx(0.6305586598, abs=5e-11)
    assert m.mean() == pytest.approx(0.8938942532, abs=5e-11)


@pytest.mark.parametrize("mode", ["constant", "nearest"])
@pytest.mark.parametrize("method", ["integrated", "sampled"])
def test_marginals_sum_to_one_and_sampled_is_scipys(method: str, mode: Any) -> None:
    labels = np.random.default_rng(3).integers(0, 4, (5, 9)).astype(np.uint8)
    m = oracles.marginals(labels, (0.7, 2.0), method, mode, cval=2, num_classes=4)
    assert np.allclose(m.sum(axis=0), 1, atol=1e-12)
    still = oracles.marginals(labels, 0, method, mode, 2, 4, ignore_index=3)
    assert np.array_equal(still, np.where(labels == 3, 0, np.arange(4)[:, None, None] == labels))
    if method == "sampled":
        for c in range(4):
            one_hot = (labels == c).astype(float)
            expected = ndimage.gaussian_filter(one_hot, (0.7, 2), mode=mode, cval=float(c == 2))
            assert np.allclose(m[c], expected, atol=1e-12)


def test_marginals_with_ignore_return_that_mass_to_the_own_class() -> None:
    labels = np.array([[1, 9, 0, 1]])
    m = oracles.marginals(labels, 1.0, mode="nearest", num_classes=2, ignore_index=9)
    assert not m[:, labels == 9].any()
    assert np.allclose(m.sum(axis=0)[labels != 9], 1)
    plain = oracles.marginals(labels, 1.0, mode="nearest", num_classes=10)
    assert m[1, 0, 0] == pytest.approx(plain[1, 0, 0] + plain[9, 0, 0])
    assert m[1, 0, 2] == pytest.approx(plain[1, 0, 2])
    within = oracles.marginals(labels % 8, 1.0, num_classes=2, ignore_index=1, cval=1)
    assert within[0].tolist() == (labels == 0).astype(float).tolist()  # only zeros ever vote
    assert not within[1].any()


@pytest.mark.parametrize("ignore", [None, 2])
@pytest.mark.parametrize("mode", ["constant", "nearest"])
def test_marginals_are_the_mean_of_the_warp(mode: Any, ignore: int | None) -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, (4, 5)).astype(np.uint8)
    total = np.zeros((3, 4, 5))
    for _ in range(2000):  # the voxels' displacements need not be dependent for Theorem 1
        move = rng.normal(0, 1.2, (2, 4, 5)).astype(np.float32)
        moved = oracles.warp(labels, move, 0, mode, 1, ignore)
        total += np.arange(3)[:, None, None] == moved
    expected = oracles.marginals(labels, 1.2, "integrated", mode, 1, 3, ignore)
    seen = np.broadcast_to(labels != ignore, total.shape)  # at ignore voxels every entry is 0
    oracles.assert_within_monte_carlo(total[seen] / 2000, expected[seen], 2000)
    assert not expected[~seen].any()


# ---------------------------------------------------------------------------- the decisions


def test_exact_threshold_of_ties_where_the_sort_fails() -> None:
    votes = np.array([5] * 100 + [1] * 1500)
    assert oracles.optimal_threshold_exact(votes, 5) == (Fraction(1, 5), 100, 1600)
    assert oracles.optimal_threshold_exact([5, 1], 5, counts=[100, 1500])[1:] == (100, 1600)
    assert oracles.optimal_threshold_exact(np.zeros(4, int), 3) == (Fraction(1, 2), 0, 0)
    assert oracles.optimal_threshold_exact([2, 1], 2, "accuracy") == (Fraction(1, 2), 1, 2)
    assert oracles.optimal_threshold_exact([3, 1, 1, 0], 3, "volume") == (Fraction(1, 3), 1, 3)


@pytest.mark.parametrize("metric", ["dice", "iou", "fbeta", "accuracy"])
def test_exact_sets_are_those_of_the_threshold_and_the_sort_agrees(metric: str) -> None:
    rng = np.random.default_rng(6)
    for _ in range(50):
        votes = rng.integers(0, 8, 30)
        t, smallest, largest = oracles.optimal_threshold_exact(votes, 7, metric, Fraction(3, 2))
        assert smallest == sum(Fraction(int(v), 7) > t for v in votes)
        assert largest == sum(Fraction(int(v), 7) >= t for v in votes)
        by_sort = oracles.optimal_threshold_sorted(votes / 7, metric, 1.5)
        assert by_sort == pytest.approx(float(t), rel=1e-13)
        if metric != "accuracy":
            best = oracles.score(votes / 7 >= float(t) - 1e-9, votes / 7, metric, 1.5)
            others = (oracles.score(rng.random(30) < 0.5, votes / 7, metric, 1.5) for _ in "1234")
            assert best >= max(others)


def test_volume_threshold_is_the_kth_largest() -> None:
    m = np.array([0.1, 0.9, 0.5, 0.7])  # its sum is 2.2: two voxels
    assert oracles.optimal_threshold_sorted(m, "volume") == 0.7
    assert oracles.optimal_threshold_sorted(m, "volume", volume=0.75) == 0.5
    assert oracles.optimal_threshold_sorted(m, "volume", volume=0) == math.inf


# -------------------------------------------------------------------------- the comparators

LABELS = np.arange(1000, dtype=np.uint8).reshape(10, 100)
OTHER = LABELS + np.uint8(np.arange(1000).reshape(10, 100) == 77)
WIDE = np.full((10, 100), 0.5)
NARROW = np.where(LABELS != OTHER, 1e-4, WIDE)
HALF = np.full(100, 0.5)
OFF = HALF + 0.2 * (np.arange(100) == 3)
MAP = np.full((4, 4), 0.25, np.float32)


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (oracles.assert_labels_agree, (OTHER, LABELS, NARROW), (OTHER, LABELS, WIDE)),
        (oracles.assert_labels_agree, (LABELS, LABELS, WIDE), (LABELS.astype(int), LABELS, WIDE)),
        (oracles.assert_labels_agree, (LABELS, LABELS, WIDE), (LABELS[None], LABELS, WIDE)),
        (oracles.assert_labels_agree, (LABELS, LABELS, WIDE), (LABELS, LABELS, 0 * WIDE)),
        (oracles.assert_labels_agree, (LABELS, LABELS, WIDE), (LABELS, LABELS, np.nan * WIDE)),
        (oracles.assert_within_monte_carlo, (HALF + 0.01, HALF, 9000), (OFF, HALF, 9000)),
        (oracles.assert_within_monte_carlo, (OFF, HALF, 100), (HALF[:9], HALF, 100)),
        (oracles.assert_within_monte_carlo, (HALF, HALF, 9), (HALF + np.nan, HALF, 9)),
        (oracles.assert_within_monte_carlo, (HALF, HALF, 9), (HALF, 3 * HALF, 9)),
        (oracles.assert_within_monte_carlo, (0 * HALF, 0 * HALF, 9), (OFF - HALF, 0 * HALF, 9)),
        (oracles.assert_within_monte_carlo, (2 * HALF, 2 * HALF, 9), (1.5 * HALF, 2 * HALF, 9)),
        (oracles.assert_marginals_close, (MAP, MAP.astype(float)), (MAP + np.float32(1e-5), MAP)),
        (oracles.assert_marginals_close, (MAP, MAP + 1e-8), (MAP.astype(float), MAP)),
        (oracles.assert_marginals_close, (MAP, MAP), (MAP[0], MAP)),
        (oracles.assert_marginals_close, (MAP, MAP), (np.float32(np.nan) * MAP, MAP)),
    ],
)
def test_comparators_pass_what_is_right_and_fail_what_is_wrong(
    check: Callable[..., None], right: tuple[Any, ...], wrong: tuple[Any, ...]
) -> None:
    check(*right)
    with pytest.raises(AssertionError, match=r"\S"):
        check(*wrong)


def test_monte_carlo_comparator_holds_at_its_word() -> None:
    rng = np.random.default_rng(8)
    p = rng.random((50, 50)) ** 8  # many very small: a plain normal bound would fail there
    oracles.assert_within_monte_carlo(rng.binomial(400, p) / 400, p, 400)
    with pytest.raises(AssertionError, match="off by more than z"):
        oracles.assert_within_monte_carlo(rng.binomial(400, p * 0.7) / 400, p, 400)
