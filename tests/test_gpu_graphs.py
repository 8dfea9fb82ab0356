"""CuPy's captured graphs: fresh noise at every replay, and memory that nobody else is given."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_gpu import IMAGE, LABELS, NOISE, SEEDS, a_stream, assert_alike, on_device

import gfnoise
from devices import GPU
from gfnoise._cuda import _launch

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not GPU, reason="no GPU, or no CuPy")]
if GPU:
    import cupy


@contextlib.contextmanager
def captured(stream: Any, *mode: int) -> Iterator[list[Any]]:
    """Capture the stream's work; the graph is in the list thereafter, if there is one."""
    graphs: list[Any] = []
    stream.begin_capture(*mode)
    try:
        yield graphs
    finally:
        with contextlib.suppress(cupy.cuda.runtime.CUDARuntimeError):
            graphs.append(stream.end_capture())


def test_a_graph_makes_fresh_noise_on_each_replay() -> None:
    labels = cupy.asarray(LABELS)
    out, seeds = cupy.empty_like(labels), cupy.asarray(SEEDS)
    stream = a_stream()
    with stream:
        NOISE.sample_labels(labels, seed=seeds, out=out)
        stream.synchronize()
        with captured(stream) as graphs:
            NOISE.sample_labels(labels, seed=seeds, out=out)
        for fresh in ([1, 2], [3, 4]):
            seeds[...] = cupy.asarray(fresh)
            NOISE.displacement((64, 64, 64), seed=0, like=labels)  # other work on the stream
            graphs[0].launch(stream)
            stream.synchronize()
            assert_alike(out, NOISE.sample_labels(LABELS, seed=fresh))


@pytest.mark.parametrize("metric", ["dice", "accuracy"])
def test_a_graph_keeps_the_thresholds_that_it_writes(metric: str) -> None:
    maps = cupy.asarray(IMAGE)
    mask, stream = cupy.empty(IMAGE.shape, bool), a_stream()
    with stream:
        gfnoise.optimal_segmentation(maps, metric, ndim=3, out=mask)
        stream.synchronize()
        with captured(stream) as graphs:
            gfnoise.optimal_segmentation(maps, metric, ndim=3, out=mask)
        others = [cupy.full(2, 7.0) for _ in range(20)]  # of the size of the thresholds
        maps[...] = cupy.asarray(IMAGE**3)
        graphs[0].launch(stream)
        stream.synchronize()
        assert all((one == 7).all() for one in others)
        expected = gfnoise.optimal_segmentation(IMAGE**3, metric, ndim=3)
        assert np.array_equal(mask.get(), expected)


def as_no_kernel_takes_them() -> SimpleNamespace:
    """Arrays that a call must copy, beside others."""
    labels, image, move = on_device()
    return SimpleNamespace(
        labels=labels,
        image=image,
        turned=labels.transpose(0, 1, 3, 2)[:, :, ::-1],
        seeds=cupy.arange(4)[::2],
        wide=move.astype(np.float64),
        half=image.astype(np.float16),
        backwards=move[0][..., ::-1],
    )


COPYING: dict[str, tuple[type, Callable[[Any, Any], Any]]] = {  # of what dtype, and how
    "labels": (
        np.uint8,
        lambda of, to: NOISE.sample_labels(of.turned, seed=5, out=to.swapaxes(2, 3)),
    ),
    "seeds": (np.uint8, lambda of, to: NOISE.sample_labels(of.labels, seed=of.seeds, out=to)),
    "displacement": (np.uint8, lambda of, to: gfnoise.warp_labels(of.labels, of.wide, out=to)),
    "axes": (
        np.float32,
        lambda of, to: gfnoise.gaussian_filter(of.image, 1.0, axes=(0, 2), output=to),
    ),
    "halves": (np.float32, lambda of, to: gfnoise.gaussian_filter(of.half, 1.0, output=to)),
    "coordinates": (
        np.float32,
        lambda of, to: gfnoise.map_coordinates(of.image, of.backwards, output=to),
    ),
    "maps": (
        bool,
        lambda of, to: gfnoise.optimal_segmentation(of.half, "accuracy", ndim=3, out=to),
    ),
}


@pytest.mark.parametrize("name", COPYING)
@pytest.mark.parametrize("before", [True, False])
def test_a_graph_keeps_what_it_copies(name: str, before: bool) -> None:
    (dtype, call), given = COPYING[name], as_no_kernel_takes_them()
    out, expected = cupy.empty((2, *LABELS.shape), dtype)
    call(given, expected)
    with a_stream() as stream:
        if before:
            call(given, out)
        with captured(stream) as graphs:
            call(given, out)
        others = [cupy.full(n, 7, np.uint8) for n in (2, 512, out.nbytes // 4) for _ in range(30)]
        others += [cupy.full(out.nbytes * n, 7, np.uint8) for n in (1, 2, 4, 6) for _ in range(4)]
        out.fill(9)
        graphs[0].launch(stream)
        stream.synchronize()
    assert all((one == 7).all() for one in others)
    assert (out == expected).all()


@pytest.fixture
def empty_pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No memory that an earlier call has left."""
    gfnoise.warm_up("cuda")
    monkeypatch.setattr(_launch, "_memory", _launch._Memory())
    with cupy.cuda.using_allocator(cupy.cuda.MemoryPool().malloc):
        yield


@pytest.mark.usefixtures("empty_pool")
def test_a_strict_capture_takes_a_call_before() -> None:
    labels = cupy.asarray(LABELS)
    out, strict = cupy.empty_like(labels), cupy.cuda.runtime.streamCaptureModeThreadLocal
    refused = pytest.raises(RuntimeError, match="nothing can be allocated while a CUDA graph")
    with a_stream() as stream, captured(stream, strict) as graphs, refused:
        NOISE.sample_labels(labels, seed=SEEDS, out=out)
    assert not graphs  # that capture is lost
    with a_stream() as stream:
        NOISE.sample_labels(labels, seed=SEEDS, out=out)
        with captured(stream, strict) as graphs:
            NOISE.sample_labels(labels, seed=SEEDS, out=out)
        out.fill(9)
        graphs[0].launch(stream)
        stream.synchronize()
    assert (out == NOISE.sample_labels(labels, seed=SEEDS)).all()


def test_a_capture_takes_an_allocator_whose_memory_can_be_kept() -> None:
    labels = cupy.asarray(LABELS)
    refused = pytest.raises(RuntimeError, match="cannot keep memory of CuPy's stream-ordered")
    ordered = cupy.cuda.using_allocator(cupy.cuda.malloc_async)
    with ordered, a_stream() as stream, captured(stream), refused:
        NOISE.sample_labels(labels, seed=SEEDS)
