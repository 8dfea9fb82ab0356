"""Compiling ahead."""

import numpy as np

from .expectation import expected_score
from .field import GaussianField
from .filters import gaussian_filter
from .interpolation import map_coordinates, warp_labels
from .thresholding import optimal_segmentation, score
from .volumes import volume_curves, volume_range


def warm_up(device: str | None = None) -> None:
    """Compile the kernels ahead of their first use.

    They are compiled on first use otherwise, and kept in a cache on disk: the first call of a
    process then loads them. Call this where a first call must not take seconds: before workers are
    started, or when an image is built.

    Parameters
    ----------
    device : {None, "cpu"}
        Where they will run; the kernels for NumPy arrays by default.

    Raises
    ------
    ValueError
        If there are no kernels for the device.

    Notes
    -----
    Labels of 1, 2, 4 and 8 bytes, maps and images of float32 and float64. Images of other dtypes
    compile their filter and their interpolation when they come.

    Examples
    --------
    >>> import gfnoise
    >>> gfnoise.warm_up()
    """
    if device not in (None, "cpu"):
        raise ValueError(f'device must be None or "cpu", got {device!r}')
    noise = GaussianField(1.0, 2.0, ndim=3)
    shape = (2, 3, 4)
    field = noise.displacement(shape, seed=0)
    for dtype in (np.uint8, np.uint16, np.uint32, np.uint64):
        labels = np.zeros(shape, dtype)
        noise.sample_labels(labels, seed=0)
        warp_labels(labels, field)
        noise.marginals(labels, num_classes=2, ignore_index=1)
    for real in (np.float32, np.float64):
        image = np.zeros(shape, real)
        gaussian_filter(image, 1.0)
        for coordinates in (field, field.astype(np.float64)):
            map_coordinates(image, coordinates)
        optimal_segmentation(image)
        optimal_segmentation(image, "volume", ties="first")
        score(np.zeros(shape, bool), image)
        volume_range(image)
        volume_curves(np.zeros((1 << 16) + 1, real))  # a map that is not sorted
    expected_score(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8), noise, n=2, seed=0)
    for raters in (3, 300):
        optimal_segmentation(np.zeros(shape, np.uint8), raters=raters)
        volume_range(np.zeros(shape, np.uint8), raters=raters)
    optimal_segmentation(np.zeros(shape, np.uint8), "volume", raters=3, ties="first")
