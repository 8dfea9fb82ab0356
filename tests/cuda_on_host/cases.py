"""What the sanitizers run: small cases that together launch every kernel.

Few blocks, two where blocks could race: under TSan a block of 256 threads costs up to a second.
"""

from collections.abc import Callable

import numpy as np

import gfnoise
from cuda_on_host import controls
from cuda_on_host.launcher import HostLauncher, launch_bounds, redirected

FIELD = gfnoise.GaussianField(2.0, [[1.5, 3.0, 4.0]], ndim=3)
SHAPE = (3, 9, 21)
LABELS = (np.random.default_rng(0).random(SHAPE) < 0.5).astype(np.uint8)
LABELS[:, 2:8, 4:16] = 1
MAP = np.random.default_rng(1).random((2, *SHAPE)).astype(np.float32)
VOTES = (MAP * 4).astype(np.uint8)
MOVED = np.random.default_rng(2).normal(0.0, 3.0, (3, *SHAPE))


def field() -> None:
    FIELD.displacement(SHAPE, seed=[1])
    FIELD.sample_labels(LABELS, seed=1, n=2)
    FIELD.sample_labels(LABELS, seed=1, order=1, mode="nearest", ignore_index=1)
    rough = gfnoise.GaussianField(1.0, 0.2, ndim=3)  # of more terms than shared memory holds
    rough.sample_labels(np.zeros((1, 44, 64), np.uint8), seed=1)


def interpolation() -> None:
    gfnoise.warp_labels(LABELS, MOVED.astype(np.float32), order=1)
    for mode in ("constant", "mirror"):
        gfnoise.map_coordinates(LABELS, MOVED, mode=mode)
    extremes = np.array([[[np.nan, np.inf, -np.inf, 2.0**63, -(2.0**63), 1e300, 127.5, -0.5]]])
    for dtype in (np.bool_, np.int8, np.int64, np.uint64):  # no cast may leave the range
        gfnoise.map_coordinates(
            extremes, MOVED[:, 0], order=0, mode="nearest", cval=-1e300, output=dtype
        )


def filters() -> None:
    gfnoise.gaussian_filter(LABELS, 1.5)
    for sigma in (0.0, 1.0):  # copied, and along x alone
        gfnoise.gaussian_filter(MAP[0, 0, 0], sigma)
    gfnoise.gaussian_filter(MAP.astype(np.float64), 1.0, mode="wrap")
    FIELD.marginals(LABELS, num_classes=2, ignore_index=1)


def thresholding() -> None:
    gfnoise.optimal_segmentation(MAP, ndim=3)
    gfnoise.optimal_segmentation(MAP[0], "volume", ties="first")
    gfnoise.score(MAP > 0.5, MAP, ndim=3)


def votes() -> None:
    gfnoise.optimal_segmentation(VOTES, ndim=3, raters=3)
    gfnoise.optimal_segmentation(VOTES[0], "volume", ties="first", raters=3)
    gfnoise.optimal_threshold(VOTES, ndim=3, raters=5000)  # more levels than shared memory holds


STEMS = (field, interpolation, filters, thresholding, votes)


def redirect(case: Callable[[], None]) -> Callable[[HostLauncher], None]:
    """Return a case that runs public functions on the CUDA kernels, by the launcher it gets."""

    def run(launcher: HostLauncher) -> None:
        with redirected(launcher):
            case()

    return run


def control(name: str) -> Callable[[HostLauncher], None]:
    """Return a case that launches a control kernel, whose source is not the library's."""

    def run(launcher: HostLauncher) -> None:
        options = {"order": launcher.order, "seed": launcher.seed, "threads": launcher.threads}
        getattr(controls, name)(
            HostLauncher(controls.source, sanitizers=launcher.sanitizers, **options)
        )

    return run


# name -> case
CASES: dict[str, Callable[[HostLauncher], None]] = {
    **{f"control:{right.__name__}": control(right.__name__) for right in controls.RIGHT},
    **{case.__name__: redirect(case) for case in STEMS},
}


def kernels() -> set[tuple[str, str]]:
    """Return (stem, kernel) of all the library's kernels."""
    from gfnoise._cuda import _launch

    alike = {(stem, tuple(dict(defines))): defines for stem, defines in _launch.variants()}
    return {
        (stem, name)
        for (stem, _), defines in alike.items()
        for name in launch_bounds(_launch.source(stem), stem, [f"-D{k}={v}" for k, v in defines])
    }
