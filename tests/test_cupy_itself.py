"""What stands for a GPU under CuPy refuses what a GPU would, and does nothing before its time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_gpu import keep_busy

import gfnoise
from devices import ON_HOST
from gfnoise._cuda import _launch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not ON_HOST, reason="CuPy is not to run on the host"),
]
if ON_HOST:
    import cupy
    from cupy.cuda import runtime
    from cupy_backends.cuda.api.driver import CUDADriverError

TWICE = 'extern "C" __global__ void twice(float *x) { x[threadIdx.x] *= 2; }'


@pytest.fixture
def twice() -> Any:
    return cupy.RawKernel(TWICE, "twice")


def test_a_kernel_is_run(twice: Any) -> None:
    x = cupy.arange(5, dtype=np.float32)
    twice((1,), (4,), (x,))
    assert x.get().tolist() == [0, 2, 4, 6, 4]


@pytest.mark.parametrize(("grid", "threads"), [((1, 2**16), 1), ((1,), 1025)])
def test_a_launch_that_a_device_refuses(twice: Any, grid: tuple[int, ...], threads: int) -> None:
    with pytest.raises(CUDADriverError):
        twice(grid, (threads,), (cupy.zeros(5, np.float32),))


def test_memory_of_the_host_or_of_another_device(twice: Any) -> None:
    here = np.zeros(5, np.float32)
    with cupy.cuda.Device(1):
        other = cupy.zeros(5, np.float32)
    for address in (here.ctypes.data, other.data.ptr):
        with pytest.raises(CUDADriverError):
            twice((1,), (4,), (np.uint64(address),))


def test_a_copy_past_the_end() -> None:
    memory = cupy.cuda.Memory(512)
    with pytest.raises(runtime.CUDARuntimeError):
        runtime.memcpyAsync(memory.ptr, memory.ptr + 1, 512, runtime.memcpyDeviceToDevice, 0)


def test_work_of_a_busy_stream_waits(twice: Any) -> None:
    x, y = cupy.ones(4, np.float32), cupy.empty(4, np.float32)
    stream = cupy.cuda.get_current_stream()
    stream.synchronize()
    keep_busy()
    twice((1,), (4,), (x,))
    y[...] = x
    assert not stream.done
    assert y.get().tolist() == [2, 2, 2, 2]  # which waits
    assert stream.done


def test_memory_is_freed_when_all_is_done_with_it(twice: Any) -> None:
    memory = cupy.cuda.Memory(512)
    x = cupy.ndarray(4, np.float32, cupy.cuda.MemoryPointer(memory, 0))
    keep_busy()
    twice((1,), (4,), (x,))
    del x, memory
    assert cupy.cuda.get_current_stream().done


def test_nothing_is_allocated_while_a_stream_is_captured_strictly() -> None:
    with cupy.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture(runtime.streamCaptureModeThreadLocal)
        with pytest.raises(runtime.CUDARuntimeError, match="Unsupported"):
            cupy.cuda.Memory(512)
        with pytest.raises(runtime.CUDARuntimeError, match="Invalidated"):
            stream.end_capture()


def test_kernels_that_are_not_there_when_a_graph_is_captured_strictly() -> None:
    labels, out = cupy.zeros((2, 3, 4), np.uint8), cupy.empty((2, 3, 4), bool)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        gfnoise.optimal_segmentation(labels, raters=2, out=out)
        for kept in (_launch._function, _launch._module):
            kept.cache_clear()
        cupy.clear_memo()
        stream.begin_capture(runtime.streamCaptureModeGlobal)
        with pytest.raises(RuntimeError, match="could not be loaded while a CUDA graph"):
            gfnoise.optimal_segmentation(labels, raters=2, out=out)
        with pytest.raises(runtime.CUDARuntimeError, match="Invalidated"):
            stream.end_capture()


def test_what_is_not_there_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(runtime.CUDARuntimeError):
        runtime.profilerStart()
    assert "cudaProfilerStart is not among the functions" in capfd.readouterr().err
