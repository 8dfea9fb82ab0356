"""CuPy arrays on a GPU: where results are, streams, memory, and what is not waited for."""

from __future__ import annotations

import gc
import multiprocessing
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gfnoise
from devices import GPU
from gfnoise import GaussianField
from limits import LIMIT

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not GPU, reason="no GPU, or no CuPy"),
    # Python 3.12 warns of any fork while threads run: what is tested here.
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]
if GPU:
    import cupy

SHAPE = (24, 40, 56)
LABELS = (np.indices((2, *SHAPE)).sum(axis=0) // 17 % 3).astype(np.uint8)
IMAGE = np.random.default_rng(0).random((2, *SHAPE), np.float32)
NOISE = GaussianField(2.0, 6.0, ndim=3)
SEEDS = np.array([3, 2**62 + 1])
MOVE = np.random.default_rng(1).normal(0, 2, (2, 3, *SHAPE)).astype(np.float32)

VERBS: dict[str, Callable[..., Any]] = {
    "sample_labels": lambda labels, image, move, **o: NOISE.sample_labels(labels, seed=SEEDS, **o),
    "order 1": lambda labels, image, move, **o: NOISE.sample_labels(
        labels, seed=SEEDS, order=1, mode="nearest", ignore_index=2, **o
    ),
    "warp_labels": lambda labels, image, move, **o: gfnoise.warp_labels(labels, move, **o),
    "marginals": lambda labels, image, move, **o: NOISE.marginals(labels, num_classes=3, **o),
    "gaussian_filter": lambda labels, image, move, **o: gfnoise.gaussian_filter(
        labels, (0, 1.0, 2.0, 3.0), output=o.get("out")
    ),
    "map_coordinates": lambda labels, image, move, **o: gfnoise.map_coordinates(
        image, move[0], mode="mirror", output=o.get("out")
    ),
    "whole numbers": lambda labels, image, move, **o: gfnoise.map_coordinates(
        labels, move[0], output=o.get("out", np.uint8)
    ),
    "optimal_segmentation": lambda labels, image, move, **o: gfnoise.optimal_segmentation(
        image, ndim=3, **o
    ),
    "votes": lambda labels, image, move, **o: gfnoise.optimal_segmentation(
        labels, ndim=3, raters=2, **o
    ),
}


def on_device() -> tuple[Any, Any, Any]:
    return cupy.asarray(LABELS), cupy.asarray(IMAGE), cupy.asarray(MOVE)


def a_stream() -> Any:
    """One of its own, that does not wait for others: what they were asked for is done before."""
    cupy.cuda.Device().synchronize()
    return cupy.cuda.Stream(non_blocking=True)


def assert_alike(found: Any, expected: Any, atol: float = 1e-6) -> None:
    """Labels may differ where the decision's margin is below 1e-3: of voxels, about as many."""
    assert isinstance(found, cupy.ndarray)
    assert found.dtype == expected.dtype
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(found.get(), expected, rtol=0, atol=atol)
    else:
        assert (found.get() != expected).mean() < 1e-4


@pytest.mark.parametrize("name", VERBS)
def test_results_are_those_of_the_cpu_and_stay_on_the_device(name: str) -> None:
    expected = VERBS[name](LABELS, IMAGE, MOVE)
    arrays = on_device()
    found = VERBS[name](*arrays)
    assert_alike(found, expected)
    out = cupy.empty_like(found)
    assert VERBS[name](*arrays, out=out) is out
    assert (out == found).all()


def test_displacements_of_a_seed_are_the_cpus() -> None:
    found = NOISE.displacement(SHAPE, 2, seed=SEEDS, like=cupy.empty(0))
    expected = NOISE.displacement(SHAPE, 2, seed=SEEDS)
    np.testing.assert_allclose(found.get(), expected, rtol=0, atol=1e-4)


def test_thresholds_and_scores() -> None:
    labels, image, _ = on_device()
    for metric in ("dice", "iou", "fbeta", "accuracy", "volume"):
        found = gfnoise.optimal_threshold(image, metric, ndim=3)
        expected = gfnoise.optimal_threshold(IMAGE, metric, ndim=3)
        np.testing.assert_allclose(found.get(), expected, rtol=1e-12)
    found = gfnoise.score(labels > 0, image, ndim=3)
    np.testing.assert_allclose(found.get(), gfnoise.score(LABELS > 0, IMAGE, ndim=3), rtol=1e-12)


def keep_busy() -> None:
    """Give the device work of a fifth of a second, or of a whole one if it was at rest."""
    busy = cupy.RawKernel(
        'extern "C" __global__ void spin(long long ticks) {'
        " long long start = clock64(); while (clock64() - start < ticks) {} }",
        "spin",
    )
    busy.compile()
    cupy.cuda.get_current_stream().synchronize()
    busy((1,), (1,), (np.int64(4 * 10**8),))


def assert_no_wait(call: Callable[[], Any]) -> None:
    """See the call return while the device is busy with what was asked of it before."""
    keep_busy()
    call()
    assert not cupy.cuda.get_current_stream().done
    cupy.cuda.get_current_stream().synchronize()


@pytest.mark.parametrize("name", VERBS)
def test_a_second_call_allocates_nothing_and_waits_for_nothing(name: str) -> None:
    arrays = on_device()
    out = VERBS[name](*arrays)
    VERBS[name](*arrays, out=out)
    pool = cupy.get_default_memory_pool()
    cupy.cuda.get_current_stream().synchronize()
    before = pool.total_bytes()
    assert_no_wait(lambda: VERBS[name](*arrays, out=out))
    assert pool.total_bytes() == before


def test_what_allocates_does_not_wait_either() -> None:
    labels, image, move = on_device()

    def call() -> None:
        gfnoise.map_coordinates(image * 300, move[0], output=np.float16)
        gfnoise.map_coordinates(labels, move[0], output=np.int64, mode="nearest")
        gfnoise.optimal_segmentation(image, "volume", ties="first", ndim=3)
        gfnoise.score(labels > 0, image, ndim=3)

    call()
    assert_no_wait(call)


def test_subnormal_values_count_in_thresholds() -> None:
    """CuPy compiles with float32 below 1.2e-38 flushed to zero."""
    maps = (np.random.default_rng(3).random((3, 60)) * [[1e-40], [3e-38], [1]]).astype(np.float32)
    maps[2, :50] = 1e-42
    for metric in ("dice", "volume"):
        found = gfnoise.optimal_threshold(cupy.asarray(maps), metric, ndim=1)
        expected = gfnoise.optimal_threshold(maps, metric, ndim=1)
        np.testing.assert_allclose(found.get(), expected, rtol=1e-12)
        mask = gfnoise.optimal_segmentation(cupy.asarray(maps), metric, ndim=1)
        assert np.array_equal(mask.get(), maps >= expected[:, None])


def test_a_stream_of_ones_own() -> None:
    arrays = on_device()
    expected = NOISE.sample_labels(arrays[0], seed=SEEDS)
    with a_stream() as stream:
        found = NOISE.sample_labels(arrays[0], seed=SEEDS)
    stream.synchronize()
    assert (found == expected).all()


def test_warm_up_of_a_device_that_is_not_there() -> None:
    devices = cupy.cuda.runtime.getDeviceCount()
    for device in (devices, f"cuda:{devices}"):
        with pytest.raises(ValueError, match=rf"device must be one of .* {devices} CUDA devices"):
            gfnoise.warm_up(device)


def test_libraries_and_devices_are_not_mixed() -> None:
    labels = cupy.asarray(LABELS)
    with pytest.raises(TypeError, match="labels of cupy, out of numpy"):
        NOISE.sample_labels(labels, seed=0, out=np.empty_like(LABELS))
    with pytest.raises(TypeError, match="labels of numpy, seed of cupy"):
        NOISE.sample_labels(LABELS, seed=cupy.asarray(SEEDS))
    if cupy.cuda.runtime.getDeviceCount() > 1:
        with cupy.cuda.Device(1):
            other = cupy.empty_like(labels)
        with pytest.raises(ValueError, match="labels on device 0, out on device 1"):
            NOISE.sample_labels(labels, seed=0, out=other)


def test_values_are_checked_when_asked_for() -> None:
    maps = cupy.full((2, 5, 6), 0.5)
    maps[0, 0, 0] = np.nan
    found = gfnoise.optimal_threshold(maps, ndim=2)
    assert np.isnan(found[0].get())
    assert not gfnoise.optimal_segmentation(maps, ndim=2)[0].any()
    gfnoise.check_values(True)
    try:
        with pytest.raises(ValueError, match="marginals must hold values in"):
            gfnoise.optimal_threshold(maps, ndim=2)
        with pytest.raises(ValueError, match="labels must be in"):
            NOISE.marginals(cupy.full(SHAPE, 7, np.uint8))
    finally:
        gfnoise.check_values(False)


def test_scratch_memory_goes_with_its_thread() -> None:
    labels = cupy.asarray(LABELS)
    NOISE.sample_labels(labels, seed=SEEDS)
    cupy.cuda.get_current_stream().synchronize()
    pool = cupy.get_default_memory_pool()
    gc.collect()  # what earlier tests have left
    before = pool.used_bytes()

    def work() -> None:
        NOISE.sample_labels(labels, seed=SEEDS)
        cupy.cuda.get_current_stream().synchronize()

    for _ in range(3):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    gc.collect()
    assert pool.used_bytes() == before


def _in_child(labels: Any, queue: Any) -> None:
    NOISE.sample_labels(np.zeros(SHAPE, np.uint8), seed=0)  # the CPU is there for all
    try:
        NOISE.sample_labels(labels, seed=0)
    except RuntimeError as error:
        queue.put(str(error))


def test_a_forked_process_is_told_so() -> None:
    labels = cupy.asarray(LABELS)
    NOISE.sample_labels(labels, seed=0)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(labels, queue))
    child.start()
    try:
        assert "forked after CUDA was" in queue.get(timeout=LIMIT)
    finally:
        child.join(10)
        child.kill()
