"""Optimal decisions for a probability map: accuracy, Dice, F-beta and volume, and their scores."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _array, _checks
from ._decisions import SCORES, TIES, as_probabilities, flatten, problem_of, weight_of
from ._output import Output


@_array.any_library("marginals")
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
        The last `ndim` axes are space. By default all are, of at most three. A class axis is one of
        the batch, before space: give `ndim`.
    beta : float, default 1.0
        Weight of recall in "fbeta"; between 1e-6 and 1e6.
    volume : float, optional
        For "volume": the share of the voxels to keep, in [0, 1].
    raters : int, optional
        `marginals` are votes out of this many, at most 65535: 1/3 and 1/5 are no floats, and ties,
        the rule with few raters, would be lost. Decided in exact integer arithmetic; on a device
        "fbeta" is, where beta² times the votes of a map is a float64, as for beta² 1/2, 1 and 2.

    Returns
    -------
    float64 array of the batch's shape
        In the unit of probabilities. A map without mass has the threshold 0.5, an empty mask; for
        "volume" it is as said there.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    No sort. Where a score is largest, passes over the map rise to the threshold (Dinkelbach 1967,
    "On Nonlinear Fractional Programming"), which mostly need all of it once; for "volume", and on a
    device, it is a descent through the digits of the floats, with exact sums. A threshold within
    1e-12 (relative) of a value of the map is that value, so that ties are kept. Compare a map with
    the array that is returned, not with a Python float, which NumPy would round to the map's dtype.

    Of a dask array whose maps are in chunks, the tallies of the chunks are added up, in three
    passes for float32 and seven for float64: a threshold that may differ in its last bits, and the
    same masks. They are computed at the call, by dask's scheduler, as are those of maps that are a
    chunk each; the dask array that is returned holds numbers. Store a map that is slow to make.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import optimal_threshold
    >>> float(optimal_threshold(np.array([1.0, 0.5, 0.25, 0.0])))
    0.4
    """
    problem = problem_of(
        "optimal_threshold", marginals, metric, ndim=ndim, beta=beta, volume=volume, raters=raters
    )
    return problem.solve().thresholds.reshape(problem.batch)[()]


@_array.any_library("marginals", "out")
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
        Whether voxels exactly at the threshold, which change no score, belong to the mask:
        "largest" has them (``>=``), "smallest" has not (``>``). For "volume" these are k voxels or
        more, and fewer than k; "first" has exactly k, of those at the threshold the first in C
        order.
    out : bool array, optional
        Where to write the result; of its shape, not overlapping the input.

    Returns
    -------
    bool array of the shape of `marginals`

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; nothing has been written then.
    NotImplementedError
        For `ties` "first" of dask arrays whose maps are in chunks.

    Notes
    -----
    A dask array gives a dask array. Where its maps are in chunks, the thresholds are computed at
    the call, as in `optimal_threshold`.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import optimal_segmentation
    >>> optimal_segmentation(np.array([1.0, 0.5, 0.45, 0.0])).tolist()  # the threshold is 0.3939
    [True, True, True, False]
    >>> votes = np.array([5] * 100 + [1] * 1500)  # of five raters
    >>> int(optimal_segmentation(votes, raters=5).sum())
    1600
    >>> int(optimal_segmentation(votes, raters=5, ties="smallest").sum())
    100
    """
    _checks.choice("ties", ties, (*TIES, "first") if metric == "volume" else TIES)
    problem = problem_of(
        "optimal_segmentation",
        marginals,
        metric,
        ndim=ndim,
        beta=beta,
        volume=volume,
        raters=raters,
        out=out,
    )

    output = Output(out, marginals.shape, bool, marginals=marginals)
    decision = problem.solve()
    if output.result.size:
        strict = ties == "smallest"
        problem.kernels.segment(
            problem.maps,
            output.filled.reshape(problem.maps.shape),
            thresholds=decision.smallest if strict else decision.largest,
            strict=strict and raters is None,
            ranks=decision.ranks if ties == "first" else None,
        )
    return output.finish()


@_array.any_library("segmentation", "marginals")
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
    NotImplementedError
        For dask arrays.

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
    _checks.choice("metric", metric, SCORES)
    weight = float(weight_of(metric, beta))
    maps, batch = flatten(as_probabilities(marginals), ndim)
    _checks.binary("segmentation", segmentation)
    if segmentation.shape != marginals.shape:
        raise ValueError(
            f"segmentation must be of the marginals' shape {marginals.shape}, "
            f"got {segmentation.shape}"
        )

    dtype = segmentation.dtype if segmentation.dtype.itemsize == 1 else bool  # as it is, if a byte
    masks = _array.module(maps).ascontiguousarray(segmentation, dtype).reshape(maps.shape)
    scores = kernels.score(masks.view(np.uint8), maps, metric=metric, weight=weight)
    return scores.reshape(batch)[()]
