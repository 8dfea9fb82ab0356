"""Volumes of the optimal decisions: their ranges, their bounds, and the scores at every volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _array, _checks
from ._decisions import SCORES, as_probabilities, as_votes, problem_of, weight_of

_SORTED = 1 << 16  # voxels of a map that is sorted at no cost worth speaking of


class VolumeRange(NamedTuple):
    """Volumes of the optimal segmentations of each map, in voxels.

    Parameters
    ----------
    least, most : int64 array of the batch's shape
        Voxels of the smallest and of the largest optimal segmentation.
    mean : float64 array of the batch's shape
        The sum of the map: the expected volume of the noisy label, in voxels.
    voxels : int
        Voxels of a map: ``most / voxels`` is the volume as a share of the image.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import volume_range
    >>> found = volume_range(np.array([0.5, 0.25, 0.25, 0.0]), "accuracy")
    >>> int(found.least), int(found.most), float(found.mean), found.voxels
    (0, 1, 1.0, 4)
    """

    least: NDArray[np.int64]
    most: NDArray[np.int64]
    mean: NDArray[np.float64]
    voxels: int


class VolumeBounds(NamedTuple):
    """Between which volumes all optimal segmentations lie, as shares of the image.

    Parameters
    ----------
    least, most : float64 array of the shape of the mean volume
        Shares in [0, 1].

    Examples
    --------
    >>> from gfnoise import volume_bounds
    >>> bounds = volume_bounds(0.25, "accuracy")
    >>> float(bounds.least), float(bounds.most)
    (0.0, 0.5)
    """

    least: NDArray[np.float64]
    most: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class VolumeCurves:
    """What a map says of every volume: the best accuracy and Dice of all masks of that size.

    Made by `volume_curves`. Volumes are shares of the image. Values between two knots are those of
    the map where `error` is 0; else the values of `accuracy` and `dice` are never too large, and
    exact at the knots.

    The knots are NumPy arrays, those of a tensor's curves too; the functions give tensors for
    tensors.

    Parameters
    ----------
    volumes : float64 array, (knots,)
        From 0 to 1: the volume of the voxels of the highest probabilities, step by step.
    masses : float64 array, (knots,)
        The integral of the map over these voxels; the last is the mean volume ``||m||``.
    quantiles : float64 array, (knots - 1,)
        ``F_m^{-1}``, 1 - m on each step, ascending.
    width : float
        How far `quantile` may be off: 0 where it is exact.
    error : float
        How far the masses between two knots may be too small: 0 where they are exact. `accuracy`
        is too small by at most ``2 error``, `dice` by ``2 error / (||m|| + v)``.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import volume_curves
    >>> curves = volume_curves(np.array([1.0, 0.5, 0.5, 0.0]))
    >>> curves.volumes.tolist(), curves.masses.tolist(), curves.quantiles.tolist()
    ([0.0, 0.25, 0.75, 1.0], [0.0, 0.25, 0.5, 0.5], [0.0, 0.5, 1.0])
    """

    volumes: NDArray[np.float64]
    masses: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    width: float
    error: float

    @_array.any_library("t")
    def cdf(self, t: ArrayLike) -> NDArray[np.float64]:
        """Volume of the voxels whose probability is at least ``1 - t``: ``F_m(t)``.

        Parameters
        ----------
        t : array_like
            Levels in [0, 1].

        Returns
        -------
        float64 array of the shape of `t`; a tensor for a tensor
            Between the exact values at ``t - width`` and ``t + width``.

        Raises
        ------
        ValueError, TypeError
            If a level is outside [0, 1].

        Notes
        -----
        The distribution function of 1 - m (Nordström et al. 2022, eq. 3).

        Examples
        --------
        >>> import numpy as np
        >>> from gfnoise import volume_curves
        >>> volume_curves(np.array([1.0, 0.5, 0.5, 0.0])).cdf([0.25, 0.5]).tolist()
        [0.25, 0.75]
        """
        below = np.searchsorted(self.quantiles, _shares("cdf", "t", t), side="right")
        return self.volumes[below]

    @_array.any_library("v")
    def quantile(self, v: ArrayLike) -> NDArray[np.float64]:
        """Least level at which the volume is at least `v`: ``F_m^{-1}(v)``.

        Parameters
        ----------
        v : array_like
            Volumes in [0, 1].

        Returns
        -------
        float64 array of the shape of `v`; a tensor for a tensor
            Off by at most `width`.

        Raises
        ------
        ValueError, TypeError
            If a volume is outside [0, 1].

        Notes
        -----
        ``inf {t : F_m(t) >= v}`` (2022, eq. 4).

        Examples
        --------
        >>> import numpy as np
        >>> from gfnoise import volume_curves
        >>> volume_curves(np.array([1.0, 0.5, 0.5, 0.0])).quantile([0.5, 0.75, 0.8]).tolist()
        [0.5, 0.5, 1.0]
        """
        shares = _shares("quantile", "v", v)
        at = np.searchsorted(self.volumes, shares, side="left") - 1
        return np.where(shares > 0, self.quantiles[np.maximum(at, 0)], 0.0)[()]

    @_array.any_library("v")
    def accuracy(self, v: ArrayLike) -> NDArray[np.float64]:
        """Largest accuracy of a mask of volume `v`: ``a_m(v)``.

        Parameters
        ----------
        v : array_like
            Volumes in [0, 1].

        Returns
        -------
        float64 array of the shape of `v`; a tensor for a tensor
            Too small by at most ``2 error``.

        Raises
        ------
        ValueError, TypeError
            If a volume is outside [0, 1].

        Notes
        -----
        ``a_m(v) = v + 1 - ||m|| - 2 int_0^v F_m^{-1}(u) du`` (2022, eq. 10).

        Examples
        --------
        >>> import numpy as np
        >>> from gfnoise import volume_curves
        >>> volume_curves(np.array([1.0, 0.5, 0.5, 0.0])).accuracy([0.25, 0.75, 1.0]).tolist()
        [0.75, 0.75, 0.5]
        """
        shares = _shares("accuracy", "v", v)
        best: NDArray[np.float64] = (1 - self.masses[-1]) - shares + 2 * self._mass(shares)
        return best

    @_array.any_library("v")
    def dice(self, v: ArrayLike) -> NDArray[np.float64]:
        """Largest Dice of a mask of volume `v`: ``d_m(v)``.

        Parameters
        ----------
        v : array_like
            Volumes in [0, 1].

        Returns
        -------
        float64 array of the shape of `v`; a tensor for a tensor
            Too small by at most ``2 error / (||m|| + v)``. Of an empty map, 1 at the volume 0.

        Raises
        ------
        ValueError, TypeError
            If a volume is outside [0, 1].

        Notes
        -----
        ``d_m(v) = 2 int_0^v (1 - F_m^{-1}(u)) du / (||m|| + v)`` (2022, eq. 14).

        Examples
        --------
        >>> import numpy as np
        >>> from gfnoise import volume_curves
        >>> volume_curves(np.array([1.0, 0.5, 0.5, 0.0])).dice([0.25, 0.75, 1.0]).round(3).tolist()
        [0.667, 0.8, 0.667]
        """
        shares = _shares("dice", "v", v)
        total = self.masses[-1] + shares
        best: NDArray[np.float64] = np.divide(
            2 * self._mass(shares), total, out=np.ones_like(total), where=total > 0
        )
        return best[()]

    def _mass(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """The largest integral of the map over a set of each volume (2022, eq. 6)."""
        return np.interp(shares, self.volumes, self.masses)


@_array.any_library("marginals")
def volume_range(
    marginals: NDArray[Any],
    metric: str = "dice",
    *,
    ndim: int | None = None,
    beta: float = 1.0,
    raters: int | None = None,
) -> VolumeRange:
    """Compute the volumes of the optimal segmentations of each map.

    A mask is optimal if it holds all voxels above the threshold, none below, and any of those at
    the threshold: its volume is any number from `least` to `most`.

    Parameters
    ----------
    marginals : array, (*batch, *space)
        Probabilities in [0, 1] or, with `raters`, integer votes.
    metric : {"dice", "iou", "fbeta", "accuracy"}
        What is maximised.
    ndim : int, optional
        The last `ndim` axes are space. By default all are, of at most three.
    beta : float, default 1.0
        Weight of recall in "fbeta"; between 1e-6 and 1e6.
    raters : int, optional
        `marginals` are votes out of this many, at most 65535, decided in exact integer arithmetic.

    Returns
    -------
    VolumeRange
        The fields `least`, `most`, `mean` and `voxels`; all are counted in voxels.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.
    NotImplementedError
        For arrays that it has no kernels for: CuPy's, CUDA tensors and dask's.

    See Also
    --------
    optimal_segmentation : The smallest and the largest of these masks themselves, by `ties`.
    volume_bounds : What these volumes can be, of all maps of a mean volume.

    Notes
    -----
    ``V = [F_m(t-), F_m(t)]`` with t = 1/2 for accuracy and 1 - D*/2 for Dice (Nordström et al.
    2022, eq. 7 and 11), times the number of voxels. No volume that is optimal for accuracy exceeds
    one that is optimal for Dice (Theorem 3).

    The same volumes are those of the optimal *soft* segmentations of soft-Dice, which are 1 above
    the threshold, 0 below, and anything in [0, 1] at it (Nordström, Hult and Maki 2023, eq. 10,
    braces swapped): for any q in [0, 1] ``(1 - q) * smallest + q * largest`` is one, of volume
    ``(1 - q) * least + q * most``. The optimum of cross-entropy is the map itself, whose volume is
    `mean`.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import volume_range
    >>> votes = np.array([4] * 10 + [1] * 40 + [0] * 50)  # of four raters
    >>> dice = volume_range(votes, raters=4)
    >>> int(dice.least), int(dice.most), float(dice.mean)
    (10, 10, 20.0)
    >>> dice = volume_range(np.minimum(votes, 1), raters=4)  # what one of four has seen
    >>> int(dice.least), int(dice.most), float(dice.most / dice.mean)
    (50, 50, 4.0)
    """
    kernels = _array.kernels("volume_range", "volumes", marginals=marginals)
    _checks.choice("metric", metric, SCORES)
    problem = problem_of("volume_range", marginals, metric, ndim=ndim, beta=beta, raters=raters)

    decision = problem.solve()
    # Votes come as the least number of them; a map's values are floats of at most 64 bits.
    largest, smallest = (
        np.asarray(each, np.float64) for each in (decision.largest, decision.smallest)
    )
    if raters is None:
        smallest = np.nextafter(smallest, np.inf)
    mass, most, fewest = kernels.sizes(problem.maps, largest=largest, smallest=smallest)
    mean = mass if raters is None else mass / raters
    fewest, most, mean = (part.reshape(problem.batch)[()] for part in (fewest, most, mean))
    return VolumeRange(fewest, most, mean, problem.maps.shape[1])


@_array.any_library("mean_volume")
def volume_bounds(
    mean_volume: float | NDArray[Any], metric: str = "dice", *, beta: float = 1.0
) -> VolumeBounds:
    """Bound the volumes of the optimal segmentations by the mean volume alone.

    Parameters
    ----------
    mean_volume : float, or array
        ``v = ||m||``, the mean volume of the noisy label as a share of the image, in [0, 1].
    metric : {"dice", "iou", "fbeta", "accuracy"}
        What is maximised.
    beta : float, default 1.0
        Weight of recall in "fbeta"; between 1e-6 and 1e6.

    Returns
    -------
    VolumeBounds
        The fields `least` and `most`, as shares of the image.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.
    NotImplementedError
        For arrays that it has no kernels for: CuPy's, CUDA tensors and dask's.

    Notes
    -----
    Accuracy: ``[max(2 v - 1, 0), min(2 v, 1)]`` (Nordström et al. 2022, eq. 8). Dice and IoU:
    ``[v², 1]`` (eq. 12). F-beta: ``[beta² v² / (1 - v + beta² v), 1]``. All are sharp for v > 0:
    the extremes are maps of one value (1/2, or the threshold) beside 1 or 0. The share of the
    image depends on how much background it has: `volume_range` says what holds for a map.

    Examples
    --------
    >>> from gfnoise import volume_bounds
    >>> [round(float(bound), 3) for bound in volume_bounds(0.4, "dice")]
    [0.16, 1.0]
    >>> [round(float(bound), 3) for bound in volume_bounds(0.4, "accuracy")]
    [0.0, 0.8]
    """
    if isinstance(mean_volume, (int, float, np.integer, np.floating)):
        v = np.asarray(_checks.share("mean_volume", mean_volume))
    else:
        _array.kernels("volume_bounds", "volumes", mean_volume=mean_volume)
        v = _shares("volume_bounds", "mean_volume", mean_volume)
    _checks.choice("metric", metric, SCORES)
    weight = float(weight_of(metric, beta))
    if metric == "accuracy":
        least, most = np.maximum(2 * v - 1, 0), np.minimum(2 * v, 1)
    else:
        least, most = np.minimum(weight * v**2 / (1 - v + weight * v), 1), np.ones_like(v)
    return VolumeBounds(least[()], most[()])


@_array.any_library("marginals")
def volume_curves(
    marginals: NDArray[Any], *, raters: int | None = None, exact: bool = False
) -> VolumeCurves:
    """Compute the distribution of a map's values, and the best scores at every volume.

    Parameters
    ----------
    marginals : array, (*space)
        One map, all axes are space: probabilities in [0, 1] or, with `raters`, integer votes.
    raters : int, optional
        `marginals` are votes out of this many, at most 65535.
    exact : bool, default False
        Sort large maps, rather than count their values in bins.

    Returns
    -------
    VolumeCurves
        The functions `cdf`, `quantile`, `accuracy` and `dice`, the knots they come from, and by
        how much they may be off.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.
    NotImplementedError
        For arrays that it has no kernels for: CuPy's, CUDA tensors and dask's.

    Notes
    -----
    Votes and maps of at most 2**16 voxels are exact. The values of a larger map are counted and
    summed in bins, 256 between each power of two and the next. The knots are then exact too, and
    `quantile` is off by at most 2**-9. What lies between the knots is bounded by the field
    `error`, from the extremes and the mean of each bin: at most 2**-10 of the mean volume, mostly a
    hundredth of that, and 0 where every bin holds a single value.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import GaussianField, volume_curves
    >>> label = np.zeros((64, 64, 64), np.uint8)
    >>> label[16:48, 20:44, 24:40] = 1
    >>> m = GaussianField(3.0, 8.0, ndim=3).marginals(label)
    >>> curves = volume_curves(m)
    >>> v = np.linspace(0, 1, 1001)
    >>> f"{v[curves.dice(v).argmax()]:.3f}", curves.error < 1e-5
    ('0.052', True)
    """
    kernels = _array.kernels("volume_curves", "volumes", marginals=marginals)
    if marginals.ndim > 3:
        raise ValueError(
            f"marginals must be one map of at most 3 axes, got {_checks.describe(marginals)}"
        )
    if not marginals.size:
        raise ValueError(f"marginals must hold a voxel, got {_checks.describe(marginals)}")
    if raters is not None:
        raters = _checks.integer("raters", raters, 1)
        votes = as_votes(marginals, raters).reshape(1, -1)
        counts = _array.kernels("volume_curves", "thresholding").count_votes(votes, raters)[0, ::-1]
        against = np.flatnonzero(counts)
        return _curves(counts[against], (raters - against) / raters, against / raters)
    values = as_probabilities(marginals).reshape(-1)
    if exact or values.size <= _SORTED:
        found, counts = np.unique(values, return_counts=True)
        steps = found[::-1].astype(np.float64)
        return _curves(counts[::-1], steps, 1 - steps)
    counts, sums, least, most = kernels.histogram(values)
    steps = np.where(least == most, most, np.clip(sums / counts, least, most))
    gaps = np.divide(
        (most - steps) * (steps - least), most - least, out=np.zeros_like(most), where=most > least
    )
    error = float((counts * gaps).max() / values.size)
    return _curves(counts, steps, 1 - steps, float((most - least).max()), error)


def _curves(
    counts: NDArray[np.int64],
    steps: NDArray[np.float64],
    quantiles: NDArray[np.float64],
    width: float = 0.0,
    error: float = 0.0,
) -> VolumeCurves:
    """The curves of a map that takes each of the descending values `steps` so many times."""
    voxels = counts.sum()
    volumes = np.append(0, np.cumsum(counts)) / voxels
    masses = np.append(0.0, np.cumsum(counts * steps)) / voxels
    return VolumeCurves(volumes, masses, quantiles, width, error)


def _shares(function: str, name: str, value: ArrayLike) -> NDArray[np.float64]:
    """Numbers in [0, 1], as float64."""
    if _array.on_device(value):
        _array.kernels(function, "volumes", **{name: value})  # which says that there are none
    array = _checks.plain(f"{name} must be numbers in [0, 1]", value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be numbers in [0, 1], got {value!r}")
    _checks.in_range(name, array, 0, 1)
    return array.astype(np.float64)
