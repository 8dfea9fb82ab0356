"""The cache that is bounded by bytes."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from gfnoise._cpu import field
from gfnoise._shared.kept import ENTRIES, _bytes, kept
from gfnoise._shared.spectrum import KEPT, axis_basis
from gfnoise._window import whole


@dataclass
class Pair:
    first: Any
    others: Any


@pytest.fixture
def made() -> list[int]:
    return []


def test_what_was_used_last_is_kept(made: list[int]) -> None:
    @kept(300)
    def zeros(n: int) -> Any:
        made.append(n)
        return np.zeros(n, np.uint8)

    first = zeros(100)
    for n in (101, 99, 100):
        zeros(n)
    assert zeros(100) is first
    zeros(50)  # there is no room for 101, the longest unused
    for n in (99, 100, 50):
        zeros(n)
    assert made == [100, 101, 99, 50]
    zeros(101)
    assert made == [100, 101, 99, 50, 101]


def test_what_is_too_large_is_not_kept_and_takes_no_room(made: list[int]) -> None:
    @kept(100)
    def pair(n: int) -> Pair:
        made.append(n)
        return Pair(np.zeros(n, np.uint8), (np.zeros(n // 2, np.uint16), np.zeros((0, 3))))

    for n in (10, 50, 51, 51, 10, 50):
        pair(n)
    assert made == [10, 50, 51, 51, 10, 50]
    pair(50)
    assert made[-1] == 50
    assert len(made) == 6


def test_small_results_are_counted(made: list[int]) -> None:
    @kept(1 << 20)
    def one(n: int) -> Any:
        made.append(n)
        return np.zeros(1)

    for n in [*range(ENTRIES + 1), *range(1, ENTRIES + 1), 0, 1]:
        one(n)
    assert made == [*range(ENTRIES + 1), 0, 1]


def test_threads_share_it() -> None:
    @kept(60)
    def ten(n: int) -> Any:
        return np.full(10, n, np.uint8)

    wrong: list[int] = []

    def work(seed: int) -> None:
        for n in np.random.default_rng(seed).integers(0, 9, 4000).tolist():
            if not (ten(n) == n).all():
                wrong.append(n)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert wrong == []


@pytest.mark.parametrize("name", ["_bases", "_node_basis", "axis_basis"])
def test_length_scales_that_are_drawn_do_not_fill_memory(name: str) -> None:
    """Of an image of 2048² a basis has some megabytes; of these, a few stay."""
    window = whole((2048, 2048))
    calls = {
        "_bases": lambda b: field._bases((b, b), window, 8),
        "_node_basis": lambda b: field._node_basis(b, window, 2),
        "axis_basis": lambda b: axis_basis(2048, b),
    }
    results = {b: calls[name](b) for b in np.linspace(3, 4, 16)}
    still = sum(calls[name](b) is results[b] for b in reversed(results))  # the last ones first
    assert 1 <= still < len(results)
    assert still * _bytes(results[4.0]) <= KEPT  # it has the fewest terms
