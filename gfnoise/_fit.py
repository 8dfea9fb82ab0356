"""The Gaussian field whose noise looks like that of several raters: a method of simulated moments.

What is compared: how far the raters' outlines are apart, along the normals of their consensus, and
the likeliest length scale of those heights under a linear model (`_outline`). Both are simulated on
the consensus, for amplitudes and length scales around the sought ones, and a quadratic in the
logarithms of both is fitted to them. The estimate is where the quadratic meets the raters: what the
linear model gets wrong, it gets wrong of the simulated raters as well (indirect inference:
Gourieroux, Monfort and Renault 1993). So curvature, folding, voxels and thin parts count as they do
for the raters. Two statistics for two parameters: more of them, weighted by their scatter, lean on
small differences that the consensus, which is not the structure, gets wrong. What that costs is
simulated as well: see `repeat`.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._outline import Outline, Statistic
from ._seeds import part_seed
from .field import GaussianField
from .filters import gaussian_filter
from .thresholding import optimal_segmentation

_Floats = NDArray[np.float64]

_GRID, _NEAR, _WIDE = 12, 9, 0.8  # length scales: of the first guess, and around it, to each side
_ROUNDS, _SIMULATIONS = 2, 40  # around the guess, and around where that has led
_UNKNOWN = 2.0  # an error of a logarithm that says nothing any more
_REPEATS = 20  # of the whole procedure, simulated
_SHORTEST = 2.0  # length scale, in voxels
_LONGEST = 2.0  # in diameters of the structure
_REACH = np.array([0.3, 0.5])  # of the later rounds' simulations, to each side, in logarithms
_DIGITS = 6  # of the shape of a voxel: the same in millimetres and in inches
_FAR = 700.0  # from 0, of logarithms: float64 ends at 708
_TERMS = 6  # of a quadratic in two variables


class Fit(NamedTuple):
    """Logarithms of amplitude and length scale, and their standard errors."""

    log: _Floats
    error: _Floats


def fit(masks: NDArray[np.bool_], spacing: _Floats, seed: int) -> Fit:
    """Fit amplitude and length scale to (raters, *space), each of them different, none empty.

    Raises
    ------
    ValueError
        If the spacing is such that float64 cannot hold what is fitted.
    """
    unit = spacing.min()
    log, error = _fit(masks, np.round(spacing / unit, _DIGITS), seed)
    log = log + math.log(unit)
    if not (abs(log) < _FAR).all():
        raise ValueError(f"spacing must leave room for the fit in float64, got {spacing.tolist()}")
    return Fit(log, error)


def _fit(masks: NDArray[np.bool_], spacing: _Floats, seed: int) -> Fit:
    """`fit`, where the least spacing is 1."""
    consensus = _consensus(masks)
    start = _amplitude(masks, consensus, spacing)
    inside = np.argwhere(masks.any(0))
    low, high = inside.min(0), inside.max(0) + 1
    margin = np.ceil(4 * start / spacing).astype(int) + 2
    box = tuple(map(slice, np.maximum(low - margin, 0), high + margin))
    masks, consensus = masks[(slice(None), *box)], consensus[box]
    diameter = float(np.mean((high - low) * spacing))
    least = math.log(_SHORTEST * spacing.min())
    most = max(math.log(_LONGEST * diameter), least + 1)
    simulation = _Simulation(consensus.astype(np.uint8), spacing, len(masks), seed)

    rng = np.random.default_rng(seed)
    bounds = np.array([[-math.inf, least], [math.inf, most]])
    simulation.compare(start, np.linspace(least, most, _GRID))
    found = simulation.statistic(masks).clip(*bounds)
    simulation.compare(start, found[1] + np.linspace(-_WIDE, _WIDE, _NEAR))
    observed = simulation.statistic(masks)
    points, values = np.empty((2, 0, 2))
    for _ in range(_ROUNDS):
        new = (found + _REACH * rng.uniform(-1, 1, (_SIMULATIONS, 2))).clip(*bounds)
        drawn = simulation.at(new, first=len(points))
        points, values = np.append(points, new, 0), np.append(values, drawn, 0)
        near = (abs(points - found) <= 1.5 * _REACH).all(1)
        surface = _Quadratic.through(points[near], values[near])
        found = surface.meet(observed).clip(*bounds)
    raters, shifts = simulation.repeat(found, first=len(points))
    surface = surface.weighted_by(raters - shifts)
    observed = observed + shifts.mean(0)
    found = surface.meet(observed).clip(*bounds)
    error = surface.error(found)
    if found[1] in (least, most) or not error[1] <= _UNKNOWN:
        error = surface.error(found, given_length=True)
    error[~(error <= _UNKNOWN)] = math.inf
    return Fit(found, error)


def _consensus(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The raters' mean, hardly smoothed, cut so that it has their mean volume."""
    mean = gaussian_filter(masks.mean(0, dtype=np.float32), 0.7, mode="nearest").clip(0, 1)
    return optimal_segmentation(mean, "volume", volume=float(masks.mean()))


def _amplitude(masks: NDArray[np.bool_], consensus: NDArray[np.bool_], spacing: _Floats) -> float:
    """The amplitude at which two raters disagree as these do: sum 2 m (1 - m), m the marginals."""
    raters = len(masks)
    votes = masks.sum(0)
    disagreement = 2 * float((votes * (raters - votes)).sum()) / (raters * (raters - 1))
    low, high = 1e-2 * float(spacing.min()), float((spacing * masks.shape[1:]).max())
    label = consensus.astype(np.uint8)
    for _ in range(12):
        middle = math.sqrt(low * high)
        noise = GaussianField(middle, 1.0, spacing=spacing, ndim=label.ndim)
        m = noise.marginals(label, mode="nearest").astype(np.float64)
        if 2 * float((m * (1 - m)).sum()) < disagreement:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)


class _Simulation:
    """Raters of the consensus at given logarithms of amplitude and length scale."""

    def __init__(self, label: NDArray[np.uint8], spacing: _Floats, raters: int, seed: int) -> None:
        self.label, self.spacing, self.raters, self.seed = label, spacing, raters, seed

    def compare(self, amplitude: float, lengths: _Floats) -> None:
        """Let the statistic be what is likeliest among these logarithms of length scales."""
        self.amplitude, self.lengths = amplitude, lengths
        self.statistic = self._statistic(self.label)

    def _statistic(self, label: NDArray[np.uint8]) -> Statistic:
        outline = Outline(label, self.spacing, self.amplitude)
        return Statistic(outline, self.amplitude, self.lengths)

    def at(self, points: _Floats, *, first: int) -> _Floats:
        """One statistic for each point, of the simulations from `first` on."""
        drawn = (self._draw(self.label, point, first + k) for k, point in enumerate(points))
        return np.array([self.statistic(masks) for masks in drawn])

    def _draw(self, label: NDArray[np.uint8], point: _Floats, number: int) -> NDArray[np.uint8]:
        """Raters of the label: the simulation of this number."""
        amplitude, length_scale = np.exp(point)
        noise = GaussianField(amplitude, length_scale, spacing=self.spacing, ndim=label.ndim)
        seed = part_seed(self.seed, 0, number)
        # mode: a structure may be cut by the border
        return noise.sample_labels(label, seed=seed, n=self.raters, mode="nearest")

    def repeat(self, point: _Floats, *, first: int) -> tuple[_Floats, _Floats]:
        """Statistics of simulated raters, and how they shift with the consensus of those raters.

        A consensus is rougher than what was outlined, rounder at corners, and a matter of chance.
        That of simulated raters differs from what they outlined, which is known, in the same way.
        The shift is from these raters to others of their consensus, with the same noise; both are
        compared with that consensus, as the real raters and those simulated for them are.
        """
        raters, shifts = np.empty((2, _REPEATS, 2))
        for turn in range(_REPEATS):
            masks = self._draw(self.label, point, first + turn)
            own = _consensus(masks.astype(bool)).astype(np.uint8)
            statistic = self._statistic(own)
            raters[turn] = self.statistic(masks)
            again = self._draw(own, point, first + turn)
            shifts[turn] = statistic(again) - statistic(masks)
        return raters, shifts


class _Quadratic(NamedTuple):
    """The mean of a statistic, quadratic in two parameters, and its scatter."""

    origin: _Floats
    scale: _Floats
    coefficients: _Floats  # (terms, statistics)
    precision: _Floats  # (statistics, statistics)
    spread: _Floats  # (terms, terms): the coefficients' covariance, in units of the scatter

    @classmethod
    def through(cls, points: _Floats, values: _Floats) -> "_Quadratic":
        """Least squares."""
        origin, scale = points.mean(0), np.ptp(points, axis=0) / 2
        terms = _terms((points - origin) / scale)
        coefficients = np.linalg.lstsq(terms, values, rcond=None)[0]
        rest = values - terms @ coefficients
        scatter = rest.T @ rest / (len(points) - _TERMS)
        scatter += 1e-9 * np.eye(len(scatter)) * max(float(np.trace(scatter)), 1e-9)
        return cls(
            origin,
            scale,
            np.asarray(coefficients, np.float64),
            np.asarray(np.linalg.inv(scatter), np.float64),
            np.asarray(np.linalg.inv(terms.T @ terms), np.float64),
        )

    def meet(self, observed: _Floats) -> _Floats:
        """The point, of those within a little more than what was simulated, next to a statistic."""
        centre, width = np.zeros(2), 1.2
        for _ in range(3):
            line = np.linspace(-width, width, 41)
            grid = np.stack(np.meshgrid(*(c + line for c in centre), indexing="ij"), -1)
            grid = grid.reshape(-1, 2)
            rest = observed - _terms(grid) @ self.coefficients
            # Of several points, the one nearest to the middle: a quadratic turns back.
            distance = np.einsum("ij,jk,ik->i", rest, self.precision, rest)
            distance += 0.01 * (grid**2).sum(1)
            centre, width = grid[distance.argmin()], width / 15
        return np.asarray(self.origin + self.scale * centre)

    def weighted_by(self, differences: _Floats) -> "_Quadratic":
        """The same, with the scatter of `differences` of raters and shifts, of `repeat`."""
        count, size = differences.shape
        # The inverse of an estimated covariance is too large by this, on average.
        excess = (count - 1) / (count - size - 2)
        covariance = np.cov(differences, rowvar=False) + 1e-9 * np.eye(size)
        # Repeats that are all alike, of noise that hardly moves a voxel, do not tell their scatter.
        least = np.linalg.inv(self.precision) / 4
        if (np.diag(covariance) < np.diag(least)).any():
            covariance += least
        precision = np.linalg.inv(covariance) / excess
        return self._replace(precision=np.asarray(precision))

    def error(self, point: _Floats, *, given_length: bool = False) -> _Floats:
        """Standard errors of an estimate: the scatter's, and the simulations' own.

        `given_length`: that of the amplitude at a length scale that is not known.
        """
        x, y = (point - self.origin) / self.scale
        slopes = np.array([[0, 1, 0, 2 * x, y, 0], [0, 0, 1, 0, x, 2 * y]]) @ self.coefficients
        terms = _terms(np.array([[x, y]]))[0]
        factor = 1 + 1 / _REPEATS + terms @ self.spread @ terms
        information = slopes @ self.precision @ slopes.T + 1e-6 * np.eye(2)  # of nothing: not 0
        variance = np.diag(np.linalg.inv(information))
        if given_length:
            variance = np.array([1 / information[0, 0], math.inf])
        return np.asarray(self.scale * np.sqrt(factor * variance))


def _terms(points: _Floats) -> _Floats:
    x, y = points.T
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
