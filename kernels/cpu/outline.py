"""How likely the heights of outlines are: covariances are factored, and heights made white.

Without BLAS, which wakes threads of its own for matrices of this size: they wait for one another,
and beside busy processes for longer than the work takes.
"""

import math

import numpy as np

from ._jit import device, kernel


@device
def _subtract(row, share, other):
    for i in range(row.size):
        row[i] -= share * other[i]


@kernel
def factor(covariances):
    """Replace each upper triangle of (matrices, points, points) by U, where U' U is the covariance.

    What is below stays. Covariances are positive definite, by what is added to their diagonals.
    """
    for matrix in covariances:
        for i in range(len(matrix)):
            row = matrix[i, i:]
            for k in range(i):
                _subtract(row, matrix[k, i], matrix[k, i:])
            scale = 1 / math.sqrt(row[0])
            for j in range(row.size):
                row[j] *= scale


@kernel
def _whiten(upper, heights):
    """Solve U' white = heights in place, for each of (raters, points)."""
    for i in range(len(upper)):
        for own in heights:
            own[i] /= upper[i, i]
            _subtract(own[i + 1 :], own[i], upper[i, i + 1 :])


def white_squares(factors, heights):
    """Sum of the squares of heights (raters, points), made white by each of the factors."""
    sums = np.empty(len(factors))
    for i, upper in enumerate(factors):
        white = heights.copy()
        _whiten(upper, white)
        sums[i] = (white**2).sum()
    return sums
