"""Decisions of probability maps: their arguments checked, and what the kernels find."""

import math
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _array, _checks, _raters, _values
from ._axes import lead_and_space
from ._shared.digits import rank_of

TIES = ("largest", "smallest")
SCORES = ("dice", "iou", "fbeta", "accuracy")
METRICS = (*SCORES, "volume")
_LEAST_BETA = Fraction(1e-6)
ROUNDING = 1e-3  # how far from [0, 1] probabilities may be by it, in float16 as well


@dataclass(frozen=True)
class Problem:
    """The maps to be decided and by what: checked, as the kernels take them."""

    kernels: ModuleType
    maps: NDArray[Any]
    batch: tuple[int, ...]
    metric: str
    weight: Fraction
    volume: float | None
    raters: int | None

    def solve(self) -> "Decision":
        """Decide every map."""
        rank = rank_of(self.metric, self.volume, self.maps.shape[1])
        if self.raters is not None:
            return Decision(
                *self.kernels.optimal_level(
                    self.maps,
                    raters=self.raters,
                    weight=self.weight,
                    metric=self.metric,
                    rank=rank,
                )
            )
        if self.metric == "accuracy":
            half = _array.module(self.maps).full(len(self.maps), 0.5)
            return Decision(half, half, half, None)
        thresholds, ranks = self.kernels.optimal_threshold(
            self.maps, weight=float(self.weight), rank=rank
        )
        return Decision(thresholds, thresholds, thresholds, ranks)


@dataclass(frozen=True)
class Decision:
    """What is decided of each map: arrays of their number.

    Attributes
    ----------
    thresholds : float64
        In the unit of probabilities.
    largest, smallest : float64 or integers
        The bounds of the optimal sets. A voxel is in the largest if its value is >= `largest`, in
        the smallest if it is > `smallest` or, of votes, >= `smallest`.
    ranks : int64, or None
        The number of voxels, of the metric "volume".
    """

    thresholds: Any
    largest: Any
    smallest: Any
    ranks: Any


def problem_of(
    function: str,
    marginals: NDArray[Any],
    metric: str,
    *,
    ndim: int | None,
    beta: float,
    volume: float | None = None,
    raters: int | None,
    out: NDArray[Any] | None = None,
) -> Problem:
    """Check the arguments of a decision."""
    kernels = _array.kernels(function, "thresholding", marginals=marginals, out=out)
    _checks.choice("metric", metric, METRICS)
    weight = weight_of(metric, beta)
    if volume is not None:
        volume = _checks.share("volume", volume)
        if metric != "volume":
            raise ValueError(f'volume goes with metric "volume" only, got metric {metric!r}')
    if raters is None:
        values = as_probabilities(marginals)
    else:
        raters = _checks.integer("raters", raters, 1)
        values = as_votes(marginals, raters)
    maps, batch = flatten(values, ndim)
    return Problem(kernels, maps, batch, metric, weight, volume, raters)


def weight_of(metric: str, beta: float) -> Fraction:
    """beta², exactly; 1 for Dice."""
    exact = Fraction(_checks.positive("beta", beta))
    if not _LEAST_BETA <= exact <= 1 / _LEAST_BETA:
        raise ValueError(f"beta must be between 1e-6 and 1e6, got {beta!r}")
    return exact**2 if metric == "fbeta" else Fraction(1)


def as_probabilities(marginals: NDArray[Any]) -> NDArray[Any]:
    """The values as float32 or float64; ValueError outside [0, 1]."""
    if marginals.dtype.kind not in "biuf":
        raise TypeError(f"marginals must be of a real dtype, got {_checks.describe(marginals)}")
    try:
        _checks.in_range("marginals", marginals, 0, 1)
    except ValueError as error:
        least, most = _values.extremes(marginals)
        is_close = least >= -ROUNDING and most <= 1 + ROUNDING
        remedy = ": if that is rounding, marginals.clip(0, 1) removes it"
        raise ValueError(f"{error}{remedy * bool(is_close)}") from None
    dtype = _array.real_dtype(marginals)
    return _array.module(marginals).ascontiguousarray(marginals, dtype).reshape(marginals.shape)


def as_votes(votes: NDArray[Any], raters: int) -> NDArray[Any]:
    """The votes as unsigned integers; ValueError outside [0, raters]."""
    if raters > _raters.MOST:
        raise ValueError(f"raters must be at most {_raters.MOST}, got {raters}")
    if votes.dtype.kind not in "biu":
        raise TypeError(
            f"marginals must be votes of an integer dtype where raters is given, "
            f"got {_checks.describe(votes)}"
        )
    _checks.in_range("marginals", votes, 0, raters)
    dtype = np.dtype(np.uint8 if raters < 256 else np.uint16)
    library = _array.module(votes)
    if not _values.readable(votes) and votes.dtype.kind != "b" and votes.dtype != dtype:
        votes = library.clip(votes, 0, min(raters, np.iinfo(votes.dtype).max))  # or it would wrap
    return library.ascontiguousarray(votes, dtype).reshape(votes.shape)


def flatten(values: NDArray[Any], ndim: int | None) -> tuple[NDArray[Any], tuple[int, ...]]:
    """(*batch, *space) as (maps, voxels), and the batch's shape."""
    axes = _checks.space_axes("marginals", ndim, values.ndim, values.ndim)
    batch, space = lead_and_space(values.shape, axes)
    return values.reshape(math.prod(batch), math.prod(space)), batch
