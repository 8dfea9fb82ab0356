"""The fusions of several raters' labels but STAPLE, on checked arguments."""

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _checks, _labels, _raters
from ._output import Output


def class_numbers(
    stack: _raters.Stack, num_classes: int | None, ignore: int | None
) -> tuple[NDArray[Any], int]:
    """Labels in range(classes) as (items, raters, voxels) of one or two bytes, and the classes.

    What is to be ignored gets the number after the last class.
    """
    classes = _labels.count(num_classes)
    if ignore is None:
        return _by_items(_labels.class_numbers("masks", stack.labels, num_classes), stack), classes
    if classes == _labels.MAX_CLASSES:
        raise ValueError(f"num_classes must be below {classes} with ignore_index, got {classes}")
    silent = stack.labels == ignore
    kept = np.where(silent, stack.labels.dtype.type(0), stack.labels)
    codes = _labels.class_numbers("masks", kept, num_classes)
    codes = codes.astype(np.uint8 if classes < 256 else np.uint16)
    codes[silent] = classes
    return _by_items(codes, stack), classes


def keep_ignored(
    fused: NDArray[Any], stack: _raters.Stack, ignore: int | None, value: float | None
) -> NDArray[Any]:
    """Write `value` where all raters who annotated an item ignore a voxel, (*items, *space)."""
    if ignore is not None:
        annotated = stack.annotated.reshape(*stack.items, stack.raters, *(1,) * len(stack.space))
        silent = (stack.labels == ignore) | ~annotated
        fused[silent.all(len(stack.items))] = value
    return fused


def _by_items(codes: NDArray[Any], stack: _raters.Stack) -> NDArray[Any]:
    """Codes as (items, raters, voxels)."""
    return codes.reshape(*stack.annotated.shape, math.prod(stack.space))


def random(kernels: ModuleType, stack: _raters.Stack, seed: int | ArrayLike | None) -> NDArray[Any]:
    """The labels of a rater per item."""
    items = len(stack.annotated)
    seeds, numbers, _ = _checks.seeds(seed, items)
    chosen = kernels.choose(seeds, numbers, stack.annotated)
    labels = stack.labels.reshape(*stack.annotated.shape, *stack.space)
    return np.asarray(labels[np.arange(items), chosen].reshape(*stack.items, *stack.space))


_VOTES: dict[str, Callable[[int], int]] = {
    "union": lambda raters: 1,
    "intersection": lambda raters: raters,
    "largest": lambda raters: (raters + 1) // 2,
    "smallest": lambda raters: raters // 2 + 1,
}
"""How many raters must have marked a voxel, by the rule: a method, or a majority's ties."""


def _mark(kernels: ModuleType, stack: _raters.Stack, rule: str) -> NDArray[Any] | None:
    """What so many raters marked, in one pass over bytes; None if they are not all 0 or 1."""
    if stack.labels.dtype not in (np.bool_, np.uint8) or stack.raters > 255:
        return None
    out = np.empty((*stack.items, *stack.space), stack.labels.dtype)
    codes = _by_items(np.ascontiguousarray(stack.labels).view(np.uint8), stack)
    flat = out.view(np.uint8).reshape(codes.shape[0], codes.shape[2])
    return out if kernels.mark(codes, stack.annotated, flat, least=_VOTES[rule]) else None


def binary(
    kernels: ModuleType, stack: _raters.Stack, method: str, ignore: int | None
) -> NDArray[Any]:
    """The average, union or intersection of masks."""
    if method != "average" and ignore is None:
        marked = _mark(kernels, stack, method)
        if marked is not None:
            return marked
    codes, classes = class_numbers(stack, None, ignore)
    out = np.empty((*stack.items, *stack.space), np.float32 if method == "average" else bool)
    if out.size:
        silent = None if ignore is None else classes
        flat = out.reshape(len(codes), 1, codes.shape[-1])
        getattr(kernels, method)(codes, stack.annotated, flat, first=1, silent=silent)
    if method == "average":
        return keep_ignored(out, stack, ignore, math.nan)
    return keep_ignored(out.astype(stack.labels.dtype), stack, ignore, ignore)


def majority(
    kernels: ModuleType,
    stack: _raters.Stack,
    num_classes: int | None,
    ignore: int | None,
    largest: bool,
) -> NDArray[Any]:
    """The label of most raters."""
    if num_classes is not None:
        class_numbers(stack, num_classes, ignore)  # raises where a label is of no class
    if ignore is None:
        marked = _mark(kernels, stack, "largest" if largest else "smallest")
        if marked is not None:
            return marked
    codes = _by_items(_labels.encode(stack.labels, len(stack.space)), stack)
    output = Output(None, (*stack.items, *stack.space), stack.labels.dtype, masks=stack.labels)
    if output.result.size:
        rule = _labels.rule(stack.labels, "nearest", 0, ignore)
        out = output.codes((codes.shape[0], codes.shape[2]))
        silent = None if ignore is None else rule.ignore
        kernels.majority(
            codes, stack.annotated, out, sign=rule.sign, largest=largest, silent=silent
        )
    return output.finish()


def classes(
    kernels: ModuleType, stack: _raters.Stack, method: str, num_classes: int, ignore: int | None
) -> NDArray[Any]:
    """The average, union or intersection of each class."""
    codes, count = class_numbers(stack, num_classes, ignore)
    dtype: Any = np.float32 if method == "average" else bool
    out = np.empty((*stack.items, count, *stack.space), dtype)
    if out.size:
        silent = None if ignore is None else count
        flat = out.reshape(len(codes), count, codes.shape[-1])
        getattr(kernels, method)(codes, stack.annotated, flat, first=0, silent=silent)
    return out
