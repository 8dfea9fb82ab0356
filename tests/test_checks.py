"""Bad input to GaussianField: the error names the argument and what arrived; nothing is written."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

import gfnoise
from gfnoise import GaussianField, _checks, _output

LABELS = np.array([[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]], np.uint8)
PAIR = np.stack([LABELS, LABELS])
FIELD = GaussianField(1.5, 3.0, ndim=2)
ITEMS = GaussianField([[1.0], [2.0], [3.0]], 3.0, ndim=2)
S = slice(None)
Error = type[Exception] | tuple[type[Exception], ...]


def words(*parts: str) -> str:
    """A pattern of these parts, in this order."""
    return ".*".join(map(re.escape, parts))


# -------------------------------------------------------------------------- the constructor

NUMBERS: list[tuple[Any, Error, str]] = [
    (-1, ValueError, "(at least 0|positive), got -1$"),
    (float("nan"), ValueError, words("finite", "got nan")),
    (np.inf, ValueError, words("finite", "got inf")),
    (-np.inf, ValueError, words("finite", "got -inf")),
    ([1.0, np.nan], ValueError, words("finite", "got [1.0, nan]")),
    ([[1.0, 2.0], [3.0, -4.0]], ValueError, words("got [[1.0, 2.0], [3.0, -4.0]]")),
    (True, TypeError, words("number", "got True")),
    ([True, False], TypeError, words("number", "got [True, False]")),
    (None, TypeError, words("number", "got None")),
    (1j, TypeError, words("number", "got 1j")),
    (10**400, TypeError, words("number", "got 1000")),
    (np.array([1, 2], object), TypeError, words("number", "object")),
    ([1, "2"], TypeError, words("number", "'2'")),
    ([1.0, 2.0, 3.0], ValueError, words("(2,), (items, 1) or (items, 2)", "got shape (3,)")),
    ([], ValueError, words("(2,), (items, 1) or (items, 2)", "got shape (0,)")),
    ([[]], ValueError, words("got shape (1, 0)")),
    (np.ones((0, 2)), ValueError, words("got shape (0, 2)")),
    (np.ones((2, 3)), ValueError, words("got shape (2, 3)")),
    (np.ones((1, 1, 2)), ValueError, words("got shape (1, 1, 2)")),
    ([[1.0], [1.0, 2.0]], ValueError, words("[[1.0], [1.0, 2.0]]")),
    (np.ma.array([1.0, 2.0], mask=[False, True]), TypeError, words("masked array, whose mask")),
]


@pytest.mark.parametrize("name", ["amplitude", "length_scale", "spacing"])
@pytest.mark.parametrize(("value", "error", "match"), NUMBERS)
def test_bad_parameters_are_refused(name: str, value: Any, error: Error, match: str) -> None:
    given: dict[str, Any] = {"amplitude": 1.0, "length_scale": 1.0, "spacing": 1.0, name: value}
    with pytest.raises(error, match=rf"(?s)^{name} .*{match}"):
        GaussianField(**given, ndim=2)


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"length_scale": 0}, ValueError, "^length_scale .*positive.*got 0$"),
        ({"length_scale": [1, 0]}, ValueError, r"^length_scale .*positive.*got \[1, 0\]$"),
        ({"spacing": 0.0}, ValueError, r"^spacing .*positive.*got 0\.0$"),
        ({"spacing": "Unit"}, (TypeError, ValueError), "^spacing .*'unit'.*got 'Unit'"),
        ({"spacing": "3"}, (TypeError, ValueError), "^spacing .*got '3'"),
        ({"length_scale": "3"}, TypeError, "^length_scale .*number.*got '3'"),
        ({"spacing": ["unit", "unit"]}, TypeError, "^spacing .*got .*'unit'"),
        ({"amplitude": "unit"}, TypeError, "^amplitude .*got 'unit'"),
        ({"length_scale": "unit"}, TypeError, "^length_scale .*got 'unit'"),
        ({"ndim": 1}, ValueError, "^ndim must be 2 or 3, got 1"),
        ({"ndim": 4}, ValueError, "^ndim must be 2 or 3, got 4"),
        ({"ndim": 0}, ValueError, "^ndim must be 2 or 3, got 0"),
        ({"ndim": -2}, ValueError, "^ndim .*got -2"),
        ({"ndim": 2.0}, TypeError, r"^ndim .*integer.*got 2\.0"),
        ({"ndim": True}, TypeError, "^ndim .*integer.*got True"),
        ({"ndim": "3"}, TypeError, "^ndim .*integer.*got '3'"),
        ({"ndim": None}, TypeError, "^ndim .*integer.*got None"),
        ({"ndim": (2,)}, TypeError, r"^ndim .*integer.*got \(2,\)"),
        ({"ndim": 3, "amplitude": (1, 2)}, ValueError, r"^amplitude .*\(3,\).*got shape \(2,\)"),
        (
            {"amplitude": [[1], [2]], "spacing": [[1], [2], [3]]},
            ValueError,
            "equally many items, got amplitude of 2, spacing of 3",
        ),
    ],
)
def test_parameters_that_do_not_fit_together_are_refused(
    given: dict[str, Any], error: Error, match: str
) -> None:
    with pytest.raises(error, match=match):
        GaussianField(**{"amplitude": 1.0, "length_scale": 1.0, "ndim": 2} | given)


def test_missing_and_positional_arguments() -> None:
    for call in (
        lambda: GaussianField(1.0, 2.0),  # type: ignore[call-arg]
        lambda: GaussianField(1.0, ndim=2),  # type: ignore[call-arg]
        lambda: GaussianField(1.0, 2.0, 1.0, ndim=2),  # type: ignore[call-arg, misc]
        lambda: FIELD.displacement((4, 5)),  # type: ignore[call-arg]
        lambda: FIELD.sample_labels(LABELS),  # type: ignore[call-arg]
        lambda: FIELD.sample_labels(LABELS, 3),  # type: ignore[call-arg, misc]
        lambda: FIELD.marginals(LABELS, 2),  # type: ignore[misc]
    ):
        with pytest.raises(TypeError, match=r"ndim|length_scale|seed|positional"):
            call()


# ---------------------------------------------------------------- displacement and sampling

SEEDS: list[tuple[Any, Error, str]] = [
    (-1, ValueError, words("[0, 2**63)", "got -1")),
    (2**63, ValueError, words("[0, 2**63)", "got 9223372036854775808")),
    (2**70, ValueError, words("[0, 2**63)", "got 1180591620717411303424")),
    (np.uint64(2**63), ValueError, words("[0, 2**63)", "9223372036854775808")),
    (1.0, TypeError, words("integer", "got 1.0")),
    (np.float64(3), TypeError, words("integer", "3.0")),
    (True, TypeError, words("integer", "got True")),
    (None, TypeError, words("integer", "got None")),
    ("7", TypeError, words("integer", "got '7'")),
    ({7}, TypeError, words("integer", "got {7}")),
    ([1, -2], ValueError, words("got [1, -2]")),
    ([1, 2**70], ValueError, words("got [1, 1180591620717411303424]")),
    ([1, 2**63], ValueError, words("[0, 2**63)", "got [1, 9223372036854775808]")),
    ((-1, 2**63), ValueError, words("[0, 2**63)", "got (-1, 9223372036854775808)")),
    ([2**62, 1.0], TypeError, words("integer", "1.0]")),
    ([np.uint64(1), True], TypeError, words("integer", "True]")),
    (np.array([1, 2], object), TypeError, words("integer", "dtype=object")),
    (np.ma.array([1, 2], mask=[True, False]), TypeError, words("masked array, whose mask")),
    ([1.0, 2.0], TypeError, words("got [1.0, 2.0]")),
    ([True, 2], TypeError, words("got [True, 2]")),
    ([None, 2], TypeError, words("got [None, 2]")),
    (np.array([True, False]), TypeError, words("True, False")),
    ([[1], [2]], TypeError, words("got [[1], [2]]")),
    ([[1], [2, 3]], (TypeError, ValueError), words("got [[1], [2, 3]]")),
]
COUNTS: list[tuple[Any, Error, str]] = [
    (-1, ValueError, "got -1"),
    (2.0, TypeError, r"got 2\.0"),
    (True, TypeError, "got True"),
    ("2", TypeError, "got '2'"),
    ([2], TypeError, r"got \[2\]"),
]
WINDOWS: list[Any] = [
    S, "all", 7, (S,), (S, S, S), [S, S], (S, 3), (..., S), (slice(0, 5), S), (slice(5, 5), S),
    (slice(3, 1), S), (S, slice(-6, None)), (S, slice(None, -9)), (slice(None, None, -1), S),
    (slice(None, None, 0), S), (slice(0.5, 3), S), (S, slice(0, 2.0)), (S, slice(0, 2, 1.5)),
    (S, slice("a", None)), (slice(None, float("nan")), S),
]  # fmt: skip


@pytest.mark.parametrize(("seed", "error", "match"), SEEDS)
def test_bad_seeds_are_refused(seed: Any, error: Error, match: str) -> None:
    out = np.full_like(PAIR, 9)
    with pytest.raises(error, match=f"(?s)^seed .*{match}"):
        FIELD.sample_labels(PAIR, seed=seed, out=out)
    with pytest.raises(error, match=f"(?s)^seed .*{match}"):
        FIELD.displacement((4, 5), seed=seed)
    assert (out == 9).all()


@pytest.mark.parametrize("seed", [[np.uint64(3), 2**63 - 1], (3, np.uint64(2**63 - 1))])
def test_seeds_that_numpy_has_no_common_integer_for(seed: Any) -> None:
    expected = FIELD.sample_labels(PAIR, seed=np.array([3, 2**63 - 1]))
    assert np.array_equal(FIELD.sample_labels(PAIR, seed=seed), expected)


@pytest.mark.parametrize(("n", "error", "match"), COUNTS)
def test_numbers_of_raters(n: Any, error: Error, match: str) -> None:
    with pytest.raises(error, match=f"^n .*{match}"):
        FIELD.sample_labels(LABELS, seed=0, n=n)
    with pytest.raises(error, match=f"^n .*{match}"):
        FIELD.displacement((4, 5), n, seed=0)


@pytest.mark.parametrize("n", [2**45, 2**63, 2**70])
def test_more_than_fits_into_memory(n: int) -> None:
    for call in (
        lambda: FIELD.sample_labels(LABELS, seed=0, n=n),
        lambda: FIELD.displacement((4, 5), n, seed=0),
        lambda: FIELD.displacement((n, n), seed=0),
        lambda: FIELD.marginals(LABELS, num_classes=n),
    ):
        with pytest.raises((MemoryError, ValueError)):  # NumPy's own
            call()


@pytest.mark.parametrize("window", WINDOWS, ids=repr)
def test_bad_windows_are_refused(window: Any) -> None:
    match = f"(?s)^window .*{re.escape(repr(window))}"
    out = np.full_like(LABELS, 9)
    with pytest.raises((ValueError, TypeError), match=match):
        FIELD.sample_labels(LABELS, seed=0, window=window, out=out)
    with pytest.raises((ValueError, TypeError), match=match):
        FIELD.displacement((4, 5), seed=0, window=window)
    with pytest.raises((ValueError, TypeError), match=match):
        FIELD.sample_labels(LABELS, seed=0, window=window, full_shape=(4, 5))
    assert (out == 9).all()


@pytest.mark.parametrize(
    ("shape", "error", "match"),
    [
        (5, ValueError, "got 5"),
        ((5,), ValueError, r"got \(5,\)"),
        ((4, 5, 6), ValueError, r"got \(4, 5, 6\)"),
        ("ab", ValueError, "got 'ab'"),
        ((4.0, 5), TypeError, r"got 4\.0"),
        ((4, True), TypeError, "got True"),
        ((4, -1), ValueError, "got -1"),
        ((None, 5), TypeError, "got None"),
    ],
)
def test_bad_shapes_are_refused(shape: Any, error: Error, match: str) -> None:
    with pytest.raises(error, match=f"^shape.*{match}"):
        FIELD.displacement(shape, seed=0)
    with pytest.raises(error, match=f"^full_shape.*{match}"):
        FIELD.sample_labels(LABELS, seed=0, full_shape=shape, window=(slice(4), slice(5)))


@pytest.mark.parametrize(
    ("labels", "options", "match"),
    [
        (LABELS, {"full_shape": (8, 9)}, r"^window .*\(8, 9\).*\(4, 5\).*got None"),
        (LABELS, {"full_shape": (8, 9), "window": np.s_[:4, :4]}, r"^window .*got \(slice"),
        (LABELS, {"full_shape": (8, 10), "window": np.s_[::2, ::2]}, r"^window .*steps of 1"),
        (LABELS, {"full_shape": (8, 9), "window": np.s_[5:9, :5]}, r"^window .*within.*\(8, 9\)"),
        (PAIR, {"seed": [1]}, "^seed .*2 items, got 1"),
        (PAIR, {"seed": [1, 2, 3]}, "^seed .*2 items, got 3"),
        (PAIR, {"seed": []}, "^seed .*2 items, got 0"),
        (LABELS, {"seed": [1, 2]}, "^seed .*1 items, got 2"),
    ],
)
def test_parts_and_seeds_that_do_not_match_the_labels(
    labels: Any, options: Any, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        FIELD.sample_labels(labels, **{"seed": 0, **options})


def test_parameters_that_do_not_match_the_items() -> None:
    for labels, count in ((LABELS, 1), (PAIR, 2), (np.stack([PAIR, PAIR]), 4)):
        for call in (
            lambda labels=labels: ITEMS.sample_labels(labels, seed=0),
            lambda labels=labels: ITEMS.marginals(labels),
        ):
            with pytest.raises(ValueError, match=f"^amplitude.* {count} items, got 3"):
                call()
    with pytest.raises(ValueError, match="3 items, got 2"):
        ITEMS.displacement((4, 5), seed=[1, 2])


@pytest.mark.parametrize("like", [[1.0], "numpy", np.ma.zeros(3), object()])
def test_like_must_be_an_array(like: Any) -> None:
    with pytest.raises(TypeError, match=f"^like .*{type(like).__name__}"):
        FIELD.displacement((4, 5), seed=0, like=like)


@pytest.mark.parametrize("length_scale", [1e160, 1e300, 1e308, 1e-160, 1e-300, 5e-324])
def test_extreme_length_scales_are_no_error(length_scale: float) -> None:
    """Constant displacements and white noise: finite numbers are allowed, and warn of nothing."""
    field = GaussianField(1.0, length_scale, ndim=2)
    move = field.displacement((4, 5), seed=1)
    assert np.isfinite(move).all()
    assert (np.ptp(move, axis=(1, 2)) < 1e-5).all() == (length_scale > 1)
    assert np.array_equal(field.sample_labels(LABELS, seed=1), gfnoise.warp_labels(LABELS, move))


def test_parameters_that_overflow_in_voxels() -> None:
    for field, name in [
        (GaussianField(1e300, 1.0, spacing=1e-10, ndim=2), "amplitude"),
        (GaussianField(1.0, 1e300, spacing=1e-10, ndim=2), "length_scale"),
        (GaussianField(1.0, 1e-300, spacing=1e100, ndim=2), "length_scale"),
    ]:
        with pytest.raises(ValueError, match=f"^{name} / spacing must be finite"):
            field.sample_labels(LABELS, seed=0)
        with pytest.raises(ValueError, match=f"^{name} / spacing must be finite"):
            field.displacement((4, 5), seed=0)


# ------------------------------------------------------- labels, and what both have in common

BAD_LABELS: list[tuple[Any, Error, str]] = [
    (LABELS.astype(np.float32), TypeError, r"integer.*float32 of shape \(4, 5\)"),
    (LABELS.astype(np.float16), TypeError, "integer.*float16"),
    (LABELS.astype(complex), TypeError, "integer.*complex128"),
    (LABELS.astype(object), TypeError, "integer.*object"),
    (LABELS.astype(str), TypeError, "integer.*<U"),
    (LABELS.astype("S1"), TypeError, r"integer.*\|S1"),
    (LABELS.astype("M8[s]"), TypeError, "integer.*datetime64"),
    (np.zeros((4, 5), [("a", "u1")]), TypeError, "integer"),
    (LABELS.tolist(), TypeError, "array.*list"),
    (np.ma.array(LABELS), TypeError, "array.*MaskedArray"),
    (None, TypeError, "array.*NoneType"),
    ("labels", TypeError, "array.*str"),
    (np.uint8(1), TypeError, "array.*uint8"),
    (np.array(1), ValueError, "ndim=2 axes, got 0"),
    (LABELS[0], ValueError, "ndim=2 axes, got 1"),
]
BOTH: list[tuple[dict[str, Any], Error, str]] = [
    ({"mode": "reflect"}, ValueError, "^mode .*'constant', 'nearest', got 'reflect'"),
    ({"mode": None}, ValueError, "^mode .*got None"),
    ({"mode": 0}, ValueError, "^mode .*got 0"),
    ({"cval": 256}, ValueError, "^cval .*uint8, got 256"),
    ({"cval": -1}, ValueError, "^cval .*uint8, got -1"),
    ({"cval": 0.5}, TypeError, r"^cval .*integer, got 0\.5"),
    ({"cval": 1.0}, TypeError, r"^cval .*integer, got 1\.0"),
    ({"cval": float("nan")}, TypeError, "^cval .*integer, got nan"),
    ({"cval": None}, TypeError, "^cval .*integer, got None"),
    ({"cval": "0"}, TypeError, "^cval .*integer, got '0'"),
    ({"ignore_index": 256}, ValueError, "^ignore_index .*uint8, got 256"),
    ({"ignore_index": -100}, ValueError, "^ignore_index .*uint8, got -100"),
    ({"ignore_index": 2.0}, TypeError, r"^ignore_index .*integer, got 2\.0"),
    ({"ignore_index": "255"}, TypeError, "^ignore_index .*integer, got '255'"),
    ({"out": [[0]]}, TypeError, "^out .*list"),
    ({"out": np.ma.zeros((4, 5))}, TypeError, "^out .*MaskedArray"),
    ({"out": np.zeros((4, 5))}, TypeError, r"^out .*float64 of shape \(4, 5\)"),
]
SAMPLING: list[tuple[dict[str, Any], Error, str]] = [
    ({"order": 2}, ValueError, "^order must be one of 0, 1, got 2"),
    ({"order": -1}, ValueError, "^order .*got -1"),
    ({"order": True}, ValueError, "^order .*got True"),
    ({"order": "1"}, ValueError, "^order .*got '1'"),
    ({"order": 1.0}, ValueError, r"^order .*got 1\.0"),
    ({"order": None}, ValueError, "^order .*got None"),
    ({"order": np.ones(2, int)}, ValueError, "^order .*got array"),
    ({"n": 2, "out": np.zeros((4, 5), np.uint8)}, ValueError, r"^out .*\(2, 4, 5\), got uint8 of"),
    ({"out": np.zeros((2, 4, 5), np.uint8)}, ValueError, r"^out .*\(4, 5\), got uint8 of shape"),
    ({"out": np.zeros((4, 5), np.int8)}, TypeError, "^out .*uint8, got int8"),
    ({"out": np.zeros((4, 5), bool)}, TypeError, "^out .*uint8, got bool"),
    ({"out": np.broadcast_to(np.uint8(0), (4, 5))}, ValueError, "^out .*read-only"),
    ({"out": as_strided(np.zeros(5, np.uint8), (4, 5), (0, 1))}, ValueError, "^out .*strides"),
    ({"out": as_strided(np.zeros(9, np.uint8), (4, 5), (1, 1))}, ValueError, "^out .*strides"),
    ({"out": as_strided(np.zeros(20, np.uint8), (4, 5), (1, 3))}, ValueError, "^out .*strides"),
    ({"out": as_strided(np.zeros(9, np.uint8)[8:], (4, 5), (-1, -1))}, ValueError, "^out .*stri"),
    ({"out": LABELS}, ValueError, "^out .*memory with labels"),
    ({"out": LABELS[::-1, ::-1]}, ValueError, "^out .*memory with labels"),
]
MARGINALS: list[tuple[dict[str, Any], Error, str]] = [
    ({"method": "scipy"}, ValueError, "^method .*'integrated', 'sampled', got 'scipy'"),
    ({"method": None}, ValueError, "^method .*got None"),
    ({"num_classes": 0}, ValueError, "^num_classes .*at least 1, got 0"),
    ({"num_classes": -3}, ValueError, "^num_classes .*got -3"),
    ({"num_classes": 2.0}, TypeError, r"^num_classes .*integer.*got 2\.0"),
    ({"num_classes": True}, TypeError, "^num_classes .*integer.*got True"),
    ({"num_classes": "2"}, TypeError, "^num_classes .*integer.*got '2'"),
    ({"num_classes": 1}, ValueError, r"^labels .*\[0, 0\], got 1"),
    ({"cval": 2}, ValueError, r"^cval .*\[0, 1\], got 2"),
    ({"cval": 3, "num_classes": 3}, ValueError, r"^cval .*\[0, 2\], got 3"),
    ({"out": np.zeros((4, 5), np.uint8)}, TypeError, "^out .*float32, got uint8"),
    ({"out": np.zeros((4, 5), ">f4")}, TypeError, "^out .*float32, got >f4"),
    ({"out": np.zeros((5, 4), np.float32)}, ValueError, r"^out .*\(4, 5\), got .*\(5, 4\)"),
    (
        {"num_classes": 2, "out": np.zeros((4, 5), np.float32)},
        ValueError,
        r"^out .*\(2, 4, 5\), got",
    ),
    ({"out": np.broadcast_to(np.float32(0), (4, 5))}, ValueError, "^out .*read-only"),
]


def refuse(method: Any, labels: Any, options: dict[str, Any], error: Error, match: str) -> None:
    """The call raises as it should, and neither `out` nor the labels have changed."""
    out = options.get("out")
    before = np.array(out) if isinstance(out, np.ndarray) else None
    labels_before = np.array(LABELS)
    with pytest.raises(error, match=f"(?s){match}"):
        method(labels, **options)
    assert np.array_equal(LABELS, labels_before)
    if before is not None:
        assert np.array_equal(out, before)


@pytest.mark.parametrize(("labels", "error", "match"), BAD_LABELS)
def test_bad_labels_are_refused(labels: Any, error: Error, match: str) -> None:
    refuse(FIELD.sample_labels, labels, {"seed": 0}, error, f"^labels .*{match}")
    refuse(FIELD.marginals, labels, {}, error, f"^labels .*{match}")


def test_more_axes_asked_for_than_there_are() -> None:
    field = GaussianField(1.0, 2.0, ndim=3)
    refuse(field.sample_labels, LABELS, {"seed": 0}, ValueError, "^labels .*ndim=3 axes, got 2")
    refuse(field.marginals, LABELS, {}, ValueError, "^labels .*ndim=3 axes, got 2")


@pytest.mark.parametrize(("options", "error", "match"), BOTH + SAMPLING)
def test_bad_options_of_sample_labels_are_refused(
    options: dict[str, Any], error: Error, match: str
) -> None:
    refuse(FIELD.sample_labels, LABELS, {"seed": 0, **options}, error, match)


@pytest.mark.parametrize(("options", "error", "match"), BOTH + MARGINALS)
def test_bad_options_of_marginals_are_refused(
    options: dict[str, Any], error: Error, match: str
) -> None:
    refuse(FIELD.marginals, LABELS, options, error, match)


@pytest.mark.parametrize(
    ("labels", "options", "match"),
    [
        (LABELS + 1, {}, r"^labels must be in \{0, 1\} \(or give num_classes\), got 2"),
        (LABELS.astype(np.int8) - 1, {}, r"^labels .*\{0, 1\}.*got -1"),
        (LABELS * 255, {}, r"^labels .*\{0, 1\}.*got 255"),
        (LABELS * 255, {"ignore_index": 254}, r"^labels .*\{0, 1\}.*got 255"),
        (LABELS + 2, {"num_classes": 3}, r"^labels .*\[0, 2\], got 3"),
        (LABELS.astype(np.int8) - 2, {"num_classes": 3}, r"^labels .*\[0, 2\], got -[12]"),
        (LABELS.astype(np.int8) - 1, {"num_classes": 2, "ignore_index": 1}, "^labels .*got -1"),
        (np.repeat(LABELS, 40_000, axis=1) * 2, {}, r"^labels .*\{0, 1\}.*got 2"),
    ],
)
def test_labels_that_are_no_class(labels: Any, options: dict[str, Any], match: str) -> None:
    out = np.full(
        (*([options["num_classes"]] if "num_classes" in options else []), *labels.shape), 9
    )
    out = out.astype(np.float32)
    refuse(FIELD.marginals, labels, {**options, "out": out}, ValueError, match)


def test_out_that_overlaps_the_labels_of_marginals() -> None:
    memory = np.zeros(4 * 20, np.uint8)
    out, labels = memory.view(np.float32).reshape(4, 5), memory[60:].reshape(4, 5)
    refuse(FIELD.marginals, labels, {"out": out}, ValueError, "^out .*memory with labels")
    assert not memory.any()


@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        ((4, 5), (5, 1)), ((4, 5), (1, 4)), ((4, 5), (-7, 1)), ((4, 5), (5, 4)), ((4, 5), (4, 5)),
        ((4, 5), (10, 8)), ((1, 5), (0, 1)), ((3, 2, 2), (4, 2, 1)), ((3, 4), (4, 3)),
    ],
)  # fmt: skip
def test_out_of_any_layout_that_holds_each_element_once(
    shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    out = as_strided(np.zeros(200, np.uint8)[100:], shape, strides)
    field = GaussianField(1.0, 2.0, ndim=len(shape))
    labels = np.arange(out.size, dtype=np.uint8).reshape(shape)
    assert field.sample_labels(labels, seed=1, out=out) is out
    assert np.array_equal(out, field.sample_labels(labels, seed=1))


def addresses(array: Any) -> list[int]:
    """Where each element is, one by one."""
    return [
        sum(i * stride for i, stride in zip(index, array.strides, strict=True))
        for index in np.ndindex(array.shape)
    ]


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    strides=st.lists(st.integers(-9, 9), min_size=3, max_size=3),
    dtype=st.sampled_from(["u1", "u2", "u4"]),
)
def test_elements_that_share_memory_are_found(
    shape: list[int], strides: list[int], dtype: str
) -> None:
    memory = np.zeros(200, np.uint8)[100:104].view(dtype)
    array = as_strided(memory, shape, strides[: len(shape)])
    held = [place + i for place in addresses(array) for i in range(array.itemsize)]
    assert _output._holds_twice(array) == (len(set(held)) < len(held))


def test_booleans_hold_two_labels() -> None:
    labels = LABELS > 0
    for options in ({"cval": 2}, {"ignore_index": 2}, {"ignore_index": -1}):
        match = f"^{next(iter(options))} .*bool, got"
        refuse(FIELD.sample_labels, labels, {"seed": 0, **options}, ValueError, match)
        refuse(FIELD.marginals, labels, options, ValueError, match)


# -------------------------------------------------------------------------- one of several


def test_a_choice_is_itself_or_the_scalar_of_it() -> None:
    for value, listed in (("a", "ab"), (np.str_("b"), "ab"), (0, (0, 1)), (np.uint8(1), (0, 1))):
        _checks.choice("x", value, listed)
    field = GaussianField(1.0, 3.0, ndim=2)
    plain = field.sample_labels(LABELS, seed=0, mode="nearest")
    assert np.array_equal(field.sample_labels(LABELS, seed=0, mode=np.str_("nearest")), plain)


def test_what_is_none_of_the_choices() -> None:
    numbers = [(one, (0, 1)) for one in (True, np.True_, 1.0, np.float64(1), "1", np.str_("1"))]
    others: list[Any] = ["c", np.str_("c"), np.bytes_(b"a"), np.array("a"), ["a"], None]
    for value, listed in [*numbers, *((one, "ab") for one in others), (1, (False, True))]:
        expected = f"x must be one of {', '.join(map(repr, listed))}, got {value!r}"
        with pytest.raises(ValueError, match=words(expected)):
            _checks.choice("x", value, listed)
