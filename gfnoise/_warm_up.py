"""Compiling ahead."""

import importlib
import re
from typing import Any

import numpy as np

from .expectation import expected_score
from .field import GaussianField
from .filters import gaussian_filter
from .interpolation import map_coordinates, warp_labels
from .raters import fuse_raters, staple
from .softlabels import smooth_labels, svls
from .thresholding import optimal_segmentation, score
from .volumes import volume_curves, volume_range


def warm_up(device: str | int | None = None) -> None:
    """Compile the kernels ahead of their first use.

    They are compiled on first use otherwise, and kept in a cache on disk: the first call of a
    process then loads them. Call this where a first call must not take seconds: before workers are
    started, when an image is built, or before a CUDA graph is captured.

    Parameters
    ----------
    device : {None, "cpu", "cuda", "cuda:N"} or int
        Where they will run; the kernels for NumPy arrays by default. "cuda" is the current device.

    Raises
    ------
    ValueError
        If `device` is none of these, or the machine has no such device.
    ImportError
        If the kernels for a CUDA device are wanted without CuPy.

    Notes
    -----
    Labels of 1, 2, 4 and 8 bytes, maps and images of float32 and float64. Images of other dtypes,
    or with a result of another dtype, compile their filter and their interpolation when they come.
    So do soft labels and majorities of labels of more than one byte, integers at coordinates,
    filters of a radius beyond 2048, STAPLE where raters may answer in more than 2**16 ways
    together, metrics, losses and fits.

    Examples
    --------
    >>> import gfnoise
    >>> gfnoise.warm_up()
    """
    expected = f'device must be None, "cpu", "cuda", "cuda:N" or a number, got {device!r}'
    if device is None or device == "cpu":
        _use(np)
        _use_cpu_alone()
        return
    number = re.fullmatch(r"cuda(?::([0-9]+))?", device) if isinstance(device, str) else None
    if number is None and (not isinstance(device, int) or isinstance(device, bool) or device < 0):
        raise ValueError(expected)
    try:
        cupy: Any = importlib.import_module("cupy")
    except ImportError as error:
        raise ImportError(
            "device needs CuPy: pip install 'gfnoise[cuda12]' or 'gfnoise[cuda13]', as the driver "
            f"has CUDA 12 or 13, got {device!r}"
        ) from error
    wanted = device if number is None else number[1]
    there = _devices(cupy.cuda.runtime)
    if int(wanted or 0) >= there:
        raise ValueError(
            f"device must be one of the machine's {there} CUDA devices, got {device!r}"
        )
    with cupy.cuda.Device(None if wanted is None else int(wanted)):
        _use(cupy)


def _devices(runtime: Any) -> int:
    """How many there are; none where CUDA says that there is no device, or too old a driver."""
    try:
        return int(runtime.getDeviceCount())
    except runtime.CUDARuntimeError as error:
        if error.status in (35, 100):
            return 0
        raise


def _use(library: Any) -> None:
    """Call what has kernels for all libraries, on small arrays of this one."""
    noise, rough = (GaussianField(1.0, b, ndim=3) for b in (2.0, 0.2))  # few terms, and many
    shape = (2, 3, 4)
    field = noise.displacement(shape, seed=0, like=library.zeros(shape))
    for dtype in (np.uint8, np.uint16, np.uint32, np.uint64):
        labels = library.zeros(shape, dtype)
        for order in (0, 1):
            noise.sample_labels(labels, seed=0, order=order)
            rough.sample_labels(library.zeros((1, 44, 64), dtype), seed=0, order=order)
            warp_labels(labels, field, order=order)
        noise.marginals(labels, num_classes=2, ignore_index=1)
    for real in (np.float32, np.float64):
        image = library.zeros(shape, real)
        gaussian_filter(image, 1.0)
        for coordinates in (field, field.astype(np.float64)):
            map_coordinates(image, coordinates)
        optimal_segmentation(image)
        optimal_segmentation(image, "volume", ties="first")
        score(library.zeros(shape, bool), image)
    for raters in (3, 300):
        votes = library.zeros(shape, np.uint8)
        optimal_segmentation(votes, raters=raters)
        optimal_segmentation(votes, "volume", raters=raters, ties="first")


def _use_cpu_alone() -> None:
    """Call what has kernels for NumPy arrays alone."""
    mask = np.zeros((2, 3, 4), np.uint8)
    expected_score(mask, mask, GaussianField(1.0, 2.0, ndim=3), n=2, seed=0)
    for raters in (3, 300):
        volume_range(mask, raters=raters)
    for real in (np.float32, np.float64):
        volume_range(mask.astype(real))
        volume_curves(np.zeros((1 << 16) + 1, real))  # a map that is not sorted
    masks = np.arange(4, dtype=np.uint8)[:, None, None, None] // 2 * np.ones((2, 3, 4), np.uint8)
    smooth_labels(masks, 3, 0.1, ndim=3)
    svls(masks, 3, ndim=3)
    fuse_raters(2 * masks, "majority")
    for method in ("average", "union", "majority"):
        fuse_raters(masks, method)
    fuse_raters(masks, "union", num_classes=3)
    fuse_raters(masks, "random", seed=0)
    for classes in (None, 5):  # 2^4 patterns in one byte, 5^4 in two
        staple(masks, num_classes=classes)
