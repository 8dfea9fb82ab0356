"""CUDA's runtime and driver on the host: the functions that CuPy calls, by their names.

Memory is the host's, poisoned when it is given away. Work is done at once, unless its stream is
busy: then it waits until somebody waits for the stream. What a device would refuse is refused.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import threading
from collections.abc import Callable
from ctypes import c_int, c_size_t, c_uint, c_uint64, c_void_p
from pathlib import Path
from typing import Any, NamedTuple

from cuda_on_host import launcher

INVALID_VALUE, OUT_OF_MEMORY, NOT_INITIALIZED = 1, 2, 3
INVALID_DEVICE, NOT_FOUND, NOT_READY = 101, 500, 600
NOT_WHILE_CAPTURED, CAPTURE_LOST, UNKNOWN = 900, 901, 999

DEVICES = 2
NAME = b"the host\0"
MEMORY = 8 << 30
ATTRIBUTES = {
    **{1: 1024, 2: 1024, 3: 1024, 4: 64},  # threads of a block, and along its axes
    **{5: 2**31 - 1, 6: 65535, 7: 65535},  # blocks along the axes of a grid
    **{8: 48 << 10, 10: 32, 16: 132},  # shared memory, lanes of a warp, multiprocessors
    **{75: 9, 76: 0, 115: 1},  # compute capability 9.0, memory pools
}
HOST, DEVICE = 1, 2  # cudaMemoryType
RELAXED = 2  # cudaStreamCaptureMode
COPIES = {0: (False, False), 1: (True, False), 2: (False, True), 3: (True, True)}
"""By cudaMemcpyKind: whether the target and the source are a device's."""
POISON = 0xCD


class Refused(Exception):
    """What a call returns in place of success."""

    def __init__(self, status: int) -> None:
        self.status = status


class Block(NamedTuple):
    """Memory that CUDA gave away."""

    size: int
    kind: int
    device: int


class Stream:
    """Work that waits: for its turn, or, captured, for the launches of a graph."""

    def __init__(self) -> None:
        self.busy = False
        self.waiting: list[Callable[[], object]] = []
        self.captured: list[Callable[[], object]] | None = None
        self.strict = False  # of what may be asked for while it is captured
        self.lost = False  # by what was refused meanwhile

    def submit(self, work: Callable[[], object]) -> None:
        if self.captured is not None:
            self.captured.append(work)
        elif self.busy:
            self.waiting.append(work)
        else:
            work()

    def wait(self) -> None:
        if self.captured is not None:
            raise Refused(NOT_WHILE_CAPTURED)
        self.busy, waiting, self.waiting = False, self.waiting, []
        for work in waiting:
            work()


class Kernel(NamedTuple):
    """A kernel of a module; `spins` where it waits for the clock, which stands still here."""

    name: str
    compiled: launcher.Kernel
    spins: bool


def entry(*types: Any) -> Callable[[Any], Any]:
    """Note the types of what a function of CUDA's takes."""

    def noted(function: Any) -> Any:
        function.types = types
        return function

    return noted


def give(address: int, value: int, kind: Any = c_uint64) -> None:
    """Write what a call returns by a pointer."""
    kind.from_address(address).value = value


class Cuda:
    """The functions of the runtime and the driver that CuPy calls for the tests, by their names."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.closed = False
        self._here = threading.local()
        self._handles = itertools.count(0x1000, 0x10)
        self._blocks: dict[int, Block] = {}
        self._streams = {0: Stream()}
        self._graphs: dict[int, list[Callable[[], object]]] = {}
        self._modules: dict[int, tuple[ctypes.CDLL, bool]] = {}
        self._kernels: dict[int, Kernel] = {}
        self._texts: dict[int, Any] = {}
        self._c = ctypes.CDLL(None)

    # --- devices

    @property
    def _device(self) -> int:
        return getattr(self._here, "device", 0)

    @entry(c_void_p)
    def cudaGetDevice(self, device: int) -> None:
        give(device, self._device, c_int)

    @entry(c_int)
    def cudaSetDevice(self, device: int) -> None:
        if not 0 <= device < DEVICES:
            raise Refused(INVALID_DEVICE)
        self._here.device = device

    @entry(c_void_p)
    def cudaGetDeviceCount(self, count: int) -> None:
        give(count, DEVICES, c_int)

    @entry(c_void_p, c_int, c_int)
    def cudaDeviceGetAttribute(self, value: int, attribute: int, device: int) -> None:
        give(value, ATTRIBUTES.get(attribute, 0), c_int)

    @entry(c_void_p, c_int)
    def cudaGetDeviceProperties(self, properties: int, device: int) -> None:
        ctypes.memmove(properties, NAME, len(NAME))  # the first of them

    @entry()
    def cudaDeviceSynchronize(self) -> None:
        for stream in list(self._streams.values()):
            stream.wait()

    @entry(c_void_p)
    def cuCtxGetCurrent(self, context: int) -> None:
        give(context, 1 + self._device)

    # --- memory

    def _used(self) -> int:
        return sum(block.size for block in list(self._blocks.values()))

    def _allocate(self, address: int, size: int, kind: int) -> None:
        if self._used() + size > MEMORY:
            raise Refused(OUT_OF_MEMORY)
        made = c_uint64()
        self._c.posix_memalign(ctypes.byref(made), c_size_t(512), c_size_t(max(size, 1)))
        ctypes.memset(made.value, POISON, size)
        self._blocks[made.value] = Block(size, kind, self._device)
        give(address, made.value)

    @entry(c_void_p, c_size_t)
    def cudaMalloc(self, address: int, size: int) -> None:
        self._check_captures()
        self._allocate(address, size, DEVICE)

    @entry(c_void_p, c_size_t, c_void_p)
    def cudaMallocAsync(self, address: int, size: int, stream: int | None) -> None:
        self._allocate(address, size, DEVICE)

    @entry(c_void_p, c_size_t, c_uint)
    def cudaHostAlloc(self, address: int, size: int, flags: int) -> None:
        self._allocate(address, size, HOST)

    @entry(c_void_p)
    def cudaFree(self, address: int | None) -> None:
        """Free memory, as CUDA does once all that was asked for is done."""
        for stream in list(self._streams.values()):
            if stream.captured is None:
                stream.wait()
        if address:
            del self._blocks[address]
            self._c.free(c_void_p(address))

    cudaFreeHost = cudaFree

    @entry(c_void_p, c_void_p)
    def cudaFreeAsync(self, address: int | None, stream: int | None) -> None:
        self.cudaFree(address)

    @entry(c_void_p, c_void_p)
    def cudaMemGetInfo(self, free: int, total: int) -> None:
        give(free, MEMORY - self._used())
        give(total, MEMORY)

    @entry(c_void_p, c_void_p)
    def cudaPointerGetAttributes(self, attributes: int, address: int | None) -> None:
        block = self._block(address or 0)
        give(attributes, block.kind if block else 0, c_int)
        give(attributes + 4, block.device if block else -2, c_int)
        give(attributes + 8, address or 0)  # as the device has it
        give(attributes + 16, address or 0)  # and the host

    def _block(self, address: int, size: int = 0) -> Block | None:
        """What an address lies in; an error where `size` bytes from there do not."""
        for start, block in list(self._blocks.items()):
            if start <= address < start + max(1, block.size):
                if address + size > start + block.size:
                    raise Refused(INVALID_VALUE)
                return block
        return None

    @entry(c_void_p, c_void_p, c_size_t, c_int, c_void_p)
    def cudaMemcpyAsync(
        self, target: int, source: int, size: int, kind: int, stream: int | None
    ) -> None:
        ends = self._block(target, size), self._block(source, size)
        there = tuple(end is not None and end.kind == DEVICE for end in ends)
        if there != COPIES.get(kind, there):
            raise Refused(INVALID_VALUE)
        if None in ends:  # memory that may move: of the driver's, a copy is made first
            self._stream(stream).wait()
        self._stream(stream).submit(lambda: ctypes.memmove(target, source, size))

    @entry(c_void_p, c_int, c_size_t, c_void_p)
    def cudaMemsetAsync(self, target: int, value: int, size: int, stream: int | None) -> None:
        if self._block(target, size) is None:
            raise Refused(INVALID_VALUE)
        self._stream(stream).submit(lambda: ctypes.memset(target, value, size))

    # --- streams, events, graphs

    def _check_captures(self) -> None:
        """Refuse what a strict capture forbids, which loses it."""
        streams = list(self._streams.values())
        strict = [one for one in streams if one.captured is not None and one.strict]
        for one in strict:
            one.lost = True
        if strict:
            raise Refused(NOT_WHILE_CAPTURED)

    def _stream(self, handle: int | None) -> Stream:
        # 1 and 2 name the default one too.
        return self._streams[handle if handle and handle > 2 else 0]

    @entry(c_void_p, c_uint, c_int)
    def cudaStreamCreateWithPriority(self, stream: int, flags: int, priority: int) -> None:
        handle = next(self._handles)
        self._streams[handle] = Stream()
        give(stream, handle)

    @entry(c_void_p)
    def cudaStreamDestroy(self, stream: int) -> None:
        self._streams.pop(stream).wait()

    @entry(c_void_p)
    def cudaStreamSynchronize(self, stream: int | None) -> None:
        self._stream(stream).wait()

    @entry(c_void_p)
    def cudaStreamQuery(self, stream: int | None) -> None:
        if self._stream(stream).busy:
            raise Refused(NOT_READY)

    @entry(c_void_p, c_void_p)
    def cudaStreamIsCapturing(self, stream: int | None, status: int) -> None:
        of = self._stream(stream)
        give(status, 2 if of.lost else int(of.captured is not None), c_int)

    @entry(c_void_p, c_int)
    def cudaStreamBeginCapture(self, stream: int | None, mode: int) -> None:
        if not stream:
            raise Refused(NOT_WHILE_CAPTURED)
        self._stream(stream).captured, self._stream(stream).strict = [], mode != RELAXED

    @entry(c_void_p, c_void_p)
    def cudaStreamEndCapture(self, stream: int, graph: int) -> None:
        handle, of = next(self._handles), self._stream(stream)
        (work, of.captured), (lost, of.lost) = (of.captured or [], None), (of.lost, False)
        if lost:
            raise Refused(CAPTURE_LOST)
        self._graphs[handle] = work
        give(graph, handle)

    @entry(c_void_p, c_void_p, c_uint64)
    def cudaGraphInstantiate(self, made: int, graph: int, flags: int) -> None:
        handle = next(self._handles)
        self._graphs[handle] = self._graphs[graph]
        give(made, handle)

    @entry(c_void_p)
    def cudaGraphDestroy(self, graph: int) -> None:
        del self._graphs[graph]

    cudaGraphExecDestroy = cudaGraphDestroy

    @entry(c_void_p, c_void_p)
    def cudaGraphLaunch(self, graph: int, stream: int | None) -> None:
        for work in self._graphs[graph]:
            self._stream(stream).submit(work)

    @entry(c_void_p, c_uint)
    def cudaEventCreateWithFlags(self, event: int, flags: int) -> None:
        give(event, next(self._handles))

    @entry(c_void_p, c_void_p)
    def cudaEventRecord(self, event: int, stream: int | None) -> None:
        """Nothing here asks for the time of an event, or waits for one."""

    @entry(c_void_p)
    def cudaEventQuery(self, event: int) -> None:
        """As `cudaEventRecord`: CuPy asks of its copies, which are done."""

    @entry(c_void_p)
    def cudaEventDestroy(self, event: int) -> None:
        """As `cudaEventRecord`."""

    # --- modules and kernels

    @entry(c_void_p, c_void_p)
    def cuModuleLoadData(self, module: int, image: int) -> None:
        self._check_captures()
        path = Path(os.fsdecode(ctypes.string_at(image)))
        handle = next(self._handles)
        self._modules[handle] = ctypes.CDLL(str(path)), path.name.startswith("spins")
        give(module, handle)

    @entry(c_void_p)
    def cuModuleUnload(self, module: int) -> None:
        del self._modules[module]

    @entry(c_void_p, c_void_p, ctypes.c_char_p)
    def cuModuleGetFunction(self, function: int, module: int, name: bytes) -> None:
        library, spins = self._modules[module]
        try:
            kernel = launcher.find_kernel(library, name.decode(), "the module")
        except launcher.LaunchError:
            raise Refused(NOT_FOUND) from None
        handle = next(self._handles)
        self._kernels[handle] = Kernel(name.decode(), kernel, spins)
        give(function, handle)

    @entry(c_void_p, *[c_uint] * 7, c_void_p, c_void_p, c_void_p)
    def cuLaunchKernel(self, function: int, *given: Any) -> None:
        kernel, (*shape, shared, stream, arguments, _) = self._kernels[function], given
        launcher.check_shape(
            kernel.name, kernel.compiled, shape[:3], shape[3:], shared, ATTRIBUTES[8]
        )
        if kernel.spins:
            self._stream(stream).busy = True
            return
        values = []  # of now: what they lie in is the caller's
        for i, parameter in enumerate(kernel.compiled.parameters):
            size = 8 if parameter.access else parameter.size
            value = ctypes.string_at(c_uint64.from_address(arguments + 8 * i).value, size)
            if parameter.access:
                self._check_address(kernel.name, i, int.from_bytes(value, "little"))
            values.append(ctypes.create_string_buffer(value, size))
        pointers = (c_void_p * max(1, len(values)))(*map(ctypes.addressof, values))
        grid = (c_uint * 6)(*shape)

        def run(values: Any = values) -> None:
            if message := kernel.compiled.launch(grid, shared, pointers, 0, 0):
                raise launcher.LaunchError(f"{kernel.name}: {message.decode()}")

        self._stream(stream).submit(run)

    def _check_address(self, name: str, i: int, address: int) -> None:
        block = self._block(address)
        if address and (block is None or block.kind != DEVICE or block.device != self._device):
            raise launcher.LaunchError(
                f"argument {i} of {name}: {address:#x} is no memory of device {self._device}"
            )

    # --- errors

    @entry(c_int, c_void_p)
    def cuGetErrorName(self, status: int, text: int) -> None:
        made = self._texts.setdefault(status, ctypes.create_string_buffer(b"error %d" % status))
        give(text, ctypes.addressof(made))

    cuGetErrorString = cuGetErrorName
