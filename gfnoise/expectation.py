"""Expected scores of a decision under the noise model, by Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Iterable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _array, _checks
from ._axes import lead_and_space
from ._decisions import SCORES, weight_of
from ._seeds import part_seed
from ._shared.scores import score_of
from .field import GaussianField

_Floats = NDArray[np.float64]

_BUDGET = 1 << 22  # bytes of the samples of an item that are held at once
_MOST_AT_ONCE = 64


class ExpectedScore(NamedTuple):
    """Mean score over samples of the noisy label.

    Parameters
    ----------
    mean : float64 array of the batch's shape
        The mean over the samples.
    standard_error : float64 array of the batch's shape
        The standard deviation of that mean.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import GaussianField, expected_score
    >>> label = np.eye(9, dtype=np.uint8)
    >>> still = GaussianField(0.0, 5.0, ndim=2)  # no noise
    >>> found = expected_score(label, label, still, n=10, seed=0)
    >>> float(found.mean), float(found.standard_error)
    (1.0, 0.0)
    """

    mean: NDArray[np.float64]
    standard_error: NDArray[np.float64]


@_array.any_library("segmentation", "labels", "seed")
def expected_score(
    segmentation: NDArray[Any],
    labels: NDArray[Any],
    field: GaussianField,
    *,
    n: int,
    seed: int | ArrayLike,
    metric: str = "dice",
    beta: float = 1.0,
    order: int = 0,
    mode: str = "constant",
    cval: int = 0,
) -> ExpectedScore:
    """Estimate the expected score of a segmentation under the noise model, by Monte Carlo.

    `score` of the marginal has the mean of the label in the formula of the metric; this is the
    mean of the metric over noisy labels, ``E[D_L(s)]``. For accuracy the two are equal; for Dice
    they part as far as the volume of the noisy labels varies.

    Parameters
    ----------
    segmentation : array of bool, or of integers in {0, 1}, (*lead, *space)
        The masks to score.
    labels : array of bool, or of integers in {0, 1}, (*lead, *space)
        The clean labels.
    field : GaussianField
        The noise.
    n : int
        Noisy labels to draw per item, at least 2.
    seed : int, or sequence of int
        In [0, 2**63); one per item or one for all.
    metric : {"dice", "iou", "fbeta", "accuracy"}
        The score, as in `score`.
    beta : float, default 1.0
        Weight of recall in "fbeta"; between 1e-6 and 1e6.
    order, mode, cval
        As in `GaussianField.sample_labels`.

    Returns
    -------
    ExpectedScore
        The fields `mean` and `standard_error`, of shape (*lead,).

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.
    NotImplementedError
        For arrays that it has no kernels for: CuPy's, CUDA tensors and dask's.

    Notes
    -----
    Labels are drawn in groups that do not depend on `n`: at most 4 MB per item, or one label where
    that is more. Group g draws raters 0, 1, ... of a seed made of (seed, item, g), so that more
    samples continue fewer, and an item with a seed of its own does not depend on its batch. The
    samples are not those of ``sample_labels(labels, seed=seed, n=n)``.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import GaussianField, expected_score, optimal_segmentation, score
    >>> label = np.zeros((32, 32), np.uint8)
    >>> label[12:20, 12:20] = 1
    >>> noise = GaussianField(3.0, 4.0, ndim=2)
    >>> m = noise.marginals(label)
    >>> mask = optimal_segmentation(m)
    >>> found = expected_score(mask, label, noise, n=2000, seed=0)
    >>> f"{found.mean:.2f}, but D_m(s) = {score(mask, m):.2f}"
    '0.50, but D_m(s) = 0.52'
    """
    arrays = {"segmentation": segmentation, "labels": labels, **_array.placed(seed=seed)}
    kernels = _array.kernels("expected_score", "expectation", **arrays)
    if not isinstance(field, GaussianField):
        raise TypeError(f"field must be a GaussianField, got {field!r}")
    _checks.choice("metric", metric, SCORES)
    weight = float(weight_of(metric, beta))
    n = _checks.integer("n", n, 2)
    _checks.choice("cval", cval, (0, 1))
    for name, array in (("segmentation", segmentation), ("labels", labels)):
        _checks.binary(name, array)
    ndim = _checks.dimensions(field.ndim, labels.ndim)
    if segmentation.shape != labels.shape:
        raise ValueError(
            f"segmentation must be of the labels' shape {labels.shape}, got {segmentation.shape}"
        )
    lead, space = lead_and_space(labels.shape, ndim)
    items, voxels = math.prod(lead), math.prod(space)
    seeds, numbers, _ = _checks.seeds(seed, items)

    masks = np.ascontiguousarray(segmentation, np.uint8).reshape(items, voxels)
    clean = np.ascontiguousarray(labels, np.uint8).reshape(items, *space)
    sizes, streams = masks.sum(1, dtype=np.float64), [*zip(seeds, numbers, strict=True)]

    def scores(group: int, count: int) -> _Floats:
        own = [part_seed(*stream, group) for stream in streams]
        samples = field.sample_labels(clean, seed=own, n=count, order=order, mode=mode, cval=cval)
        drawn = samples.reshape(items, count, voxels)
        return _scores(kernels, metric, weight, masks, sizes, drawn)

    groups = (scores(group, count) for group, count in enumerate(_groups(n, voxels)))
    mean, error = _mean_and_error(groups, n)
    return ExpectedScore(mean.reshape(lead)[()], error.reshape(lead)[()])


def _scores(
    kernels: ModuleType,
    metric: str,
    weight: float,
    masks: NDArray[np.uint8],
    sizes: _Floats,
    samples: NDArray[np.uint8],
) -> _Floats:
    """Scores (items, samples) of masks (items, voxels) against samples (items, samples, voxels)."""
    items, count, voxels = samples.shape
    counted = np.zeros((items, 2, count))
    for i in range(items):
        counted[i] = kernels.overlaps(masks[i], samples[i])
    inside, mass = counted[:, 0], counted[:, 1]
    return np.asarray(score_of(metric, weight, inside, mass, sizes[:, None] + 0 * mass, voxels))


def _mean_and_error(groups: Iterable[_Floats], n: int) -> tuple[_Floats, _Floats]:
    """Mean and standard error of `n` scores per item, which come in groups (items, scores)."""
    first: Any = None
    total: Any = 0.0
    squares: Any = 0.0
    for scores in groups:
        # Sums of differences from the first score: no digits are lost where scores hardly vary.
        first = scores[:, :1] if first is None else first
        total = total + (scores - first).sum(1)
        squares = squares + ((scores - first) ** 2).sum(1)
    variance = np.maximum(squares - total**2 / n, 0) / (n - 1)
    return first[:, 0] + total / n, np.sqrt(variance / n)


def _groups(n: int, voxels: int) -> list[int]:
    """How many samples are drawn at once: the same but for the last, whatever `n` is."""
    most = min(max(_BUDGET // max(voxels, 1), 1), _MOST_AT_ONCE)
    return [min(most, n - start) for start in range(0, n, most)]
