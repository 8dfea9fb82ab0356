"""Arrays and labels at displaced coordinates."""

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import _array, _checks, _labels
from ._axes import displaced_axes, lead_and_space, mapped_axes
from ._output import Output
from ._shared.modes import COORDINATE_SYNONYMS, OF_COORDINATES


@_array.any_library("labels", "displacement", "out")
def warp_labels(
    labels: NDArray[Any],
    displacement: NDArray[Any],
    *,
    order: int = 0,
    mode: str = "constant",
    cval: int = 0,
    ignore_index: int | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Move labels by a displacement, as `GaussianField.sample_labels` does by a random one.

    Parameters
    ----------
    labels : array of bool or an integer dtype, (*lead, *space)
        Space is 2D or 3D.
    displacement : real array, (*lead, [raters, ...] ndim, *space)
        In voxels, components in the order of the axes: ``L(w) = l(w + X(w))``. Computed with in
        float32. Axes between those of the labels and `ndim` are further displacements of the same
        labels. Where 3D and 2D both fit the shapes, it is 3D.
    order : {0, 1}
        0: the label of the voxel that holds the point. 1: the (at most eight) voxels around the
        point vote by trilinear weight, ties to the smaller label.
    mode : {"constant", "nearest"}
        What lies outside the labels: class `cval`, or the nearest voxel.
    cval : int, default 0
        The class of the outside.
    ignore_index : int, optional
        A label that stays exactly where it is and never votes. Where no other source is left, a
        voxel keeps its own label.
    out : array, optional
        Where to write the result; of its shape and dtype, not overlapping the inputs.

    Returns
    -------
    array of the labels' dtype, (*lead, [raters, ...] *space)

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; nothing has been written then.
    NotImplementedError
        For dask arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import warp_labels
    >>> label = np.array([[0, 1, 2], [3, 4, 5]])
    >>> one_to_the_right = np.stack([np.zeros((2, 3)), np.ones((2, 3))])
    >>> warp_labels(label, one_to_the_right, cval=9)
    array([[1, 2, 9],
           [4, 5, 9]])
    """
    kernels = _array.kernels(
        "warp_labels", "interpolation", labels=labels, displacement=displacement, out=out
    )
    _checks.integral("labels", labels)
    if displacement.dtype.kind not in "iuf":
        raise TypeError(
            f"displacement must be of a real dtype, got {_checks.describe(displacement)}"
        )
    ndim = displaced_axes(labels, displacement)
    _checks.choice("order", order, _labels.ORDERS)
    rule = _labels.rule(labels, mode, cval, ignore_index)
    _checks.finite("displacement", displacement)
    space = labels.shape[labels.ndim - ndim :]
    shape = (*displacement.shape[: displacement.ndim - ndim - 1], *space)

    output = Output(out, shape, labels.dtype, labels=labels, displacement=displacement)
    if output.result.size:
        items = labels.size // math.prod(space)
        raters = output.result.size // labels.size
        with np.errstate(over="ignore"):  # what float32 cannot hold is far outside
            moves = _array.module(labels).ascontiguousarray(displacement, np.float32)
        kernels.warp_labels(
            _labels.encode(labels, ndim),
            moves.reshape(items, raters, ndim, *_labels.volume(space)),
            output.codes((items, raters, *_labels.volume(space))),
            order=order,
            rule=rule,
        )
    return output.finish()


@_array.any_library("input", "coordinates", "output")
def map_coordinates(
    input: NDArray[Any],
    coordinates: NDArray[Any],
    *,
    order: int = 1,
    mode: str = "constant",
    cval: float = 0.0,
    output: NDArray[Any] | DTypeLike | None = None,
) -> NDArray[Any]:
    """Interpolate an array at coordinates, as `scipy.ndimage.map_coordinates` of order 0 or 1.

    Parameters
    ----------
    input : real array, (*lead, *space)
        Space is 1D, 2D or 3D; all axes before it are mapped by the same coordinates.
    coordinates : real array, (axes of space, *shape)
        In voxels; voxel centres are integers.
    order : {0, 1}, default 1
        Nearest neighbour, or linear interpolation.
    mode : str, default "constant"
        What lies outside, SciPy's: "constant" (`cval` anywhere beyond the outermost centres),
        "grid-constant" (blends into `cval`), "nearest", "reflect" or "grid-mirror", "mirror",
        "grid-wrap" or "wrap".
    cval : float, default 0.0
        The value outside.
    output : dtype or array, optional
        A real dtype, or an array of one and of the result's shape to write to, which must not
        overlap the inputs. By default float64 for float64 and float32 for all else. Integers are
        rounded, halves away from zero, and clipped to the dtype's range; of order 0 and the input's
        own dtype, they are exact.

    Returns
    -------
    array, (*lead, *shape)

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; nothing has been written then.
    NotImplementedError
        For dask arrays.

    Notes
    -----
    A NaN or an infinity spreads to the places beside it, also where its weight is 0: to which of
    these, is not always as in SciPy.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import map_coordinates
    >>> image = np.array([[0.0, 1.0], [2.0, 3.0]])
    >>> map_coordinates(image, np.array([[0.5, 1.0], [0.5, 0.25]]))
    array([1.5 , 2.25])
    """
    given, wanted = _array.split_output(output)
    kernels = _array.kernels(
        "map_coordinates", "interpolation", input=input, coordinates=coordinates, output=given
    )
    for name, array in (("input", input), ("coordinates", coordinates)):
        kinds = "biuf" if name == "input" else "iuf"
        if array.dtype.kind not in kinds:
            raise TypeError(f"{name} must be of a real dtype, got {_checks.describe(array)}")
    _checks.choice("order", order, _labels.ORDERS)
    _checks.choice("mode", mode, (*OF_COORDINATES, *COORDINATE_SYNONYMS))
    constant = _checks.number("cval", cval)
    axes = mapped_axes(input, coordinates)
    _checks.no_nan("coordinates", coordinates)
    dtype = _checks.output_dtype(input, wanted, kinds="biuf")
    lead, space = lead_and_space(input.shape, axes)
    shape = (*lead, *coordinates.shape[1:])

    result = Output(given, shape, dtype, name="output", input=input, coordinates=coordinates)
    if not result.result.size:
        return result.finish()
    if not math.prod(space):
        raise ValueError(f"input must not be empty where coordinates are not, got {input.shape}")
    points, contiguous = math.prod(coordinates.shape[1:]), _array.module(input).ascontiguousarray
    kernels.map_coordinates(
        contiguous(_array.native(input)).reshape(-1, *_labels.volume(space)),
        contiguous(_array.native(coordinates)).reshape(axes, points),
        result.filled.reshape(-1, points),
        order=order,
        mode=COORDINATE_SYNONYMS.get(mode, mode),
        cval=constant,
    )
    return result.finish()
