"""Metrics of structures: lesions found and invented, surfaces within a tolerance."""

import itertools
import math
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _array, _checks
from . import _arguments

_Floats = NDArray[np.float64]


class LesionRates(NamedTuple):
    """How many lesions are found, and how many of the prediction's are none.

    Parameters
    ----------
    true_positive : float64 array, (*batch)
        Share of the target's lesions that the prediction touches; 1 where there is none.
    false_detection : float64 array, (*batch)
        Share of the prediction's lesions that touch no target; 0 where there is none.
    """

    true_positive: NDArray[np.float64]
    false_detection: NDArray[np.float64]


@_array.tensors("prediction", "target")
def lesion_rates(
    prediction: NDArray[Any],
    target: NDArray[Any],
    *,
    connectivity: int | None = None,
    ndim: int | None = None,
) -> LesionRates:
    """Compute the lesion-wise true positive and false detection rates (LTPR, LFDR).

    Parameters
    ----------
    prediction, target : array of bool or of integers in {0, 1}, (*batch, *space)
    connectivity : int, optional
        Voxels of one lesion may differ by one along so many axes at once: 1 for faces. By default
        all: corners touch.
    ndim : int, optional
        The last `ndim` axes are space. By default all are, of at most three.

    Returns
    -------
    LesionRates
        `true_positive` and `false_detection`.

    Raises
    ------
    ImportError
        If SciPy, which finds the connected components, is not installed.
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    Lemay 2022, 4.3. One shared voxel is enough for a lesion to be found.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise.metrics import lesion_rates
    >>> target = np.array([1, 1, 0, 0, 1, 0, 0])
    >>> found = lesion_rates(np.array([0, 1, 0, 0, 0, 0, 1]), target)
    >>> float(found.true_positive), float(found.false_detection)
    (0.5, 0.5)
    """
    ndimage = _ndimage("lesion_rates")
    _, first, second = _arguments.pair("lesion_rates", prediction, target, None, ndim)
    axes = len(first.space)
    joined = axes if connectivity is None else _checks.integer("connectivity", connectivity, 1)
    if joined > axes:
        raise ValueError(f"connectivity must be at most the {axes} axes of space, got {joined}")
    neighbours = ndimage.generate_binary_structure(axes, joined)
    found, false = np.ones(len(first.codes)), np.zeros(len(first.codes))
    for item, (ours, theirs) in enumerate(_masks(first, second)):
        for mask, other, rates, sign in ((theirs, ours, found, 1), (ours, theirs, false, -1)):
            parts, count = ndimage.label(mask, neighbours)
            if count:
                touched = np.unique(parts[other & mask]).size / count
                rates[item] = touched if sign > 0 else 1 - touched
    return LesionRates(found.reshape(first.batch)[()], false.reshape(first.batch)[()])


@_array.tensors("prediction", "target")
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
        Compare each class, on a last axis of the result.
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
    is outside the array is outside the structure.

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
    ndimage = _ndimage("surface_dice")
    _, first, second = _arguments.pair("surface_dice", prediction, target, num_classes, ndim)
    axes = _checks.dimensions(len(first.space), name="space in prediction")
    reach = _checks.number("tolerance", tolerance, 0)
    sizes = _checks.strengths("spacing", spacing, axes, zero=False)
    if isinstance(sizes[0], tuple):
        raise ValueError(f"spacing must be a scalar or of shape ({axes},), got {spacing!r}")
    classes = range(1, 2) if num_classes is None else range(first.classes)
    result = np.ones((len(first.codes), len(classes)))
    for item in range(len(first.codes)):
        for c, label in enumerate(classes):
            ours, theirs = (
                (one.codes[item] == label).reshape(one.space) for one in (first, second)
            )
            result[item, c] = _surface_dice(ndimage, ours, theirs, reach, np.array(sizes))
    shape = first.batch if num_classes is None else (*first.batch, len(classes))
    return np.asarray(result.reshape(shape))[()]


def _surface_dice(
    ndimage: ModuleType,
    ours: NDArray[np.bool_],
    theirs: NDArray[np.bool_],
    tolerance: float,
    spacing: _Floats,
) -> float:
    """The same of two masks."""
    either = np.argwhere(ours | theirs)
    if not either.size:
        return 1.0
    if not (ours.any() and theirs.any()):
        return 0.0
    box = tuple(map(slice, either.min(0), either.max(0) + 1))
    areas = [_areas(mask[box], spacing) for mask in (ours, theirs)]
    within, total = 0.0, 0.0
    for own, other in (areas, areas[::-1]):
        distance = ndimage.distance_transform_edt(np.isnan(other), sampling=spacing)
        on = ~np.isnan(own)
        total += float(own[on].sum())
        # A distance of a sum of squares: the last bit shall not decide.
        within += float(own[on & (distance <= tolerance * (1 + 1e-9))].sum())
    return within / total if total else 1.0


def _areas(mask: NDArray[np.bool_], spacing: _Floats) -> _Floats:
    """Area of the surface at each corner of the voxels, NaN where there is none."""
    padded = np.pad(mask, 1).astype(np.int8)
    size = 2**mask.ndim
    total = np.zeros([n + 1 for n in mask.shape], np.int8)
    slopes = np.zeros((mask.ndim, *total.shape), np.int8)
    for corner in itertools.product((0, 1), repeat=mask.ndim):
        part = padded[tuple(slice(c, c + n) for c, n in zip(corner, total.shape, strict=True))]
        total += part
        for axis, c in enumerate(corner):
            slopes[axis] += part if c else -part
    faces = math.prod(spacing) / spacing
    square = np.einsum("i...,i->...", slopes.astype(np.float64) ** 2, (2 * faces / size) ** 2)
    return np.where((total > 0) & (total < size), np.sqrt(square), np.nan)


def _masks(
    first: _arguments.Labels, second: _arguments.Labels
) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Pairs of masks."""
    pairs = zip(first.codes, second.codes, strict=True)
    return [(a.reshape(first.space) > 0, b.reshape(first.space) > 0) for a, b in pairs]


def _ndimage(function: str) -> ModuleType:
    """SciPy's part for images."""
    try:
        import scipy.ndimage
    except ImportError as error:
        raise ImportError(f'{function} needs SciPy: pip install "gfnoise[metrics]"') from error
    return scipy.ndimage
