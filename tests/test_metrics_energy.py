"""The generalised energy distance, against pairs one by one, known values and its law."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import oracles_soft as oracles
from gfnoise import GaussianField
from gfnoise._cpu import _pool
from gfnoise.metrics import energy, energy_distance

LABEL = np.zeros((24, 24), np.uint8)
LABEL[6:18, 6:18] = 1
MASKS = np.zeros((3, 4, 5), np.uint8)


@settings(max_examples=60, deadline=None)
@given(
    counts=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    shape=st.lists(st.integers(0, 6), min_size=1, max_size=3),
    classes=st.sampled_from([2, 3, 5, 300]),
    dtype=st.sampled_from(["u1", "i2", ">i4", "i8"]),
    share=st.sampled_from([0.02, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
def test_it_is_that_of_all_pairs(
    counts: tuple[int, int], shape: list[int], classes: int, dtype: str, share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    sets = [
        (rng.integers(0, min(classes, 120), (n, *shape)) * (rng.random((n, *shape)) < share))
        for n in counts
    ]
    samples, raters = (one.astype(dtype) for one in sets)
    found = energy_distance(samples, raters, num_classes=classes)
    assert found == pytest.approx(oracles.energy_distance(samples, raters, classes), abs=1e-12)
    assert 0 <= found <= 2
    if classes == 2:
        assert energy_distance(samples, raters) == found
        if dtype == "u1":
            assert energy_distance(samples > 0, raters > 0) == found


def test_known_values_are_found() -> None:
    empty, full = MASKS, MASKS + 1
    assert energy_distance(empty, full) == 2  # 2 * 1 - 0 - 0
    assert energy_distance(empty, empty) == 0  # two empty masks are alike
    assert energy_distance(full[:1], full) == 0
    assert not np.signbit(energy_distance(empty, empty))
    assert energy_distance(full[:, :0], empty[:, :0]) == 0
    half = MASKS.copy()
    half[:, :2] = 1
    assert energy_distance(half[:1], full[:1]) == 1  # 2 * (1 - 1 / 2)
    two = np.stack([empty[0], full[0]])
    assert energy_distance(two, two[::-1]) == 0
    assert energy_distance(two, full) == pytest.approx(2 * 0.5 - 0.5)
    # Of classes 1 and 2, the second is in neither: half of the distance.
    assert energy_distance(empty, full, num_classes=3) == pytest.approx(1)


def test_equal_sets_are_at_distance_0_and_it_is_symmetric() -> None:
    one, other = (
        GaussianField(a, 5.0, ndim=2).sample_labels(LABEL, seed=s, n=6)
        for a, s in ((1.0, 0), (3.0, 1))
    )
    assert energy_distance(one, one[::-1]) == pytest.approx(0, abs=1e-14)
    assert energy_distance(one, np.repeat(one, 3, axis=0)) == pytest.approx(0, abs=1e-14)
    assert energy_distance(one, other) == pytest.approx(energy_distance(other, one), abs=1e-14)
    assert energy_distance(one, other) > 0.02


def test_of_one_law_its_mean_is_that_of_pairs_with_themselves() -> None:
    """(1/n + 1/m) E[d]: over 300 draws, within four standard errors."""
    n, m, draws = 5, 3, 300
    field = GaussianField(2.0, 4.0, ndim=2)
    labels = field.sample_labels(LABEL, seed=0, n=draws * (n + m + 2))
    sets = labels.reshape(draws, n + m + 2, *LABEL.shape)
    found = energy_distance(sets[:, :n], sets[:, n:-2], axis=1, ndim=2)
    # Of two single masks, D2 is 2 d.
    apart = energy_distance(sets[:, -2:-1], sets[:, -1:], axis=1, ndim=2) / 2
    surplus = found - (1 / n + 1 / m) * apart
    assert abs(surplus.mean()) < 4 * surplus.std() / np.sqrt(draws)
    assert found.mean() > 0.05


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_items_and_axes(axis: int) -> None:
    rng = np.random.default_rng(1)
    samples, raters = rng.integers(0, 3, (2, 4, 5, 6, 7)), rng.integers(0, 3, (2, 4, 3, 6, 7))
    expected = [
        [oracles.energy_distance(s, r, 3) for s, r in zip(ss, rs, strict=True)]
        for ss, rs in zip(samples, raters, strict=True)
    ]
    moved = [np.moveaxis(one, 2, axis) for one in (samples, raters)]
    found = energy_distance(*moved, axis=axis, ndim=2, num_classes=3)
    assert found.shape == (2, 4)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_raters_may_be_missing() -> None:
    rng = np.random.default_rng(2)
    samples, raters = rng.integers(0, 2, (3, 4, 8, 8)), rng.integers(0, 2, (3, 5, 8, 8))
    there = np.array([[1, 1, 1, 1, 1], [0, 1, 0, 0, 1], [0, 0, 0, 1, 0]], bool)
    found = energy_distance(samples, raters, axis=1, ndim=2, annotated=there)
    expected = [
        oracles.energy_distance(s, r[a]) for s, r, a in zip(samples, raters, there, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("classes", [None, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_what_anyone_ignores_is_left_out(classes: int | None, dtype: Any) -> None:
    rng = np.random.default_rng(3)
    top = classes or 2
    samples = rng.integers(0, top, (2, 4, 9, 8)).astype(dtype)
    raters = rng.integers(0, top, (2, 3, 9, 8)).astype(dtype)
    raters[rng.random(raters.shape) < 0.1] = 99
    samples[:, 1, :, 0] = 99
    raters[0, 2] = 99  # he annotated nothing, and is left out himself
    there = np.array([[1, 1, 0], [1, 1, 1]], bool)
    found = energy_distance(
        samples, raters, axis=1, ndim=2, num_classes=classes, annotated=there, ignore_index=99
    )
    for item in range(2):
        s, r = samples[item], raters[item][there[item]]
        kept = ((s != 99).all(0)) & ((r != 99).all(0))
        expected = oracles.energy_distance(s[:, kept], r[:, kept], top)
        assert found[item] == pytest.approx(expected, abs=1e-12)
    # Masks of a network cannot say what raters ignore.
    masks = energy_distance(samples[0] == 1, raters[1], ignore_index=99, num_classes=top)
    plain = energy_distance(
        (samples[0] == 1).astype(dtype), raters[1], ignore_index=99, num_classes=top
    )
    assert masks == plain


def test_threads_and_memory_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    samples, raters = rng.integers(0, 3, (2, 3, 90, 80, 90), dtype=np.uint8)
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(_pool, "threads", lambda threads=threads: threads)
        found.append(energy_distance(samples, raters, num_classes=3))
    assert found[0] == found[1]
    frozen = [one.copy() for one in (samples, raters)]
    for one in frozen:
        one.flags.writeable = False
    assert energy_distance(*frozen, num_classes=3) == found[0]
    for sets in (
        [np.asfortranarray(one) for one in (samples, raters)],
        [one[:, ::-1] for one in (samples, raters)],
        [one.astype(">i2") for one in (samples, raters)],
    ):
        assert energy_distance(*sets, num_classes=3) == found[0]
    same = np.broadcast_to(samples[:1], samples.shape)  # zero strides
    assert energy_distance(same, samples[:1], num_classes=3) == 0


@pytest.mark.parametrize("ignore_index", [None, 2])
@pytest.mark.parametrize("layout", ["C", "F", "raters last", "reversed", "of 8 bytes"])
def test_little_is_held_beside_the_labels(
    layout: str, ignore_index: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever their layout and dtype: of two threads, 10 MB beside 32."""
    monkeypatch.setattr(_pool, "threads", lambda: 2)
    shape = (5, 2048, 3200) if layout != "of 8 bytes" else (5, 512, 1600)
    labels = np.zeros(shape, np.uint8 if layout != "of 8 bytes" else np.int64)
    labels[:, ::3] = np.arange(5).reshape(5, 1, 1) > 2
    if layout == "F":
        labels = np.asfortranarray(labels)
    elif layout == "raters last":
        labels = np.moveaxis(labels, 0, -1).copy()
    elif layout == "reversed":
        labels = labels[:, ::-1, ::-1]
    axis = -1 if layout == "raters last" else 0
    parts = np.moveaxis(labels, axis, 0)
    sets = np.moveaxis(parts[:3], 0, axis), np.moveaxis(parts[3:], 0, axis)
    options: dict[str, Any] = {"axis": axis, "ignore_index": ignore_index}
    energy_distance(*(one[:3] for one in sets), **options)  # compiled, and imported
    tracemalloc.start()
    try:
        found = energy_distance(*sets, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == 2
    assert peak < 10e6


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(0, 5), min_size=2, max_size=5),
    axis=st.integers(0, 4),
    ndim=st.integers(1, 3),
    most=st.integers(1, 200),
    order=st.permutations(range(5)),
    seed=st.integers(0, 9),
)
def test_blocks_change_nothing(
    shape: list[int], axis: int, ndim: int, most: int, order: list[int], seed: int
) -> None:
    axis, ndim = axis % len(shape), min(ndim, len(shape) - 1)
    rng = np.random.default_rng(seed)
    axes = [one for one in order if one < len(shape)]
    sets = []
    for n in (3, 2):
        shape[axis] = n
        labels = rng.integers(0, 4, [shape[one] for one in axes]).transpose(np.argsort(axes))
        assert list(labels.shape) == shape
        sets.append(labels)
    items = [one for i, one in enumerate(shape) if i != axis][:-ndim]
    there = rng.random((*items, 2)) < 0.5
    there[..., 0] = True
    options: dict[str, Any] = {"axis": axis, "ndim": ndim, "num_classes": 3, "ignore_index": 3}
    options["annotated"] = there
    expected = energy_distance(*sets, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(energy, "_BLOCK", most)
        np.testing.assert_array_equal(energy_distance(*sets, **options), expected)


def test_tensors_give_tensors() -> None:
    samples, raters = np.random.default_rng(5).integers(0, 2, (2, 2, 3, 6, 6))
    found = energy_distance(torch.from_numpy(samples), torch.from_numpy(raters), axis=1, ndim=2)
    assert isinstance(found, torch.Tensor)
    assert np.array_equal(found, energy_distance(samples, raters, axis=1, ndim=2))
    there = np.array([[True, False, True], [True, True, True]])
    tensors = [torch.from_numpy(one) for one in (samples, raters, there)]
    some = energy_distance(*tensors[:2], axis=1, ndim=2, annotated=tensors[2])
    assert some[0] != found[0]
    assert some[1] == found[1]
    assert energy_distance(samples[:0], raters[:0], axis=1, ndim=2).shape == (0,)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: energy_distance(MASKS / 2, MASKS), TypeError, "samples must be of bool or an int"),
        (lambda: energy_distance(MASKS, [[1]]), TypeError, "raters must be a NumPy array"),
        (lambda: energy_distance(MASKS[:0], MASKS), ValueError, "samples must be of at least 1"),
        (
            lambda: energy_distance(MASKS, MASKS[:0]),
            ValueError,
            "raters must be of at least 1 rater",
        ),
        (
            lambda: energy_distance(MASKS, MASKS[:, 1:]),
            ValueError,
            r"raters must have the samples' items \(\) and space \(4, 5\), got \(\) and \(3, 5\)",
        ),
        (
            lambda: energy_distance(MASKS + 2, MASKS),
            ValueError,
            r"samples must be in \{0, 1\}.*got 2",
        ),
        (
            lambda: energy_distance(MASKS, MASKS + 3, num_classes=3),
            ValueError,
            r"raters must be in \[",
        ),
        (
            lambda: energy_distance(MASKS, MASKS, num_classes=1),
            ValueError,
            "num_classes must be an in",
        ),
        (
            lambda: energy_distance(MASKS, MASKS, axis=3),
            ValueError,
            "axis must be one of the 3 axes",
        ),
        (lambda: energy_distance(MASKS, MASKS, axis=1.0), TypeError, "axis must be an integer"),
        (lambda: energy_distance(MASKS, MASKS, ndim=3), ValueError, "ndim must be between 1 and"),
        (
            lambda: energy_distance(MASKS, MASKS, ignore_index=256),
            ValueError,
            "ignore_index must be a",
        ),
        (
            lambda: energy_distance(MASKS, MASKS, annotated=np.zeros(3, bool)),
            ValueError,
            "raters must be of at least 1 rater per item that annotated it, got 0",
        ),
    ],
)
def test_bad_input_is_refused(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
