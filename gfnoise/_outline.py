"""How far raters' outlines are from a consensus, and what that says of the noise that moved them.

To first order, noise moves an outline by its component along the normal. Heights over points of a
surface are then normal, of covariance ``a² (n . n') exp(-|w - w'|² / (2 b²))``, but for what voxels
and the deformation's nonlinearity add, which is taken for white noise.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _array
from .filters import gaussian_filter
from .interpolation import map_coordinates

_Floats = NDArray[np.float64]

_POINTS = 200  # of a surface, at most
_SMOOTH = 1.5  # voxels: of the normals
_STEP = 0.5  # voxels: along a normal
_STEPS = 100  # at most
_FAR = 4.0  # amplitudes: where an outline is looked for
_VOXELS, _REST = 0.5, 0.2  # standard deviation of the white noise, in voxels and in amplitudes
_LEAST = 1e-3  # voxels: heights of nothing at all


class Outline:
    """Points on the surface of a label, and the normals there.

    Parameters
    ----------
    label : array of uint8, (*space)
    spacing : array, (ndim,)
    amplitude : float
        About as far as outlines are moved.
    """

    def __init__(self, label: NDArray[np.uint8], spacing: _Floats, amplitude: float) -> None:
        self.voxel = math.prod(spacing) ** (1 / spacing.size)
        where = _surface(label)
        if len(where) > _POINTS:
            where = np.random.default_rng(0).choice(where, _POINTS, replace=False)
        self.points = where * spacing
        self.normals = _normals(label, where, spacing)
        size = float((np.ptp(where, axis=0) * spacing).max())
        reach = min(_FAR * amplitude, max(size / 2, 2 * self.voxel))
        steps = np.linspace(-reach, reach, min(_STEPS, 2 + int(2 * reach / (_STEP * self.voxel))))
        self.step = steps[1] - steps[0]
        lines = self.points[:, None] + steps[:, None] * self.normals[:, None]
        self.lines = np.moveaxis(lines / spacing, -1, 0)  # (ndim, points, steps)
        squares = (self.points[:, None] - self.points) ** 2
        self.squares = squares.sum(-1)
        self.angles = (self.normals[:, None] * self.normals).sum(-1)

    def heights(self, masks: NDArray[Any]) -> _Floats:
        """Deviations of (raters, points) from their mean: how much of each normal is inside."""
        codes = masks.view(np.uint8)
        inside = np.stack([map_coordinates(one, self.lines, mode="nearest") for one in codes])
        heights = inside.sum(-1, dtype=np.float64) * self.step
        return np.asarray(heights - heights.mean(0))

    def covariance(self, length_scale: float) -> _Floats:
        """Of the heights, for an amplitude of 1."""
        return np.asarray(self.angles * np.exp(self.squares / (-2 * length_scale**2)))


class Statistic:
    """Logarithms of how far outlines are apart, and of the length scale that they speak for.

    The first is the root of the heights' mean square. The second is the likeliest length scale b
    for heights of covariance ``a² (C(b) + r)``, whatever a is, r a share of white noise that is
    given: the vertex of a parabola through the three likeliest of a few. Its likelihood sees the
    rougher parts of the heights, of which there are many, through the smooth ones, of which a
    surface has room for few where b is long.

    Parameters
    ----------
    amplitude : float
        About that of the noise.
    lengths : array
        Logarithms of the length scales, equally far apart.
    """

    def __init__(self, outline: Outline, amplitude: float, lengths: _Floats) -> None:
        self.outline, self.lengths = outline, lengths
        share = (_VOXELS * outline.voxel / amplitude) ** 2 + _REST**2
        self.kernels = _array.kernels("fit_field", "outline")
        covariances = np.stack([outline.covariance(length) for length in np.exp(lengths)])
        self.factors = covariances + share * np.eye(len(outline.points))
        self.kernels.factor(self.factors)
        self.volumes = np.log(np.diagonal(self.factors, axis1=1, axis2=2)).mean(1)

    def __call__(self, masks: NDArray[Any]) -> _Floats:
        """Both, of (raters, *space)."""
        return self.of(self.outline.heights(masks))

    def of(self, heights: _Floats) -> _Floats:
        """Both, of heights as `Outline.heights` gives them."""
        least = (_LEAST * self.outline.voxel) ** 2
        count = (len(heights) - 1) / len(heights) * heights.size
        squares = self.kernels.white_squares(self.factors, heights)
        surprises = np.log(squares / count + least) / 2 + self.volumes
        plain = np.log((heights**2).sum() / count + least) / 2
        middle = int(surprises.argmin().clip(1, len(surprises) - 2))
        before, at, after = surprises[middle - 1 : middle + 2]
        bend = before - 2 * at + after
        place = float(((before - after) / (2 * bend)).clip(-1, 1)) if bend > 0 else 0.0
        step = self.lengths[1] - self.lengths[0]
        return np.array([plain, self.lengths[middle] + place * step])


def _surface(label: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Voxels of a label next to others; without any, the one in the middle."""
    edge = np.zeros(label.shape, bool)
    for axis in range(label.ndim):
        one, other = np.moveaxis(label, axis, 0), np.moveaxis(edge, axis, 0)
        other[1:] |= one[1:] > one[:-1]
        other[:-1] |= one[:-1] > one[1:]
    where = np.argwhere(edge)
    return where if len(where) else np.array([label.shape]) // 2


def _normals(label: NDArray[np.uint8], where: NDArray[np.int64], spacing: _Floats) -> _Floats:
    """Unit vectors out of the label, in the unit of the spacing."""
    width = _SMOOTH * math.prod(spacing) ** (1 / spacing.size)
    smooth = gaussian_filter(label, (width / spacing).tolist(), mode="nearest")
    last = np.array(label.shape) - 1
    slopes = np.empty(where.shape)
    for axis, size in enumerate(spacing):
        step = np.eye(label.ndim, dtype=np.int64)[axis]
        ahead, behind = np.minimum(where + step, last), np.maximum(where - step, 0)
        slopes[:, axis] = (smooth[tuple(behind.T)] - smooth[tuple(ahead.T)]) / size
    lengths = np.linalg.norm(slopes, axis=1, keepdims=True)
    slopes[lengths[:, 0] < 1e-6] = np.eye(label.ndim)[0]
    return np.asarray(slopes / np.where(lengths < 1e-6, 1, lengths))
