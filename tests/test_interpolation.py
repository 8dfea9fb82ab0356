"""Labels moved by a given displacement, against votes counted one corner at a time."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import gfnoise
import oracles

EVERY_BACKEND = True
Array = NDArray[Any]
INTEGERS = [f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)]
SHAPES = [(17, 23), (9, 11, 13)]
MODES = ["constant", "nearest"]


def case(shape: tuple[int, ...], dtype: Any = "uint8", seed: int = 0, scale: float = 1.5) -> Any:
    """Blocky labels of five classes and rough displacements for them."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 2 if dtype == "bool" else 5, [-(-n // 2) for n in shape])
    for axis in range(len(shape)):
        coarse = np.repeat(coarse, 2, axis=axis)
    labels = coarse[tuple(slice(n) for n in shape)].astype(dtype)
    return labels, rng.normal(0, scale, (len(shape), *shape)).astype(np.float32)


def check(labels: Array, move: Array, **options: Any) -> Array:
    """Hold one item against the oracle; the labels that came back."""
    before, moved_before = labels.copy(), move.copy()
    got = gfnoise.warp_labels(labels, move, **options)
    assert np.array_equal(labels, before)
    assert np.array_equal(move, moved_before)
    margin = oracles.warp_margin(labels, move, **options)
    share = max(0.05, 3 / labels.size)  # so few voxels say nothing about shares
    oracles.assert_labels_agree(got, oracles.warp(labels, move, **options), margin, share=share)
    return got


# ------------------------------------------------------------------------- against the votes


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [*SHAPES, (1, 40), (2, 3, 40), (5, 1, 1), (3, 2), (40, 30, 1)])
@pytest.mark.parametrize(("cval", "ignore"), [(0, None), (3, None), (0, 2), (4, 4)])
def test_every_mode_agrees_with_the_oracle(
    shape: tuple[int, ...], order: int, mode: str, cval: int, ignore: int | None
) -> None:
    for seed, scale in enumerate((0.3, 1.5, 20.0)):
        labels, move = case(shape, seed=seed, scale=scale)
        check(labels, move, order=order, mode=mode, cval=cval, ignore_index=ignore)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("dtype", ["bool", *INTEGERS])
def test_every_dtype_with_its_extremes(dtype: str, order: int) -> None:
    for shape in SHAPES:
        labels, move = case(shape, dtype)
        check(labels, move, order=order, cval=1, mode="constant")
        if dtype == "bool":
            continue
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        # Neighbours that a float or a cast would confuse, in the order of the dtype.
        values = np.array([low, low + 1, 3, high - 1, high], dtype)
        check(values[labels], move, order=order, cval=int(high), mode="constant")
        check(values[labels], move, order=order, cval=int(low), ignore_index=int(high))
        check(values[labels], move, order=order, mode="nearest", ignore_index=int(low))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_ties_go_to_the_smaller_label(dtype: str) -> None:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    labels = np.array([[high, low, high, 5]], dtype)
    half = np.zeros((2, 1, 4), np.float32)
    half[1] = 0.5
    got = gfnoise.warp_labels(labels, half, order=1, mode="nearest")
    assert got.tolist() == [[low, low, 5, 5]]
    got = gfnoise.warp_labels(labels, half, order=1, cval=4)
    assert got.tolist() == [[low, low, 5, 4]]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_quarters_of_a_voxel_are_exact_ties_included(
    shape: tuple[int, ...], order: int, mode: Any
) -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(-2, 3, shape).astype(np.int8)
    move = (rng.integers(-12, 13, (len(shape), *shape)) / 4).astype(np.float32)
    for cval, ignore in [(0, None), (-2, -1), (1, 1)]:
        options: dict[str, Any] = {
            "order": order,
            "mode": mode,
            "cval": cval,
            "ignore_index": ignore,
        }
        expected = oracles.warp(labels, move, **options)
        assert np.array_equal(gfnoise.warp_labels(labels, move, **options), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_displacements_far_beyond_the_volume(shape: tuple[int, ...], order: int, mode: Any) -> None:
    labels, move = case(shape)
    rng = np.random.default_rng(4)
    far = np.array([1e3, 3e9, 1e19, 1e30, np.finfo(np.float32).max], np.float32)
    move = np.where(rng.random(move.shape) < 0.3, rng.choice([*far, *-far], move.shape), move)
    move = move.astype(np.float32)
    for ignore in (None, 2):
        check(labels, move, order=order, mode=mode, cval=7, ignore_index=ignore)


def test_displacements_of_other_dtypes_are_read_as_float32() -> None:
    labels, move = case((9, 11, 13))
    whole = np.round(move)
    expected = gfnoise.warp_labels(labels, whole)
    for dtype in (np.int8, np.int64, np.float16, np.float64):
        assert np.array_equal(gfnoise.warp_labels(labels, whole.astype(dtype)), expected)
    far = np.full(move.shape, -1e300)  # beyond float32, yet finite
    assert np.all(gfnoise.warp_labels(labels, far, cval=3) == 3)
    assert np.all(gfnoise.warp_labels(labels, far, mode="nearest", order=1) == labels[0, 0, 0])


def test_directions_are_those_of_the_array_axes() -> None:
    labels = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    for axis in range(3):
        move = np.zeros((3, 2, 3, 4), np.float32)
        move[axis] = 1
        for order in (0, 1):
            got = gfnoise.warp_labels(labels, move, order=order, cval=-1)
            expected = np.full_like(labels, -1)
            inner = [slice(None)] * 3
            source = [slice(None)] * 3
            inner[axis], source[axis] = slice(-1), slice(1, None)
            expected[tuple(inner)] = labels[tuple(source)]
            assert np.array_equal(got, expected)


def test_ignore_voxels_stay_and_never_vote() -> None:
    labels = np.array([[255, 1, 255, 255]], np.uint8)
    move = np.zeros((2, 1, 4), np.float32)
    move[1] = [1, 0.75, 0, -1]
    got = gfnoise.warp_labels(labels, move, order=1, ignore_index=255)
    assert got.tolist() == [[255, 1, 255, 255]]  # 255 holds 3/4 of the vote at voxel 1
    move[1] = [0, 1, 0, 0]
    for order in (0, 1):  # every source is ignore: the voxel keeps its own
        assert gfnoise.warp_labels(labels, move, order=order, ignore_index=255)[0, 1] == 1
    move[1] = -9
    assert gfnoise.warp_labels(labels, move, cval=6, ignore_index=255).tolist() == [
        [255, 6, 255, 255]
    ]
    assert gfnoise.warp_labels(labels, move, cval=255, ignore_index=255)[0, 1] == 1


# ----------------------------------------------------------------------- layouts and batches


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_leading_and_rater_axes(shape: tuple[int, ...], order: int) -> None:
    space, ndim = shape, len(shape)
    items = [case(space, seed=i)[0] for i in range(6)]
    labels = np.stack(items).reshape(2, 3, *space)
    rng = np.random.default_rng(5)
    for extra in ((), (4,), (2, 2)):
        move = rng.normal(0, 1.5, (2, 3, *extra, ndim, *space)).astype(np.float32)
        got = gfnoise.warp_labels(labels, move, order=order)
        assert got.shape == (2, 3, *extra, *space)
        for at in np.ndindex(2, 3, *extra):
            one = gfnoise.warp_labels(labels[at[:2]], move[at], order=order)
            assert np.array_equal(got[at], one)
    raters = rng.normal(0, 1.5, (4, ndim, *space)).astype(np.float32)
    got = gfnoise.warp_labels(items[0], raters, order=order)
    assert got.shape == (4, *space)
    assert np.array_equal(got[2], check(items[0], raters[2], order=order))


@pytest.mark.parametrize("order", [0, 1])
def test_volumes_large_enough_for_several_threads(order: int) -> None:
    labels, move = case((61, 70, 83), "int16", scale=3.0)
    got = check(labels, move, order=order, cval=2)
    both = gfnoise.warp_labels(
        np.stack([labels, labels]), np.stack([move, -move]), order=order, cval=2
    )
    assert np.array_equal(both[0], got)
    assert np.array_equal(both[1], gfnoise.warp_labels(labels, -move, order=order, cval=2))


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_layout_gives_the_same(shape: tuple[int, ...], dtype: str, order: int) -> None:
    labels, move = case(shape, dtype)
    expected = check(labels, move, order=order)

    def views(a: Array) -> list[Array]:
        sparse = np.zeros([2 * n for n in a.shape], a.dtype)
        sparse[(slice(None, None, 2),) * a.ndim] = a
        flipped = a[..., ::-1, ::-1].copy()[..., ::-1, ::-1]
        locked = a.copy()
        locked.setflags(write=False)
        swapped = a.astype(a.dtype.newbyteorder())
        return [
            np.asfortranarray(a),
            sparse[(slice(None, None, 2),) * a.ndim],
            flipped,
            locked,
            swapped,
        ]

    for view, moved in zip(views(labels), views(move), strict=True):
        for a, x in ((view, move), (labels, moved), (view, moved)):
            got = gfnoise.warp_labels(a, x, order=order)
            assert got.dtype == a.dtype  # byte order included
            assert np.array_equal(got, expected)
    every = np.broadcast_to(labels, (3, *shape)), np.broadcast_to(move, (3, *move.shape))
    assert np.array_equal(gfnoise.warp_labels(*every, order=order), np.stack([expected] * 3))


@pytest.mark.parametrize("order", [0, 1])
def test_empty_arrays_stay_empty(order: int) -> None:
    for lead, extra, space in [
        ((), (), (0, 5)), ((0,), (), (4, 5)), ((2,), (0,), (4, 5)), ((), (), (3, 0, 5)),
        ((), (2,), (0, 0, 0)),
    ]:  # fmt: skip
        labels = np.zeros((*lead, *space), np.int16)
        move = np.zeros((*lead, *extra, len(space), *space), np.float32)
        got = gfnoise.warp_labels(labels, move, order=order)
        assert (got.shape, got.dtype) == ((*lead, *extra, *space), np.int16)


@pytest.mark.parametrize("order", [0, 1])
def test_out_is_filled_and_returned(order: int) -> None:
    labels, move = case((9, 11, 13), "int16")
    expected = check(labels, move, order=order)
    plain, wide = np.full(labels.shape, 99, np.int16), np.full((9, 11, 26), 99, np.int16)
    for out in (plain, np.asfortranarray(plain), wide[..., ::2], plain[::-1]):
        assert gfnoise.warp_labels(labels, move, order=order, out=out) is out
        assert np.array_equal(out, expected)
    assert (wide[..., 1::2] == 99).all()


def fenced(values: Array, end: bool) -> Array:
    """A copy at the end of its pages, or at their start, next to pages that may not be touched."""
    room = -(-values.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = np.frombuffer(mmap.mmap(-1, room + 2 * mmap.PAGESIZE), np.uint8)
    start = mmap.PAGESIZE + end * (room - values.nbytes)
    found = memory[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    found[...] = values
    protect = ctypes.CDLL(None).mprotect
    for place in (0, mmap.PAGESIZE + room):
        address = ctypes.c_void_p(memory.ctypes.data + place)
        assert protect(address, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    return found


@pytest.mark.cpu
@pytest.mark.skipif(sys.platform == "win32", reason="has no mprotect")
@pytest.mark.parametrize("order", [0, 1])
def test_no_byte_beside_the_arrays_is_touched(order: int) -> None:
    """The process would end."""
    shapes = [(4, 8), (9, 17), (1, 3, 16), (2, 5, 24), (1, 1, 8), (3, 1, 9)]
    dtypes = np.uint8, np.int16, np.uint32, np.int64
    for shape, dtype, end, flat in itertools.product(shapes, dtypes, (0, 1), (0, 1)):
        labels, move = case(shape, dtype, scale=1.5)
        move[0] *= 1 - flat
        expected = check(labels, move, order=order, mode="nearest", ignore_index=2)
        fence, moved = fenced(labels, bool(end)), fenced(move, bool(end))
        out = fenced(np.empty_like(labels), bool(end))
        gfnoise.warp_labels(fence, moved, order=order, mode="nearest", ignore_index=2, out=out)
        assert np.array_equal(out, expected)


# ---------------------------------------------------------------------------- for any input


@st.composite
def any_case(draw: st.DrawFn) -> tuple[Array, Array, dict[str, Any]]:
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=6))
    dtype = np.dtype(draw(st.sampled_from(["bool", *INTEGERS])))
    top = 1 if dtype.kind == "b" else 4
    labels = draw(hnp.arrays(dtype, shape, elements=st.integers(0, top), fill=st.nothing()))
    moves = st.floats(-9, 9, width=32) | st.sampled_from([0.0, 0.5, -0.5, 1e30, -1e30])
    moves = moves.map(lambda x: float(np.float32(x)))
    move = draw(hnp.arrays(np.float32, (len(shape), *shape), elements=moves))
    options = {
        "order": draw(st.integers(0, 1)),
        "mode": draw(st.sampled_from(MODES)),
        "cval": draw(st.integers(0, top)),
        "ignore_index": draw(st.none() | st.integers(0, top)),
    }
    return labels, move, options


@settings(max_examples=200, deadline=None, derandomize=True)
@given(any_case())
def test_no_class_is_invented_and_ignore_stays(given_case: tuple[Array, Array, Any]) -> None:
    labels, move, options = given_case
    got = gfnoise.warp_labels(labels, move, **options)
    assert (got.dtype, got.shape) == (labels.dtype, labels.shape)
    known = {*labels.ravel().tolist(), labels.dtype.type(options["cval"]).item()}
    assert set(got.ravel().tolist()) <= known
    if options["ignore_index"] is not None:
        ignored = labels == options["ignore_index"]
        assert np.array_equal(got == options["ignore_index"], ignored)
    expected = oracles.warp(labels, move, **options)
    sure = oracles.warp_margin(labels, move, **options) > 1e-3
    assert np.array_equal(got[sure], expected[sure])
    still = gfnoise.warp_labels(labels, np.zeros_like(move), **options)
    assert np.array_equal(still, labels)


# -------------------------------------------------------------------------------- bad input

LABELS = np.ones((4, 5), np.uint8)
MOVE = np.zeros((2, 4, 5), np.float32)


def broken(value: float) -> Array:
    move = np.zeros((2, 4, 5), np.float32)
    move[1, 3, 2] = value
    return move


@pytest.mark.parametrize(
    ("labels", "move", "options", "match"),
    [
        (LABELS.astype(np.float32), MOVE, {}, "labels.*float32"),
        (LABELS.astype(complex), MOVE, {}, "labels.*complex128"),
        (LABELS.astype(object), MOVE, {}, "labels.*object"),
        (LABELS.astype(str), MOVE, {}, "labels.*(<U|str)"),
        ([[1, 2]], MOVE, {}, "labels.*list"),
        (None, MOVE, {}, "labels.*None"),
        (np.uint8(1), MOVE, {}, "labels"),
        (LABELS[0], MOVE[:1, 0], {}, r"(labels|displacement).*\(5,\)"),
        (LABELS, MOVE[:, :, :4], {}, r"displacement.*\(2, 4, 4\)"),
        (LABELS, MOVE[:1], {}, r"displacement.*\(1, 4, 5\)"),
        (LABELS, MOVE[0], {}, r"displacement.*\(4, 5\)"),
        (LABELS, np.moveaxis(MOVE, 0, -1), {}, r"displacement.*\(4, 5, 2\)"),
        (LABELS[None], np.stack([MOVE] * 2), {}, r"displacement.*\(2, 2, 4, 5\)"),
        (LABELS, broken(np.nan), {}, "displacement.*[nN]a[nN]"),
        (LABELS, broken(np.inf), {}, "displacement.*inf"),
        (LABELS, broken(-np.inf), {"order": 1}, "displacement.*inf"),
        (LABELS, MOVE.astype(complex), {}, "displacement.*complex128"),
        (LABELS, MOVE.astype(object), {}, "displacement.*object"),
        (LABELS, MOVE.tolist(), {}, "displacement.*list"),
        (LABELS, MOVE.astype(bool), {}, "displacement.*bool"),
        (LABELS, None, {}, "displacement.*None"),
        (LABELS, MOVE, {"order": 2}, "order.*2"),
        (LABELS, MOVE, {"order": "1"}, "order.*'1'"),
        (LABELS, MOVE, {"order": None}, "order.*None"),
        (LABELS, MOVE, {"mode": "reflect"}, "mode.*'reflect'"),
        (LABELS, MOVE, {"mode": 0}, "mode.*0"),
        (LABELS, MOVE, {"cval": 256}, "cval.*256"),
        (LABELS, MOVE, {"cval": -1}, "cval.*-1"),
        (LABELS, MOVE, {"cval": 0.5}, r"cval.*0\.5"),
        (LABELS, MOVE, {"cval": np.nan}, "cval.*nan"),
        (LABELS, MOVE, {"cval": None}, "cval.*None"),
        (LABELS > 0, MOVE, {"cval": 2}, "cval.*2"),
        (LABELS.astype(np.uint64), MOVE, {"cval": 2**64}, f"cval.*{2**64}"),
        (LABELS, MOVE, {"ignore_index": 256}, "ignore_index.*256"),
        (LABELS, MOVE, {"ignore_index": -100}, "ignore_index.*-100"),
        (LABELS, MOVE, {"ignore_index": 1.5}, r"ignore_index.*1\.5"),
        (LABELS, MOVE, {"ignore_index": "255"}, "ignore_index.*'255'"),
        (LABELS, MOVE, {"out": np.ones((5, 4), np.uint8)}, r"out.*\(5, 4\)"),
        (LABELS, MOVE, {"out": np.ones((4, 5), np.int16)}, "out.*int16"),
        (LABELS, MOVE, {"out": np.broadcast_to(np.uint8(1), (4, 5))}, "out.*(read-only|writ)"),
        (LABELS, MOVE, {"out": [[1]]}, "out.*list"),
        (LABELS, MOVE, {"out": LABELS}, "out.*(overlap|memory)"),
        (LABELS, MOVE, {"out": MOVE.view(np.uint8)[0, :, ::4]}, "out.*(overlap|memory)"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(
    labels: Any, move: Any, options: dict[str, Any], match: str
) -> None:
    out = options.setdefault("out", np.ones((4, 5), np.uint8))
    with pytest.raises((ValueError, TypeError), match=match):
        gfnoise.warp_labels(labels, move, **options)
    assert np.all(LABELS == 1)
    assert not MOVE.any()
    assert np.all(np.asarray(out) <= 1)
