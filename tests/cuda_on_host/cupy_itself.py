"""CuPy itself without a GPU: what it asks of CUDA's runtime and driver is answered on the host.

Where the variable GFNOISE_CUPY_ON_HOST is set, `devices.py` installs this, and the tests marked
`gpu` run on arrays of CuPy's:

    pip install -e ".[test,cupy-on-host]" && GFNOISE_CUPY_ON_HOST=1 pytest -m gpu tests/test_gpu*.py

NVRTC compiles every kernel, with CuPy's own options, and what it makes is put aside: g++ compiles
the same source as in launcher.py, the kernels that CuPy writes for its own functions as well. What
they are launched on is in runtime.py. So a test sees what waits for the device, and what is read or
given away too early.

CuPy's wheels load the driver as a library, which is given to them here, but have the runtime
within: its functions are found by the wheel's symbols, and are redirected in the memory of the
process.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import platform
import re
import subprocess
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_int, c_size_t, c_void_p
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cuda_on_host import launcher
from cuda_on_host.runtime import NOT_INITIALIZED, UNKNOWN, Cuda, Refused

_kept: list[Any] = []  # what C has the addresses of


def install() -> None:
    """Let CuPy run on the host, in this process; it must not be imported yet."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise RuntimeError("CuPy runs on the host under Linux on x86-64 alone")
    os.environ["CUPY_CACHE_DIR"] = str(launcher.cache_folder() / "cupy")
    os.environ["CUPY_ACCELERATORS"] = ""  # cub's kernels are templates
    cuda = Cuda()
    import cupy_backends.cuda.api.runtime as runtime

    _redirect(Path(runtime.__file__), cuda)
    with _driver(cuda):
        from cupy_backends.cuda.api import driver

        driver.ctxGetCurrent()
    _compile_by_gcc()
    atexit.register(setattr, cuda, "closed", True)  # Python takes down what is called back


def _callback(cuda: Cuda, name: str) -> Any:
    """A function of CUDA's for C to call."""
    function = getattr(cuda, name, None)

    def call(*given: Any) -> int:
        if cuda.closed:
            return 0
        if os.getpid() != cuda.process and "Error" not in name:
            return NOT_INITIALIZED
        try:
            if function is None:
                raise NotImplementedError(f"{name} is not among the functions of {__file__}")
            function(*given)
        except Refused as refused:
            return refused.status
        except Exception:
            traceback.print_exc()  # the caller is C
            return UNKNOWN
        return 0

    made = ctypes.CFUNCTYPE(c_int, *getattr(function, "types", ()))(call)
    _kept.append(made)
    return made


@contextmanager
def _driver(cuda: Cuda) -> Iterator[None]:
    """Give CuPy the functions of `cuda` where it loads the driver."""

    class Driver(SimpleNamespace):
        def __getattr__(self, name: str) -> Any:
            return _callback(cuda, re.sub(r"_v\d$", "", name))

    load = ctypes.CDLL

    def or_ours(name: Any, *args: Any, **options: Any) -> Any:
        return Driver() if name == "libcuda.so.1" else load(name, *args, **options)

    ctypes.CDLL = or_ours
    try:
        yield
    finally:
        ctypes.CDLL = load


def _redirect(library: Path, cuda: Cuda) -> None:
    """Let a loaded library call the functions of `cuda` in place of its own runtime's."""
    symbols = subprocess.run(["nm", library], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^(\w+) t (cuda[A-Z]\w+)$", symbols, re.MULTILINE)
    if not found:
        raise RuntimeError(f"{library} has no symbols: is it of another version of CuPy?")
    maps = Path("/proc/self/maps").read_text().splitlines()
    base = min(int(line.partition("-")[0], 16) for line in maps if str(library) in line)
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = c_void_p, c_size_t, c_int
    for offset, name in found:
        if "Error" in name or name == "cudaRuntimeGetVersion":
            continue  # these ask no device
        address = base + int(offset, 16)
        target = ctypes.cast(_callback(cuda, name), c_void_p).value or 0
        if protect(address & ~4095, 8192, 7):
            raise OSError(f"the memory of {library} may not be written to")
        jump = b"\xff\x25\0\0\0\0" + target.to_bytes(8, "little")  # jmp [rip]
        ctypes.memmove(address, jump, len(jump))


def _compile_by_gcc() -> None:
    """Let CuPy load what g++ makes of a source that NVRTC took."""
    from cupy.cuda import compiler

    class Program(compiler._NVRTCProgram):
        def compile(self, options: Any = (), log_stream: Any = None) -> Any:
            _, names = super().compile(options, log_stream)
            return os.fsencode(_built(self.src, options)) + b"\0", names

    compiler._NVRTCProgram = Program


def _built(source: str, options: tuple[str, ...]) -> Path:
    """The library of a source's kernels; what it is called says whether they wait for the clock."""
    flags = [option for option in options if option.startswith("-I")]
    if "#include" in source:
        flags.append("-DON_HOST_CUDA_HEADERS")
    defines = [option[2:].partition("=") for option in options if option.startswith("-D")]
    stem = "spins" if "clock64" in source else "cupy"
    return launcher.built(source, stem, tuple((a, b or "1") for a, _, b in defines), flags)
