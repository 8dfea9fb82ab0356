"""The Gaussian field whose noise looks like that of several raters: a method of simulated moments.

What is compared: how much the raters disagree, and how much of that is left after a blur: the
logarithms of those energies. They are simulated on the raters' consensus, for amplitudes and length
scales around the sought ones, and a quadratic in the logarithms of both is fitted to them.
The estimate is where the quadratic meets the raters. Two statistics for two parameters: more of
them, weighted by their scatter, lean on small differences that the consensus, which is not the
structure, gets wrong. What that costs is simulated as well: see `repeat`.

Nothing here linearises the deformation: curvature, folding, voxels and thin parts are in the
simulations as they are in the raters.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .field import GaussianField
from .filters import gaussian_filter
from .thresholding import optimal_segmentation

_Floats = NDArray[np.float64]

_GRID = 10  # length scales of the first guess
_ROUNDS, _SIMULATIONS = 2, 40  # around the guess, and around where that has led
_UNKNOWN = 2.0  # an error of a logarithm that says nothing any more
_REPEATS = 20  # of the whole procedure, simulated
_BLUR = 2.2  # standard deviation, in voxels of the same volume; at first, and at least
_SHARE = 0.4  # of the length scale, for the blur afterwards
_SHORTEST = 2.0  # length scale, in voxels
_LONGEST = 2.0  # in diameters of the structure
_REACH = np.array([0.3, 0.5])  # of the later rounds' simulations, to each side, in logarithms
_TERMS = 6  # of a quadratic in two variables


class Fit(NamedTuple):
    """Logarithms of amplitude and length scale, and their standard errors."""

    log: _Floats
    error: _Floats


def fit(masks: NDArray[np.bool_], spacing: _Floats, seed: int) -> Fit:
    """Fit amplitude and length scale to (raters, *space), each of them different, none empty."""
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
    found = _first_guess(simulation, masks, math.log(start), least, most)
    # A blur tells length scales apart that are a few times as long, and should be seen past the
    # displacement itself.
    blur = np.clip(max(_SHARE * math.exp(found[1]), start), simulation.width, diameter / 8)
    simulation.blur = max(float(blur), simulation.width) / spacing
    observed = _energies(masks, simulation.blur)
    points, values = np.empty((2, 0, 2))
    for _ in range(_ROUNDS):
        new = (found + _REACH * rng.uniform(-1, 1, (_SIMULATIONS, 2))).clip(*bounds)
        points, values = np.append(points, new, 0), np.append(values, simulation.at(new), 0)
        near = (abs(points - found) <= 1.5 * _REACH).all(1)
        surface = _Quadratic.through(points[near], values[near])
        found = surface.meet(observed).clip(*bounds)
    raters, shifts = simulation.repeat(found)
    surface = surface.weighted_by(raters - shifts)
    observed = observed + shifts.mean(0)
    found = surface.meet(observed).clip(*bounds)
    error = surface.error(found)
    if found[1] in (least, most) or not error[1] <= _UNKNOWN:
        error = surface.error(found, given_length=True)
    error[~(error <= _UNKNOWN)] = math.inf
    return Fit(found, error)


def _first_guess(
    simulation: "_Simulation",
    masks: NDArray[np.bool_],
    amplitude: float,
    least: float,
    most: float,
) -> _Floats:
    """Where the share that is left after the blur, which grows with the length scale, is met."""
    lengths = np.linspace(least, most, _GRID)
    points = np.stack([np.full(_GRID, amplitude), lengths], 1)
    left = np.mean([np.diff(simulation.at(points))[:, 0] for _ in range(3)], axis=0)
    observed = _energies(masks, simulation.blur)
    rising = np.maximum.accumulate(left)
    where = np.interp(np.diff(observed)[0], rising, lengths)
    return np.array([amplitude, float(where)])


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


def _energies(masks: NDArray[Any], blur: _Floats) -> _Floats:
    """Logarithms of the energy of the raters' deviations from their mean, sharp and blurred.

    `blur` is in voxels, per axis.
    """
    deviation = masks.astype(np.float32)
    deviation -= deviation.mean(0)
    axes = tuple(range(1, masks.ndim))
    blurred = gaussian_filter(deviation, blur.tolist(), axes=axes, mode="constant", truncate=3.0)
    found = [float(np.vdot(one, one)) for one in (deviation, blurred)]
    return np.asarray(np.log(np.array(found) + 1), np.float64)


class _Simulation:
    """Raters of the consensus at given logarithms of amplitude and length scale."""

    def __init__(self, label: NDArray[np.uint8], spacing: _Floats, raters: int, seed: int) -> None:
        self.label, self.spacing, self.raters, self.seed = label, spacing, raters, seed
        self.drawn = 0
        self.width = _BLUR * math.prod(spacing) ** (1 / spacing.size)
        self.blur = self.width / spacing

    def at(self, points: _Floats) -> _Floats:
        """One statistic for each point."""
        return np.array([_energies(self._draw(point), self.blur) for point in points])

    def _draw(self, point: _Floats) -> NDArray[np.uint8]:
        """Raters of the label: the next item."""
        amplitude, length_scale = np.exp(point)
        noise = GaussianField(amplitude, length_scale, spacing=self.spacing, ndim=self.label.ndim)
        self.drawn += 1
        # mode: a structure may be cut by the border
        return noise.sample_labels(
            self.label, seed=self.seed + self.drawn, n=self.raters, mode="nearest"
        )

    def repeat(self, point: _Floats) -> tuple[_Floats, _Floats]:
        """Statistics of simulated raters, and how they shift with the consensus of those raters.

        A consensus is rougher than what was outlined, rounder at corners, and a matter of chance.
        That of simulated raters differs from what they outlined, which is known, in the same way.
        The shift is that of raters with the same noise on one and on the other.
        """
        label = self.label
        raters, shifts = np.empty((2, _REPEATS, 2))
        for turn in range(_REPEATS):
            masks = self._draw(point)
            raters[turn] = _energies(masks, self.blur)
            before = self.at(point[None])[0]
            self.label = _consensus(masks.astype(bool)).astype(np.uint8)
            self.drawn -= 1
            shifts[turn] = self.at(point[None])[0] - before
            self.label = label
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

    def at(self, point: _Floats) -> _Floats:
        """The mean of the statistic at a point."""
        return np.asarray(_terms(((point - self.origin) / self.scale)[None])[0] @ self.coefficients)

    def weighted_by(self, differences: _Floats) -> "_Quadratic":
        """The same, with the scatter of `differences` of raters and shifts, of `repeat`."""
        count, size = differences.shape
        # The inverse of an estimated covariance is too large by this, on average.
        excess = (count - 1) / (count - size - 2)
        covariance = np.cov(differences, rowvar=False) + 1e-9 * np.eye(size)
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
