"""Overlap of masks and volumes, the search for one threshold, scores that combine metrics."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _array, _checks
from . import _arguments

_STEPS = np.arange(1, 20) / 20


@_array.any_library("prediction", "target")
def dice(
    prediction: NDArray[Any],
    target: NDArray[Any],
    *,
    num_classes: int | None = None,
    ndim: int | None = None,
    ignore_index: int | None = None,
) -> NDArray[np.float64]:
    """Compute ``2 |P T| / (|P| + |T|)``.

    Parameters
    ----------
    prediction, target : array of bool or an integer dtype, (*batch, *space)
        In {0, 1}, or in range(num_classes).
    num_classes : int, optional
        Compare each class, of at most 65536, on a last axis of the result.
    ndim : int, optional
        The last `ndim` axes are space. By default all are, of at most three.
    ignore_index : int, optional
        Voxels that the target labels so are left out; the prediction there may be anything.

    Returns
    -------
    float64 array, (*batch[, num_classes])
        1 where both are empty.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise.metrics import dice
    >>> float(dice(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0])).round(4))
    0.6667
    """
    both, first, second = _counts("dice", prediction, target, num_classes, ndim, ignore_index)
    return _share(2 * both, first + second)


@_array.any_library("prediction", "target")
def iou(
    prediction: NDArray[Any],
    target: NDArray[Any],
    *,
    num_classes: int | None = None,
    ndim: int | None = None,
    ignore_index: int | None = None,
) -> NDArray[np.float64]:
    """Compute ``|P T| / |P or T|``, the Jaccard index: intersection over union.

    Parameters
    ----------
    prediction, target, num_classes, ndim, ignore_index
        As in `dice`.

    Returns
    -------
    float64 array, (*batch[, num_classes])
        1 where both are empty.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise.metrics import iou
    >>> float(iou(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0])))
    0.5
    >>> float(iou(np.array([1, 1, 0, 0]), np.array([1, 255, 0, 0]), ignore_index=255))
    1.0
    """
    both, first, second = _counts("iou", prediction, target, num_classes, ndim, ignore_index)
    return _share(both, first + second - both)


@_array.any_library("prediction", "target")
def precision(
    prediction: NDArray[Any],
    target: NDArray[Any],
    *,
    num_classes: int | None = None,
    ndim: int | None = None,
    ignore_index: int | None = None,
) -> NDArray[np.float64]:
    """Compute ``|P T| / |P|``: how much of the prediction is right.

    Parameters
    ----------
    prediction, target, num_classes, ndim, ignore_index
        As in `dice`.

    Returns
    -------
    float64 array, (*batch[, num_classes])
        1 for an empty prediction, which claims nothing wrong.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise.metrics import precision
    >>> float(precision(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0])))
    0.5
    """
    both, first, _ = _counts("precision", prediction, target, num_classes, ndim, ignore_index)
    return _share(both, first)


@_array.any_library("prediction", "target")
def recall(
    prediction: NDArray[Any],
    target: NDArray[Any],
    *,
    num_classes: int | None = None,
    ndim: int | None = None,
    ignore_index: int | None = None,
) -> NDArray[np.float64]:
    """Compute ``|P T| / |T|``: how much of the target is found.

    Parameters
    ----------
    prediction, target, num_classes, ndim, ignore_index
        As in `dice`.

    Returns
    -------
    float64 array, (*batch[, num_classes])
        1 for an empty target, of which nothing is missed.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise.metrics import recall
    >>> float(recall(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 1])))
    0.5
    """
    both, _, second = _counts("recall", prediction, target, num_classes, ndim, ignore_index)
    return _share(both, second)


@_array.any_library("prediction", "target")
def volume_difference(
    prediction: NDArray[Any],
    target: NDArray[Any],
    *,
    absolute: bool = False,
    num_classes: int | None = None,
    ndim: int | None = None,
    ignore_index: int | None = None,
) -> NDArray[np.float64]:
    """Compute the relative volume difference ``(|T| - |P|) / |T|``, or its absolute value.

    Parameters
    ----------
    prediction, target
        As in `dice`.
    absolute : bool, default False
        Without its sign.
    num_classes, ndim, ignore_index
        As in `dice`.

    Returns
    -------
    float64 array, (*batch[, num_classes])
        Positive where the prediction is too small. Of an empty target: 0 for an empty
        prediction, minus infinity (`absolute`: infinity) for any other.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    RVD and AVD of Lemay 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise.metrics import volume_difference
    >>> float(volume_difference(np.array([1, 1, 1, 0]), np.array([1, 1, 0, 0])))
    -0.5
    """
    _, first, second = _counts(
        "volume_difference", prediction, target, num_classes, ndim, ignore_index
    )
    short = (second - first).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        result = np.where(short == 0, 0.0, short / second)
    return np.asarray(abs(result) if absolute else result)[()]


class ThresholdSearch(NamedTuple):
    """One threshold for several maps.

    Parameters
    ----------
    threshold : float
        The one with the largest mean Dice; of several the middle one.
    thresholds : float64 array, (thresholds,)
        All that were tried.
    dice : float64 array, (*batch, thresholds)
        What each gives.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise.metrics import search_threshold
    >>> found = search_threshold(np.array([0.9, 0.6, 0.2]), np.array([1, 1, 0]))
    >>> 0.2 < found.threshold < 0.6, found.dice.shape == found.thresholds.shape
    (True, True)
    """

    threshold: float
    thresholds: NDArray[np.float64]
    dice: NDArray[np.float64]


@_array.any_library("probabilities", "target")
def search_threshold(
    probabilities: NDArray[Any],
    target: NDArray[Any],
    *,
    thresholds: ArrayLike | None = None,
    ndim: int | None = None,
) -> ThresholdSearch:
    """Find the one threshold that is best for all maps: the largest mean Dice of ``p >= t``.

    Parameters
    ----------
    probabilities : array, (*batch, *space)
        Probability maps, or soft masks, in [0, 1]. A class axis is one of the batch, before space:
        give `ndim`.
    target : array of bool or of integers in {0, 1}, (*batch, *space)
    thresholds : array_like, optional
        Rising, in (0, 1]. By default 0.05 to 0.95 in steps of 0.05.
    ndim : int, optional
        The last `ndim` axes are space. By default all are, of at most three.

    Returns
    -------
    ThresholdSearch
        `threshold`, `thresholds`, and `dice` of each map and threshold.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    See Also
    --------
    gfnoise.optimal_threshold : The exact optimum of each map under its own probabilities.

    Notes
    -----
    The search of SoftSeg (Lemay 2022, 4.3.4 and 4.4.2) on training and validation maps: it needs
    the truth, and corrects for what is wrong with the probabilities, too.
    `gfnoise.optimal_threshold` needs no truth and takes the probabilities at their word.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise.metrics import search_threshold
    >>> search_threshold(np.array([0.9, 0.42, 0.31, 0.1]), np.array([1, 1, 0, 0])).threshold
    0.35
    """
    arrays = {"probabilities": probabilities, "target": target}
    arrays |= _array.placed(thresholds=thresholds)
    kernels = _arguments.kernels("search_threshold", "metrics", **arrays)
    _arguments.same_shape("probabilities", probabilities, target)
    axes = _arguments.space_axes("probabilities", probabilities, ndim)
    values = _arguments.probabilities("probabilities", probabilities)
    masks = _arguments.labels("target", target, None, axes)
    levels = _STEPS if thresholds is None else _arguments.numbers("thresholds", thresholds)
    if levels.ndim != 1 or not levels.size or not (np.diff(levels, prepend=0) > 0).all():
        raise ValueError(f"thresholds must rise, and be positive, got {thresholds!r}")
    if not levels[-1] <= 1:
        raise ValueError(f"thresholds must be at most 1, got {levels[-1]}")

    counts = kernels.levels(values.reshape(masks.codes.shape), masks.codes, levels)
    reached = counts[:, ::-1].cumsum(1)[:, ::-1]
    size, both = np.moveaxis(reached[:, 1:], -1, 0)
    scores = _share(2 * both, size + reached[:, :1, 1])
    mean = scores.mean(0) if len(scores) else np.zeros(levels.size)
    best = np.flatnonzero(mean >= mean.max() - 1e-12)
    threshold = float(levels[best[(len(best) - 1) // 2]])
    return ThresholdSearch(threshold, levels.copy(), scores.reshape(*masks.batch, levels.size))


@_array.any_library("values", "weights")
def composite_score(values: ArrayLike, weights: ArrayLike | None = None) -> NDArray[np.float64]:
    """Add up the z-scores of several metrics, for each candidate.

    Parameters
    ----------
    values : array_like, (candidates, metrics)
        Two candidates at least.
    weights : array_like, (metrics,), optional
        1 for a metric to be large, -1 for one to be small; all 1 by default.

    Returns
    -------
    float64 array, (candidates,)
        A metric in which all candidates are equal adds nothing.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    Lemay 2022, 5.3: each metric is standardised across the candidates (the deviation is that of
    the population) and they are added with weights of equal size.

    Examples
    --------
    >>> from gfnoise.metrics import composite_score
    >>> print(composite_score([[0.9, 0.1], [0.8, 0.3], [0.7, 0.2]], [1, -1]).round(3))
    [ 2.449 -1.225 -1.225]
    """
    placed = _array.placed(values=values, weights=weights)
    if placed:
        _arguments.kernels("composite_score", "metrics", **placed)
    table = _arguments.numbers("values", values)
    if table.ndim != 2 or len(table) < 2:
        raise ValueError(
            f"values must be of shape (candidates, metrics), of two candidates at least, "
            f"got shape {table.shape}"
        )
    _checks.finite("values", table)
    given = np.ones(table.shape[1]) if weights is None else _arguments.numbers("weights", weights)
    if given.shape != (table.shape[1],):
        raise ValueError(
            f"weights must be of shape ({table.shape[1]},), one per metric, got {given.shape}"
        )
    _checks.finite("weights", given)
    table = np.ldexp(table, -np.frexp(abs(table).max(0))[1])  # or squares may overflow, or vanish
    deviation = table - table.mean(0)
    spread = table.std(0)
    # What is left of equal numbers after the mean is rounding.
    alike = spread <= 1e-14 * abs(table).max(0)
    scores = np.divide(deviation, spread, out=np.zeros_like(table), where=~alike)
    return np.asarray(scores @ given)


def _counts(
    function: str,
    prediction: NDArray[Any],
    target: NDArray[Any],
    num_classes: int | None,
    ndim: int | None,
    ignore_index: int | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Voxels in both, in the prediction and in the target, (*batch[, classes])."""
    kernels, first, second, ignored = _arguments.pair(
        function, prediction, target, num_classes, ndim, ignore_index
    )
    counts = kernels.overlap(first.codes, second.codes, first.classes)
    counts[:, 0] -= ignored[:, None]  # they came as background
    counts = counts[:, 1] if num_classes is None else counts[:, : first.classes]
    both, ours, theirs = np.moveaxis(counts.reshape((*first.batch, *counts.shape[1:])), -1, 0)
    return both, ours, theirs


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide; 0/0 is 1."""
    result = np.divide(part, whole, out=np.ones(np.shape(part)), where=np.asarray(whole) > 0)
    return np.asarray(result)[()]
