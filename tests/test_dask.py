"""Dask arrays: what they give in memory, whatever the chunks; lazily, in little memory."""

from __future__ import annotations

import importlib.util
import math
import multiprocessing
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("dask.array")

import dask
import dask.array as da

from gfnoise import (
    GaussianField,
    gaussian_filter,
    optimal_segmentation,
    optimal_threshold,
)

Array = NDArray[Any]
EXAMPLE = Path(__file__).parents[1] / "examples" / "10_dask.py"
few = settings(max_examples=20, deadline=None, derandomize=True)


@pytest.fixture(autouse=True)
def _in_turn() -> Any:
    """Chunks one after the other, which is quickest for small ones."""
    with dask.config.set(scheduler="synchronous"):
        yield


def blobs(shape: tuple[int, ...], classes: int = 2, seed: int = 0, dtype: Any = np.uint8) -> Array:
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.random(shape, np.float32), 2.0, axes=(-2, -1))
    ranks = np.argsort(np.argsort(smooth, axis=None)).reshape(shape)
    return (ranks * classes // max(smooth.size, 1)).astype(dtype)


def chunkings(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[tuple[int, ...], ...]]:
    """Cuts of each axis, zero-size chunks among them."""

    def axis(size: int) -> st.SearchStrategy[tuple[int, ...]]:
        return st.lists(st.integers(0, size), max_size=3 if len(shape) < 3 else 1).map(
            lambda cuts: tuple(np.diff([0, *sorted(cuts), size]).tolist())
        )

    return st.tuples(*map(axis, shape))


# -------------------------------------------------------------------------- the same values


@few
@given(st.data())
def test_samples_are_those_of_the_array_in_memory(data: Any) -> None:
    shape = data.draw(st.sampled_from([(30, 41), (2, 24, 33), (12, 17, 20), (2, 1, 9, 12, 15)]))
    ndim = 3 if len(shape) > 3 or shape == (12, 17, 20) else 2
    items = math.prod(shape[:-ndim])
    a, b = data.draw(st.sampled_from([(1.5, 6.0), (0.3, 0.7), (4.0, 30.0), (100.0, 5.0), (0, 2.0)]))
    dtype = data.draw(st.sampled_from(["bool", "int16", ">i4", "uint64"]))
    labels = blobs(shape, 2 if dtype == "bool" else 4, dtype=dtype)
    per_item = (
        {"amplitude": np.linspace(1, 2, items)[:, None] * a} if data.draw(st.booleans()) else {}
    )
    field = GaussianField(**{"amplitude": a, "length_scale": b, "ndim": ndim, **per_item})
    options = {
        "seed": data.draw(st.sampled_from([3, list(range(5, 5 + items))])),
        "n": data.draw(st.sampled_from([None, 0, 2])),
        "order": data.draw(st.sampled_from([0, 1])),
        "mode": data.draw(st.sampled_from(["constant", "nearest"])),
        "cval": data.draw(st.sampled_from([0, 1])),
        "ignore_index": data.draw(st.sampled_from([None, 1])),
    }
    chunked = da.from_array(labels, chunks=data.draw(chunkings(shape)))
    noisy = field.sample_labels(chunked, **options)
    expected = field.sample_labels(labels, **options)
    found = noisy.compute()
    assert (
        (noisy.dtype, noisy.shape) == (found.dtype, found.shape) == (labels.dtype, expected.shape)
    )
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("seed", [7, [9, 8, 7, 6, 5, 4]])
def test_items_in_chunks(seed: Any) -> None:
    """Each has its own stream and strength, wherever its chunk is."""
    labels = blobs((3, 2, 40, 37), 3)
    chunked = da.from_array(labels, chunks=(2, 1, 20, 13))
    field = GaussianField(np.linspace(0.5, 1.5, 6)[:, None], 6.0, ndim=2)
    found = field.sample_labels(chunked, seed=seed, n=2)
    assert found.numblocks == (2, 2, 1, 2, 3)
    assert np.array_equal(found.compute(), field.sample_labels(labels, seed=seed, n=2))
    found = field.marginals(chunked, num_classes=3)
    assert found.numblocks == (2, 2, 1, 2, 3)
    np.testing.assert_allclose(
        found.compute(), field.marginals(labels, num_classes=3), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("spacing", [1.0, "unit"])
def test_windows_of_samples(order: int, spacing: Any) -> None:
    shape, scale = (26, 31), 26 if spacing == "unit" else 1
    labels = blobs(shape, 3)
    chunked = da.from_array(labels, chunks=9)
    field = GaussianField(2.0 / scale, 6.0 / scale, spacing=spacing, ndim=2)
    for window in [np.s_[3:20, 5:], np.s_[::3, -9:-2], np.s_[4:4, :], np.s_[1:, 2:30:40]]:
        options = {"seed": 2, "n": 2, "order": order, "window": window}
        expected = field.sample_labels(labels, **options)
        assert np.array_equal(field.sample_labels(chunked, **options).compute(), expected)
    options = {"seed": 2, "order": order, "full_shape": (60, 50), "mode": "nearest"}
    options["window"] = np.s_[20:46, 10:41]
    expected = field.sample_labels(labels, **options)
    assert np.array_equal(field.sample_labels(chunked, **options).compute(), expected)


@few
@given(st.data())
def test_marginals_are_those_of_the_array_in_memory(data: Any) -> None:
    shape = data.draw(st.sampled_from([(44, 51), (2, 34, 33), (2, 1, 9, 25, 28)]))
    ndim = 3 if len(shape) > 3 else 2
    amplitude = data.draw(st.sampled_from([1.2, [0.0, *[2.0] * (ndim - 1)], 40.0]))
    classes = data.draw(st.sampled_from([None, 3]))
    labels = blobs(shape, classes or 2)
    options = {
        "num_classes": classes,
        "method": data.draw(st.sampled_from(["integrated", "sampled"])),
        "mode": data.draw(st.sampled_from(["constant", "nearest"])),
        "cval": data.draw(st.sampled_from([0, 1])),
        "ignore_index": data.draw(st.sampled_from([None, 1])),
    }
    field = GaussianField(amplitude, 9.0, ndim=ndim)
    chunked = da.from_array(labels, chunks=data.draw(chunkings(shape)))
    with dask.config.set({"array.chunk-size": data.draw(st.sampled_from(["1kiB", "1MiB"]))}):
        found = field.marginals(chunked, **options)
    expected = field.marginals(labels, **options)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(found.compute(), expected, rtol=0, atol=1e-6)


def test_a_chunk_of_classes_is_no_larger_than_dask_wants() -> None:
    labels = da.zeros((64, 64), chunks=32, dtype=np.uint8)
    with dask.config.set({"array.chunk-size": "8kiB"}):  # 2048 float32
        found = GaussianField(1.0, 5.0, ndim=2).marginals(labels, num_classes=5)
    assert found.chunks[0] == (2, 2, 1)


@few
@given(st.data())
def test_filters_are_those_of_the_array_in_memory(data: Any) -> None:
    shape = data.draw(st.sampled_from([(60,), (40, 45), (5, 26, 30), (2, 3, 4, 24)]))
    axes = data.draw(st.sampled_from([None, -1, [0, len(shape) - 1] if len(shape) > 1 else [0]]))
    count = len(shape) if axes is None else np.size(axes)
    mode = st.sampled_from(["reflect", "constant", "nearest", "mirror", "wrap", "grid-wrap"])
    options = {
        "sigma": data.draw(
            st.lists(st.sampled_from([0, 0.8, 1.5, 9.0]), min_size=count, max_size=count)
        ),
        "axes": axes,
        "mode": data.draw(st.lists(mode, min_size=count, max_size=count)),
        "radius": data.draw(st.sampled_from([None, 3])),
        "cval": 0.25,
        "output": data.draw(st.sampled_from([None, np.float64])),
    }
    dtype = data.draw(st.sampled_from(["float32", "float64", ">i2", "bool"]))
    array = (np.random.default_rng(1).random(shape) * 3).astype(dtype)
    found = gaussian_filter(da.from_array(array, chunks=data.draw(chunkings(shape))), **options)
    expected = gaussian_filter(array, **options)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    tolerance = 1e-6 if expected.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(found.compute(), expected, rtol=0, atol=3 * tolerance)


@pytest.mark.parametrize("mode", ["reflect", "constant", "nearest", "mirror", "wrap"])
def test_borders_of_filters_in_chunks(mode: str) -> None:
    array = np.random.default_rng(1).random((60, 64))
    found = gaussian_filter(da.from_array(array, chunks=20), 1.5, mode=mode)
    assert found.numblocks == (3, 3)
    expected = gaussian_filter(array, 1.5, mode=mode)
    np.testing.assert_allclose(found.compute(), expected, rtol=0, atol=1e-12)


METRICS = [
    ("dice", {}),
    ("fbeta", {"beta": 2.0}),
    ("accuracy", {}),
    ("volume", {}),
    ("volume", {"volume": 0.3}),
    ("volume", {"volume": 0.0}),
]


@pytest.mark.parametrize(("metric", "options"), METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, "votes"])
def test_thresholds_and_masks_are_those_of_the_map_in_memory(
    metric: str, options: dict[str, Any], dtype: Any
) -> None:
    """Of maps with ties, without mass, and so small that they are decided in another way.

    What is summed in another order, of floats where a score is largest, may differ by rounding.
    """
    rounding = 1e-14 * (dtype != "votes" and metric in ("dice", "fbeta"))
    rng = np.random.default_rng(3)
    for shape, ndim, chunks in [
        ((31, 300), None, (10, 120)),
        ((2, 2, 12, 30, 35), 3, (1, 2, 5, 30, 20)),
        ((3, 8, 12), 2, (2, 3, 5)),
        ((4, 110, 120), 2, (3, -1, -1)),
    ]:
        maps = rng.random(shape) ** 3
        maps[..., :4] = 0.0
        maps[..., -7:] = np.round(maps[..., -7:], 1)
        if len(shape) > 2:
            maps[1] = 0
        if dtype == "votes":
            maps, options = np.rint(5 * maps).astype(np.int16), {**options, "raters": 5}
        else:
            maps = maps.astype(dtype)
        chunked = da.from_array(maps, chunks=chunks)
        expected = optimal_threshold(maps, metric, ndim=ndim, **options)
        found = optimal_threshold(chunked, metric, ndim=ndim, **options)
        assert isinstance(found, da.Array)
        assert (found.dtype, found.shape) == (np.float64, expected.shape)
        np.testing.assert_allclose(found.compute(), expected, rtol=rounding, atol=0)
        finer = [
            optimal_threshold(chunked.rechunk(n), metric, ndim=ndim, **options) for n in (5, 7)
        ]
        if np.prod(expected.shape) * 8192 < maps.size:  # maps that are decided chunk by chunk
            np.testing.assert_array_equal(*finer)
        for ties in ("largest", "smallest"):
            mask = optimal_segmentation(maps, metric, ndim=ndim, ties=ties, **options)
            found = optimal_segmentation(chunked, metric, ndim=ndim, ties=ties, **options)
            assert (found.dtype, found.chunks) == (bool, found.rechunk(chunked.chunks).chunks) or (
                mask[0].size <= 8192
            )
            assert np.array_equal(found.compute(), mask)


def test_exactly_k_voxels_of_maps_that_are_one_chunk() -> None:
    maps = np.round(np.random.default_rng(4).random((3, 99, 100), np.float32), 1)
    options = {"ndim": 2, "ties": "first"}
    found = optimal_segmentation(da.from_array(maps, chunks=(2, 99, 100)), "volume", **options)
    assert np.array_equal(found.compute(), optimal_segmentation(maps, "volume", **options))
    with pytest.raises(NotImplementedError, match='has ties="first" only for dask arrays whose'):
        optimal_segmentation(da.from_array(maps, chunks=(2, 50, 100)), "volume", **options)


def test_an_empty_batch_of_large_maps() -> None:
    labels = da.zeros((0, 200, 200), chunks=20, dtype=np.uint8)
    field = GaussianField(1.0, 2.0, ndim=2)
    assert field.marginals(labels, num_classes=2).compute().shape == (0, 2, 200, 200)
    assert field.sample_labels(labels, seed=0, n=3).compute().shape == (0, 3, 200, 200)


@pytest.mark.parametrize("shape", [(0, 5, 6), (2, 0, 6), (2, 5, 0)])
def test_empty_arrays_stay_empty(shape: tuple[int, ...]) -> None:
    chunked, field = da.zeros(shape, chunks=2, dtype=np.uint8), GaussianField(1.0, 5.0, ndim=2)
    array = np.zeros(shape, np.uint8)
    for function in (
        lambda x: field.sample_labels(x, seed=1, n=2),
        lambda x: field.marginals(x, num_classes=3),
        lambda x: gaussian_filter(x, 1.0),
        lambda x: optimal_threshold(x, ndim=2),
        lambda x: optimal_segmentation(x, ndim=2),
    ):
        found, expected = function(chunked), function(array)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert np.array_equal(found.compute(), expected)


# ------------------------------------------------------------------------ lazily, in parts


def forbidden(block: Array) -> Array:
    raise RuntimeError("a chunk was computed")


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "sample_labels": lambda x: GaussianField(1.0, 12.0, ndim=3).sample_labels(x, seed=1, n=2),
    "marginals": lambda x: GaussianField(1.0, 5.0, ndim=3).marginals(x),
    "gaussian_filter": lambda x: gaussian_filter(x, 1.0),
    "optimal_segmentation": lambda x: optimal_segmentation(x, "accuracy"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_is_computed_at_the_call(name: str) -> None:
    labels = da.zeros((30, 30, 30), chunks=10, dtype=np.uint8)
    poisoned = labels.map_blocks(forbidden, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    found = FUNCTIONS[name](poisoned)
    assert isinstance(found, da.Array)
    assert found.name == FUNCTIONS[name](poisoned).name
    with pytest.raises(RuntimeError, match="a chunk was computed"):
        found.compute()


def test_a_part_of_the_result_needs_a_part_of_the_input() -> None:
    """Chunks out of reach of what is wanted are not computed."""
    labels = da.zeros((90, 90), chunks=10, dtype=np.uint8)
    poisoned = labels[60:].map_blocks(forbidden, dtype=np.uint8, meta=np.empty((0, 0), np.uint8))
    both = da.concatenate([labels[:60], poisoned])
    field = GaussianField(1.0, 8.0, ndim=2)
    for found in (field.sample_labels(both, seed=1), field.marginals(both)):
        assert not found[:30].compute().any()
        with pytest.raises(RuntimeError, match="a chunk was computed"):
            found[50:70].compute()


def test_thresholds_are_computed_at_the_call_and_errors_raised() -> None:
    maps = da.zeros((100, 100), chunks=50, dtype=np.float32)
    poisoned = maps.map_blocks(forbidden, dtype=np.float32, meta=np.empty((0, 0), np.float32))
    for function in (optimal_threshold, optimal_segmentation):
        with pytest.raises(RuntimeError, match="a chunk was computed"):
            function(poisoned)


def ball(shape: tuple[int, ...], dtype: Any = np.uint8) -> da.Array:
    """A ball that is made chunk by chunk, in chunks of 64."""

    def block(block_info: Any = None) -> Array:
        where = [slice(*ends) for ends in block_info[None]["array-location"]]
        centred = [x - n / 2 for x, n in zip(np.ogrid[tuple(where)], shape, strict=True)]
        return (sum(x * x for x in centred) < (min(shape) / 3) ** 2).astype(dtype)

    chunks = tuple((64,) * (n // 64) for n in shape)
    return da.map_blocks(block, chunks=chunks, dtype=dtype, meta=np.empty((0, 0, 0), dtype))


@pytest.mark.parametrize("name", [*FUNCTIONS, "optimal_threshold", "dice"])
def test_peak_memory_is_that_of_a_few_chunks(name: str) -> None:
    functions = FUNCTIONS | {"optimal_threshold": optimal_threshold, "dice": optimal_segmentation}
    shape = (1024 if name == "gaussian_filter" else 512, 128, 128)  # 64 or 32 chunks
    source = ball(shape) if name in ("sample_labels", "marginals") else ball(shape, np.float32)
    functions[name](source[:128]).sum().compute()  # compiles
    tracemalloc.start()
    try:
        result = functions[name](source)
        result.sum().compute()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < max(source.nbytes, result.nbytes) * 2 / 3


# ------------------------------------------------------------------------------ schedulers


def pipeline(labels: Any) -> list[Any]:
    field = GaussianField(1.5, 8.0, ndim=3)
    marginals = field.marginals(labels)
    return [
        field.sample_labels(labels, seed=5, order=1),
        optimal_threshold(marginals),
        optimal_segmentation(marginals),
        gaussian_filter(labels, 1.5),
    ]


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_any_scheduler_gives_the_same_labels(scheduler: str) -> None:
    labels = blobs((24, 36, 40))
    if scheduler == "threads":
        pool: Executor = ThreadPoolExecutor(4)
    else:
        pool = ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))
    with pool, dask.config.set(scheduler=scheduler, pool=pool):
        found = dask.compute(*pipeline(da.from_array(labels, chunks=20)))
    for one, expected in zip(found, pipeline(labels), strict=True):
        assert np.array_equal(one, expected)


def test_tasks_run_on_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    from gfnoise._cpu import _pool

    monkeypatch.delitem(sys.modules, "torch", raising=False)  # whose setting would count
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    labels = da.from_array(blobs((40, 40)), chunks=20)
    task = GaussianField(1.0, 5.0, ndim=2).marginals(labels)
    counts = []
    run = _pool.run
    monkeypatch.setattr(_pool, "run", lambda tasks: (counts.append(_pool.threads()), run(tasks)))
    task.compute()
    assert counts
    assert set(counts) == {1}
    assert _pool.threads() == 4


def test_a_local_cluster(capsys: Any, tmp_path: Path) -> None:
    """The example: zarr, and the processes of dask.distributed."""
    pytest.importorskip("distributed")
    pytest.importorskip("zarr")
    spec = importlib.util.spec_from_file_location("dask_example", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    options = ["--size", "48", "--chunk", "24", "--workers", "1", "--folder", str(tmp_path)]
    module.main(options)
    printed = capsys.readouterr().out
    assert "the same as in memory: True" in printed
    assert {path.name for path in tmp_path.iterdir()} >= {"noisy.zarr", "mask.zarr"}


def test_the_library_imports_no_dask() -> None:
    code = """
import sys
import numpy as np, gfnoise
gfnoise.gaussian_filter(np.zeros(3), 1.0)
print(*[name for name in sys.modules if name.partition(".")[0] in ("dask", "zarr", "distributed")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_graphs_pickle() -> None:
    labels, field = blobs((20, 24)), GaussianField(1.0, 5.0, ndim=2)
    found = pickle.loads(pickle.dumps(field.sample_labels(da.from_array(labels, 9), seed=4)))
    assert np.array_equal(found.compute(), field.sample_labels(labels, seed=4))


def test_seeds_are_those_of_the_call() -> None:
    """What becomes of the array they came in is no matter to the graph."""
    noise, seeds = GaussianField(2.0, 4.0, ndim=2), np.array([1, 2, 3, 4], np.uint64)
    labels = np.zeros((4, 32, 32), np.uint8)
    labels[:, 8:24, 8:24] = 1
    expected = noise.sample_labels(labels, seed=seeds)
    lazy = noise.sample_labels(da.from_array(labels, chunks=(1, 32, 32)), seed=seeds)
    seeds[:] = 9
    assert np.array_equal(lazy.compute(), expected)
