"""Which library owns an array, and which kernels run on it: public functions ask here alone."""

import functools
import inspect
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ._loading import load
from ._shared.owners import owner_of

_OPTIONAL = ("like", "out", "output")
_PACKAGES = {"numpy": "gfnoise._cpu", "cupy": "gfnoise._cuda"}
_NAMES = {"numpy": "NumPy", "cupy": "CuPy", "torch": "torch"}
_GUESTS = (("torch", "Tensor"), ("dask.array", "Array"))
Function = TypeVar("Function", bound=Callable[..., Any])


def any_library(*names: str) -> Callable[[Function], Function]:
    """Let torch tensors be given as the arguments `names`; the function sees arrays alone.

    Tensors become arrays on the same memory, and arrays in the result become tensors. A dask array
    becomes a graph whose tasks see the arrays of its chunks. A call with CuPy arrays may be one
    that a CUDA graph captures. With none of these among the arguments it costs a microsecond, or
    three where torch and CuPy are imported; they are not imported here, only looked up.
    """

    def decorate(function: Function) -> Function:
        order = list(inspect.signature(function).parameters)
        places = {order.index(name): name for name in names}

        @functools.wraps(function)
        def door(*args: Any, **kwargs: Any) -> Any:
            for root, name in _GUESTS:
                kind = getattr(sys.modules.get(root), name, None)
                if kind is not None:
                    for value in (*args, *kwargs.values()):
                        if isinstance(value, kind):
                            return _guest(root).call(function, places, args, kwargs)
            kind = getattr(sys.modules.get("cupy"), "ndarray", None)
            if kind is not None:
                for value in (*args, *kwargs.values()):
                    if isinstance(value, kind):
                        return load("gfnoise._cuda._launch").call(function, args, kwargs)
            return function(*args, **kwargs)

        return door  # type: ignore[return-value]

    return decorate


def _guest(root: str) -> Any:
    """What lets the arrays of a library in."""
    if root != "torch":
        return load("gfnoise._dask.graphs")
    if not sys.modules["torch"].compiler.is_compiling():
        load("gfnoise.torch._tensors")
    from .torch import _tensors  # torch.compile traces imports of this kind alone

    return _tensors


def is_masked(value: object) -> bool:
    """Whether an array has a mask; `numpy.ma` is not imported for that, only looked up."""
    kind = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)
    return kind is not None and isinstance(value, kind)


def split_output(output: Any) -> tuple[NDArray[Any] | None, Any]:
    """SciPy's `output`, an array or a dtype, as the array and its dtype."""
    if owner_of(output) is not None and hasattr(output, "shape"):
        return output, output.dtype
    return None, output


def kernels(function: str, stem: str, **arrays: Any) -> ModuleType:
    """The kernels of one stem for the library that all `arrays` belong to.

    Parameters
    ----------
    function : str
        The public function that asks, for the message of an error.
    stem : str
        "field", "filters", "thresholding", ...: the name of a module.
    **arrays
        The function's array arguments by their names.
    """
    given = {
        name: array for name, array in arrays.items() if array is not None or name not in _OPTIONAL
    }
    owners = {}
    for name, array in given.items():
        owner = owner_of(array)
        if owner is None or is_masked(array):
            raise TypeError(
                f"{name} must be a NumPy array, a CuPy array or a torch tensor, "
                f"got {type(array).__module__}.{type(array).__qualname__}{_remedy(array)}"
            )
        owners[name] = owner
    if len(set(owners.values())) > 1:
        listed = ", ".join(f"{name} of {owner}" for name, owner in owners.items())
        raise TypeError(f"{function} takes arrays of one library, got {listed}")
    owner = next(iter(owners.values()), "numpy")
    if owner == "cupy":
        _check_device(function, given)
    if owner in _PACKAGES:
        name = f"{_PACKAGES[owner]}.{stem}"
        try:
            return load(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    raise NotImplementedError(f"{function} has no kernels for {_NAMES[owner]} arrays yet")


def _remedy(value: object) -> str:
    """What makes an array of what was given instead."""
    if isinstance(value, (list, tuple)):
        return ": np.stack makes one of several, such as masks of raters, np.array one of numbers"
    if isinstance(value, (str, os.PathLike)):
        return ": gfnoise.io.read_labels or read_map reads a file"
    if type(value).__module__.startswith("SimpleITK"):
        return ": sitk.GetArrayFromImage gives its voxels"
    return ": give its `data`" if owner_of(getattr(value, "data", None)) else ""


def _check_device(function: str, arrays: dict[str, Any]) -> None:
    """Raise unless the arrays are on the current device, and this process can use it."""
    launch = load("gfnoise._cuda._launch")
    launch.check_process()
    devices = {name: array.device.id for name, array in arrays.items()}
    current = launch.current_device()
    if set(devices.values()) != {current}:
        listed = ", ".join(f"{name} on device {device}" for name, device in devices.items())
        raise ValueError(
            f"{function} takes arrays of the current device, which is {current}, got {listed}"
        )


def placed(**values: Any) -> dict[str, Any]:
    """Those of the values that are arrays on a device."""
    return {name: value for name, value in values.items() if on_device(value)}


def module(array: Any) -> Any:
    """The library of an array, for what it has in common with NumPy; NumPy without one."""
    return np if array is None or isinstance(array, np.ndarray) else sys.modules["cupy"]


def real_dtype(array: NDArray[Any]) -> np.dtype[Any]:
    """What values are computed in: float64 for float64 and wider floats, float32 for all else."""
    wide = array.dtype.kind == "f" and array.dtype.itemsize >= 8
    return np.dtype(np.float64 if wide else np.float32)


def native(array: NDArray[Any]) -> NDArray[Any]:
    """The array in the machine's byte order; float16 as float32, long double as double."""
    dtype = real_dtype(array) if array.dtype.kind == "f" else array.dtype.newbyteorder("=")
    return module(array).asarray(array, dtype)


def on_device(value: object) -> bool:
    """Whether a value is an array on a device."""
    return owner_of(value) == "cupy"
