"""Arrays and labels at displaced coordinates."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _array, _checks, _labels


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
    ndim = _displaced_axes(labels, displacement)
    _checks.choice("order", order, _labels.ORDERS)
    rule = _labels.rule(labels, mode, cval, ignore_index)
    _checks.finite("displacement", displacement)
    space = labels.shape[labels.ndim - ndim :]
    shape = (*displacement.shape[: displacement.ndim - ndim - 1], *space)
    if out is not None:
        _checks.output(out, shape, labels.dtype, labels=labels, displacement=displacement)

    output = _labels.Output(out, shape, labels.dtype)
    if output.result.size:
        items = labels.size // int(np.prod(space))
        raters = output.result.size // labels.size
        with np.errstate(over="ignore"):  # what float32 cannot hold is far outside
            moves = np.ascontiguousarray(displacement, np.float32)
        kernels.warp_labels(
            _labels.encode(labels, ndim),
            moves.reshape(items, raters, ndim, *_labels.volume(space)),
            output.codes((items, raters, *_labels.volume(space))),
            order=order,
            rule=rule,
        )
    return output.finish()


def _displaced_axes(labels: NDArray[Any], displacement: NDArray[Any]) -> int:
    """The number of spatial axes for which the displacement fits the labels."""
    for ndim in (3, 2):
        lead, space = labels.shape[: max(labels.ndim - ndim, 0)], labels.shape[-ndim:]
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
        f"(*lead, *space) = {labels.shape}, got shape {displacement.shape}"
    )
