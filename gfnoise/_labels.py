"""Labels as the kernels see them: codes, unsigned integers of the labels' width, in 3D."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _array, _checks, _values
from ._axes import lead_and_space
from ._shared import modes

ORDERS = (0, 1)
MAX_CLASSES = 1 << 16  # where the kernels hold classes in two bytes


class Rule(NamedTuple):
    """How a source becomes a label; the numbers are codes.

    Attributes
    ----------
    cval : unsigned integer
        What lies outside, if `constant`.
    ignore : unsigned integer
        What is never a source, and stays where it is, if `has_ignore`.
    sign : unsigned integer
        The sign bit of a signed dtype, else 0: codes are compared without it.
    has_ignore, constant : bool
        Whether anything is ignored; whether the mode is "constant".
    """

    cval: np.unsignedinteger[Any]
    ignore: np.unsignedinteger[Any]
    sign: np.unsignedinteger[Any]
    has_ignore: bool
    constant: bool


def rule(labels: NDArray[Any], mode: str, cval: object, ignore_index: object) -> Rule:
    """Check the arguments that say what a source outside, or to be ignored, stands for."""
    # To a cache True and 1.0 are 1, and lists are an error.
    plain = type(mode) is str and type(cval) is int and type(ignore_index) in (int, type(None))
    make = _rule if plain else _rule.__wrapped__
    return make(labels.dtype, mode, cval, ignore_index)


@lru_cache(maxsize=64)
def _rule(dtype: np.dtype[Any], mode: str, cval: object, ignore_index: object) -> Rule:
    _checks.choice("mode", mode, modes.OF_LABELS)
    native = dtype.newbyteorder("=")
    outside = _checks.label_value("cval", cval, native)
    ignored = _checks.ignored_label(ignore_index, native)
    code, codes = _code(native).type, 1 << 8 * native.itemsize
    sign = codes // 2 if native.kind == "i" else 0
    numbers = code(outside % codes), code((ignored or 0) % codes), code(sign)
    return Rule(*numbers, ignored is not None, mode == "constant")


def in_classes(
    name: str, codes: NDArray[Any], dtype: np.dtype[Any], num_classes: int | None, rule: Rule
) -> None:
    """Raise ValueError unless every label is in range(num_classes), or to be ignored.

    None: in {0, 1}.
    """
    stranger = _values.stranger(codes, num_classes or 2, rule)
    if stranger is not None:
        found = codes.reshape(-1)[stranger : stranger + 1].view(dtype.newbyteorder("="))
        raise _no_class(name, num_classes, found[0])


def _no_class(name: str, num_classes: int | None, found: object) -> ValueError:
    expected = "{0, 1} (or give num_classes)" if num_classes is None else f"[0, {num_classes - 1}]"
    return ValueError(f"{name} must be in {expected}, got {found}")


def count(num_classes: object) -> int:
    """Number of classes; None: two."""
    classes = 2 if num_classes is None else _checks.integer("num_classes", num_classes, 1)
    if classes > MAX_CLASSES:
        raise ValueError(f"num_classes must be at most {MAX_CLASSES}, got {classes}")
    return classes


def class_numbers(name: str, labels: NDArray[Any], num_classes: object) -> NDArray[Any]:
    """Labels in range(num_classes), contiguous, as uint8 or uint16; None: in {0, 1}."""
    classes = count(num_classes)
    plain = np.ascontiguousarray(labels)
    kind = np.uint8 if classes <= 256 else np.uint16
    if plain.dtype == bool:
        plain = plain.view(np.uint8)
    if plain.size:
        least, most = _values.extremes(plain)
        if least < 0 or most >= classes:
            given = None if num_classes is None else classes
            raise _no_class(name, given, least if least < 0 else most)
    return plain.astype(kind, copy=False)


def encode(labels: NDArray[Any], ndim: int) -> NDArray[Any]:
    """(*lead, *space) as codes (items, z, y, x), without a copy where the memory allows."""
    lead, space = lead_and_space(labels.shape, ndim)
    native, plain = labels, type(labels) is np.ndarray or _array.on_device(labels)
    if not (plain and labels.flags.c_contiguous and labels.dtype.isnative):
        native = _array.module(labels).ascontiguousarray(labels, labels.dtype.newbyteorder("="))
    return as_codes(native).reshape(math.prod(lead), *volume(space))


def volume(space: Sequence[int]) -> tuple[int, ...]:
    """The shape of an image in 2D as that of a volume of one plane."""
    return (1,) * (3 - len(space)) + tuple(space)


@lru_cache(maxsize=64)
def _code(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(f"u{dtype.itemsize}")


def as_codes(array: NDArray[Any]) -> NDArray[Any]:
    """The same memory as codes."""
    return array if array.dtype.kind == "u" else array.view(_code(array.dtype))
