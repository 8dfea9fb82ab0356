"""How kernels are compiled: without the GIL, without fast-math, cached on disk."""

import contextlib
import functools
import hashlib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.ma  # by Numba at the first call: here no fork meets it half-way (gfnoise/_loading.py)
from numpy.typing import NDArray

import gfnoise._shared

Function = TypeVar("Function", bound=Callable[..., Any])

# No fast-math: it would break the checks for NaN, and the same seed shall give the same sums on
# every machine, which neither reassociation nor multiply-adds where a compiler likes them do.
_OPTIONS: Any = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
# What only kernels call has no way in from Python, and counts no references: arrays are held by the
# kernel, and a count for each array at each call, by all threads, costs more than the work itself.
_INNER: Any = {**_OPTIONS, "no_cpython_wrapper": True, "_nrt": False}


def sources() -> list[Path]:
    """The files that machine code is made of: the kernels', and those of their constants."""
    folders = Path(__file__).parent, Path(str(gfnoise._shared.__file__)).parent
    return [path for folder in folders for path in sorted(folder.glob("*.py"))]


_SOURCES = hashlib.sha256(b"".join(path.read_bytes() for path in sources())).hexdigest()


def _stamped(function: Function) -> Function:
    """Give a function the state of all sources as a closure, which Numba's cache keys on.

    By itself it keys on the file of the function alone, and would take machine code that has
    inlined a helper or a constant of another file as it was once.
    """
    code = function.__code__.replace(co_freevars=(*function.__code__.co_freevars, "_sources"))
    closure = (*(function.__closure__ or ()), types.CellType(_SOURCES))
    stamped = types.FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, closure
    )
    return cast(Function, functools.update_wrapper(stamped, function))


def kernel(function: Function) -> Function:
    """Compile a function that Python calls; its machine code is cached on disk."""
    function = _stamped(function)
    try:
        dispatcher = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no folder that a cache could be written to
        return cast(Function, numba.njit(**_OPTIONS)(function))
    _forgive(dispatcher._cache)
    return cast(Function, dispatcher)


def _forgive(cache: Any) -> None:
    """Let a damaged file count as a cache that has nothing, and a full disk as none at all.

    Reading damaged bytes raises what it likes. The index is emptied then: it may be what is
    damaged, and nothing could be saved any more.
    """
    load, save = cache.load_overload, cache.save_overload

    def load_overload(*args: Any) -> Any:
        try:
            return load(*args)
        except Exception:
            with contextlib.suppress(OSError):
                cache.flush()
            return None

    def save_overload(*args: Any) -> None:
        with contextlib.suppress(Exception):
            save(*args)

    cache.load_overload, cache.save_overload = load_overload, save_overload


def cache_folder() -> str | None:
    """Where the machine code of kernels is kept; None: nowhere."""
    dispatcher: Any = kernel(_nothing)
    return cast("str | None", dispatcher._cache.cache_path)


def _nothing() -> None:
    """What says where a cache is, and is never compiled."""


def device(function: Function) -> Function:
    """Compile a function that is inlined into the kernels that call it."""
    return cast(Function, numba.njit(forceinline=True, **_INNER)(function))


def contracted(function: Function) -> Function:
    """Inline as `device`, with contracted multiply-adds: for sums that decide no label."""
    options = {**_INNER, "fastmath": {"contract"}}
    return cast(Function, numba.njit(forceinline=True, **options)(function))


def not_inlined(function: Function) -> Function:
    """Compile a function that kernels call: inlined, it would only cost them registers."""
    return cast(Function, numba.njit(**_INNER)(function))


def allocating(function: Function) -> Function:
    """Compile a function that makes arrays, for itself or for its caller: no other may."""
    return cast(Function, numba.njit(**{**_INNER, "_nrt": True})(function))


class _Writable:
    """The memory of an array, described to NumPy as writable."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        pointer = array.__array_interface__["data"][0]
        self.__array_interface__ = {**array.__array_interface__, "data": (pointer, False)}


def as_writable(array: NDArray[Any]) -> NDArray[Any]:
    """Show a read-only input as a writable one, so that Numba compiles one variant, not two.

    No kernel writes to its inputs.
    """
    return array if array.flags.writeable else np.asarray(_Writable(array))
