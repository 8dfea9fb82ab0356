"""Displacements against the oracle, and samples bit for bit against the warp by a displacement."""

from __future__ import annotations

import itertools
import pickle
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

import oracles
from gfnoise import GaussianField, warp_labels
from gfnoise._cpu import _pool
from gfnoise._cpu import field as kernels

EVERY_BACKEND = True
Array = NDArray[Any]
DTYPES = ["bool", *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64))]
KINDS = ["noise", "specks", "lines", "sheets", "blobs", "blocks", "full"]
MODES = ["constant", "nearest"]
SHAPES = {
    2: [(37, 29), (1, 45), (70, 3), (66, 131), (1, 1), (16, 24), (9, 200)],
    3: [(37, 29, 45), (1, 29, 33), (17, 1, 40), (13, 21, 1), (3, 66, 18), (8, 16, 32), (2, 2, 2)],
}  # fmt: skip


def draw(kind: str, shape: tuple[int, ...], classes: int, rng: np.random.Generator) -> Array:
    """Labels in range(classes), from voxels on their own to large uniform parts."""
    if kind == "noise":
        return rng.integers(0, classes, shape)
    if kind == "blobs":
        rough = rng.standard_normal((classes, *shape))
        return ndimage.gaussian_filter(rough, 3, axes=range(1, len(shape) + 1)).argmax(axis=0)
    if kind == "blocks":
        coarse = rng.integers(0, classes, [-(-n // 6) for n in shape])
        return coarse[np.ix_(*(np.arange(n) // 6 for n in shape))]
    found = np.full(shape, rng.integers(0, classes))
    if kind == "specks":
        found[rng.random(shape) < 0.003] = rng.integers(0, classes)
    elif kind in ("lines", "sheets"):
        for axis in range(len(shape)):
            at: list[Any] = [rng.integers(n) if kind == "lines" else slice(None) for n in shape]
            at[axis] = slice(None) if kind == "lines" else rng.integers(shape[axis])
            found[tuple(at)] = rng.integers(0, classes)
    return found


def case(kind: str, rng: np.random.Generator, *, tame: bool = False) -> tuple[Array, Any, Any]:
    """Random labels, a field for them, and options of `warp_labels`.

    A tame field is one whose decisions are seldom within the band: not huge, not nearly constant.
    """
    ndim = int(rng.integers(2, 4))
    shape = SHAPES[ndim][rng.integers(len(SHAPES[ndim]))]
    dtype = np.dtype(DTYPES[rng.integers(len(DTYPES))])
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    known = sorted({low, high, 0, 1} if high == 1 else {low, low + 1, *range(14), high - 1, high})
    classes = min(int(rng.choice([2, 4, 14])), len(known))
    values = [known[i] for i in rng.permutation(len(known))[:classes]]
    labels = np.array(values, dtype)[draw(kind, shape, classes, rng)]
    amplitudes, lengths = [0.3, 0.8, 1.5, 4.0, 12.0], [0.3, 1.0, 2.5, 6.0, 0.1 * max(shape) + 0.3]
    if not tame:
        amplitudes += [90.0, 1e4, 1e12]
        lengths += [1.0 * max(shape), 50.0 * max(shape)]
    spacing = rng.choice([1.0, 1.0, 0.5, 2.5], ndim)
    field = GaussianField(
        rng.choice(amplitudes) * spacing, rng.choice(lengths), spacing=spacing, ndim=ndim
    )
    options = {
        "cval": int(known[rng.integers(len(known))] if rng.random() < 0.3 else values[0]),
        "ignore_index": None if rng.random() < 0.5 else int(values[rng.integers(classes)]),
    }
    return labels, field, options


def moves(field: GaussianField, labels: Array, seed: Any, n: int | None = None) -> Array:
    """Displacements of the streams that `sample_labels` uses: (*lead, [n,] ndim, *space)."""
    lead, space = labels.shape[: -field.ndim], labels.shape[-field.ndim :]
    if lead and np.ndim(field.amplitude) == 1:  # given per item, an integer seed has an items axis
        field = replace(field, amplitude=[field.amplitude] * int(np.prod(lead)))
    found = field.displacement(space, n, seed=seed)
    return found.reshape(*lead, *found.shape[1:]) if lead else found


# --------------------------------------------------------------------------- the dataclass


def test_fields_are_plain_frozen_and_comparable() -> None:
    field = GaussianField(2, np.array([3.0, 5.0]), spacing=[1, 2], ndim=2)
    assert field == GaussianField((2.0, 2.0), [3, 5], spacing=(1.0, 2.0), ndim=2)
    assert repr(field) == (
        "GaussianField(amplitude=(2.0, 2.0), length_scale=(3.0, 5.0), spacing=(1.0, 2.0), ndim=2)"
    )
    per_item = GaussianField([[1], [2]], [[3, 4]], spacing="unit", ndim=np.int64(2))
    assert per_item.amplitude == ((1.0, 1.0), (2.0, 2.0))
    assert per_item.length_scale == ((3.0, 4.0),)
    assert type(per_item.ndim) is int
    assert all(type(number) is float for number in field.spacing)
    assert field != per_item
    assert len({field, replace(field), per_item, replace(per_item)}) == 2
    for one in (field, per_item):
        assert eval(repr(one), {"GaussianField": GaussianField}) == one
        assert pickle.loads(pickle.dumps(one)) == one
    stronger = replace(field, amplitude=4.0)
    assert (stronger.amplitude, stronger.length_scale) == ((4.0, 4.0), (3.0, 5.0))
    with pytest.raises(FrozenInstanceError):
        field.ndim = 3  # type: ignore[misc]
    for shape in (
        (9, 9),
        (12, 8),
    ):  # they depend on the parameters alone, not on how they are given
        same = GaussianField([2.0, 2.0], (3, 5), spacing=np.array([1, 2], np.int8), ndim=2)
        assert np.array_equal(same.displacement(shape, seed=1), field.displacement(shape, seed=1))


# ---------------------------------------------------------------------------- displacement


@pytest.mark.parametrize(
    ("shape", "amplitude", "length", "spacing"),
    [
        ((37, 29), 1.5, 4.0, 1.0),
        ((1, 130), (3, 0.5), (2, 30), (1.0, 0.8)),
        ((9, 14, 11), 2.0, 3.0, (2.5, 0.7, 0.9)),
        ((37, 29, 45), (1.0, 2.0, 3.0), (50.0, 6.0, 2.0), 1.0),
        ((7, 1, 70), 4.0, 0.4, 1.0),
        ((6, 12, 8), 0.2, 0.15, "unit"),
    ],
)
def test_displacement_is_the_oracles(
    shape: tuple[int, ...], amplitude: Any, length: Any, spacing: Any
) -> None:
    ndim = len(shape)
    field = GaussianField(amplitude, length, spacing=spacing, ndim=ndim)
    size = 1 / np.array(shape) if spacing == "unit" else np.broadcast_to(spacing, (ndim,))
    for seed in (0, 2**32 - 1, 2**40 + 17, 2**63 - 1):
        got = field.displacement(shape, 2, seed=seed)
        assert got.dtype == np.float32
        assert got.shape == (2, ndim, *shape)
        for rater in range(2):
            vox = np.array(amplitude) / size, np.array(length) / size
            expected = oracles.displacement(shape, *vox, seed, 0, rater)
            assert abs(got[rater] - expected).max() < 1e-4
        assert np.array_equal(field.displacement(shape, seed=seed), got[0])


@pytest.mark.parametrize("shape", [(15, 22), (7, 9, 12)])
def test_streams_are_seed_item_rater(shape: tuple[int, ...]) -> None:
    ndim = len(shape)
    one = GaussianField(2.0, 3.0, ndim=ndim)
    many = GaussianField([[2.0]] * 3, 3.0, ndim=ndim)
    for n in (None, 2):
        shared = many.displacement(shape, n, seed=5)
        own = one.displacement(shape, n, seed=[5, 5, 9])
        both = many.displacement(shape, n, seed=np.array([5, 5, 9], np.uint64))
        assert shared.shape == own.shape == (3, *((n,) if n else ()), ndim, *shape)
        assert np.array_equal(own, both)
        for item, rater in itertools.product(range(3), range(n or 1)):
            at = (item, rater) if n else (item,)
            expected = oracles.displacement(shape, 2.0, 3.0, 5, item, rater)
            assert abs(shared[at] - expected).max() < 1e-4
            expected = oracles.displacement(shape, 2.0, 3.0, (5, 5, 9)[item], 0, rater)
            assert abs(own[at] - expected).max() < 1e-4
    assert one.displacement(shape, seed=[5]).shape == (1, ndim, *shape)
    assert one.displacement(shape, seed=[]).shape == (0, ndim, *shape)
    assert one.displacement(shape, 0, seed=5).shape == (0, ndim, *shape)
    for seed in (np.int8(5), np.uint64(5), np.array(5)):
        assert np.array_equal(one.displacement(shape, seed=seed), shared[0, 0])
    assert np.array_equal(one.displacement(list(shape), seed=5, like=np.empty(0)), shared[0, 0])


@pytest.mark.parametrize("b", [0.2, 2.0, 60.0])
def test_windows_of_a_displacement(b: float) -> None:
    shape = (9, 70, 33)
    field = GaussianField((1.0, 2.0, 1.5), b, ndim=3)
    whole = field.displacement(shape, 2, seed=[3, 4])
    for window in [
        np.s_[2:5, 10:70, 1:33],
        np.s_[:, 65:, ::2],
        np.s_[8:9, 0:70:7, 3:30:5],
        np.s_[-3:-1, 4:4, :],
    ]:
        part = field.displacement(shape, 2, seed=[3, 4], window=window)
        assert np.array_equal(part, whole[(..., *window)])
        expected = oracles.displacement(shape, (1.0, 2.0, 1.5), b, 4, 0, 1, window)
        assert np.allclose(part[1, 1], expected, rtol=0, atol=1e-4)


@pytest.mark.cpu
def test_an_image_is_displaced_in_blocks_of_rows() -> None:
    """Of one plane there is nothing to share but its rows; the last block is smaller."""
    shape = (601, 500)
    heights = [stop - start for *_, start, stop in kernels._blocks((1, *shape), 1)]
    assert len(heights) > 2
    assert heights[-1] < heights[0]
    field = GaussianField(1.5, 20.0, ndim=2)
    whole = field.displacement(shape, seed=3)
    for start in range(0, 601, 90):
        window = np.s_[start : min(start + 90, 601), :]
        assert np.array_equal(field.displacement(shape, seed=3, window=window), whole[:, *window])
    window = np.s_[::60, ::50]
    expected = oracles.displacement(shape, 1.5, 20.0, 3, window=window)
    assert np.allclose(whole[:, *window], expected, rtol=0, atol=1e-4)


def test_more_terms_along_y_than_a_word_numbers() -> None:
    """From 2^11 on, the bits of their numbers are in both words of the index."""
    shape, window = (2200, 1), np.s_[1090:1110, :]
    got = GaussianField(1.0, 0.5, ndim=2).displacement(shape, seed=7, window=window)
    assert len(oracles.fourier_basis(shape[0], 0.5, np.arange(1))) > 2**11
    expected = oracles.displacement(shape, 1.0, 0.5, 7, window=window)
    assert abs(got - expected).max() < 1e-4


def test_components_without_amplitude_do_not_move() -> None:
    still = GaussianField((0.0, 2.0, 0.0), 3.0, ndim=3).displacement((5, 6, 7), seed=1)
    full = GaussianField(2.0, 3.0, ndim=3).displacement((5, 6, 7), seed=1)
    assert not still[[0, 2]].any()
    assert np.array_equal(still[1], full[1])


# ------------------------------------------------- samples: the warp by the displacement


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_is_the_warp_bit_for_bit(kind: str, order: int, mode: str) -> None:
    """Whatever the kernel skips; over dtypes, classes, shapes, amplitudes and length scales."""
    rng = np.random.default_rng([KINDS.index(kind), order, MODES.index(mode)])
    for turn in range(60):
        labels, field, options = case(kind, rng)
        options |= {"order": order, "mode": mode}
        n = 3 if turn % 4 == 0 else None
        got = field.sample_labels(labels, seed=turn, n=n, **options)
        expected = warp_labels(labels, moves(field, labels, turn, n), **options)
        assert got.dtype == labels.dtype
        assert np.array_equal(got, expected), (turn, field, labels.shape, labels.dtype, options)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_is_the_oracles(kind: str, order: int) -> None:
    rng = np.random.default_rng([99, KINDS.index(kind), order])
    for turn in range(6):
        labels, field, options = case(kind, rng, tame=True)
        options |= {"order": order, "mode": MODES[turn % 2]}
        vox = np.array([field.amplitude, field.length_scale]) / field.spacing
        move = oracles.displacement(labels.shape, *vox, seed=turn)
        got = field.sample_labels(labels, seed=turn, **options)
        margin = oracles.warp_margin(labels, move, **options)
        share = max(0.05, 3 / labels.size)
        expected = oracles.warp(labels, move, **options)
        oracles.assert_labels_agree(got, expected, margin, share=share)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize(("shape", "b"), [((40, 61, 75), 9.0), ((310, 701), 40.0)])
def test_large_smooth_images(shape: tuple[int, ...], b: float, order: int) -> None:
    """Where nearly all runs are uniform, and for several threads."""
    rng = np.random.default_rng(3)
    centre = np.reshape(shape, (-1,) + (1,) * len(shape)) / 2
    far = ((np.indices(shape) - centre) ** 2).sum(axis=0)
    ball = (far < (0.35 * min(shape)) ** 2).astype(np.uint8)
    dust = np.where(rng.random(shape) < 1e-4, 3, ball).astype(np.uint8)
    for amplitude, labels in itertools.product((0.5, 3.0), (ball, dust, 1 - ball)):
        field = GaussianField(amplitude, b, ndim=len(shape))
        move = field.displacement(shape, seed=4)
        for mode in MODES:
            got = field.sample_labels(labels, seed=4, order=order, mode=mode)
            assert np.array_equal(got, warp_labels(labels, move, order=order, mode=mode))


@pytest.mark.parametrize("order", [0, 1])
def test_raters_items_and_seeds(order: int) -> None:
    rng = np.random.default_rng(8)
    for ndim, space in ((2, (23, 31)), (3, (7, 12, 18))):
        labels = draw("blobs", (2, 3, *space), 4, rng).astype(np.int16)
        field = GaussianField(1.5, 3.0, ndim=ndim)
        single = field.sample_labels(labels, seed=7, order=order)
        assert np.array_equal(single, warp_labels(labels, moves(field, labels, 7), order=order))
        for n in (0, 1, 2, 5):
            raters = field.sample_labels(labels, seed=7, n=n, order=order)
            assert raters.shape == (2, 3, n, *space)
            expected = warp_labels(labels, moves(field, labels, 7, n), order=order)
            assert np.array_equal(raters, expected)
            if n:  # more raters change no earlier one
                assert np.array_equal(raters[:, :, 0], single)
        seeds = [11, 2**63 - 1, 11, 0, 5, 2**33]
        own = field.sample_labels(labels, seed=seeds, n=2, order=order)
        flat, flat_own = labels.reshape(6, *space), own.reshape(6, 2, *space)
        for i, seed in enumerate(seeds):  # neither the batch nor the place matters
            alone = field.sample_labels(flat[i], seed=seed, n=2, order=order)
            assert np.array_equal(flat_own[i], alone)
            row = field.sample_labels(flat[i][None], seed=[seed], order=order)
            assert np.array_equal(row[0], alone[0])
        turned = field.sample_labels(flat[::-1], seed=seeds[::-1], n=2, order=order)
        assert np.array_equal(turned[::-1], flat_own)


@pytest.mark.cpu
@pytest.mark.parametrize("order", [0, 1])
def test_threads_slabs_and_batches_change_nothing(
    order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    labels = draw("blobs", (3, 20, 67, 70), 3, rng).astype(np.uint8)
    field = GaussianField([[1.0], [3.0], [8.0]], [[2.0], [9.0], [0.9]], ndim=3)

    def everything() -> list[Array]:
        return [
            field.sample_labels(labels, seed=[1, 2, 3], n=2, order=order),
            field.displacement((9, 20, 70), seed=[1, 2, 3]),
            field.marginals(labels, num_classes=3, mode=MODES[order], cval=order),
        ]

    expected = everything()
    for threads, slab, budget in [
        (1, 1 << 16, 1 << 24), (2, 1 << 16, 1), (5, 100, 1 << 12), (16, 3000, 5000)
    ]:  # fmt: skip
        monkeypatch.setattr(_pool, "threads", lambda threads=threads: threads)
        monkeypatch.setattr(_pool, "SLAB", slab)
        monkeypatch.setattr(kernels, "_BUDGET", budget)
        for got, wanted in zip(everything(), expected, strict=True):
            assert np.array_equal(got, wanted)
