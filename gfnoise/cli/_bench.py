"""`gfnoise bench`: this machine beside SciPy, on one label."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from ..field import GaussianField
from ..filters import gaussian_filter
from ..interpolation import map_coordinates
from ..thresholding import optimal_segmentation
from ._machine import system

_AMPLITUDE, _LENGTH_SCALE = 0.02, 0.15 / np.sqrt(2)  # of the cube's side: the paper's
_AGREE = 1e-5


def run(size: int, repeats: int) -> dict[str, Any]:
    """Time each verb and its counterpart in turns, after both were compared."""
    axis = np.linspace(-1, 1, size)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    label = (z**2 + y**2 + x**2 < 0.4).astype(np.uint8)
    noise = GaussianField(_AMPLITUDE * size, _LENGTH_SCALE * size, ndim=3)
    marginal = noise.marginals(label)
    image = label.astype(np.float32)
    sigma = _AMPLITUDE * size
    points = np.indices(label.shape, np.float32) + noise.displacement(label.shape, seed=0)
    rng = np.random.default_rng(0)
    zero: dict[str, Any] = {"order": 1, "mode": "grid-constant"}
    cases: list[tuple[str, Callable[[], Any], Callable[[], Any], bool]] = [
        (
            "noisy label (the paper's Listing 2)",
            lambda: _listing_2(label, sigma, _LENGTH_SCALE * size, rng),
            lambda: noise.sample_labels(label, seed=0),
            False,
        ),
        (
            "marginals (Gaussian filter)",
            lambda: scipy.ndimage.gaussian_filter(image, sigma, mode="constant"),
            lambda: noise.marginals(label, method="sampled"),
            True,
        ),
        (
            "Dice-optimal mask (Listing 3: a sort)",
            lambda: _listing_3(marginal),
            lambda: optimal_segmentation(marginal),
            True,
        ),
        (
            "gaussian_filter, sigma 4",
            lambda: scipy.ndimage.gaussian_filter(image, 4.0),
            lambda: gaussian_filter(image, 4.0),
            True,
        ),
        (
            "map_coordinates, order 1",
            lambda: scipy.ndimage.map_coordinates(image, points, **zero),
            lambda: map_coordinates(image, points, **zero),
            True,
        ),
    ]
    rows = []
    for name, theirs, ours, same in cases:
        apart = np.abs(np.asarray(theirs(), float) - np.asarray(ours(), float)).max()
        if same and apart > _AGREE:
            raise RuntimeError(f"{name}: results differ by {apart:.2g}")
        scipy_s, gfnoise_s = _medians(theirs, ours, repeats)
        rows.append(
            {
                "name": name,
                "scipy_s": scipy_s,
                "gfnoise_s": gfnoise_s,
                "ratio": scipy_s / gfnoise_s,
            }
        )
    return {"size": size, "repeats": repeats, "rows": rows, **system()}


def _listing_2(
    label: NDArray[Any], a: float, b: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Filtered white noise moves the label (2023, Listing 2)."""
    weight = a * (2 * np.pi * b**2) ** (label.ndim / 4)
    moved = np.indices(label.shape, float)
    for component in moved:
        white = rng.standard_normal(label.shape)
        component += weight * scipy.ndimage.gaussian_filter(white, b / np.sqrt(2), mode="constant")
    return np.round(scipy.ndimage.map_coordinates(label.astype(float), moved, order=1))


def _listing_3(marginal: NDArray[Any]) -> NDArray[np.bool_]:
    """Every prefix of the sorted map is tried (2023, Listing 3)."""
    ordered = np.flip(np.sort(marginal.ravel().astype(float)))
    dice = 2 * np.cumsum(ordered) / (ordered.sum() + np.arange(1, ordered.size + 1))
    mask: NDArray[np.bool_] = marginal >= dice.max() / 2
    return mask


def _medians(theirs: Callable[[], Any], ours: Callable[[], Any], repeats: int) -> list[float]:
    times: list[list[float]] = [[], []]
    for _ in range(repeats):
        for call, spent in zip((theirs, ours), times, strict=True):
            start = time.perf_counter()
            call()
            spent.append(time.perf_counter() - start)
    return [statistics.median(spent) for spent in times]
