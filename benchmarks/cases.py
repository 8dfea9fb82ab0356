"""What is benchmarked: the noise of Nordström et al. 2023, sizes and structures."""

import os

import numpy as np

AMPLITUDE, LENGTH_SCALE = 0.02, 0.15 / np.sqrt(2)  # in the unit cube
SMALL = "GFNOISE_SMALL_BENCHMARKS" in os.environ  # to see that they run
SHAPES = [(64, 64, 64), (97, 131, 65), (128, 128, 128), (256, 256, 256)]
SHAPES = [(48, 48, 48), (40, 53, 37)] if SMALL else SHAPES
MIDDLE = (48, 48, 48) if SMALL else (128, 128, 128)


def shape_id(shape: tuple[int, ...]) -> str:
    """Name a benchmark by its shape."""
    return "x".join(map(str, shape))


def ball(shape: tuple[int, ...]) -> np.ndarray:
    """A ball (an ellipsoid, for an odd shape) whose radius is 0.3 of each side."""
    z, y, x = np.ogrid[tuple(slice(-0.5 + 0.5 / n, 0.5, 1 / n) for n in shape)]
    plane = y**2 + x**2
    labels = np.empty(shape, np.uint8)
    for slice_, height in zip(labels, z.ravel(), strict=True):  # no floats of a whole volume
        slice_[:] = plane[0] + height**2 < 0.3**2
    return labels


def nodule(shape: tuple[int, ...]) -> np.ndarray:
    """A small structure, as a lung nodule in its scan: 23 mm of 100 mm, with three spikes."""
    axes = np.ogrid[tuple(slice(-0.5 + 0.5 / n, 0.5, 1 / n) for n in shape)]
    z, y, x = axes
    core = z**2 + y**2 + x**2 < 0.09**2
    spikes = [abs(p) < 0.16 for p in axes]
    thin = [q**2 + r**2 < 0.015**2 for q, r in ((y, x), (z, x), (z, y))]
    return np.logical_or.reduce([core, *(a & b for a, b in zip(spikes, thin, strict=True))]).astype(
        np.uint8
    )


def organs(shape: tuple[int, ...]) -> np.ndarray:
    """Fourteen classes that fill most of the volume: bodies around seeded centres."""
    rng = np.random.default_rng(14)
    axes = np.ogrid[tuple(slice(0, 1, 1 / n) for n in shape)]
    labels = np.zeros(shape, np.uint8)
    for label in range(1, 14):
        centre, radii = rng.uniform(0.2, 0.8, 3), rng.uniform(0.08, 0.25, 3)
        distance = sum(
            ((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radii, strict=True)
        )
        labels[distance < 1] = label
    return labels


def cells(shape: tuple[int, ...], classes: int) -> np.ndarray:
    """Eight cells a side, no neighbours alike: the same borders for all even `classes` to 64."""
    grid = np.ogrid[tuple(map(slice, shape))]
    z, y, x = (8 * axis // n for axis, n in zip(grid, shape, strict=True))
    return ((z + 3 * y + 9 * x) % classes).astype(np.uint8)


STRUCTURES = {"ball": ball, "nodule": nodule, "organs": organs}
