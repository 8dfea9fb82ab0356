"""The verbs on a GPU against Listings 1 to 3 with cupyx, and against a copy of what they move.

Skipped where there is no GPU. Timed by CUDA events, in turns. The JSON has picoseconds per voxel,
the ratios, device, driver, versions and commit:

    pytest benchmarks/bench_cuda.py --benchmark-enable --benchmark-only \\
        --benchmark-json=benchmarks/results/cuda.json

Of a copy without its git repository, say the commit: GFNOISE_COMMIT=...
"""

import os
import statistics
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from noise import NOISE

import gfnoise
from cases import AMPLITUDE, LENGTH_SCALE, SMALL, STRUCTURES, shape_id
from gfnoise._cuda import _launch

cupy = pytest.importorskip("cupy")
ndimage = pytest.importorskip("cupyx.scipy.ndimage")

SHAPES = [(8, 128, 128, 128), (2, 128, 128, 128), (1, 512, 512, 512)]
SHAPES = [(2, 48, 48, 48)] if SMALL else SHAPES
ROUNDS, SLOW_ROUNDS = 30, 5


def devices() -> int:
    """How many GPUs there are."""
    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError:
        return 0


pytestmark = [
    pytest.mark.skipif(not devices(), reason="no GPU"),
    pytest.mark.parametrize("shape", SHAPES, ids=shape_id),
]


def batch(shape: tuple[int, ...], structure: str = "ball") -> Any:
    """Labels on the device."""
    return cupy.asarray(np.broadcast_to(STRUCTURES[structure](shape[1:]), shape))


def marginal(shape: tuple[int, ...]) -> Any:
    """The marginals of the labels."""
    return NOISE.marginals(batch(shape))


def timed(function: Callable[[], Any], rounds: int) -> list[float]:
    """Seconds of the device for each call."""
    times = []
    for _ in range(rounds):
        start, stop = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        function()
        stop.record()
        stop.synchronize()
        times.append(1e-3 * cupy.cuda.get_elapsed_time(start, stop))
    return times


def replayed(function: Callable[[], Any], rounds: int) -> list[float]:
    """Seconds of the device for each replay of a graph of the call: without the host's share."""
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        function()
        stream.synchronize()
        stream.begin_capture()
        function()
        graph = stream.end_capture()
        return timed(lambda: graph.launch(stream), rounds)


def extra_bytes(function: Callable[[], Any]) -> int:
    """What CuPy's pool grows by during a call of a new thread: one without scratch memory."""
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    before, after = pool.total_bytes(), []

    def call() -> None:
        function()
        cupy.cuda.get_current_stream().synchronize()
        after.append(pool.total_bytes())

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return int(after[0] - before)


def race(
    benchmark: Any,
    ours: Callable[[], Any],
    reference: Callable[[], Any],
    moved: Callable[[], Any],
    *,
    name: str,
    voxels: int,
    verify: Callable[[Any, Any], None],
) -> None:
    """Time `ours` with a reference, and with `moved`: a copy of the bytes that must be moved."""
    verify(ours(), reference())
    moved()
    times: dict[str, list[float]] = {"ours": [], "reference": [], "moved": []}
    for _ in range(2 if SMALL else SLOW_ROUNDS):  # in turns
        times["reference"] += timed(reference, 1)
        times["ours"] += timed(ours, ROUNDS // SLOW_ROUNDS)
        times["moved"] += timed(moved, ROUNDS // SLOW_ROUNDS)
    benchmark.pedantic(lambda: (ours(), cupy.cuda.get_current_stream().synchronize()), rounds=3)
    times["replayed"] = replayed(ours, ROUNDS)
    median = {key: statistics.median(values) for key, values in times.items()}
    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    benchmark.extra_info |= {
        "device": properties["name"].decode(),
        "driver": cupy.cuda.runtime.driverGetVersion(),
        "cuda": cupy.cuda.runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
        "commit": os.environ.get("GFNOISE_COMMIT", ""),
        "on_gpu": name,
        "voxels": voxels,
        "device_median": median["ours"],
        "device_spread": max(times["ours"]) - min(times["ours"]),
        "ps_per_voxel": 1e12 * median["ours"] / voxels,
        "ps_per_voxel_replayed": 1e12 * median["replayed"] / voxels,
        "against_reference": median["reference"] / median["ours"],
        "against_moving": median["ours"] / median["moved"],
        "extra_bytes_per_voxel": extra_bytes(ours) / voxels,
        "reference_bytes_per_voxel": extra_bytes(reference) / voxels,
    }


def listing_2(labels: Any) -> Any:
    """Listing 2 of Nordström et al. 2023 with cupyx, corrected as in `examples/listings.py`."""
    shape = labels.shape[1:]
    out = cupy.empty_like(labels)
    grid = cupy.meshgrid(*(cupy.arange(n, dtype=cupy.float32) for n in shape), indexing="ij")
    for item, label in enumerate(labels):
        coordinates = []
        for axis, n in enumerate(shape):
            sigma = LENGTH_SCALE / np.sqrt(2) * n
            noise = cupy.random.standard_normal(shape, dtype=cupy.float32)
            smooth = ndimage.gaussian_filter(noise, sigma, mode="constant")
            scale = AMPLITUDE * n * (2 * np.sqrt(np.pi) * sigma) ** 1.5
            coordinates.append(grid[axis] + np.float32(scale) * smooth)
        moved = ndimage.map_coordinates(
            label.astype(cupy.float32), cupy.stack(coordinates), order=1, mode="constant"
        )
        out[item] = cupy.rint(moved)
    return out


def listing_3(maps: Any) -> Any:
    """Listing 3 of Nordström et al. 2023: a sort and sums, of each map."""
    thresholds = []
    for one in maps:
        values = cupy.sort(one.ravel().astype(cupy.float64))[::-1]
        sums = cupy.cumsum(values)
        dice = 2 * sums / (cupy.arange(1, values.size + 1) + sums[-1])
        thresholds.append(dice.max() / 2)
    return cupy.stack(thresholds)


@pytest.mark.parametrize("order", [0, 1])
def test_sample_labels(benchmark, shape, order):
    labels = batch(shape)
    seeds = cupy.arange(shape[0], dtype=cupy.int64)
    out, copy = cupy.empty_like(labels), cupy.empty_like(labels)

    def verify(found: Any, expected: Any) -> None:
        changed, theirs = float((found != labels).mean()), float((expected != labels).mean())
        assert theirs / 3 < changed < 3 * theirs  # of one item it varies by a fourth
        host = NOISE.sample_labels(labels[:1].get(), seed=[0], order=order)
        assert (found[:1].get() != host).mean() < 1e-4

    race(
        benchmark,
        lambda: NOISE.sample_labels(labels, seed=seeds, order=order, out=out),
        lambda: listing_2(labels),
        lambda: cupy.copyto(copy, labels),
        name="Listing 2, cupyx; a copy of the labels",
        voxels=labels.size,
        verify=verify,
    )


def test_marginals(benchmark, shape):
    labels = batch(shape)
    sigma = AMPLITUDE * shape[1]
    out, source = cupy.empty(shape, cupy.float32), cupy.empty(5 * labels.size // 2, cupy.uint8)
    copy = cupy.empty_like(source)

    def reference() -> Any:
        return ndimage.gaussian_filter(
            labels.astype(cupy.float32), (0, sigma, sigma, sigma), mode="constant"
        )

    race(
        benchmark,
        lambda: NOISE.marginals(labels, out=out, method="sampled"),
        reference,
        lambda: cupy.copyto(copy, source),
        name="Listing 1, cupyx; moving 5 bytes per voxel",
        voxels=labels.size,
        verify=lambda found, expected: cupy.testing.assert_allclose(found, expected, atol=1e-5),
    )


def test_gaussian_filter(benchmark, shape):
    image = cupy.random.random(shape, dtype=cupy.float32)
    out, copy = cupy.empty_like(image), cupy.empty_like(image)
    race(
        benchmark,
        lambda: gfnoise.gaussian_filter(image, (0, 4, 4, 4), output=out),
        lambda: ndimage.gaussian_filter(image, (0, 4, 4, 4)),
        lambda: cupy.copyto(copy, image),
        name="cupyx, sigma 4; a copy of the image",
        voxels=image.size,
        verify=lambda found, expected: cupy.testing.assert_allclose(found, expected, atol=1e-5),
    )


def test_optimal_threshold(benchmark, shape):
    maps = marginal(shape)
    race(
        benchmark,
        lambda: gfnoise.optimal_threshold(maps, ndim=3),
        lambda: listing_3(maps),
        lambda: maps.max(),
        name="Listing 3, CuPy; one read of the map (max)",
        voxels=maps.size,
        verify=lambda found, expected: cupy.testing.assert_allclose(found, expected, rtol=1e-6),
    )


def test_compiling(benchmark, shape):
    """How long all kernels of a device take to compile, at most."""
    if shape != SHAPES[0]:
        pytest.skip("once is enough")
    variants = list(_launch.variants())
    benchmark.extra_info["variants"] = len(variants)
    benchmark.pedantic(lambda: gfnoise.warm_up("cuda"), rounds=1)
