"""`gaussian_filter` against SciPy's in float64."""

from __future__ import annotations

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
DTYPES = ["bool", "uint8", "int16", "int64", "float16", "float32", "float64"]
MODES = ["reflect", "constant", "nearest", "mirror", "wrap"]
SYNONYMS = ["grid-mirror", "grid-constant", "grid-wrap"]


def image(shape: tuple[int, ...], dtype: Any = "float32", seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.random(shape) < 0.5
    return np.asarray(100 * rng.random(shape)).astype(dtype)


def check(source: Array, sigma: Any, **options: Any) -> None:
    """Within 1e-6 of the range of what SciPy makes of the same values in float64."""
    got = gfnoise.gaussian_filter(source, sigma, **options)
    wide = source.astype(np.float64)
    expected = scipy.ndimage.gaussian_filter(wide, sigma, **options)
    assert got.dtype == (np.float64 if source.dtype == np.float64 else np.float32)
    reach = max(np.ptp(wide), abs(options.get("cval", 0.0)), 1e-30) if wide.size else 1
    tolerance = 1e-12 if source.dtype == np.float64 else 1e-6
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * max(reach, wide.max()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", MODES + SYNONYMS)
@pytest.mark.parametrize("shape", [(31,), (9, 14), (6, 7, 11), (1, 5, 3), (2, 3, 5, 6)])
def test_every_mode_agrees_with_scipy(shape: tuple[int, ...], mode: str, dtype: str) -> None:
    for sigma in (0.0, 0.1, 0.7, 2.56, 20.0):
        check(image(shape, dtype), sigma, mode=mode, cval=3.0)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_shape_axis_mode_and_radius(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
    count = data.draw(st.integers(0, len(shape)))
    axes = tuple(data.draw(st.permutations(range(len(shape)))))[:count]
    each: dict[str, Any] = {
        "sigma": [data.draw(st.floats(0, 30)) for _ in axes],
        "mode": [data.draw(st.sampled_from(MODES)) for _ in axes],
    }
    if data.draw(st.booleans()):
        each["radius"] = [data.draw(st.integers(0, 20)) for _ in axes]
        each["sigma"] = [max(s, 0.01) for s in each["sigma"]]
    else:
        each["truncate"] = data.draw(st.floats(0, 6))
    source = image(shape, data.draw(st.sampled_from(DTYPES)), data.draw(st.integers(0, 99)))
    if data.draw(st.booleans()):
        source = source[..., ::-1].T.copy().T
    check(source, axes=axes, cval=data.draw(st.floats(-9, 9)), **each)


@pytest.mark.cpu
@pytest.mark.parametrize("shape", [(70, 60, 50), (3, 400, 300), (100_000,), (300, 3, 200)])
def test_the_number_of_threads_changes_no_bit(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = image(shape)
    check(source, 3.0)
    results = []
    for threads in (1, 2, 7):
        monkeypatch.setattr(_pool, "threads", lambda threads=threads: threads)
        results.append(gfnoise.gaussian_filter(source, 3.0))
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


@pytest.mark.parametrize("shape", [(60,), (9, 14), (6, 7, 11)])
@pytest.mark.parametrize("mode", MODES)
def test_long_filters_agree_with_scipy(shape: tuple[int, ...], mode: str) -> None:
    """A single sum of as many taps would lose digits."""
    for sigma in (50.0, 90.0, 400.0):
        source = image(shape, seed=int(sigma))
        check(source, sigma, mode=mode, cval=3.0)
        check(source[..., :1], sigma, mode=mode, cval=3.0)
    check(source, [0.0] * (source.ndim - 1) + [5000.0], mode=mode)


@pytest.mark.parametrize("shape", [(31,), (9, 14), (6, 7, 11)])
@pytest.mark.parametrize("mode", MODES)
def test_values_near_the_largest_do_not_overflow(shape: tuple[int, ...], mode: str) -> None:
    largest = float(np.finfo(np.float32).max)
    source = image(shape) * np.float32(0.0099 * largest)
    source.flat[::3] *= -1
    assert np.abs(source).max() > largest / 2
    for sigma in (0.7, 2.56, [1.5] + [0.0] * (len(shape) - 1), [0.0] * (len(shape) - 1) + [1.5]):
        check(source, sigma, mode=mode, cval=-0.99 * largest)


def test_what_is_not_filtered_keeps_every_bit() -> None:
    source = np.array([[1e-45, -3e-45], [3.4028235e38, np.inf], [np.nan, 5.0]], np.float32)
    for sigma in (0.0, 0.01):
        assert gfnoise.gaussian_filter(source, sigma).tobytes() == source.tobytes()


def test_any_layout_gives_the_same() -> None:
    source = image((8, 9, 10))
    expected = gfnoise.gaussian_filter(source, 1.5)
    frozen = source.copy()
    frozen.flags.writeable = False
    spread = np.zeros((16, 9, 30), np.float32)
    spread[::2, :, ::3] = source
    views = [frozen, np.asfortranarray(source), spread[::2, :, ::3], source.astype(">f4")]
    for view in views:
        assert np.array_equal(gfnoise.gaussian_filter(view, 1.5), expected)
    flipped = gfnoise.gaussian_filter(source[::-1, :, ::-1], 1.5)[::-1, :, ::-1]
    np.testing.assert_allclose(flipped, expected, rtol=1e-5)


def test_output_may_be_an_array_or_a_dtype() -> None:
    source = image((8, 9, 10), "uint8")
    wide = gfnoise.gaussian_filter(source, 1.5, output=np.float64)
    assert wide.dtype == np.float64
    expected = scipy.ndimage.gaussian_filter(source.astype(np.float64), 1.5)
    np.testing.assert_allclose(wide, expected, rtol=1e-13)
    for out in (np.empty((8, 9, 10)), np.empty((10, 9, 8)).T, np.empty((8, 9, 20))[..., ::2]):
        assert gfnoise.gaussian_filter(source, 1.5, output=out) is out
        assert np.array_equal(out, wide)


def test_empty_and_nan() -> None:
    assert gfnoise.gaussian_filter(np.zeros((0, 5, 4)), 2.0).shape == (0, 5, 4)
    source = image((20,))
    source[10] = np.nan
    got = gfnoise.gaussian_filter(source, 1.0)
    assert np.array_equal(np.isnan(got), abs(np.arange(20) - 10) <= 4)


SOURCE = np.ones((4, 5), np.float32)


@pytest.mark.parametrize(
    ("source", "sigma", "options", "match"),
    [
        ([[1.0]], 1.0, {}, "input.*list"),
        (SOURCE.astype(complex), 1.0, {}, "input.*complex128"),
        (SOURCE.astype(object), 1.0, {}, "input.*object"),
        (SOURCE.astype(str), 1.0, {}, "input.*<U"),
        (SOURCE, -1.0, {}, r"sigma.*-1\.0"),
        (SOURCE, np.nan, {}, "sigma.*nan"),
        (SOURCE, np.inf, {}, "sigma.*inf"),
        (SOURCE, "1", {}, "sigma.*'1'"),
        (SOURCE, None, {}, "sigma.*None"),
        (SOURCE, (1.0, 1.0, 1.0), {}, r"sigma.*\(1\.0, 1\.0, 1\.0\)"),
        (SOURCE, 1.0, {"axes": 2}, "axes.*2"),
        (SOURCE, 1.0, {"axes": -3}, "axes.*-3"),
        (SOURCE, 1.0, {"axes": (0, 0)}, r"axes.*\(0, 0\)"),
        (SOURCE, 1.0, {"axes": 0.5}, r"axes.*0\.5"),
        (SOURCE, 1.0, {"mode": "valid"}, "mode.*'valid'"),
        (SOURCE, 1.0, {"mode": ["wrap"]}, r"mode.*\['wrap'\]"),
        (SOURCE, 1.0, {"cval": np.nan}, "cval.*nan"),
        (SOURCE, 1.0, {"cval": "0"}, "cval.*'0'"),
        (SOURCE, 1.0, {"truncate": -1}, "truncate.*-1"),
        (SOURCE, 1.0, {"radius": -1}, "radius.*-1"),
        (SOURCE, 1.0, {"radius": 1.5}, r"radius.*1\.5"),
        (SOURCE, 1.0, {"radius": (1, 2, 3)}, r"radius.*\(1, 2, 3\)"),
        (SOURCE, 1.0, {"output": np.uint8}, "output.*uint8"),
        (SOURCE, 1.0, {"output": np.zeros((5, 4), np.float32)}, r"output.*\(5, 4\)"),
        (SOURCE, 1.0, {"output": np.zeros((4, 5), np.int32)}, "output.*int32"),
        (SOURCE, 1.0, {"output": SOURCE}, "output.*memory with input"),
        (SOURCE, 1.0, {"output": np.broadcast_to(np.float32(0), (4, 5))}, "output.*read-only"),
    ],
)
def test_bad_input_is_named(source: Any, sigma: Any, options: dict[str, Any], match: str) -> None:
    with pytest.raises((ValueError, TypeError), match=match):
        gfnoise.gaussian_filter(source, sigma, **options)
    assert np.all(SOURCE == 1)
