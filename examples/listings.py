"""Listings 1 to 3 of Nordström et al. 2023, corrected: the baseline.

What was corrected:

- Listing 1 filters an undefined ``m``: read the label, and as float (SciPy filters integers in
  integers).
- Listing 2: ``m`` for the label; ``weight`` without its index ``[i]``; ``"1j"`` for ``"ij"``; ``x``
  and ``%`` for ``*``. SciPy's default spline order 3 overshoots the labels' range: the papers'
  interpolate-and-round is ``order=1``, the default here. Outside the domain it takes the "nearest"
  label where eq. 18 says 0: "constant" is the default here. ``b`` is an argument; the listing sets
  ``0.15 * sqrt(2)``, the figures and experiments say ``0.15 / sqrt(2)``, which is `LENGTH_SCALE`.
- Listing 3 gives a full mask for an empty map: here an empty one. It sums in float64.

What was left, as it is the method: Listing 2 filters white noise inside the box, so the field loses
variance towards the border (half of it at a face, 7/8 at a corner; with `LENGTH_SCALE` its mean
over a cube is 0.88 a²), and smooths component i by the length of axis i alone, which is isotropic
only for a cubic shape. Listing 3 sorts, and rounding may decide exact ties
(`gfnoise.optimal_threshold` decides them exactly).

Units are the unit cube's, as in the paper: axis i has length 1, whatever ``labels.shape[i]``. A
length in mm becomes ``length / (spacing[i] * labels.shape[i])``, one value per axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.ndimage

LENGTH_SCALE = 0.15 / np.sqrt(2)


def noisy_marginals(labels: np.ndarray, a: float | Sequence[float]) -> np.ndarray:
    """Marginals of the noise model (Listing 1): the label blurred, 0 outside.

    Parameters
    ----------
    labels : ndarray
        Binary label of any number of axes.
    a : float or sequence of float
        Standard deviation of the displacement in the unit cube, one or one per axis.

    Returns
    -------
    ndarray of float64
        Probability of foreground, of the label's shape.
    """
    scaled_a = np.multiply(a, labels.shape)
    return scipy.ndimage.gaussian_filter(labels.astype(float), scaled_a, mode="constant")


def noisy_sample(
    labels: np.ndarray,
    a: float | Sequence[float],
    b: float | Sequence[float],
    rng: np.random.Generator,
    order: int = 1,
    mode: str = "constant",
) -> np.ndarray:
    """One noisy label (Listing 2): the label moved by filtered white noise, rounded.

    Parameters
    ----------
    labels : ndarray
        Binary label of any number of axes.
    a : float or sequence of float
        Standard deviation of the displacement in the unit cube, one or one per axis. (Towards the
        border it is less: see above.)
    b : float or sequence of float
        Length scale of the displacement in the unit cube, one or one per axis.
    rng : numpy.random.Generator
        Source of the noise.
    order : int
        Spline order of the interpolation.
    mode : str
        What lies outside, for `scipy.ndimage.map_coordinates`.

    Returns
    -------
    ndarray of float64
        The noisy label, of the label's shape.
    """
    ndim = labels.ndim
    scaled_a = np.broadcast_to(np.multiply(a, labels.shape), (ndim,))
    scaled_b = np.broadcast_to(np.multiply(b, labels.shape), (ndim,))
    weight = scaled_a * (2 * np.pi * scaled_b**2) ** (ndim / 4)
    perb = np.array(
        [
            weight[i]
            * scipy.ndimage.gaussian_filter(
                rng.standard_normal(labels.shape), scaled_b[i] / np.sqrt(2), mode="constant"
            )
            for i in range(ndim)
        ]
    )
    grid_mesh = np.meshgrid(*[range(size) for size in labels.shape], indexing="ij")
    moved = scipy.ndimage.map_coordinates(
        labels.astype(float), grid_mesh + perb, order=order, mode=mode
    )
    return np.round(moved)


def dice_optimal(m: np.ndarray) -> np.ndarray:
    """Dice-optimal segmentation of a marginal (Listing 3): every prefix of the sorted map is tried.

    Parameters
    ----------
    m : ndarray
        Marginal probabilities, of any number of axes.

    Returns
    -------
    ndarray of float64
        1 where ``m`` is at least half of the largest Dice, else 0; all 0 for an empty map.
    """
    psi = np.flip(np.sort(m.flatten().astype(float)))
    if not psi.any():
        return np.zeros(m.shape)
    d = 2 * np.cumsum(psi) / (psi.sum() + np.arange(1, len(psi) + 1))
    t = np.max(d) / 2
    return 1.0 * (m >= t)
