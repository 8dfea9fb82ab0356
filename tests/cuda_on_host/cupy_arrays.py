"""A stand-in for CuPy: arrays of NumPy that refuse what CuPy's refuse, for kernels on the host.

CuPy takes no arrays of NumPy among its own, makes none of its own unasked, and lacks some names.
What would wait for the device is counted. A name that the library newly takes from CuPy is added
below, once CuPy's documentation has been read.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from cuda_on_host.launcher import HostLauncher, LaunchError

FUNCTIONS = [
    *("abs", "asarray", "ascontiguousarray", "clip", "copysign", "empty", "full_like"),
    *("may_share_memory", "nan_to_num", "trunc", "where", "zeros"),
]
OPERATORS = [
    *("add", "subtract", "multiply", "divide", "negative", "bitwise_and", "bitwise_or"),
    *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
]
ATTRIBUTES = ["dtype", "itemsize", "nbytes", "ndim", "shape", "size", "strides"]
METHODS = [
    *("all", "any", "argmax", "astype", "copy", "fill", "max", "min"),
    *("ravel", "reshape", "transpose", "view"),
]


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array of the stand-in; `reads` counts how often its values were brought to the host."""

    __module__ = "cupy"
    reads = 0

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or ufunc.__name__ not in (*FUNCTIONS, *OPERATORS):
            raise TypeError(f"{ufunc.__name__}.{method} is none of the stand-in's")
        return _call(ufunc, inputs, options)

    def __getattr__(self, name: str) -> Any:
        if name in ATTRIBUTES:
            return getattr(self.values, name)
        if name in METHODS:
            return lambda *args, **options: _call(getattr(self.values, name), args, options)
        raise AttributeError(f"{name} is none of the stand-in's attributes")

    @property
    def device(self) -> Any:
        return SimpleNamespace(id=0)

    @property
    def flags(self) -> Any:  # which CuPy's arrays have three of
        given = self.values.flags
        return SimpleNamespace(c_contiguous=given.c_contiguous, f_contiguous=given.f_contiguous)

    @property
    def T(self) -> Any:
        return ndarray(self.values.T)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return map(ndarray, self.values)

    def __getitem__(self, index: Any) -> Any:
        return ndarray(np.asarray(self.values[_plain(index)]))

    def __setitem__(self, index: Any, value: Any) -> None:
        self.values[_plain(index)] = _plain(value)

    def get(self) -> np.ndarray:
        ndarray.reads += 1
        return self.values.copy()

    def item(self) -> Any:
        return self.get().item()

    def __bool__(self) -> bool:
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    __index__ = __int__


def _plain(value: Any) -> Any:
    """The values of an array of the stand-in; of NumPy's, an error."""
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, (tuple, list)):
        return type(value)(map(_plain, value))
    return value.values if isinstance(value, ndarray) else value


def _call(function: Any, args: Any, options: dict[str, Any]) -> Any:
    with np.errstate(all="ignore"):
        result = function(*map(_plain, args), **{k: _plain(v) for k, v in options.items()})
    return ndarray(np.asarray(result)) if isinstance(result, (np.ndarray, np.generic)) else result


class _Module(ModuleType):
    ndarray = ndarray

    def __getattr__(self, name: str) -> Any:
        if name not in FUNCTIONS:
            raise AttributeError(f"{name} is none of the stand-in's functions")
        return lambda *args, **options: _call(getattr(np, name), args, options)

    def asarray(self, values: Any, dtype: Any = None) -> Any:
        given = values.values if isinstance(values, ndarray) else np.array(values, dtype)
        return ndarray(np.asarray(given, dtype))

    class cuda:
        @staticmethod
        def Device() -> Any:
            return SimpleNamespace(id=0)


class Launcher(HostLauncher):
    """Launches on the stand-in's arrays what CuPy would launch on its own."""

    def launch(
        self,
        stem: str,
        name: str,
        defines: Any,
        grid: Any,
        block: Any,
        arguments: Any,
        shared: int = 0,
    ) -> None:
        if not all(type(n) is int for n in (*grid, *block, shared)):
            raise LaunchError(f"{name}: a grid is of Python's integers, got {grid} and {block}")
        given = []
        for argument in arguments:
            if isinstance(argument, np.ndarray) and argument.size != 1:
                raise LaunchError(f"{name}: an array of NumPy is passed by value, of one element")
            if isinstance(argument, ndarray) and not argument.flags.c_contiguous:
                raise LaunchError(f"{name}: an array of {argument.strides} is not contiguous")
            given.append(_plain(argument) if isinstance(argument, ndarray) else argument)
        super().launch(stem, name, defines, grid, block, given, shared)

    def empty(self, shape: Any, dtype: Any) -> Any:
        return ndarray(super().empty(shape, dtype))


@contextlib.contextmanager
def in_place_of_cupy() -> Iterator[Any]:
    """Let `import cupy` give the stand-in, and run the kernels for its arrays on the host."""
    from gfnoise._cuda import _launch

    modules, launchers = sys.modules.get("cupy"), dict(_launch._launchers)
    sys.modules["cupy"] = module = _Module("cupy")
    _launch._launchers["cupy"] = Launcher()
    try:
        yield module
    finally:
        del sys.modules["cupy"]
        if modules is not None:
            sys.modules["cupy"] = modules
        _launch._launchers.clear()
        _launch._launchers.update(launchers)
