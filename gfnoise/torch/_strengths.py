"""Strengths that are new at every call, in voxels, as the kernels of a device take them.

The field that is asked is that of their bounds, so that nothing is worked out anew on the host.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..field import GaussianField
from . import _operators

Range = tuple[float, float]
Rows = list[list[list[float]]]


def within(
    params: Sequence[Mapping[str, Any]],
    amplitude: Range,
    length_scale: Range,
    ndim: int,
    shape: Sequence[int],
) -> tuple[GaussianField, Rows] | None:
    """The field of the bounds, and the strengths (items, 2, ndim) of parameters within them.

    None if these are not plain numbers, within the bounds and of the same spacing.
    """
    spacing = params[0]["spacing"]
    plain = isinstance(spacing, (list, tuple)) and len(spacing) == ndim
    if spacing != "unit" and not (plain and all(type(size) is float for size in spacing)):
        return None
    given = [(one["amplitude"], one["length_scale"]) for one in params]
    for (a, b), one in zip(given, params, strict=True):
        if type(a) is not float or type(b) is not float or one["spacing"] != spacing:
            return None
        if not (0 <= a <= amplitude[1] and length_scale[0] <= b < math.inf):
            return None
    own = () if spacing == "unit" else tuple(spacing)
    field = _operators.field((amplitude[1],) * ndim, (length_scale[0],) * ndim, own, ndim)
    sizes = _sizes(spacing, shape)
    return field, [[[value / size for size in sizes] for value in pair] for pair in given]


def drawn(
    ranges: Sequence[Range], shares: Sequence[Tensor], rows: Any, shape: Sequence[int]
) -> Tensor:
    """The strengths (items, 2, ndim) by shares of their ranges that are on the device."""
    # Numbers of the host go by value: a copy to the device would be waited for.
    items = rows if rows != "unit" and isinstance(rows[0], tuple) else (rows,)
    if len(set(items)) > 1:
        raise NotImplementedError(
            f"spacing must be the same for all items where seeds are on the device, got {rows}"
        )
    sizes = _sizes(items[0], shape)
    values = [low + (high - low) * share for (low, high), share in zip(ranges, shares, strict=True)]
    return torch.stack(
        [torch.stack([value / size for size in sizes], dim=-1) for value in values], dim=1
    )


def _sizes(spacing: Any, shape: Sequence[int]) -> Sequence[float]:
    """The size of a voxel along each axis of space."""
    return tuple(1 / max(n, 1) for n in shape) if spacing == "unit" else spacing
