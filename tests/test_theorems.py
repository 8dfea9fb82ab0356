"""The theorems of Nordström et al. 2022 in exact rationals, on all masks that a small map has."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gfnoise
import oracles
from oracles_exact import as_tuple, exact, exact_bounds, maximisers, subsets, value, votes

METRICS = ["dice", "iou", "fbeta", "accuracy"]
BETAS = [Fraction(1, 2), Fraction(1), Fraction(2)]
property_test = settings(max_examples=60, deadline=None, derandomize=True)


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


# ----------------------------------------------------------------------------- soft-Dice


def soft_dice(m: list[Fraction], c: list[Fraction]) -> Fraction:
    """1 - SD_m(c) (Nordström et al. 2023, eq. 2); 0/0 is 1."""
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
    """D* - D(s) <= 2 (D* - D(c)) (|c| + |m|) / (|s| + |m|), for s = [c >= 1/2].

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
