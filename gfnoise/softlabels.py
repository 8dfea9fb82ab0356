"""Soft labels: label smoothing and spatially varying label smoothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _array, _checks, _labels, _raters
from ._axes import lead_and_space
from ._output import Output


@_array.any_library("labels", "out")
def smooth_labels(
    labels: NDArray[Any],
    num_classes: int,
    alpha: float,
    *,
    ndim: int | None = None,
    ignore_index: int | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Smooth labels uniformly: ``p_c = (1 - alpha) [label = c] + alpha / num_classes``.

    Parameters
    ----------
    labels : array of bool or an integer dtype, (*lead, *space)
        In range(num_classes), or `ignore_index`.
    num_classes : int
        Number of classes.
    alpha : float
        The share that is spread over all classes, the true one included; in [0, 1).
    ndim : int, optional
        The last `ndim` axes are space. By default all are, of at most three.
    ignore_index : int, optional
        A label whose voxels have no soft label: every entry is 0 there.
    out : float32 array, optional
        Where to write the result; of its shape, not overlapping the input.

    Returns
    -------
    float32 array, (*lead, num_classes, *space)

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; nothing has been written then.
    NotImplementedError
        For arrays that it has no kernels for: CuPy's, CUDA tensors and dask's.

    Notes
    -----
    Islam and Glocker 2021, *Spatially Varying Label Smoothing*, eq. 1.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import smooth_labels
    >>> print(smooth_labels(np.array([0, 2]), 4, 0.2))
    [[0.85 0.05]
     [0.05 0.05]
     [0.05 0.85]
     [0.05 0.05]]
    """
    kernels = _array.kernels("smooth_labels", "softlabels", labels=labels, out=out)
    rule, classes = _classes(labels, num_classes, ignore_index)
    share = _checks.number("alpha", alpha)
    if not 0 <= share < 1:
        raise ValueError(f"alpha must be in [0, 1), got {alpha!r}")
    axes = _checks.space_axes("labels", ndim, labels.ndim)
    codes = _labels.encode(labels, axes)
    _labels.in_classes("labels", codes, labels.dtype, classes, rule)
    lead, space = lead_and_space(labels.shape, axes)
    shape = (*lead, classes, *space)

    output = Output(out, shape, np.float32, labels=labels)
    if output.result.size:
        kernels.smooth_labels(
            codes,
            output.filled.reshape(math.prod(lead), classes, *_labels.volume(space)),
            alpha=share,
            rule=rule,
        )
    return output.finish()


@_array.any_library("labels", "annotated", "out")
def svls(
    labels: NDArray[Any],
    num_classes: int,
    *,
    ndim: int,
    sigma: float = 1.0,
    axis: int | None = None,
    annotated: ArrayLike | None = None,
    ignore_index: int | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Smooth labels where they meet others: spatially varying label smoothing (SVLS).

    A voxel's own class gets one half, its 3^ndim - 1 neighbours the other, by a Gaussian of their
    distance. Inside a structure that is the one-hot label; at its border it is soft.

    Parameters
    ----------
    labels : array of bool or an integer dtype, (*lead, *space)
        In range(num_classes), or `ignore_index`.
    num_classes : int
        Number of classes.
    ndim : {2, 3}
        The last `ndim` axes are space.
    sigma : float, default 1.0
        Width of the Gaussian, in voxels; positive.
    axis : int, optional
        The axis of several raters: the result is the mean of their soft labels (mSVLS) and has
        not that axis.
    annotated : array_like of bool, (*items, raters), optional
        With `axis`: who annotated which item. The mean is over those.
    ignore_index : int, optional
        A label that never votes: an ignored neighbour counts for a voxel's own class. Voxels
        that all raters ignore have no soft label: every entry is 0 there. Where some do, the mean
        is over the others.
    out : float32 array, optional
        Where to write the result; of its shape, not overlapping the input.

    Returns
    -------
    float32 array, (*lead, num_classes, *space)
        Sums to 1 over the classes, but where all raters ignore a voxel.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; nothing has been written then.
    NotImplementedError
        For arrays that it has no kernels for: CuPy's, CUDA tensors and dask's.

    Notes
    -----
    Islam and Glocker 2021, eq. 2 (with offsets of -1 to 1) and eq. 4. The weights are a Gaussian
    sampled on 3^ndim voxels, whose middle is replaced by the sum of all others; all are divided by
    their sum. Outside, the border is repeated.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import svls
    >>> label = np.zeros((5, 5), int)
    >>> label[:, 3:] = 1
    >>> print(svls(label, 2, ndim=2)[1, 2].round(2))
    [0.   0.   0.17 0.83 1.  ]
    """
    kernels = _array.kernels("svls", "softlabels", labels=labels, out=out)
    rule, classes = _classes(labels, num_classes, ignore_index)
    whole = axis is None
    name = "labels" if whole else "labels without the raters' axis"
    dimensions = _checks.dimensions(ndim, labels.ndim - (not whole), name)
    width = _checks.positive("sigma", sigma)
    masks = labels.view(np.ndarray)
    if axis is None:
        if annotated is not None:
            raise ValueError("annotated goes with axis, the axis of the raters, got axis None")
        axis = labels.ndim - dimensions
        masks = np.expand_dims(masks, axis)
    raters = _raters.stack(masks, axis, dimensions, annotated, name="labels")
    codes = _labels.encode(raters.labels, dimensions)
    _labels.in_classes("labels", codes, labels.dtype, classes, rule)
    shape = (*raters.items, classes, *raters.space)

    output = Output(out, shape, np.float32, labels=labels)
    if output.result.size:
        volume = _labels.volume(raters.space)
        kernels.svls(
            codes.reshape(-1, raters.raters, *volume),
            raters.annotated,
            output.filled.reshape(-1, classes, *volume),
            ndim=dimensions,
            sigma=width,
            rule=rule,
        )
    return output.finish()


def _classes(
    labels: NDArray[Any], num_classes: int, ignore_index: int | None
) -> tuple[_labels.Rule, int]:
    """Check labels against their classes."""
    _checks.integral("labels", labels)
    classes = _checks.integer("num_classes", num_classes, 1)
    return _labels.rule(labels, "nearest", 0, ignore_index), classes
