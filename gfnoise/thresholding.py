"""Optimal decisions for a probability map: accuracy, Dice, F-beta and volume, and their scores."""

import math
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _array, _checks
from ._labels import Output

METRICS = ("dice", "iou", "fbeta", "accuracy", "volume")
TIES = ("largest", "smallest")
_MAX_RATERS = 65535
_LEAST_BETA = Fraction(1e-6)


@_array.tensors("marginals")
def optimal_threshold(
    marginals: NDArray[Any],
    metric: str = "dice",
    *,
    ndim: int | None = None,
    beta: float = 1.0,
    volume: float | None = None,
    raters: int | None = None,
) -> NDArray[np.float64]:
    """Compute the threshold whose level set is the optimal segmentation of each map.

    A voxel belongs to the Dice-optimal segmentation where ``m >= D*/2``, with ``D*`` the largest
    ``D_m(s) = 2 sum(s m) / (|s| + sum(m))`` of all segmentations (Nordström, Hult and Maki 2023,
    eq. 12 and 15).

    Parameters
    ----------
    marginals : array, (*batch, *space)
        Probabilities in [0, 1] or, with `raters`, integer votes.
    metric : {"dice", "iou", "fbeta", "accuracy", "volume"}
        "dice" and "iou": D*/2. "fbeta": ``F* / (1 + beta²)``. "accuracy": 1/2. "volume": the k-th
        largest value, k the map's own volume sum(m), rounded, or `volume`; inf where k = 0.
    ndim : int, optional
        The last `ndim` axes are space. By default all are, of at most three.
    beta : float, default 1.0
        Weight of recall in "fbeta"; between 1e-6 and 1e6.
    volume : float, optional
        For "volume": the share of the voxels to keep, in [0, 1].
    raters : int, optional
        `marginals` are votes out of this many: 1/3 and 1/5 are no floats, and ties, the rule with
        few raters, would be lost. Decided in exact integer arithmetic.

    Returns
    -------
    float64 array of the batch's shape
        In the unit of probabilities. A map without mass has the threshold 0.5: an empty mask.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    No sort: a descent through the digits of the floats, with exact sums. A threshold within 1e-12
    (relative) of a value of the map is that value, so that ties are kept. Compare a map with the
    array that is returned, not with a Python float, which NumPy would round to the map's dtype.

    Of a dask array whose maps are in chunks, the tallies of the chunks are added up, in three
    passes for float32 and seven for float64: the same bits. They are computed at the call, by
    dask's scheduler; the dask array that is returned holds numbers. Store a map that is slow to
    make.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import optimal_threshold
    >>> float(optimal_threshold(np.array([1.0, 0.5, 0.25, 0.0])))
    0.4
    """
    plan = _plan("optimal_threshold", marginals, metric, ndim, beta, volume, raters)
    return plan.solve().thresholds.reshape(plan.batch)[()]


@_array.tensors("marginals", "out")
def optimal_segmentation(
    marginals: NDArray[Any],
    metric: str = "dice",
    *,
    ndim: int | None = None,
    beta: float = 1.0,
    volume: float | None = None,
    raters: int | None = None,
    ties: str = "largest",
    out: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Compute the optimal segmentation of each map.

    Parameters
    ----------
    marginals, metric, ndim, beta, volume, raters
        As in `optimal_threshold`.
    ties : {"largest", "smallest", "first"}
        What becomes of voxels at the threshold itself, which are as good in as out: the largest
        optimal set has them (``>=``), the smallest has not (``>``). For "volume" also "first":
        exactly k voxels, the first ones in C order.
    out : bool array, optional
        Where to write the result; of its shape, not overlapping the input.

    Returns
    -------
    bool array of the shape of `marginals`

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; nothing has been written then.

    Notes
    -----
    A dask array gives a dask array. Where its maps are in chunks, the thresholds are computed at
    the call, as in `optimal_threshold`, and "first" is not available.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import optimal_segmentation
    >>> optimal_segmentation(np.array([1.0, 0.5, 0.45, 0.0])).tolist()  # the threshold is 0.4149
    [True, True, True, False]
    >>> votes = np.array([5] * 100 + [1] * 1500)  # of five raters
    >>> int(optimal_segmentation(votes, raters=5).sum())
    1600
    >>> int(optimal_segmentation(votes, raters=5, ties="smallest").sum())
    100
    """
    _checks.choice("ties", ties, (*TIES, "first") if metric == "volume" else TIES)
    plan = _plan("optimal_segmentation", marginals, metric, ndim, beta, volume, raters, out=out)
    if out is not None:
        _checks.output(out, marginals.shape, np.dtype(bool), marginals=marginals)

    output = Output(out, marginals.shape, np.dtype(bool), marginals)
    decision = plan.solve()
    if output.result.size:
        strict = ties == "smallest"
        plan.kernels.segment(
            plan.maps,
            output.filled.reshape(plan.maps.shape),
            thresholds=decision.beyond if strict else decision.least,
            strict=strict and raters is None,
            ranks=decision.ranks if ties == "first" else None,
        )
    return output.finish()


@_array.tensors("segmentation", "marginals")
def score(
    segmentation: NDArray[Any],
    marginals: NDArray[Any],
    metric: str = "dice",
    *,
    ndim: int | None = None,
    beta: float = 1.0,
) -> NDArray[np.float64]:
    """Score a segmentation against a probability map.

    Parameters
    ----------
    segmentation : array of bool, or of integers in {0, 1}, (*batch, *space)
    marginals : array, (*batch, *space)
        Probabilities in [0, 1].
    metric : {"dice", "iou", "fbeta", "accuracy"}
        ``D_m(s) = 2 sum(s m) / (|s| + sum(m))`` and ``A_m(s) = mean(s m + (1 - s)(1 - m))``
        (Nordström et al. 2022, Definitions 1 and 2), ``F_m(s) = (1 + beta²) sum(s m) /
        (|s| + beta² sum(m))``, ``sum(s m) / (|s| + sum(m) - sum(s m))``.
    ndim : int, optional
        The last `ndim` axes are space. By default all are, of at most three.
    beta : float, default 1.0
        Weight of recall in "fbeta"; between 1e-6 and 1e6.

    Returns
    -------
    float64 array of the batch's shape
        In [0, 1]; an empty segmentation of an empty map scores 1.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import score
    >>> float(score(np.array([True, True, False, False]), np.array([1.0, 0.6, 0.4, 0.0])))
    0.8
    """
    kernels = _array.kernels(
        "score", "thresholding", segmentation=segmentation, marginals=marginals
    )
    _checks.choice("metric", metric, METRICS[:-1])
    weight = float(_weight(metric, beta))
    maps, batch = _flatten(_probabilities(marginals), ndim)
    _checks.integral("segmentation", segmentation)
    _checks.in_range("segmentation", segmentation, 0, 1)
    if segmentation.shape != marginals.shape:
        raise ValueError(
            f"segmentation must be of the marginals' shape {marginals.shape}, "
            f"got {segmentation.shape}"
        )

    dtype = segmentation.dtype if segmentation.dtype.itemsize == 1 else bool  # as it is, if a byte
    masks = _array.module(maps).ascontiguousarray(segmentation, dtype).reshape(maps.shape)
    scores = kernels.score(masks.view(np.uint8), maps, metric=metric, weight=weight)
    return scores.reshape(batch)[()]


@dataclass(frozen=True)
class _Plan:
    """Checked arguments of a decision, as the kernels take them."""

    kernels: ModuleType
    maps: NDArray[Any]
    batch: tuple[int, ...]
    metric: str
    weight: Fraction
    volume: float | None
    raters: int | None

    def solve(self) -> "_Decision":
        """Decide every map."""
        if self.raters is not None:
            return _Decision(
                *self.kernels.optimal_level(
                    self.maps,
                    raters=self.raters,
                    weight=self.weight,
                    metric=self.metric,
                    volume=self.volume,
                )
            )
        if self.metric == "accuracy":
            half = _array.constant(self.maps, len(self.maps), 0.5)
            return _Decision(half, half, half, None)
        rank = self.kernels.NO_RANK
        if self.metric == "volume":
            rank = self.kernels.OF_THE_MASS
            if self.volume is not None:
                rank = math.floor(Fraction(self.volume) * self.maps.shape[1] + Fraction(1, 2))
        thresholds, ranks = self.kernels.optimal_threshold(
            self.maps, weight=float(self.weight), rank=rank
        )
        return _Decision(thresholds, thresholds, thresholds, ranks)


@dataclass(frozen=True)
class _Decision:
    """What is decided of each map: arrays of their number.

    Attributes
    ----------
    thresholds : float64
        In the unit of probabilities.
    least, beyond : float64 or integers
        What the largest set is at or above; what the smallest is above or, of votes, at or above.
    ranks : int64
        The number of voxels, of the metric "volume".
    """

    thresholds: Any
    least: Any
    beyond: Any
    ranks: Any


def _plan(
    function: str,
    marginals: NDArray[Any],
    metric: str,
    ndim: int | None,
    beta: float,
    volume: float | None,
    raters: int | None,
    out: NDArray[Any] | None = None,
) -> _Plan:
    """Check the arguments of a decision."""
    kernels = _array.kernels(function, "thresholding", marginals=marginals, out=out)
    _checks.choice("metric", metric, METRICS)
    weight = _weight(metric, beta)
    if volume is not None:
        volume = _checks.share("volume", volume)
        if metric != "volume":
            raise ValueError(f'volume goes with metric "volume" only, got metric {metric!r}')
    if raters is None:
        values = _probabilities(marginals)
    else:
        raters = _checks.integer("raters", raters, 1)
        values = _votes(marginals, raters)
    maps, batch = _flatten(values, ndim)
    return _Plan(kernels, maps, batch, metric, weight, volume, raters)


def _weight(metric: str, beta: float) -> Fraction:
    """beta², exactly; 1 for Dice."""
    exact = Fraction(_checks.positive("beta", beta))
    if not _LEAST_BETA <= exact <= 1 / _LEAST_BETA:
        raise ValueError(f"beta must be between 1e-6 and 1e6, got {beta!r}")
    return exact**2 if metric == "fbeta" else Fraction(1)


def _probabilities(marginals: NDArray[Any]) -> NDArray[Any]:
    """The values as float32 or float64; ValueError outside [0, 1]."""
    if marginals.dtype.kind not in "biuf":
        raise TypeError(f"marginals must be of a real dtype, got {_checks.describe(marginals)}")
    _checks.in_range("marginals", marginals, 0, 1)
    return _array.module(marginals).ascontiguousarray(marginals, _array.real_dtype(marginals))


def _votes(votes: NDArray[Any], raters: int) -> NDArray[Any]:
    """The votes as unsigned integers; ValueError outside [0, raters]."""
    if raters > _MAX_RATERS:
        raise ValueError(f"raters must be at most {_MAX_RATERS}, got {raters}")
    if votes.dtype.kind not in "biu":
        raise TypeError(
            f"marginals must be votes of an integer dtype where raters is given, "
            f"got {_checks.describe(votes)}"
        )
    _checks.in_range("marginals", votes, 0, raters)
    dtype = np.dtype(np.uint8 if raters < 256 else np.uint16)
    library = _array.module(votes)
    if not _array.readable(votes) and votes.dtype.kind != "b" and votes.dtype != dtype:
        votes = library.clip(votes, 0, min(raters, np.iinfo(votes.dtype).max))  # or it would wrap
    return library.ascontiguousarray(votes, dtype)


def _flatten(values: NDArray[Any], ndim: int | None) -> tuple[NDArray[Any], tuple[int, ...]]:
    """(*batch, *space) as (maps, voxels), and the batch's shape."""
    axes = values.ndim
    if ndim is None and axes > 3:
        raise ValueError(
            f"ndim must say how many of the last axes are space for an array of {axes} axes, "
            f"got None"
        )
    if ndim is not None:
        axes = _checks.integer("ndim", ndim, 1)
    if not 1 <= axes <= values.ndim:
        raise ValueError(
            f"ndim must be between 1 and the {values.ndim} axes of the array, got {axes}"
        )
    batch, space = values.shape[: values.ndim - axes], values.shape[values.ndim - axes :]
    return values.reshape(math.prod(batch), math.prod(space)), batch
