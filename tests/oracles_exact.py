"""Maps of few votes, all their masks, and the masks' scores in rationals."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

import oracles


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


def exact_bounds(v: Fraction, metric: str, beta: Fraction = Fraction(1)) -> tuple[Any, Any]:
    """Of the volume of an optimal mask, over the mean `v`: (8), (12), and the bound for F-beta."""
    if metric == "accuracy":
        return max(2 * v - 1, Fraction(0)), min(2 * v, Fraction(1))
    weight = beta**2 if metric == "fbeta" else 1
    return weight * v**2 / (1 - v + weight * v), Fraction(1)
