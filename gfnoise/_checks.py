"""Argument checks and their wording: the argument, what was expected, what arrived."""

import math
import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._array import is_masked, module, on_device, real_dtype
from ._values import extremes, readable

_SEEDS = 1 << 63
_UNEQUAL = 1e6  # ratio of a voxel's sides; beyond it, an outline says nothing along the longer


def describe(array: NDArray[Any]) -> str:
    """Dtype and shape of an array, for a message."""
    return f"{array.dtype} of shape {array.shape}"


def choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raise ValueError unless `value` is one of `choices`, or NumPy's scalar of one."""
    listed = list(choices)
    plain = value.item() if isinstance(value, (np.integer, np.str_)) else value
    if not any(type(plain) is type(one) and plain == one for one in listed):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, listed))}, got {value!r}")


def integer(name: str, value: Any, least: int) -> int:
    """A Python int of at least `least`; bool and float are none."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer of at least {least}, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer of at least {least}, got {value!r}") from None
    if number < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {number}")
    return number


def dimensions(ndim: object, available: int | None = None, name: str = "labels") -> int:
    """2 or 3, and not more than the array `name` has."""
    number = integer("ndim", ndim, 0)
    if number not in (2, 3):
        raise ValueError(f"ndim must be 2 or 3, got {number}")
    if available is not None and available < number:
        raise ValueError(f"{name} must have at least ndim={number} axes, got {available}")
    return number


def dtype_of(name: str, wanted: Any) -> np.dtype[Any]:
    """The dtype that NumPy takes a value for."""
    try:
        return np.dtype(wanted)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a dtype, got {wanted!r}") from None


def output_dtype(source: Any, wanted: Any, *, kinds: str) -> np.dtype[Any]:
    """The dtype that `output` asks for; by default float32 or float64, as the input's.

    `kinds` are "f", one of these two, or "biuf", all that are real.
    """
    if wanted is None:
        return real_dtype(source)
    dtype = dtype_of("output", wanted)
    if kinds == "f" and dtype not in (np.float32, np.float64):
        raise TypeError(f"output must be of dtype float32 or float64, got {dtype}")
    if dtype.kind not in kinds or dtype == np.longdouble != np.float64:
        raise TypeError(f"output must be of a real dtype, got {dtype}")
    return dtype


def axes_of_image(name: str, axes: int) -> int:
    """The axes of space of an array, where they are what `ndim` leaves: 2 or 3."""
    if axes not in (2, 3):
        raise ValueError(f"{name} must have 2 or 3 axes of space, got {axes}")
    return axes


def space_axes(name: str, ndim: object, available: int, most: int = 3) -> int:
    """How many of an array's last axes are space: `ndim`; None: all, of at most three.

    Parameters
    ----------
    available : int
        Axes of `name` that may be space.
    most : int
        As many as can be.
    """
    if available < 1:
        raise ValueError(f"{name} must have an axis of space, got none")
    if ndim is None and available > 3:
        raise ValueError(
            f"ndim must say how many of the last axes are space for {name} of {available} axes, "
            f"got None"
        )
    number = available if ndim is None else integer("ndim", ndim, 1)
    if not 1 <= number <= min(available, most):
        raise ValueError(
            f"ndim must be between 1 and the {min(available, most)} axes that {name} can have as "
            f"space, got {number}"
        )
    return number


def grid_shape(name: str, shape: object, ndim: int) -> tuple[int, ...]:
    """A tuple of `ndim` sizes."""
    if not isinstance(shape, (tuple, list)) or len(shape) != ndim:
        own = getattr(shape, "shape", None)
        got = repr(shape) if own is None else f"an array: give its shape, {tuple(own)}"
        raise ValueError(f"{name} must be a tuple of {ndim} sizes, got {got}")
    return tuple(integer(f"{name}[{axis}]", size, 0) for axis, size in enumerate(shape))


def strengths(
    name: str, value: object, ndim: int, *, zero: bool, per_item: bool = True
) -> tuple[Any, ...]:
    """A model parameter as a tuple of `ndim` floats or, where given per item, a tuple of those.

    Parameters
    ----------
    zero : bool
        Whether 0 is allowed.
    per_item : bool
        Whether a row for each item is.
    """
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(given) in (1, ndim) and all(
        type(one) is float and (0 < one < math.inf or (zero and one == 0)) for one in given
    ):  # what a field is made of most often; without NumPy, it is faster
        return given if len(given) == ndim else given * ndim
    bound = "at least 0" if zero else "positive"
    expected = f"{name} must be finite and {bound}"
    array = plain(f"{name} must be a number or a regular array of numbers", value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a number or an array of numbers, got {value!r}")
    array = array.astype(np.float64)
    good = np.isfinite(array) & ((array >= 0) if zero else (array > 0))
    if not good.all():
        raise ValueError(f"{expected}, got {value!r}")
    unfit = array.ndim and array.shape[-1] not in (1, ndim)
    if array.ndim > 1 + per_item or unfit or not array.size:
        rows = f", (items, 1) or (items, {ndim})" if per_item else ""
        raise ValueError(
            f"{name} must be a scalar or of shape ({ndim},){rows}, got shape {array.shape}"
        )
    if array.ndim < 2:
        return tuple(np.broadcast_to(array, (ndim,)).tolist())
    return tuple(map(tuple, np.broadcast_to(array, (array.shape[0], ndim)).tolist()))


def voxel_size(value: object, ndim: int) -> tuple[float, ...]:
    """A spacing of one image: a number or one per axis, positive."""
    sizes = strengths("spacing", value, ndim, zero=False, per_item=False)
    if math.log(max(sizes)) - math.log(min(sizes)) > math.log(_UNEQUAL):
        raise ValueError(
            f"spacing must not differ between axes by more than {_UNEQUAL:g} times, "
            f"got {list(sizes)}"
        )
    return sizes


def plain(expected: str, value: object) -> NDArray[Any]:
    """The value as an array; an error if it is masked, ragged, or of a device."""
    if is_masked(value):
        raise TypeError(f"{expected}, got a masked array, whose mask would be lost: {value!r}")
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        # RuntimeError is torch's, of what requires a gradient.
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"{expected}, got {value!r}") from None


def seeds(seed: Any, items: int | None) -> tuple[NDArray[Any], NDArray[np.uint32], bool]:
    """Seed and item number of each item's stream, and whether the seeds were given per item.

    Parameters
    ----------
    seed : int, or sequence or 1-D array of int
        One for all items, which are then numbered, or one per item. Of an array on a device, which
        is given back as it is, the values are not read.
    items : int or None
        How many there are; None: as many as there are seeds.
    """
    expected = "seed must be an integer in [0, 2**63) or one per item"
    if on_device(seed):
        return _device_seeds(expected, seed, items)
    listed = seed if isinstance(seed, (list, tuple)) else (seed,)
    if all(type(one) is int and 0 <= one < _SEEDS for one in listed):
        array = np.array(seed, np.uint64)  # most often, and without a look at an array's values
    else:
        array = _integers(expected, seed)
        if array.size and (int(array.min()) < 0 or int(array.max()) >= _SEEDS):
            raise ValueError(f"{expected}, got {seed!r}")
    per_item = array.ndim == 1
    numbers = _item_numbers(expected, array, items)
    if per_item:
        return np.array(array, np.uint64), numbers, True  # never the caller's own memory
    return np.full(len(numbers), array, np.uint64), numbers, False


def _integers(expected: str, seed: Any) -> NDArray[Any]:
    """The seeds as an array of integers, of Python's where NumPy has no dtype for all of them."""
    array = plain(expected, seed)
    if array.size == 0 and array.ndim == 1:
        return array.astype(np.int64)
    listed = seed if isinstance(seed, (list, tuple)) else [seed]
    if any(isinstance(one, (bool, np.bool_)) for one in listed) or array.ndim > 1:
        raise TypeError(f"{expected}, got {seed!r}")
    if array.dtype.kind in "iu":
        return array
    if not all(isinstance(one, (int, np.integer)) for one in listed):
        raise TypeError(f"{expected}, got {seed!r}")
    return np.array([int(one) for one in listed], object).reshape(array.shape)


def _device_seeds(
    expected: str, seed: Any, items: int | None
) -> tuple[Any, NDArray[np.uint32], bool]:
    if seed.dtype != np.int64 or seed.ndim > 1:
        raise TypeError(f"{expected}, int64 on a device, got {describe(seed)}")
    in_range("seed", seed, 0, _SEEDS - 1)
    return module(seed).ascontiguousarray(seed), _item_numbers(expected, seed, items), seed.ndim > 0


def _item_numbers(expected: str, seed: Any, items: int | None) -> NDArray[np.uint32]:
    """Items are numbered where one seed is for all."""
    per_item = seed.ndim == 1
    if items is None:
        items = seed.size if per_item else 1
    if per_item and seed.size != items:
        raise ValueError(f"{expected}: {items} items, got {seed.size} seeds")
    return np.zeros(items, np.uint32) if per_item else np.arange(items, dtype=np.uint32)


def integral(name: str, array: NDArray[Any]) -> None:
    """Raise TypeError unless the array is of bool or an integer dtype."""
    if array.dtype.kind not in "biu":
        hint = ""
        if array.dtype.kind == "f":
            whole = not readable(array) or bool((array == array.round()).all())
            hint = (
                " (.astype(np.uint8), or of a tensor .to(torch.uint8), makes labels of whole "
                "numbers)"
                if whole
                else " whose values are no whole numbers (of a probability map, "
                "optimal_segmentation or a comparison, as in m >= 0.5, makes a mask)"
            )
        raise TypeError(f"{name} must be of bool or an integer dtype, got {describe(array)}{hint}")


def binary(name: str, array: NDArray[Any]) -> None:
    """Raise unless the array is of bool, or of an integer dtype with values in {0, 1}."""
    integral(name, array)
    if array.size and array.dtype.kind != "b" and readable(array):
        least, most = extremes(array)
        if least < 0 or most > 1:
            raise ValueError(f"{name} must be in {{0, 1}}, got {least if least < 0 else most}")


def label_value(name: str, value: Any, dtype: np.dtype[Any]) -> int:
    """An int that the labels' dtype can hold."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    bits = 1 if dtype.kind == "b" else 8 * dtype.itemsize
    low = -(1 << bits - 1) if dtype.kind == "i" else 0
    if not low <= number < low + (1 << bits):
        raise ValueError(f"{name} must be a value of the labels' dtype {dtype.name}, got {number}")
    return number


def ignored_label(ignore_index: Any, dtype: np.dtype[Any]) -> int | None:
    """The label to be ignored, if any, as an int that the labels' dtype can hold."""
    return None if ignore_index is None else label_value("ignore_index", ignore_index, dtype)


def in_range(name: str, array: NDArray[Any], low: float, high: float) -> None:
    """Raise ValueError if a value is NaN or outside [low, high]."""
    if array.size and readable(array):
        least, most = extremes(array)
        if not (least >= low and most <= high):
            raise ValueError(
                f"{name} must hold values in [{low:g}, {high:g}] and no NaN, "
                f"got a minimum of {least} and a maximum of {most}"
            )


def no_nan(name: str, array: NDArray[Any]) -> None:
    """Raise ValueError if a value is NaN."""
    if array.size and readable(array) and math.isnan(extremes(array)[0]):
        number = int((array != array).sum())
        raise ValueError(f"{name} must not hold NaN, got {number} of {array.size}")


def finite(name: str, array: NDArray[Any]) -> None:
    """Raise ValueError if a value is NaN or infinite."""
    if array.size and readable(array):
        least, most = extremes(array)
        if not (math.isfinite(least) and math.isfinite(most)):
            raise ValueError(
                f"{name} must be finite, got a minimum of {least} and a maximum of {most}"
            )


def number(name: str, value: object, least: float = -math.inf) -> float:
    """A finite number of at least `least`, as a float."""
    bound = f" of at least {least:g}" if math.isfinite(least) else ""
    return _number(
        name, value, f"a finite number{bound}", lambda x: least <= x and math.isfinite(x)
    )


def positive(name: str, value: object) -> float:
    """A positive, finite number, as a float."""
    return _number(name, value, "a positive, finite number", lambda x: 0 < x < math.inf)


def share(name: str, value: object) -> float:
    """A number in [0, 1], as a float."""
    return _number(name, value, "a number in [0, 1]", lambda x: 0 <= x <= 1)


def _number(name: str, value: object, expected: str, good: Callable[[float], bool]) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        raise TypeError(f"{name} must be {expected}, got {value!r}")
    try:
        real = float(value)
    except OverflowError:
        real = math.inf
    if not good(real):
        raise ValueError(f"{name} must be {expected}, got {value!r}")
    return real
