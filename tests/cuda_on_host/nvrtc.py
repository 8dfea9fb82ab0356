"""Compiles CUDA kernels by NVRTC, for any device and without one, and reads what ptxas says.

`python tests/cuda_on_host/nvrtc.py` compiles every variant of every kernel for every architecture.
"""

import ctypes
import functools
import hashlib
import importlib.util
import multiprocessing
import os
import re
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cuda_on_host.launcher import cache_folder

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
GENERATIONS = (75, 90, 120)
"""Whose use of registers differs most."""
OF_CUPY = ("-ftz=true", "--device-as-default-execution-space")
"""What CuPy 14 compiles with besides the options that it is given."""


class Task(NamedTuple):
    """One compilation."""

    stem: str
    source: str
    defines: tuple[tuple[str, str], ...]
    options: tuple[str, ...]
    architecture: int

    def __str__(self) -> str:
        defines = " ".join(f"{name}={value}" for name, value in self.defines)
        return f"{self.stem}.cu {defines} sm_{self.architecture}"


class Usage(NamedTuple):
    """What a kernel takes of a multiprocessor, in registers and in bytes of memory per thread."""

    kernel: str
    registers: int
    stack: int
    spilled: int


class Compiled(NamedTuple):
    """What came of a task."""

    task: Task
    complaints: str  # errors and warnings
    kernels: list[Usage]


def compile_all(tasks: Iterable[Task]) -> list[Compiled]:
    """Compile on all cores: NVRTC compiles one program at a time in a process."""
    tasks = list(tasks)
    path = library_path()
    workers = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        logs = list(pool.map(_cached_log, tasks, [path] * len(tasks)))
    return [Compiled(task, *_read(log)) for task, log in zip(tasks, logs, strict=True)]


@functools.cache
def library_path() -> Path:
    """Return where the wheel nvidia-cuda-nvrtc has its library; of several, the newest."""
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations if spec else None
    found = [p for folder in folders or () for p in Path(folder).glob("*/lib/libnvrtc.so.*")]
    if not found:
        raise RuntimeError("NVRTC is missing: pip install nvidia-cuda-nvrtc")
    return max(found, key=lambda path: int(path.name.split(".")[2]))


def _cached_log(task: Task, path: Path) -> str:
    parts = [*task[:2], *map(str, task[2:]), str(_version(path))]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    kept = cache_folder() / f"{task.stem}-{digest}.log"
    if kept.exists():
        return kept.read_text()
    log = _log(task, path)
    kept.parent.mkdir(parents=True, exist_ok=True)
    new = kept.with_suffix(f".{os.getpid()}")
    new.write_text(log)
    new.replace(kept)
    return log


def _log(task: Task, path: Path) -> str:
    """Compile to machine code and return the log, ptxas's report included."""
    nvrtc = ctypes.CDLL(str(path))
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    source, name = task.source.encode(), f"{task.stem}.cu".encode()
    _check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, name, 0, None, None))
    options = [
        f"--gpu-architecture=sm_{task.architecture}",
        "--ptxas-options=-v",
        *task.options,
        *(f"-D{name}={value}" for name, value in task.defines),
    ]
    texts = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    status = nvrtc.nvrtcCompileProgram(program, len(options), texts)
    _check(nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size)))
    log = ctypes.create_string_buffer(size.value)
    _check(nvrtc.nvrtcGetProgramLog(program, log))
    _check(nvrtc.nvrtcDestroyProgram(ctypes.byref(program)))
    return log.value.decode() + (f"\nerror: NVRTC returned {status}" if status else "")


def _version(path: Path) -> tuple[int, int]:
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(ctypes.CDLL(str(path)).nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return major.value, minor.value


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"NVRTC returned {status}")


_PTXAS = re.compile(
    r"Function properties for (\w+)\s+ptxas\s+\.\s+(\d+) bytes stack frame, "
    r"(\d+) bytes spill stores, (\d+) bytes spill loads\s+ptxas info\s+: Used (\d+) registers"
)


def _read(log: str) -> tuple[str, list[Usage]]:
    bad = re.search(r"\b(?:warning|error)\b", log, re.IGNORECASE)
    usages = [
        Usage(kernel, int(registers), int(stack), int(stores) + int(loads))
        for kernel, stack, stores, loads, registers in _PTXAS.findall(log)
    ]
    return (log if bad else ""), usages


# ---- the library's kernels


def tasks(*, complete: bool) -> list[Task]:
    """Return every variant for every architecture; or, for less time, a choice of these.

    The choice has every variant for some architecture, of each stem a variant for all, and what has
    no registers to spare for one of each generation.
    """
    from gfnoise._cuda import _launch

    chosen, seen = [], set()
    for i, (stem, defines) in enumerate(_launch.variants()):
        everywhere = complete or stem not in seen
        seen.add(stem)
        for k, architecture in enumerate(ARCHITECTURES):
            mine = i % len(ARCHITECTURES) == k or _is_tight(stem, dict(defines), architecture)
            if everywhere or mine:
                source, options = _launch.source(stem), (*_launch.OPTIONS, *OF_CUPY)
                chosen.append(Task(stem, source, tuple(defines), options, architecture))
    return chosen


def _is_tight(stem: str, defines: dict[str, str], architecture: int) -> bool:
    """Whether hot kernels of a variant take about all the registers that their bounds leave them.

    Then a change may make one variant spill. Of the like, what is used most stands for the others:
    labels of a byte, indices of 32 bits. Filters of float32, as marginals are, come near their
    bounds on Blackwell alone; a test sees that elsewhere they do not. Of float64, those of the
    widest integers come nearest. `tally` does nowhere.
    """
    if architecture not in GENERATIONS or defines.get("INDEX", "int") != "int":
        return False
    if stem == "filters":
        near = defines["REAL"] == "float" or defines["SOURCE"] == "unsigned long long"
        return near and architecture >= 100
    if stem == "sampling":
        return "ROUGH" not in defines and defines["LABEL"] == "unsigned char"
    return stem == "thresholding"


def faults(compiled: Compiled, may_use_stack: frozenset[str]) -> list[str]:
    """Return what is wrong: complaints, no kernels, spilled registers, memory used as registers."""
    if compiled.complaints or not compiled.kernels:
        return [f"{compiled.task}: {compiled.complaints or 'no kernels'}"]
    return [
        f"{compiled.task}: {usage}"
        for usage in compiled.kernels
        if usage.spilled or (usage.stack and usage.kernel not in may_use_stack)
    ]


def main() -> None:
    from test_cuda_compile import MAY_USE_STACK

    done = compile_all(tasks(complete=True))
    found = [fault for compiled in done for fault in faults(compiled, MAY_USE_STACK)]
    print("\n".join(found))
    print(f"{len(done)} compilations, {len(found)} faults")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
