"""Grids of control points, uniform in [-strength, strength], that match a field on average.

Averaged over a step, the variance of what is interpolated is that of the control points, 1/3,
times the integral of the spline squared per axis: 151/315 (cubic) or 2/3 (linear). Its correlation
is the spline's with itself; where that is exp(-1/2) is its length.
"""

from __future__ import annotations

from ..works import Noise


def cubic(noise: Noise) -> tuple[float, float]:
    """Step and strength of a cubic B-spline."""
    return noise.length_scale / 0.83, noise.std / ((151 / 315) ** 1.5 / 3**0.5)


def linear(noise: Noise) -> tuple[float, float]:
    """Step and strength of linear interpolation."""
    return noise.length_scale / 0.61, noise.std / ((2 / 3) ** 1.5 / 3**0.5)
