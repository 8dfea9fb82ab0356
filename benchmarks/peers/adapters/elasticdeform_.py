"""elasticdeform (needs NumPy 1)."""

import elasticdeform
import numpy as np

from . import one_by_one

STD = 0.86  # of the interpolated field over that of its nodes
LENGTH = 0.55  # correlation length over the step of the nodes


def noise(volumes, noise):
    order = 1 if volumes.dtype.kind == "f" else 0
    points = round(volumes.shape[1] * LENGTH / noise.length_scale) + 1

    def deform(volume, seed):
        np.random.seed(seed)  # noqa: NPY002 - the library's source of numbers
        return elasticdeform.deform_random_grid(
            volume, sigma=noise.std / STD, points=points, order=order, mode="nearest"
        )

    return one_by_one(deform, volumes)
