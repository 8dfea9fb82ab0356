"""How kernels are compiled and launched: at run time by NVRTC, on the current stream.

A launcher is all that the stems know of a machine: it launches a kernel and lends scratch memory.
CuPy's is below. The tests put one of the host's in its place, for NumPy arrays, and run the same
text there.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gfnoise._shared.owners import owner_of

Defines = tuple[tuple[str, str], ...]

_HEADERS = {
    "field": ("common", "philox", "uniform", "field"),
    "sampling": ("common", "labels", "uniform", "field"),
    "interpolation": ("common", "labels"),
    "filters": ("common",),
    "thresholding": ("common", "masks"),
    "votes": ("common", "masks"),
}
# No contraction: where a multiply-add is wanted, the kernels say so, and the rest rounds as on the
# CPU. Nothing of fast-math: it breaks checks for NaN and moves floor() near the edges of cells.
OPTIONS = ("--std=c++17", "--fmad=false")
_NARROW = 2**31 - 1
_LONGEST = 2**31 - 2**20  # of an axis: what is outside has 32 bits as well
MOST_BLOCKS, MOST_ROWS = _NARROW, 65535
"""Blocks along the first axis of a grid, and along the others."""

NULL = np.uint64(0)
"""No array: CuPy has taken None for an address that is not null."""

MOST_STREAMS = 16
"""Of a thread, whose scratch memory is kept."""

SHARED = 48 << 10
"""Bytes of shared memory that a block has on every device."""

_TYPES = {
    "b1": "bool",
    "u1": "unsigned char",
    "u2": "unsigned short",
    "u4": "unsigned int",
    "u8": "unsigned long long",
    "i1": "signed char",
    "i2": "short",
    "i4": "int",
    "i8": "long long",
    "f4": "float",
    "f8": "double",
}
CODES = tuple(_TYPES[f"u{size}"] for size in (1, 2, 4, 8))
REALS = (_TYPES["f4"], _TYPES["f8"])
ROUGH = ("ROUGH", "1")
"""Of `sampling`: for fields of so many terms that they do not fit in shared memory."""
INTEGER = ("INTEGER", "1")
"""Of `interpolation`: for values that are integers."""


class Launcher(Protocol):
    """What the stems ask of a machine."""

    def launch(
        self,
        stem: str,
        name: str,
        defines: Defines,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[Any],
        shared: int = 0,
    ) -> None:
        """Launch a kernel: arrays and NULL go as addresses, NumPy scalars, structures by value."""

    def empty(self, shape: Any, dtype: Any) -> Any:
        """Make an array for a result."""

    def scratch(self, name: str, size: int, dtype: Any) -> Any:
        """Lend `size` elements of memory, the same for the same name until the next call."""


@cache
def source(stem: str) -> str:
    """The text of a stem with its headers in it: CuPy's cache of binaries does not see files."""
    folder = Path(__file__).parent
    names = [f"{name}.cuh" for name in _HEADERS[stem]] + [f"{stem}.cu"]
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def variants() -> Iterator[tuple[str, Defines]]:
    """Every stem with the defines it is compiled for; of images, those of the usual types."""
    yield "field", ()
    for index in ("int", "long long"):
        width = ("INDEX", index)
        for label in CODES:
            for order in ("0", "1"):
                labels = ("LABEL", label), ("ORDER", order), width
                yield "sampling", labels
                yield "sampling", (*labels, ROUGH)
                yield "interpolation", labels
        for source in (*CODES, *REALS):
            for real in REALS:
                yield "filters", (("SOURCE", source), ("REAL", real), width)
                types = ("IMAGE", source), ("COORDINATE", real), ("VALUE", real)
                yield "interpolation", (*types, width)
        for source, real in product(CODES, REALS):
            types = ("IMAGE", source), ("COORDINATE", real), ("VALUE", source)
            yield "interpolation", (*types, width, INTEGER)
    for value in REALS:
        yield "thresholding", (("VALUE", value),)
    for votes in CODES[:2]:
        yield "votes", (("VALUE", votes),)


def c_type(dtype: Any) -> str:
    """The C name of a NumPy dtype."""
    return _TYPES[np.dtype(dtype).str[1:]]


def index_type(elements: int) -> str:
    """The type that counts the elements of one volume."""
    return "int" if elements <= _NARROW else "long long"


def narrow(shape: Sequence[int]) -> tuple[int, ...]:
    """A volume's shape (z, y, x), whose axes the kernels number in 32 bits."""
    if any(size > _LONGEST for size in shape):
        raise ValueError(
            f"axes of arrays on a device must be at most {_LONGEST} long, got a volume of {shape}"
        )
    return tuple(shape)


def blocks(elements: int, threads: int) -> int:
    """How many blocks of `threads` cover the elements."""
    return -(-elements // threads)


class Structure(np.ndarray):
    """Values that a kernel takes by value: NumPy's structure, without axes.

    `plain` is the same memory as bytes without fields, which NumPy copies in one piece, `address`
    where it is: CuPy would ask NumPy at every launch. What `structure` and `copy_of` make has both,
    and no part of that.
    """

    plain: NDArray[Any]
    address: int


def structure(values: Any, dtype: Any) -> Structure:
    """The values as a structure of this dtype."""
    made = np.array(values, dtype)
    return _structure(made.view(f"V{made.itemsize}"), made.dtype)


def copy_of(given: Structure) -> Structure:
    """A structure to be changed; NumPy itself would copy it field by field."""
    return _structure(given.plain.copy(), given.dtype)


def _structure(plain: NDArray[Any], dtype: Any) -> Structure:
    made = plain.view(dtype).view(Structure)
    made.plain, made.address = plain, plain.__array_interface__["data"][0]
    return made


# --- CuPy's ---------------------------------------------------------------------------------------


class CupyLauncher:
    """Launches on the device and the stream that are current when it is made: for one call.

    Scratch memory belongs to a thread and a stream, and is kept as long as the thread lives: the
    second call of a shape allocates nothing. A call that is captured into a graph takes its scratch
    memory along, for good, as `call` does with all else that it allocates: the graph may be
    replayed whenever it likes, but not at the same time as another of the same stream.
    """

    def __init__(self) -> None:
        self._cupy = sys.modules["cupy"]
        stream = self._cupy.cuda.get_current_stream()
        self._device, self._stream = self._cupy.cuda.runtime.getDevice(), stream.ptr
        self._captured = stream.is_capturing()
        key, kept = (self._stream, self._device), _memory.kept
        self._kept = kept[key] = kept.pop(key, {})  # the last that was used
        if len(kept) > MOST_STREAMS:
            del kept[next(iter(kept))]  # CuPy gives what was a stream's to that alone

    def launch(
        self,
        stem: str,
        name: str,
        defines: Defines,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[Any],
        shared: int = 0,
    ) -> None:
        """As `Launcher.launch`."""
        function = _function(self._device, stem, name, defines)
        pointer = self._cupy.cuda.function.CPointer
        given = [pointer(one.address) if type(one) is Structure else one for one in arguments]
        function(grid, block, given, shared)

    def empty(self, shape: Any, dtype: Any) -> Any:
        """As `Launcher.empty`."""
        return self._cupy.empty(shape, dtype)

    def scratch(self, name: str, size: int, dtype: Any) -> Any:
        """As `Launcher.scratch`."""
        if self._captured:
            held = self._scratch_of_graphs(name, size, dtype)
        else:
            held = self._kept.get((name, dtype))
            if held is None or held.size < size:
                held = self._kept[name, dtype] = self._cupy.empty(size, dtype)
        return held if held.size == size else held[:size]

    def _scratch_of_graphs(self, name: str, size: int, dtype: Any) -> Any:
        """That of this stream's graphs; else what an earlier call on it has left, or new.

        That of other streams may be in use there when a graph is replayed.
        """
        key, lent = (name, dtype), _memory.captured.setdefault((self._stream, self._device), {})
        if key in lent and lent[key].size >= size:
            return lent[key]
        left = self._kept.get(key)
        held = self._cupy.empty(size, dtype) if left is None or left.size < size else left
        if held is left:
            del self._kept[key]
        lent[key] = held
        _of_graphs.append(held)  # the graph may outlive the thread
        return held


class _Memory(threading.local):
    """A thread's scratch memory by stream and device: what is kept, and what graphs have."""

    def __init__(self) -> None:
        self.kept: dict[tuple[int, int], dict[Any, Any]] = {}
        self.captured: dict[tuple[int, int], dict[Any, Any]] = {}


_memory = _Memory()
_of_graphs: list[Any] = []  # what graphs write to, whoever else has forgotten it


@cache
def _function(device: int, stem: str, name: str, defines: Defines) -> Callable[..., Any]:
    """A kernel of the current device, without the class that looks for the device at each call."""
    cupy = sys.modules["cupy"]
    captured = cupy.cuda.get_current_stream().is_capturing()  # to ask after an error is one
    try:
        function: Callable[..., Any] = _module(device, stem, defines).get_function(name).kernel
    except Exception as error:
        if captured:
            raise RuntimeError(
                f"the kernels of gfnoise.{stem} could not be loaded while a CUDA graph is captured:"
                " make the same call once before, or call gfnoise.warm_up"
            ) from error
        version = cupy.cuda.runtime.runtimeGetVersion()
        raise RuntimeError(
            f"the kernels of gfnoise.{stem} could not be compiled for device {device}: is its "
            f"driver too old for CUDA {version // 1000}.{version % 1000 // 10}?"
        ) from error
    return function


@cache
def _module(device: int, stem: str, defines: Defines) -> Any:
    options = OPTIONS + tuple(f"-D{key}={value}" for key, value in defines)
    module = sys.modules["cupy"].RawModule(code=source(stem), options=options, backend="nvrtc")
    module.compile()
    return module


_launchers: dict[str, Launcher] = {}
"""Of other libraries than CuPy: none, but in the tests."""

_first_process: int | None = None


_NOT_INITIALIZED = 3  # cudaErrorInitializationError
_CAPTURE_ERRORS = (900, 901)  # cudaErrorStreamCaptureUnsupported, ...Invalidated
_FORKED = (
    "CUDA cannot be used in a process that was forked after CUDA was: start workers with the "
    'method "spawn" or "forkserver", or give them NumPy arrays'
)


def check_process() -> None:
    """Raise RuntimeError in a process that was forked after the first call for a device."""
    global _first_process
    _first_process = _first_process or os.getpid()
    if os.getpid() != _first_process:
        raise RuntimeError(_FORKED)


def current_device() -> int:
    """The number of CuPy's current device."""
    cuda = sys.modules["cupy"].cuda
    try:
        return int(cuda.Device().id)
    except cuda.runtime.CUDARuntimeError as error:
        if error.status == _NOT_INITIALIZED:  # the parent used CUDA, but not by this library
            raise RuntimeError(_FORKED) from error
        raise


def call(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Call a function of CuPy arrays; what it allocates for a captured graph is never given back.

    A graph writes to its results and to copies of its arguments whenever it is replayed.
    """
    check_process()
    cuda = sys.modules["cupy"].cuda
    current_device()  # or an error of ours
    if not cuda.get_current_stream().is_capturing():
        return function(*args, **kwargs)
    allocate = cuda.get_allocator()

    def kept(size: int) -> Any:
        try:
            memory = allocate(size)
        except cuda.runtime.CUDARuntimeError as error:
            if error.status not in _CAPTURE_ERRORS:
                raise
            raise RuntimeError(
                "nothing can be allocated while a CUDA graph is captured in a mode other than "
                "CuPy's default: call before with the same shapes, on the same stream, with `out`"
            ) from error
        if isinstance(memory.mem, cuda.memory.MemoryAsync):
            del memory  # within the capture: the error's traceback would free it at any time
            raise RuntimeError(
                "a captured CUDA graph cannot keep memory of CuPy's stream-ordered allocator: use "
                "another, as by cupy.cuda.set_allocator(cupy.get_default_memory_pool().malloc)"
            )
        _of_graphs.append(memory)
        return memory

    with cuda.using_allocator(kept):
        return function(*args, **kwargs)


def launcher(array: Any) -> Launcher:
    """The launcher of a call, for the library that an array belongs to."""
    owner = owner_of(array)
    if owner in _launchers:
        return _launchers[owner]
    if owner != "cupy" or "cupy" not in sys.modules:
        raise TypeError(f"CUDA kernels take CuPy arrays, got {type(array).__qualname__}")
    return CupyLauncher()
