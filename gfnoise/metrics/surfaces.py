"""Metrics of surfaces: their distance, and their share within a tolerance of each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _array, _checks
from . import _arguments

_Floats = NDArray[np.float64]

_SLACK = 1e-9  # of a sum of squares, or of areas: the last bit shall not decide


@_array.any_library("prediction", "target")
def surface_dice(
    prediction: NDArray[Any],
    target: NDArray[Any],
    tolerance: float,
    *,
    spacing: float | ArrayLike = 1.0,
    num_classes: int | None = None,
    ndim: int | None = None,
) -> NDArray[np.float64]:
    """Compute the share of both surfaces that lies within a tolerance of the other one.

    Parameters
    ----------
    prediction, target : array of bool or an integer dtype, (*batch, *space)
        In {0, 1}, or in range(num_classes); of two or three axes of space.
    tolerance : float
        In the unit of `spacing`; at least 0.
    spacing : float or array_like, (ndim,), default 1.0
        Voxel size per axis.
    num_classes : int, optional
        Compare each class, of at most 65536, on a last axis of the result.
    ndim : int, optional
        The last `ndim` axes are space. By default all are, of at most three.

    Returns
    -------
    float64 array, (*batch[, num_classes])
        1 where both are empty, 0 where one is.

    Raises
    ------
    ImportError
        If SciPy, whose distance transform this is, is not installed.
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    Nikolov et al. 2018. A surface runs through the corners where voxels of the inside meet voxels
    of the outside. The area at a corner is the length of the gradient of its 2^ndim voxels; what
    is outside the array is outside the structure. Their code takes areas of marching cubes: the
    same at flat faces and straight edges, half of these at the corner of a cube, so that scores
    differ a little.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise.metrics import surface_dice
    >>> target = np.zeros((20, 20), bool)
    >>> target[5:15, 5:15] = True
    >>> near, far = np.roll(target, 1, axis=0), np.roll(target, 3, axis=0)
    >>> float(surface_dice(near, target, 1.0)), float(surface_dice(far, target, 1.0).round(2))
    (1.0, 0.5)
    """
    reach = _checks.number("tolerance", tolerance, 0) * (1 + _SLACK)

    def score(sides: list[_Side]) -> float:
        within = sum(float(side.areas[side.distances <= reach].sum()) for side in sides)
        return within / sum(float(side.areas.sum()) for side in sides)

    return _compare(
        "surface_dice", prediction, target, spacing, num_classes, ndim, score, same=1, apart=0
    )


@_array.any_library("prediction", "target")
def hausdorff_distance(
    prediction: NDArray[Any],
    target: NDArray[Any],
    percentile: float = 100.0,
    *,
    spacing: float | ArrayLike = 1.0,
    num_classes: int | None = None,
    ndim: int | None = None,
) -> NDArray[np.float64]:
    """Compute the Hausdorff distance of the surfaces or, with a percentile of 95, their HD95.

    Parameters
    ----------
    prediction, target
        As in `surface_dice`.
    percentile : float, default 100.0
        How much of each surface, in per cent of its area, lies within the distance of the other.
    spacing, num_classes, ndim
        As in `surface_dice`.

    Returns
    -------
    float64 array, (*batch[, num_classes])
        In the unit of `spacing`. 0 where both are empty, infinite where one is.

    Raises
    ------
    ImportError
        If SciPy, whose distance transform this is, is not installed.
    ValueError, TypeError
        If an argument is not as described.

    See Also
    --------
    surface_dice : What the surfaces are.

    Notes
    -----
    From each surface to the other, the least distance within which `percentile` per cent of its
    area lies; of the two the larger one (the robust Hausdorff distance of Nikolov et al. 2018).
    Tools that count voxels instead of areas, or put both surfaces' distances into one percentile,
    give other numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise.metrics import hausdorff_distance
    >>> target = np.zeros((40, 40), bool)
    >>> target[5:35, 5:35] = True
    >>> prediction = target.copy()
    >>> prediction[35:39, 20] = True  # a thorn
    >>> float(hausdorff_distance(prediction, target))
    4.0
    >>> float(hausdorff_distance(prediction, target, 95.0, spacing=0.5))
    0.5
    """
    share = _checks.number("percentile", percentile, 0) / 100
    if share > 1:
        raise ValueError(f"percentile must be at most 100, got {percentile!r}")

    def score(sides: list[_Side]) -> float:
        return max(_within(side, share) for side in sides)

    return _compare(
        "hausdorff_distance",
        prediction,
        target,
        spacing,
        num_classes,
        ndim,
        score,
        same=0,
        apart=math.inf,
    )


@_array.any_library("prediction", "target")
def average_surface_distance(
    prediction: NDArray[Any],
    target: NDArray[Any],
    *,
    spacing: float | ArrayLike = 1.0,
    num_classes: int | None = None,
    ndim: int | None = None,
) -> NDArray[np.float64]:
    """Compute the average symmetric surface distance (ASSD).

    Parameters
    ----------
    prediction, target, spacing, num_classes, ndim
        As in `surface_dice`.

    Returns
    -------
    float64 array, (*batch[, num_classes])
        In the unit of `spacing`. 0 where both are empty, infinite where one is.

    Raises
    ------
    ImportError
        If SciPy, whose distance transform this is, is not installed.
    ValueError, TypeError
        If an argument is not as described.

    See Also
    --------
    surface_dice : What the surfaces are.

    Notes
    -----
    The mean over both surfaces together, by area, of the distance to the other one:
    ``(sum_P a d + sum_T a d) / (sum_P a + sum_T a)`` (Heimann et al. 2009, with areas instead of
    counts of voxels). The mean of the two directed means is another number where the areas differ.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise.metrics import average_surface_distance
    >>> target = np.zeros((20, 20), bool)
    >>> target[5:15, 5:15] = True
    >>> moved = np.roll(target, 1, axis=0)  # half of the outline moves across, half along itself
    >>> float(average_surface_distance(moved, target).round(4))
    0.5
    """

    def score(sides: list[_Side]) -> float:
        return sum(float((side.areas * side.distances).sum()) for side in sides) / sum(
            float(side.areas.sum()) for side in sides
        )

    return _compare(
        "average_surface_distance",
        prediction,
        target,
        spacing,
        num_classes,
        ndim,
        score,
        same=0,
        apart=math.inf,
    )


class _Side(NamedTuple):
    """One of two surfaces."""

    distances: _Floats  # (corners,): to the other
    areas: _Floats  # (corners,)


def _compare(
    function: str,
    prediction: NDArray[Any],
    target: NDArray[Any],
    spacing: float | ArrayLike,
    num_classes: int | None,
    ndim: int | None,
    score: Callable[[list[_Side]], float],
    *,
    same: float,
    apart: float,
) -> _Floats:
    """The score of each pair of surfaces; `same` of two empty masks, `apart` if one is."""
    _, first, second, _ = _arguments.pair(function, prediction, target, num_classes, ndim)
    ndimage = _arguments.scipy("ndimage", function)
    axes = _checks.axes_of_image("prediction", len(first.space))
    sizes = _checks.voxel_size(spacing, axes)
    classes = range(1, 2) if num_classes is None else range(first.classes)
    result = np.empty((len(first.codes), len(classes)))
    for item in range(len(first.codes)):
        for c, label in enumerate(classes):
            ours, theirs = (
                (one.codes[item] == label).reshape(one.space) for one in (first, second)
            )
            if ours.any() and theirs.any():
                result[item, c] = score(_sides(ndimage, ours, theirs, np.array(sizes)))
            else:
                result[item, c] = apart if ours.any() or theirs.any() else same
    shape = first.batch if num_classes is None else (*first.batch, len(classes))
    return np.asarray(result.reshape(shape))[()]


def _sides(
    ndimage: ModuleType, ours: NDArray[np.bool_], theirs: NDArray[np.bool_], spacing: _Floats
) -> list[_Side]:
    """The surfaces of two masks, none empty."""
    box = _box(ours | theirs)
    exponent = int(np.frexp(spacing.max())[1])
    sizes = np.ldexp(spacing, -exponent)  # whose squares are numbers, in any unit
    surfaces = [_surface(mask[box], sizes) for mask in (ours, theirs)]
    sides = []
    for (own, areas), (other, _) in (surfaces, surfaces[::-1]):
        away = np.ones([1 + part.stop - part.start for part in box], bool)
        away[tuple(other.T)] = False
        # Where the nearest corner is, rather than how far: distances at every voxel are larger.
        nearest = ndimage.distance_transform_edt(
            away, sampling=sizes, return_distances=False, return_indices=True
        )
        apart = (own - nearest[(slice(None), *own.T)].T) * sizes
        with np.errstate(over="ignore"):
            distances = np.ldexp(np.sqrt((apart**2).sum(-1)), exponent)
        sides.append(_Side(distances, areas))
    return sides


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The least box that holds a mask, which is not empty."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        held = np.flatnonzero(mask.any(others))
        box.append(slice(held[0], held[-1] + 1))
    return tuple(box)


def _surface(
    mask: NDArray[np.bool_], spacing: _Floats
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The corners of voxels where a surface runs, (corners, ndim), and its areas there."""
    corners = list(itertools.product((0, 1), repeat=mask.ndim))
    # Which of a corner's voxels are inside, as bits: a byte per corner.
    padded = np.pad(mask, 1).view(np.uint8)
    patterns = np.zeros([n + 1 for n in mask.shape], np.uint8)
    for bit, corner in enumerate(corners):
        part = tuple(slice(c, c + n) for c, n in zip(corner, patterns.shape, strict=True))
        patterns |= padded[part] << np.uint8(bit)
    full = (1 << len(corners)) - 1
    where = np.argwhere((patterns != 0) & (patterns != full))
    inside = np.arange(full + 1)[:, None] >> np.arange(len(corners)) & 1
    slopes = inside @ (2 * np.array(corners) - 1)  # (patterns, ndim)
    faces = math.prod(spacing) / spacing
    areas = np.sqrt(((slopes * faces * 2 / len(corners)) ** 2).sum(-1))
    return where, areas[patterns[tuple(where.T)]]


def _within(side: _Side, share: float) -> float:
    """The least distance within which a share of the area lies."""
    order = np.argsort(side.distances)
    reached = np.cumsum(side.areas[order])
    first = np.searchsorted(reached, share * (1 - _SLACK) * reached[-1])
    return float(side.distances[order[first]])
