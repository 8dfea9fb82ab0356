"""Which library owns an array, and which kernels run on it: the only place that chooses."""

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_SMALL = 1 << 17  # elements that one thread looks through in no time
_OPTIONAL = ("like", "out", "output")
Function = TypeVar("Function", bound=Callable[..., Any])


def tensors(*names: str) -> Callable[[Function], Function]:
    """Let torch tensors be given as the arguments `names`; the function sees arrays alone.

    Tensors become arrays on the same memory, and arrays in the result become tensors. Without a
    tensor among the arguments it costs about a microsecond; torch is not imported, only looked up.
    """

    def decorate(function: Function) -> Function:
        order = list(inspect.signature(function).parameters)
        places = {order.index(name): name for name in names}

        @functools.wraps(function)
        def door(*args: Any, **kwargs: Any) -> Any:
            kind = getattr(sys.modules.get("torch"), "Tensor", None)
            if kind is not None:
                for value in (*args, *kwargs.values()):
                    if isinstance(value, kind):
                        from .torch import _tensors

                        return _tensors.call(function, places, args, kwargs)
            return function(*args, **kwargs)

        return door  # type: ignore[return-value]

    return decorate


def library(array: object) -> str | None:
    """Name the library of an array, without importing any."""
    if isinstance(array, np.ndarray):
        return "numpy"
    root = type(array).__module__.partition(".")[0]
    return {"cupy": "cupy", "torch": "torch"}.get(root)


def split_output(output: Any) -> tuple[NDArray[Any] | None, Any]:
    """SciPy's `output`, an array or a dtype, as the array and its dtype."""
    if library(output) is not None and hasattr(output, "shape"):
        return output, output.dtype
    return None, output


def kernels(function: str, stem: str, **arrays: Any) -> ModuleType:
    """The kernels of one stem for the library that all `arrays` belong to.

    Parameters
    ----------
    function : str
        The public function that asks, for the message of an error.
    stem : str
        "field", "filters", "interpolation" or "thresholding".
    **arrays
        The function's array arguments by their names.
    """
    owners = {}
    for name, array in arrays.items():
        if array is None and name in _OPTIONAL:
            continue
        owner = library(array)
        if owner is None or isinstance(array, np.ma.MaskedArray):
            raise TypeError(
                f"{name} must be a NumPy array, a CuPy array or a torch tensor, "
                f"got {type(array).__module__}.{type(array).__qualname__}"
            )
        owners[name] = owner
    if len(set(owners.values())) > 1:
        listed = ", ".join(f"{name} of {owner}" for name, owner in owners.items())
        raise TypeError(f"{function} takes arrays of one library, got {listed}")
    owner = next(iter(owners.values()), "numpy")
    if owner != "numpy":
        raise NotImplementedError(f"{function} has no kernels for {owner} arrays yet")
    return importlib.import_module(f"gfnoise._cpu.{stem}")


def extremes(array: NDArray[Any]) -> tuple[Any, Any]:
    """Smallest and largest value of a non-empty array; NaN if there is any."""
    if array.size <= _SMALL or not array.flags.c_contiguous:
        return array.min(), array.max()
    values = importlib.import_module("gfnoise._cpu.values")
    least, most = values.extremes(array)
    return least, most


def stranger(codes: NDArray[Any], classes: int, rule: Any) -> int | None:
    """Index of a code that is neither one of the classes nor to be ignored."""
    largest = int(np.iinfo(codes.dtype).max)
    if classes > largest and not rule.sign:
        return None
    values = importlib.import_module("gfnoise._cpu.values")
    # Of a signed dtype, the codes from the sign bit on are the negative labels.
    limit = min(classes, int(rule.sign)) if rule.sign else classes
    index: int = values.stranger(codes, codes.dtype.type(limit), rule)
    return None if index < 0 else index
