"""`map_coordinates` against SciPy's."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import gfnoise
from gfnoise._cpu import _pool

EVERY_BACKEND = True
Array = NDArray[Any]
DTYPES = ["bool", "uint8", "int32", "float16", "float32", "float64"]
MODES = ["constant", "grid-constant", "nearest", "reflect", "grid-mirror", "mirror", "wrap"]
MODES += ["grid-wrap"]


def image(shape: tuple[int, ...], dtype: Any = "float32", seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return np.asarray(
        rng.random(shape) < 0.5 if dtype == "bool" else 100 * rng.random(shape)
    ).astype(dtype)


def points(shape: tuple[int, ...], count: int = 300, far: float = 25, seed: int = 1) -> Array:
    """Coordinates within and without: any, halves and whole."""
    at = np.random.default_rng(seed).uniform(-far, far, (len(shape), count))
    third = count // 3
    at[:, :third] = np.round(2 * at[:, :third]) / 2
    at[:, third : 2 * third] = np.round(at[:, third : 2 * third])
    return at


def check(source: Array, at: Array, **options: Any) -> None:
    got = gfnoise.map_coordinates(source, at, **options)
    wide = source.astype(np.float64)
    expected = scipy.ndimage.map_coordinates(wide, at, **options)
    assert got.dtype == (np.float64 if source.dtype == np.float64 else np.float32)
    tolerance = 1e-12 if source.dtype == np.float64 else 1e-6
    reach = max(np.ptp(wide), abs(options.get("cval", 0.0)), wide.max())
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * reach)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("shape", [(9,), (7, 8), (6, 7, 9), (1, 5, 2)])
def test_every_mode_agrees_with_scipy(
    shape: tuple[int, ...], order: int, mode: str, dtype: str
) -> None:
    check(image(shape, dtype), points(shape), order=order, mode=mode, cval=3.0)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_shape_and_place(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    near = st.floats(-20, 20) | st.integers(-40, 40).map(lambda i: i / 2)
    count = data.draw(st.integers(1, 5))
    at = np.array([[data.draw(near) for _ in range(count)] for _ in shape])
    order, mode = data.draw(st.sampled_from([0, 1])), data.draw(st.sampled_from(MODES))
    check(image(shape, data.draw(st.sampled_from(DTYPES))), at, order=order, mode=mode, cval=-2.0)


@pytest.mark.parametrize("order", [0, 1])
def test_leading_axes_share_the_coordinates(order: int) -> None:
    source, at = image((2, 3, 6, 7)), points((6, 7), far=8).reshape(2, 30, 10)
    got = gfnoise.map_coordinates(source, at, order=order)
    assert got.shape == (2, 3, 30, 10)
    for lead in np.ndindex(2, 3):
        assert np.array_equal(got[lead], gfnoise.map_coordinates(source[lead], at, order=order))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "bool", "float64"])
def test_outputs_are_rounded_as_scipys(dtype: str) -> None:
    source = np.random.default_rng(0).integers(-300, 300, (6, 7, 8)).astype(np.int16)
    at = points((6, 7, 8), 900, far=9)
    for order in (0, 1):
        got = gfnoise.map_coordinates(source, at, order=order, output=dtype)
        if dtype == "bool":
            expected = scipy.ndimage.map_coordinates(source.astype(float), at, order=order) >= 0.5
        else:
            expected = scipy.ndimage.map_coordinates(source, at, order=order, output=dtype)
        np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-12)


def test_labels_of_64_bits_stay_exact() -> None:
    source = np.array([2**62 + 1, 2**62 + 2, 2**62 + 3])
    got = gfnoise.map_coordinates(source, np.array([[2.0, 0.3, 9.0]]), order=0, output=np.int64)
    assert got.tolist() == [2**62 + 3, 2**62 + 1, 0]


@pytest.mark.parametrize(("cval", "expected"), [(-3, 0), (0.4, 0), (1.5, 2), (300, 255)])
@pytest.mark.parametrize("order", [0, 1])
def test_cval_is_rounded_and_clipped_as_any_value(order: int, cval: float, expected: int) -> None:
    source, at = np.ones((4, 5), np.uint8), np.full((2, 1), 9.0)
    got = gfnoise.map_coordinates(source, at, order=order, cval=cval, output=np.uint8)
    assert got.tolist() == [expected]


def test_exact_and_rounded_at_the_edge_of_float64() -> None:
    at = np.zeros((1, 1))
    for dtype in (">i8", "<i8"):
        source = np.array([2**53 + 1], dtype)
        got = gfnoise.map_coordinates(source, at, order=0, output=source.dtype)
        assert got.dtype == source.dtype
        assert got.tolist() == [2**53 + 1]
    below = np.array([np.nextafter(0.5, 0), 2**52 + 1])
    got = gfnoise.map_coordinates(below, np.array([[0.0, 1.0]]), output=np.int64)
    assert got.tolist() == [0, 2**52 + 1]


def test_infinite_values_of_a_line_are_scipys() -> None:
    source, at = np.array([1.0, np.inf, 2.0]), np.array([[0.5, 1.0]])
    assert gfnoise.map_coordinates(source, at).tolist() == [np.inf, np.inf]


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_a_matrix_is_written_as_the_array_it_is() -> None:
    out = np.matrix(np.zeros((4, 5)))
    got = gfnoise.map_coordinates(np.ones((4, 5)), np.ones((2, 4, 5)), output=out)
    assert got is out
    assert (out == 1).all()


def test_float16_overflows_to_infinity() -> None:
    source, beyond = np.ones((2, 2)), np.full((2, 3), -9.0)
    got = gfnoise.map_coordinates(source, beyond, cval=1e10, output=np.float16)
    assert got.dtype == np.float16
    assert np.isinf(got).all()


def test_nan_becomes_zero_in_integers() -> None:
    source = np.full((4, 5), np.nan)
    for order, dtype in itertools.product((0, 1), "?bBhHiIqQ"):
        got = gfnoise.map_coordinates(source, np.ones((2, 1)), order=order, output=dtype)
        assert got.tolist() == [0]


def test_far_and_infinite_coordinates_are_safe() -> None:
    source = image((5, 6))
    for value in (1e9, -1e9, 1e18, -1e300, np.inf, -np.inf):
        at = np.array([[value, 2.0], [1.0, value]])
        for mode in MODES:
            for order in (0, 1):
                got = gfnoise.map_coordinates(source, at, mode=mode, order=order, cval=-1.0)
                assert np.all((got == -1) | ((got >= source.min()) & (got <= source.max())))
        edge = source[[4 if value > 0 else 0, 2], [1, 5 if value > 0 else 0]]
        assert np.array_equal(gfnoise.map_coordinates(source, at, mode="nearest"), edge)


@pytest.mark.cpu
def test_the_number_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    source, at = image((30, 40, 50)), points((30, 40, 50), 300_000, far=60)
    results = []
    for threads in (1, 5):
        monkeypatch.setattr(_pool, "threads", lambda threads=threads: threads)
        results.append(gfnoise.map_coordinates(source, at))
    assert np.array_equal(*results)


def test_layouts_and_output() -> None:
    source, at = image((8, 9)), points((8, 9), 120, far=12)
    expected = gfnoise.map_coordinates(source, at)
    frozen = source.copy()
    frozen.flags.writeable = False
    for view in (frozen, np.asfortranarray(source), source.astype(">f4")):
        assert np.array_equal(gfnoise.map_coordinates(view, np.asfortranarray(at)), expected)
    out = np.empty(240, np.float32)[::2]
    assert gfnoise.map_coordinates(source, at, output=out) is out
    assert np.array_equal(out, expected)
    assert gfnoise.map_coordinates(source, at[:, :0]).shape == (0,)
    assert gfnoise.map_coordinates(source[:0], at[:, :0]).shape == (0,)


SOURCE, AT = np.ones((4, 5), np.float32), np.zeros((2, 3))


@pytest.mark.parametrize(
    ("source", "at", "options", "match"),
    [
        ([[1.0]], AT, {}, "input.*list"),
        (SOURCE.astype(complex), AT, {}, "input.*complex128"),
        (SOURCE.astype(object), AT, {}, "input.*object"),
        (SOURCE, AT.tolist(), {}, "coordinates.*list"),
        (SOURCE, AT.astype(complex), {}, "coordinates.*complex128"),
        (SOURCE, AT * np.nan, {}, rf"^coordinates must not hold NaN, got {AT.size} of {AT.size}$"),
        (SOURCE, np.zeros((3, 4)), {}, r"coordinates.*\(3, 4\)"),
        (SOURCE, np.float64(1) * np.zeros(()), {}, "coordinates"),
        (SOURCE[:0], AT, {}, r"input.*\(0, 5\)"),
        (SOURCE, AT, {"order": 3}, "order.*3"),
        (SOURCE, AT, {"mode": "edge"}, "mode.*'edge'"),
        (SOURCE, AT, {"cval": np.inf}, "cval.*inf"),
        (SOURCE, AT, {"output": complex}, "output.*complex"),
        (SOURCE, AT, {"output": np.zeros(4, np.float32)}, r"output.*\(4,\)"),
        (SOURCE, AT, {"output": AT[0]}, "output.*memory with coordinates"),
    ],
)
def test_bad_input_is_named(source: Any, at: Any, options: dict[str, Any], match: str) -> None:
    with pytest.raises((ValueError, TypeError), match=match):
        gfnoise.map_coordinates(source, at, **options)
