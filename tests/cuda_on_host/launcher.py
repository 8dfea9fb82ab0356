"""Compiles CUDA kernels by g++ against device.h and launches them on NumPy arrays."""

import contextlib
import ctypes
import functools
import hashlib
import math
import os
import platform
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

FOLDER = Path(__file__).parent
ORDERS = ("ascending", "descending", "random")

FLAGS = [
    *("-std=c++20", "-shared", "-fPIC", "-pthread", "-w", "-fvisibility=hidden", "-fno-gnu-unique"),
    # one rounding per operation, as written; kernels read vectors through cast pointers
    *("-ffp-contract=off", "-fno-math-errno", "-fno-strict-aliasing"),
]
SANITIZERS = {
    "": ["-O2"],
    "address,undefined": [
        *("-O1", "-g1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"),
        "-fsanitize=address,undefined,float-cast-overflow",
    ],
    "thread": ["-O1", "-g1", "-fsanitize=thread"],
}

# A kernel's head, once the preprocessor has removed comments and what is not compiled.
_NESTED = "[^()]"
for _ in range(4):
    _NESTED = rf"(?:[^()]|\({_NESTED}*\))"
_KERNEL = re.compile(
    r'extern\s*"C"\s*'
    rf"((?:void\b\s*|__global__\s*|__launch_bounds__\s*\({_NESTED}*\)\s*)+)(\w+)\s*\("
)
_BOUNDS = re.compile(rf"__launch_bounds__\s*\(((?:(?!,){_NESTED})*)")

Defines = Mapping[str, object] | Iterable[tuple[str, object]]


class LaunchError(RuntimeError):
    """A launch that the device would refuse, or should."""


class Parameter(NamedTuple):
    """What a kernel takes: "r" and "w" are pointers to what it reads and writes, "" is a value."""

    access: str
    kind: str  # b, i, u, f as NumPy's; V for structs
    size: int  # in bytes, of the value or of what the pointer points to

    def __str__(self) -> str:
        what = "struct" if self.kind == "V" else {"b": "bool", "f": "float"}.get(self.kind, "int")
        what = f"unsigned {what}" if self.kind == "u" else what
        text = f"{what} of {self.size} bytes" if self.size else "anything"
        return {"": text, "r": f"pointer to const {text}", "w": f"pointer to {text}"}[self.access]


class Kernel(NamedTuple):
    """One compiled kernel."""

    launch: Callable[..., bytes | None]
    parameters: list[Parameter]
    most_threads: int


class HostLauncher:
    """Launches kernels on the host, with the arguments of the launcher of the device.

    Parameters
    ----------
    source : callable, optional
        Gives the CUDA source of a stem; without it, the library's own.
    order : {"ascending", "descending", "random"}
        In which the threads of a block run between two barriers, and the blocks of a grid.
    seed : int
        Of the random order.
    threads : bool
        Run every CUDA thread as a thread of the system: slow, for TSan. `order` is of no effect.
    sanitizers : {"", "address,undefined", "thread"}
        Compile with these; the process must have been started with their runtime (sanitize.py).
    shared_limit : int
        Bytes of shared memory a block may ask for.
    """

    def __init__(
        self,
        source: Callable[[str], str] | None = None,
        *,
        order: str = "ascending",
        seed: int = 0,
        threads: bool = False,
        sanitizers: str = "",
        shared_limit: int = 48 << 10,
    ) -> None:
        self.source = source or _library_source
        self.order = order
        self.seed = seed
        self.threads = threads
        self.sanitizers = sanitizers
        self.shared_limit = shared_limit
        self.launches: list[tuple[str, str]] = []  # (stem, kernel) of every launch
        self._kernels: dict[object, Kernel] = {}

    def launch(
        self,
        stem: str,
        name: str,
        defines: Defines,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[object],
        shared: int = 0,
    ) -> None:
        """Run one kernel to its end."""
        kernel = self.kernel(stem, name, defines)
        check_shape(name, kernel, grid, block, shared, self.shared_limit)
        if len(arguments) != len(kernel.parameters):
            raise LaunchError(
                f"{name} takes {len(kernel.parameters)} arguments, got {len(arguments)}"
            )
        values = [
            _value(f"argument {i} of {name}", parameter, argument)
            for i, (parameter, argument) in enumerate(
                zip(kernel.parameters, arguments, strict=True)
            )
        ]
        pointers = (ctypes.c_void_p * max(1, len(values)))(*[v.ctypes.data for v in values])
        shape = (ctypes.c_uint * 6)(*_three(grid), *_three(block))
        self.launches.append((stem, name))
        order = ORDERS.index(self.order)
        if message := kernel.launch(shape, shared, pointers, order, self.seed):
            raise LaunchError(f"{name}: {message.decode()}")

    def empty(self, shape: int | tuple[int, ...], dtype: object) -> np.ndarray:
        """Make an array that holds nothing of use: NaN, or numbers far from any expected one."""
        memory = np.empty(shape, dtype)
        poison = np.array([(0x7FFA, 0xFFFA, 0xCDCD)[ORDERS.index(self.order)]], np.uint16)
        memory.reshape(-1).view(np.uint8)[:] = np.resize(poison.view(np.uint8), memory.nbytes)
        return memory

    def scratch(self, name: str, size: int, dtype: object) -> np.ndarray:
        """Lend memory, which is never what it was: a kernel that relies on it shows."""
        return self.empty(size, dtype)

    def kernel(self, stem: str, name: str, defines: Defines = ()) -> Kernel:
        """Return a kernel, compiled on first use."""
        pairs = tuple(defines.items() if isinstance(defines, Mapping) else defines)
        key = stem, name, pairs
        if key not in self._kernels:
            _check_runtime(self.sanitizers)
            options = {"threads": self.threads, "sanitizers": self.sanitizers}
            library = ctypes.CDLL(str(built(self.source(stem), stem, pairs, **options)))
            self._kernels[key] = find_kernel(library, name, stem)
        return self._kernels[key]


@contextlib.contextmanager
def redirected(launcher: HostLauncher) -> Iterator[HostLauncher]:
    """Let public functions run the CUDA kernels on NumPy arrays, through this launcher."""
    from gfnoise import _array
    from gfnoise._cuda import _launch

    packages, launchers = dict(_array._PACKAGES), dict(_launch._launchers)
    _array._PACKAGES["numpy"] = "gfnoise._cuda"
    _launch._launchers["numpy"] = launcher
    try:
        yield launcher
    finally:
        _array._PACKAGES.update(packages)
        _launch._launchers.clear()
        _launch._launchers.update(launchers)


def _library_source(stem: str) -> str:
    from gfnoise._cuda import _launch

    return _launch.source(stem)


def check_shape(
    name: str,
    kernel: Kernel,
    grid: Sequence[int],
    block: Sequence[int],
    shared: int,
    shared_limit: int,
) -> None:
    """Raise LaunchError for what a device would refuse."""
    for what, dimensions, most in (
        ("grid", grid, (2**31 - 1, 65535, 65535)),
        ("block", block, (1024, 1024, 64)),
    ):
        if not 1 <= len(dimensions) <= 3 or not all(
            1 <= n <= bound for n, bound in zip(dimensions, most, strict=False)
        ):
            raise LaunchError(f"{name}: the {what} {tuple(dimensions)} is not within {most}")
    if math.prod(block) > kernel.most_threads:
        raise LaunchError(
            f"{name}: {math.prod(block)} threads in a block, at most {kernel.most_threads} "
            "are allowed by its __launch_bounds__ or by the device"
        )
    if not 0 <= shared <= shared_limit:
        raise LaunchError(
            f"{name}: {shared} bytes of shared memory, at most {shared_limit} are there"
        )


def _three(dimensions: Sequence[int]) -> tuple[int, ...]:
    return (*map(int, dimensions), 1, 1)[:3]


def _value(where: str, parameter: Parameter, argument: object) -> np.ndarray:
    """Return what the parameter's pointer points to: the bytes of a value, or an address."""
    if parameter.access:
        return np.array(_address(where, parameter, argument), np.uintp)
    if not isinstance(argument, np.generic | np.ndarray) or argument.size != 1:
        raise LaunchError(f"{where}: expected a NumPy scalar, got {argument!r:.60}")
    value = np.ascontiguousarray(argument)
    kind = "V" if value.dtype.fields else value.dtype.kind
    sign = {"i": "iu", "u": "iu"}.get(parameter.kind, parameter.kind)
    if kind not in sign or value.itemsize != parameter.size or not value.dtype.isnative:
        raise LaunchError(f"{where}: expected {parameter}, got {value.dtype}")
    return value


def _address(where: str, parameter: Parameter, argument: object) -> int:
    if isinstance(argument, np.uint64):  # an address already, or NULL: None is none on a device
        return int(argument)
    if not isinstance(argument, np.ndarray):
        raise LaunchError(f"{where}: expected an array or an address, got {argument!r:.60}")
    if parameter.access == "w" and not argument.flags.writeable:
        raise LaunchError(f"{where}: expected an array to write to, got a read-only one")
    dtype = argument.dtype
    # Raw bytes are scratch, and pointers to structs read vectors of what the array holds.
    plain = parameter.kind != "V" and not dtype.fields and dtype.itemsize > 1
    different = dtype.itemsize != parameter.size or (dtype.kind == "f") != (parameter.kind == "f")
    if plain and different:
        raise LaunchError(f"{where}: expected {parameter}, got an array of {dtype}")
    return argument.ctypes.data


def find_kernel(library: ctypes.CDLL, name: str, stem: str) -> Kernel:
    """Return a kernel of a library that was compiled of a stem."""
    try:
        launch = getattr(library, f"on_host_launch_{name}")
    except AttributeError:
        raise LaunchError(f'{stem} has no `extern "C" __global__ void {name}(...)`') from None
    signature = getattr(library, f"on_host_signature_{name}")
    launch.restype = signature.restype = ctypes.c_char_p
    launch.argtypes = (
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p),
        *(ctypes.c_int, ctypes.c_ulonglong),
    )
    parameters = [
        Parameter(access, kind, int(size))
        for access, kind, size in re.findall(r"(?:\*(.))?(\w)(\d+) ", signature().decode())
    ]
    return Kernel(launch, parameters, getattr(library, f"on_host_most_lanes_{name}")())


# ---- compiling

_compiling = threading.Lock()


def built(
    source: str,
    stem: str,
    defines: tuple[tuple[str, object], ...],
    flags: Sequence[str] = (),
    *,
    threads: bool = False,
    sanitizers: str = "",
) -> Path:
    """Compile the source, unless the cache has it, and say where the library is."""
    flags = [*FLAGS, *SANITIZERS[sanitizers], *_processor_flags(), *flags]
    definitions = [f"-D{name}={value}" for name, value in defines]
    if threads:
        flags.append("-DON_HOST_THREADS")
    headers = "".join((FOLDER / name).read_text() for name in HEADERS)
    digest = hashlib.sha256(
        "\0".join([source, stem, headers, *flags, *definitions, version()]).encode()
    )
    path = cache_folder() / f"{stem}-{digest.hexdigest()[:32]}.so"
    with _compiling:
        if not path.exists():
            unit = _unit(source, stem, definitions, threads)
            _compile(unit, path, [*flags, *definitions], stem)
    return path


HEADERS = ("device.h", "cuda_headers.h", "fibers.h", "threads.h", "launch.h")


def _unit(source: str, stem: str, definitions: list[str], threads: bool) -> str:
    """Return what g++ compiles: the dialect, the source, and a launch for each of its kernels."""
    bounds = launch_bounds(source, stem, definitions)
    return "\n".join(
        [
            f'#include "{FOLDER / "device.h"}"',
            f'#include "{FOLDER / ("threads.h" if threads else "fibers.h")}"',
            f'#line 1 "{stem}.cu"',
            source,
            f'#include "{FOLDER / "launch.h"}"',
            *(f"ON_HOST_KERNEL({name}, {most})" for name, most in bounds.items()),
            "",
        ]
    )


def launch_bounds(source: str, stem: str, definitions: list[str]) -> dict[str, str]:
    """Return the names of the source's kernels, and how many threads their blocks may have."""
    command = [compiler(), "-E", "-P", "-w", "-x", "c++", *definitions, "-"]
    alone = re.sub(r"^ *#include.*$", "", source, flags=re.MULTILINE)
    found = {}
    for head, name in _KERNEL.findall(_run(command, alone, f"preprocessing {stem}")):
        if "__global__" in head:
            bounds = _BOUNDS.search(head)
            found[name] = bounds[1] if bounds else "1024"
    return found


def _compile(unit: str, path: Path, flags: list[str], stem: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Other processes may compile the same: each writes a file of its own and renames it.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        built = Path(folder, path.name)
        _run([compiler(), *flags, "-x", "c++", "-", "-o", str(built)], unit, f"compiling {stem}")
        built.replace(path)


def _run(command: list[str], text: str, doing: str) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{doing}: {' '.join(command)}\n{done.stderr[:4000]}")
    return done.stdout


@functools.cache
def compiler() -> str:
    if found := shutil.which(os.environ.get("CXX", "g++")):
        return found
    raise RuntimeError("CUDA kernels run on the host by g++ (11 or later): found none")


@functools.cache
def version() -> str:
    return _run([compiler(), "--version"], "", "asking g++ for its version")


@functools.cache
def _processor_flags() -> tuple[str, ...]:
    """Return the flag that makes fmaf() one instruction, where the processor has it."""
    if platform.machine() != "x86_64":
        return ()
    cpuinfo = Path("/proc/cpuinfo")
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    return ("-mfma",) if flags and "fma" in flags[1].split() else ()


def cache_folder() -> Path:
    if chosen := os.environ.get("GFNOISE_CUDA_ON_HOST_CACHE"):
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "gfnoise", "cuda_on_host")


def _check_runtime(sanitizers: str) -> None:
    symbol = {"address,undefined": "__asan_init", "thread": "__tsan_init"}.get(sanitizers)
    if symbol and not hasattr(ctypes.CDLL(None), symbol):
        raise RuntimeError(
            f"the {sanitizers} sanitizers must be there when the process starts: "
            "run tests/cuda_on_host/sanitize.py"
        )
