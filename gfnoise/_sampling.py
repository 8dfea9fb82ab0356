"""Noisy labels of arrays: what is behind `GaussianField.sample_labels`."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _array, _checks, _labels
from ._axes import lead_and_space
from ._output import Output
from ._strengths import check_items, in_voxels, own_items
from ._window import Window, cut, whole

if TYPE_CHECKING:
    from .field import GaussianField


def noisy_labels(
    field: "GaussianField",
    labels: NDArray[Any],
    *,
    seed: Any,
    n: int | None = None,
    order: int = 0,
    mode: str = "constant",
    cval: int = 0,
    ignore_index: int | None = None,
    window: tuple[slice, ...] | None = None,
    full_shape: Sequence[int] | None = None,
    out: NDArray[Any] | None = None,
    strengths: Any = None,
) -> NDArray[Any]:
    """`GaussianField.sample_labels`; on a device also of strengths that are new at every call.

    They are amplitudes and length scales in voxels (items, 2, ndim), float64 on the device or a
    list of numbers; the field's own amplitudes are upper bounds, its length scales lower bounds.
    """
    kernels = _array.kernels(
        "sample_labels", "field", labels=labels, out=out, **_array.placed(seed=seed)
    )
    _checks.integral("labels", labels)
    ndim = _checks.dimensions(field.ndim, labels.ndim)
    _checks.choice("order", order, _labels.ORDERS)
    rule = _labels.rule(labels, mode, cval, ignore_index)
    lead, space = lead_and_space(labels.shape, ndim)
    part, origin = part_of(space, window, full_shape)
    raters = 1 if n is None else _checks.integer("n", n, 0)
    items = math.prod(lead)
    seeds, numbers, _ = streams(field, seed, items)
    amplitude, length_scale = in_voxels(field, items, part.shape)
    shape = (*lead, *((raters,) * (n is not None)), *part.count)

    output = Output(out, shape, labels.dtype, labels=labels)
    if output.result.size:
        kernels.sample_labels(
            _labels.encode(labels, ndim),
            output.codes((items, raters, *_labels.volume(part.count))),
            seeds=seeds,
            numbers=numbers,
            amplitude=amplitude,
            length_scale=length_scale,
            window=part,
            origin=origin,
            order=order,
            rule=rule,
            **({} if strengths is None else {"strengths": strengths}),
        )
    return output.finish()


def streams(
    field: "GaussianField", seed: int | ArrayLike, items: int | None
) -> tuple[NDArray[np.uint64], NDArray[np.uint32], bool]:
    """Seeds and item numbers; the items are those of the labels or of seed and parameters."""
    own = own_items(field)
    if items is None and own is not None and (own > 1 or np.ndim(seed) == 0):
        items = own
    seeds, numbers, per_item = _checks.seeds(seed, items)
    check_items(field, len(numbers))
    return seeds, numbers, per_item


def part_of(
    space: tuple[int, ...], window: object, full_shape: object
) -> tuple[Window, tuple[int, ...]]:
    """The window of the field, and the voxel of the labels where it starts."""
    if full_shape is None:
        part = whole(space) if window is None else cut(space, window)
        return part, part.start
    grid = _checks.grid_shape("full_shape", full_shape, len(space))
    part = whole(grid) if window is None else cut(grid, window)
    if part.count != space or set(part.step) != {1}:
        raise ValueError(
            f"window must be the part of full_shape {grid} that the labels cover, of shape "
            f"{space} and in steps of 1, got {window!r}"
        )
    return part, (0,) * len(space)
