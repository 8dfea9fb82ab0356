"""Masks, labels and probability maps as the metrics' kernels take them."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _checks, _labels
from .._array import kernels as kernels
from .._array import real_dtype
from .._axes import lead_and_space
from .._loading import load

TOLERANCE = 1e-3  # of the sum of a voxel's probabilities
_MOST_PARTS = 1 << 24  # of a table: what float32 can count


class Labels(NamedTuple):
    """Labels in range(classes), (items, voxels), of one or two bytes."""

    codes: NDArray[Any]
    classes: int
    batch: tuple[int, ...]
    space: tuple[int, ...]


def space_axes(name: str, array: NDArray[Any], ndim: int | None, before: int = 0) -> int:
    """How many of the last axes are space, however many; `before` of them must be others."""
    most = array.ndim - before
    return _checks.space_axes(name, ndim, most, most)


def labels(name: str, array: NDArray[Any], num_classes: int | None, axes: int) -> Labels:
    """Check labels, in {0, 1} or in range(num_classes)."""
    _checks.integral(name, array)
    classes = _labels.count(num_classes)
    batch, space = lead_and_space(array.shape, axes)
    codes = _labels.class_numbers(name, array, num_classes)
    return Labels(codes.reshape(math.prod(batch), math.prod(space)), classes, batch, space)


class Pair(NamedTuple):
    """Two label arrays of one shape, 0 where the target is ignored, and the kernels for them."""

    kernels: Any
    prediction: Labels
    target: Labels
    ignored: NDArray[np.int64]  # (items,): how many voxels


def pair(
    function: str,
    prediction: NDArray[Any],
    target: NDArray[Any],
    num_classes: int | None,
    ndim: int | None,
    ignore_index: int | None = None,
) -> Pair:
    """Check two label arrays of one shape."""
    found = kernels(function, "metrics", prediction=prediction, target=target)
    same_shape("prediction", prediction, target)
    _checks.integral("prediction", prediction)
    axes = space_axes("prediction", prediction, ndim)
    silent = ignored("target", target, ignore_index)
    first = labels("prediction", without(prediction, silent), num_classes, axes)
    second = labels("target", without(target, silent), num_classes, axes)
    count = np.zeros(len(second.codes), np.int64)
    if silent is not None:
        count += silent.reshape(second.codes.shape).sum(1)
    return Pair(found, first, second, count)


def ignored(name: str, array: NDArray[Any], ignore_index: int | None) -> NDArray[np.bool_] | None:
    """Where labels are to be ignored; None: nowhere."""
    if ignore_index is None:
        return None
    _checks.integral(name, array)
    return np.asarray(array == _checks.ignored_label(ignore_index, array.dtype))


def without(array: NDArray[Any], silent: NDArray[np.bool_] | None) -> NDArray[Any]:
    """Labels with 0 for what is silent."""
    return array if silent is None else np.where(silent, array.dtype.type(0), array)


def scipy(part: str, function: str) -> ModuleType:
    """A part of SciPy, for the function that asks."""
    try:
        return load(f"scipy.{part}")
    except ImportError as error:
        raise ImportError(f'{function} needs SciPy: pip install "gfnoise[metrics]"') from error


def same_shape(name: str, array: NDArray[Any], target: NDArray[Any]) -> None:
    """Raise ValueError unless the target has the shape of the other argument, `name`."""
    if target.shape != array.shape:
        whose = f"{name}'" if name.endswith("s") else f"{name}'s"
        raise ValueError(f"target must be of the {whose} shape {array.shape}, got {target.shape}")


def reals(name: str, array: NDArray[Any], *, masks: bool = False) -> NDArray[Any]:
    """Contiguous values of float32 or float64; with `masks`, bytes stay what they are."""
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be of a real dtype, got {_checks.describe(array)}")
    if masks and array.dtype in (np.bool_, np.uint8):
        codes = np.ascontiguousarray(array).view(np.uint8)
        return codes if array.dtype == np.uint8 else (codes != 0).view(np.uint8)
    return np.ascontiguousarray(array, real_dtype(array))


def numbers(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Real numbers, in whatever NumPy makes an array of, as float64."""
    expected = f"{name} must be an array of real numbers"
    array = _checks.plain(expected, values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{expected}, got {values!r}")
    with np.errstate(over="ignore"):
        return array.astype(np.float64)


def table_size(name: str, value: object) -> int:
    """The number of bins, or of ranges."""
    number = _checks.integer(name, value, 1)
    if number > _MOST_PARTS:
        raise ValueError(f"{name} must be at most {_MOST_PARTS}, got {number}")
    return number


def probabilities(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Values in [0, 1] as contiguous float32 or float64."""
    values = reals(name, array)
    _checks.in_range(name, array, 0, 1)
    return values


def distributions(
    function: str,
    name: str,
    array: NDArray[Any],
    num_classes: int | None,
    ndim: int | None,
    *,
    check: bool = True,
) -> tuple[Any, NDArray[Any], tuple[int, ...]]:
    """Kernels, (items, classes, voxels), and the batch.

    Without `num_classes` there is no class axis: a map is the probability of the foreground. With
    `check` False, the values of several classes are left to a kernel to check.
    """
    found = kernels(function, "metrics", **{name: array})
    axes = space_axes(name, array, ndim, before=int(num_classes is not None))
    split = array.ndim - axes
    space = array.shape[split:]
    if num_classes is None:
        values = probabilities(name, array)
        batch = array.shape[:split]
        return found, values.reshape(math.prod(batch), 1, math.prod(space)), batch
    classes = _checks.integer("num_classes", num_classes, 2)  # a single row is a foreground
    if array.shape[split - 1] != classes:
        raise ValueError(
            f"{name} must have {classes} classes on the axis before space, got shape {array.shape}"
        )
    batch = array.shape[: split - 1]
    values = reals(name, array).reshape(math.prod(batch), classes, math.prod(space))
    if check and found.improper(values, TOLERANCE):
        raise no_probabilities(name, values)
    return found, values, batch


def no_probabilities(name: str, values: NDArray[Any]) -> ValueError:
    """The error of (items, classes, voxels) that are not at least 0 or do not sum to 1."""
    with np.errstate(invalid="ignore"):  # infinity less infinity
        least, most = values.min(), abs(values.sum(1, dtype=np.float64) - 1).max()
    return ValueError(
        f"{name} must be at least 0 and sum to 1 over the classes, without NaN, got a "
        f"minimum of {least:g} and sums off by up to {most:g}"
    )
