"""Which axes are space, which a filter goes along, and which coordinates are in."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _checks
from ._shared.modes import FILTER_SYNONYMS, OF_FILTERS

_MAX_RADIUS = 1 << 24


def lead_and_space(shape: tuple[int, ...], ndim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The sizes of the axes before the last `ndim`, and of those."""
    split = len(shape) - ndim
    return shape[:split], shape[split:]


class AlongAxis(NamedTuple):
    """The filter along one axis; `mode` is none of the synonyms."""

    axis: int
    sigma: float
    radius: int
    mode: str


def along_axes(
    ndim: int, sigma: Any, *, axes: Any, mode: Any, truncate: Any, radius: Any
) -> list[AlongAxis]:
    """Check the arguments of `gaussian_filter` of these names; return the axes that it filters."""
    numbers = _axes(axes, ndim)
    sigmas = [_checks.number("sigma", s, 0.0) for s in _each("sigma", sigma, numbers)]
    modes = _each("mode", mode, numbers)
    for one in modes:
        _checks.choice("mode", one, (*OF_FILTERS, *FILTER_SYNONYMS))
    reach = _checks.number("truncate", truncate, 0.0)
    radii = (
        [int(min(reach * s + 0.5, 2.0 * _MAX_RADIUS)) for s in sigmas]
        if radius is None
        else [_checks.integer("radius", r, 0) for r in _each("radius", radius, numbers)]
    )
    if max(radii, default=0) > _MAX_RADIUS:
        raise ValueError(
            f"sigma, truncate and radius must give a reach of at most {_MAX_RADIUS} voxels, "
            f"got sigma {sigma!r}, truncate {truncate!r} and radius {radius!r}"
        )
    return [
        AlongAxis(axis, s, r, FILTER_SYNONYMS.get(m, m))
        for axis, s, r, m in zip(numbers, sigmas, radii, modes, strict=True)
        if s > 0 and r > 0
    ]


def _axes(axes: int | Sequence[int] | None, ndim: int) -> list[int]:
    """The axes to filter as non-negative numbers, in the order given."""
    if axes is None:
        return list(range(ndim))
    given = axes if isinstance(axes, (tuple, list)) else (axes,)
    numbers = [_checks.integer("axes", axis, -ndim) for axis in given]
    if any(axis >= ndim for axis in numbers):
        raise ValueError(f"axes must be axes of an array of {ndim}, got {axes!r}")
    numbers = [axis % ndim for axis in numbers]
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"axes must name each axis once, got {axes!r}")
    return numbers


def _each(name: str, value: Any, axes: Sequence[int]) -> list[Any]:
    """One value per axis."""
    if not isinstance(value, (list, tuple)) and (isinstance(value, str) or np.ndim(value) == 0):
        return [value] * len(axes)
    values = list(value)
    if len(values) != len(axes):
        raise ValueError(
            f"{name} must be one value or one for each of {len(axes)} axes, got {value!r}"
        )
    return values


def displaced_axes(labels: NDArray[Any], displacement: NDArray[Any]) -> int:
    """The number of spatial axes for which the displacement fits the labels."""
    for ndim in (3, 2):
        lead, space = lead_and_space(labels.shape, ndim)
        fits = (
            labels.ndim >= ndim
            and displacement.ndim >= len(lead) + 1 + ndim
            and displacement.shape[-ndim - 1 :] == (ndim, *space)
            and displacement.shape[: len(lead)] == lead
        )
        if fits:
            return ndim
    raise ValueError(
        f"displacement must be of shape (*lead, ndim, *space) with ndim 2 or 3 for labels of shape "
        f"(*lead, *space) = {tuple(labels.shape)}, got shape {tuple(displacement.shape)}"
    )


def mapped_axes(input: NDArray[Any], coordinates: NDArray[Any]) -> int:
    """The number of the last axes of the input that the coordinates are in."""
    axes = coordinates.shape[0] if coordinates.ndim else 0
    if not 1 <= axes <= min(3, input.ndim):
        raise ValueError(
            f"coordinates must be of shape (axes, ...) with at most 3 of the input's {input.ndim} "
            f"axes, got {tuple(coordinates.shape)}"
        )
    return axes
