"""What the sanitizers run: one small case per kernel, each a function of the launcher."""

from collections.abc import Callable

import numpy as np

from cuda_on_host import controls
from cuda_on_host.launcher import HostLauncher, cuda_kernels
from gfnoise import (
    GaussianField,
    gaussian_filter,
    map_coordinates,
    optimal_segmentation,
    optimal_threshold,
    score,
    warp_labels,
)

Case = Callable[[HostLauncher], None]

# name -> case; a case runs public functions through the launcher, or launches by itself
CASES: dict[str, Case] = {}

LABELS = (np.indices((2, 3, 17, 19)).sum(axis=0) // 9 % 3).astype(np.uint16)
IMAGE = np.linspace(0, 1, 2 * 3 * 9 * 21, dtype=np.float32).reshape(2, 3, 9, 21)
ROUGH = GaussianField(2.0, 1.5, ndim=3)  # nodes in the middle of runs
SMOOTH = GaussianField([1.0, 3.0], 7.0, ndim=2)


def launcher(**options: object) -> HostLauncher:
    """Return the launcher that the cases get."""
    return HostLauncher(**options)


def public(function: Callable[[], object]) -> Callable[[], object]:
    """Make a case of a function that calls public ones."""

    def case(launcher: HostLauncher) -> None:
        with cuda_kernels(launcher):
            function()

    CASES[function.__name__] = case
    return function


@public
def displacement() -> None:
    """Streams, bases, coefficients, both contractions."""
    ROUGH.displacement((3, 5, 9), 2, seed=[1, 2])
    SMOOTH.displacement((17, 19), seed=0)


@public
def sample_labels() -> None:
    """The table of cells, and labels: settled runs, gathers and votes."""
    ROUGH.sample_labels(LABELS, seed=0, n=2, ignore_index=1)
    SMOOTH.sample_labels(LABELS, seed=0, order=1, mode="nearest")


@public
def interpolation() -> None:
    """Warps and values at coordinates."""
    field = np.random.default_rng(0).normal(0, 3, (2, 3, 2, 17, 19))
    for order in (0, 1):
        warp_labels(LABELS, field, order=order)
        map_coordinates(IMAGE, field[0, 0] - 2, order=order, mode="reflect")


@public
def filters() -> None:
    """Weights, planes, lines, and what becomes of the ignored."""
    gaussian_filter(IMAGE, (1.0, 2.0), axes=(2, 3), mode="mirror")
    gaussian_filter(IMAGE.astype(np.float64), 9.0, mode="wrap")
    ROUGH.marginals(LABELS, num_classes=3, ignore_index=1)


@public
def thresholding() -> None:
    """The descent, votes, masks and scores."""
    for maps in (IMAGE, IMAGE.astype(np.float64), np.round(IMAGE * 4) / 4):
        mask = optimal_segmentation(maps, ndim=3)
        score(mask, maps, ndim=3)
        optimal_segmentation(maps, "volume", ndim=3, volume=0.3, ties="first")
    optimal_threshold(LABELS, "fbeta", raters=3, ndim=2, beta=2.0)


def control(name: str) -> Case:
    """Return a case that launches a control kernel, whose source is not the library's."""
    run = getattr(controls, name)

    def case(launcher: HostLauncher) -> None:
        options = {"order": launcher.order, "seed": launcher.seed, "threads": launcher.threads}
        run(HostLauncher(controls.source, sanitizers=launcher.sanitizers, **options))

    return case


for right in controls.RIGHT:
    CASES[f"control:{right.__name__}"] = control(right.__name__)
