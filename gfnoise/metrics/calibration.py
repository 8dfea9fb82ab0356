"""What probabilities are worth: Brier score, entropy, reliability, calibration errors."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _array, _checks
from .._axes import lead_and_space
from . import _arguments


@_array.any_library("probabilities", "target")
def brier_score(
    probabilities: NDArray[Any], target: NDArray[Any], *, ndim: int | None = None
) -> NDArray[np.float64]:
    """Compute the mean squared difference ``mean((p - y)²)`` of each map.

    Parameters
    ----------
    probabilities, target : array, (*batch, *space)
        In [0, 1]; the target may be soft: an average of raters. A class axis is one of the batch,
        before space: give `ndim`.
    ndim : int, optional
        The last `ndim` axes are space. By default all are, of at most three.

    Returns
    -------
    float64 array, (*batch)
        NaN for a map without voxels.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    Lemay 2022, eq. 5.2.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise.metrics import brier_score
    >>> float(brier_score(np.array([1.0, 0.5, 0.5, 0.0]), np.array([1, 1, 0, 0])))
    0.125
    """
    kernels = _arguments.kernels(
        "brier_score", "metrics", probabilities=probabilities, target=target
    )
    _arguments.same_shape("probabilities", probabilities, target)
    axes = _arguments.space_axes("probabilities", probabilities, ndim)
    batch, space = lead_and_space(probabilities.shape, axes)
    first = _arguments.reals("probabilities", probabilities)
    second = _arguments.reals("target", target, masks=True)
    if second.dtype.kind == "f" and first.dtype != second.dtype:
        first, second = first.astype(np.float64), second.astype(np.float64)
    shape = math.prod(batch), math.prod(space)
    sums, outside = kernels.squared_difference(first.reshape(shape), second.reshape(shape))
    if outside:
        _checks.in_range("probabilities", probabilities, 0, 1)
        _checks.in_range("target", target, 0, 1)
    mean = sums / shape[1] if shape[1] else np.full(shape[0], np.nan)
    return np.asarray(mean.reshape(batch))[()]


@_array.any_library("probabilities")
def entropy(
    probabilities: NDArray[Any], *, num_classes: int | None = None, ndim: int | None = None
) -> NDArray[np.float64]:
    """Compute the entropy of each map, summed over its voxels, in nats.

    Parameters
    ----------
    probabilities : array, (*batch, *space) or (*batch, num_classes, *space)
        Of the foreground or, with `num_classes`, of each class: they sum to 1.
    num_classes : int, optional
        Size of the class axis, at least 2.
    ndim : int, optional
        The last `ndim` axes are space. By default all are, of at most three.

    Returns
    -------
    float64 array, (*batch)

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    ``-sum p log p`` over classes; of a binary map ``-sum (p log p + (1 - p) log(1 - p))``,
    both sides, else 1/2 would not be the least certain value (Lemay 2022, eq. 5.1, has one side).

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise.metrics import entropy
    >>> float(entropy(np.array([1.0, 0.5, 0.0])).round(4))
    0.6931
    """
    found, batch = _entropies("entropy", "probabilities", probabilities, num_classes, ndim)
    return np.asarray(found.reshape(batch))[()]


@_array.any_library("prediction", "target")
def entropy_error(
    prediction: NDArray[Any],
    target: NDArray[Any],
    *,
    num_classes: int | None = None,
    ndim: int | None = None,
) -> float:
    """Compute the mean absolute difference of the entropies of predictions and of raters.

    Parameters
    ----------
    prediction, target : array, (*batch, *space) or (*batch, num_classes, *space)
        Probability maps; the target the average of several raters.
    num_classes, ndim
        As in `entropy`.

    Returns
    -------
    float
        The mean over the batch of ``|entropy(prediction) - entropy(target)|``.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    The MAE of Lemay 2022, 5.3: how well predictions keep the raters' disagreement.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise.metrics import entropy_error
    >>> round(entropy_error(np.array([0.5, 0.5]), np.array([1.0, 0.5])), 4)
    0.6931
    """
    _arguments.kernels("entropy_error", "metrics", prediction=prediction, target=target)
    _arguments.same_shape("prediction", prediction, target)
    ours, theirs = (
        _entropies("entropy_error", name, array, num_classes, ndim)[0]
        for name, array in (("prediction", prediction), ("target", target))
    )
    return float(abs(ours - theirs).mean()) if ours.size else float("nan")


def _entropies(
    function: str, name: str, array: NDArray[Any], num_classes: int | None, ndim: int | None
) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """The entropy of each map, flat, and the batch's shape."""
    kernels, values, batch = _arguments.distributions(function, name, array, num_classes, ndim)
    flat = values.reshape(len(values), values.shape[1] * values.shape[2])
    return kernels.entropy(flat, num_classes is None), batch


class Reliability(NamedTuple):
    """How often predictions of a confidence are right, per bin of confidence.

    Parameters
    ----------
    voxels : int64 array, (*batch, bins)
        How many.
    confidence, accuracy : float64 array, (*batch, bins)
        Mean confidence, and share of the voxels whose class is the predicted one; NaN in an empty
        bin.
    edges : float64 array, (bins + 1,)
        A bin is [edges[k], edges[k + 1]), the last closed.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise.metrics import reliability_curve
    >>> found = reliability_curve(np.array([0.9, 0.8, 0.3, 0.2]), np.array([1, 1, 0, 1]), bins=2)
    >>> found.voxels.tolist(), round(float(found.error()), 4)
    ([0, 4], 0.05)
    """

    voxels: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    edges: NDArray[np.float64]

    def error(self) -> NDArray[np.float64]:
        """Compute the mean over the voxels of ``|accuracy - confidence|`` of their bin: ECE.

        Returns
        -------
        float64 array, (*batch)
            0 without voxels.
        """
        gap = abs(self.accuracy - self.confidence)
        gap[self.voxels == 0] = 0
        error: NDArray[np.float64] = (self.voxels * gap).sum(-1) / self.voxels.sum(-1).clip(1)
        return error


@_array.any_library("probabilities", "labels")
def reliability_curve(
    probabilities: NDArray[Any],
    labels: NDArray[Any],
    *,
    num_classes: int | None = None,
    ndim: int | None = None,
    bins: int = 10,
) -> Reliability:
    """Compute the reliability diagram of the predicted class.

    Parameters
    ----------
    probabilities : array, (*batch, *space) or (*batch, num_classes, *space)
        Of the foreground or, with `num_classes`, of each class: they sum to 1.
    labels : array of bool or an integer dtype, (*batch, *space)
        In {0, 1}, or in range(num_classes).
    num_classes : int, optional
        Size of the class axis, 2 to 65536.
    ndim : int, optional
        The last `ndim` axes are space. By default all are, of at most three.
    bins : int, default 10
        Number of bins of confidence, of equal width; at most 2**24.

    Returns
    -------
    Reliability
        `voxels`, `confidence`, `accuracy` and `edges` of the bins, and `error()`.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    Lemay 2022, eq. 5.3 and 5.4: confidence is the largest probability, of a binary map
    ``max(p, 1 - p)``; of equal ones the first class is predicted.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise.metrics import reliability_curve
    >>> curve = reliability_curve(np.array([0.95, 0.85, 0.15, 0.85]), np.array([1, 1, 0, 0]))
    >>> print(curve.accuracy[-2:].round(3), curve.confidence[-2:].round(3))
    [0.667 1.   ] [0.85 0.95]
    """
    return _reliability("reliability_curve", probabilities, labels, num_classes, ndim, bins)


@_array.any_library("probabilities", "labels")
def calibration_error(
    probabilities: NDArray[Any],
    labels: NDArray[Any],
    *,
    num_classes: int | None = None,
    ndim: int | None = None,
    bins: int = 10,
) -> NDArray[np.float64]:
    """Compute the expected calibration error (ECE) of the predicted class.

    Parameters
    ----------
    probabilities, labels, num_classes, ndim, bins
        As in `reliability_curve`.

    Returns
    -------
    float64 array, (*batch)

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    Lemay 2022, eq. 5.5: the mean over the voxels of |accuracy - confidence| of their bin.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise.metrics import calibration_error
    >>> p = np.array([0.95, 0.85, 0.15, 0.85])
    >>> float(calibration_error(p, np.array([1, 1, 0, 0])).round(4))
    0.15
    """
    curve = _reliability("calibration_error", probabilities, labels, num_classes, ndim, bins)
    return curve.error()


@_array.any_library("probabilities", "labels")
def adaptive_calibration_error(
    probabilities: NDArray[Any],
    labels: NDArray[Any],
    *,
    num_classes: int | None = None,
    ndim: int | None = None,
    threshold: float = 1e-3,
    ranges: int = 15,
) -> NDArray[np.float64]:
    """Compute the thresholded adaptive calibration error (TACE), the mean over the classes.

    Parameters
    ----------
    probabilities, labels, num_classes, ndim
        As in `reliability_curve`. A binary map is the one class of the foreground.
    threshold : float, default 1e-3
        Probabilities up to here are left out; in [0, 1].
    ranges : int, default 15
        Number of ranges of equally many probabilities per class; at most 2**24.

    Returns
    -------
    float64 array, (*batch)

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    Nixon et al. 2019, *Measuring Calibration in Deep Learning*: the mean over classes and ranges
    of |accuracy - confidence|. Equal probabilities are put into ranges in the order of the voxels;
    what is empty, a class without probabilities above the threshold or a range of a class that has
    fewer of them than ranges, counts as 0.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise.metrics import adaptive_calibration_error
    >>> p = np.array([0.95, 0.85, 0.15, 0.85])
    >>> float(adaptive_calibration_error(p, np.array([1, 1, 0, 0]), ranges=2).round(4))
    0.2
    """
    least = _checks.share("threshold", threshold)
    count = _arguments.table_size("ranges", ranges)
    kernels, values, codes, batch = _classified(
        "adaptive_calibration_error", probabilities, labels, num_classes, ndim
    )
    found = kernels.adaptive_calibration(values, codes, least, count)
    return np.asarray(found.reshape(batch))[()]


def _reliability(
    function: str,
    probabilities: NDArray[Any],
    labels: NDArray[Any],
    num_classes: int | None,
    ndim: int | None,
    bins: int,
) -> Reliability:
    """The reliability diagram, for the function that asks."""
    count = _arguments.table_size("bins", bins)
    kernels, values, codes, batch = _classified(
        function, probabilities, labels, num_classes, ndim, check=False
    )
    sums, odd = kernels.reliability(values, codes, count, _arguments.TOLERANCE)
    if odd:
        raise _arguments.no_probabilities("probabilities", values)
    table = sums.reshape((*batch, count, 3))
    voxels = table[..., 0].astype(np.int64)
    mean = np.full((2, *voxels.shape), np.nan)
    np.divide(np.moveaxis(table[..., 1:], -1, 0), voxels, out=mean, where=voxels > 0)
    return Reliability(voxels, mean[0], mean[1], np.arange(count + 1) / count)


def _classified(
    function: str,
    probabilities: NDArray[Any],
    labels: NDArray[Any],
    num_classes: int | None,
    ndim: int | None,
    *,
    check: bool = True,
) -> tuple[Any, NDArray[Any], NDArray[Any], tuple[int, ...]]:
    """Kernels, probabilities (items, classes, voxels), labels (items, voxels), the batch."""
    _arguments.kernels(function, "metrics", probabilities=probabilities, labels=labels)
    axes = _arguments.space_axes(
        "probabilities", probabilities, ndim, before=int(num_classes is not None)
    )
    split = probabilities.ndim - axes
    batch = probabilities.shape[: split - (num_classes is not None)]
    shape = (*batch, *probabilities.shape[split:])
    if labels.shape != shape:
        raise ValueError(f"labels must be of shape {shape}, got {labels.shape}")
    codes = _arguments.labels("labels", labels, num_classes, axes).codes
    kernels, values, _ = _arguments.distributions(
        function, "probabilities", probabilities, num_classes, axes, check=check
    )
    return kernels, values, codes, batch
