"""Where results go: the caller's array, checked, or a new one."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _array, _checks
from ._labels import as_codes


class Output:
    """The array that a function returns, and the contiguous one that a kernel fills.

    Parameters
    ----------
    out : array or None
        The caller's, which is checked; None: a new one.
    shape, dtype
        Of the result.
    name : str
        What the caller calls `out`.
    **inputs
        The arrays that it is made of, which it must not overlap. The result belongs to the library
        of the first.

    Attributes
    ----------
    result : array
        What the function returns.
    filled : array
        What a kernel fills, of the same shape: contiguous and of the machine's byte order.
    direct : bool
        Whether both are the same memory.
    """

    def __init__(
        self,
        out: NDArray[Any] | None,
        shape: Sequence[int],
        dtype: Any,
        *,
        name: str = "out",
        **inputs: NDArray[Any],
    ):
        library = _array.module(next(iter(inputs.values())))
        if out is not None:
            check(out, shape, np.dtype(dtype), name, **inputs)
        self.result = library.empty(shape, dtype) if out is None else out
        self.direct = self.result.flags.c_contiguous and self.result.dtype.isnative
        if not self.direct:
            self.filled = library.empty(shape, self.result.dtype.newbyteorder("="))
        elif isinstance(self.result, np.ndarray):
            # A matrix would keep its two axes, whatever the shape asked for.
            self.filled = self.result.view(np.ndarray)
        else:
            self.filled = self.result

    def codes(self, shape: Sequence[int]) -> NDArray[Any]:
        """The array to fill, as codes of another shape."""
        return as_codes(self.filled).reshape(shape)

    def finish(self) -> NDArray[Any]:
        """The filled array where, and as, the caller wants it."""
        if not self.direct:
            self.result[...] = self.filled
        return self.result


def check(
    out: NDArray[Any],
    shape: Sequence[int],
    dtype: np.dtype[Any],
    name: str = "out",
    **inputs: NDArray[Any],
) -> None:
    """Raise unless `out` is a writable array of this shape and dtype, apart from the inputs."""
    if out.dtype != dtype:
        raise TypeError(f"{name} must be of dtype {dtype}, got {_checks.describe(out)}")
    if out.shape != tuple(shape):
        raise ValueError(f"{name} must be of shape {tuple(shape)}, got {_checks.describe(out)}")
    if not getattr(out.flags, "writeable", True):
        raise ValueError(f"{name} must be writable, got a read-only array, {_checks.describe(out)}")
    for other, array in inputs.items():
        if _overlap(out, array):
            raise ValueError(f"{name} must not share memory with {other}, got overlapping arrays")
    if out.size and not out.flags.c_contiguous and _holds_twice(out):
        raise ValueError(
            f"{name} must hold each element once, got strides {out.strides} for "
            f"{_checks.describe(out)}"
        )


def _holds_twice(array: Any) -> bool:
    """Whether two elements of an array share memory."""
    axes = sorted((abs(s), n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1)
    reach = array.itemsize
    apart = True
    for stride, size in axes:
        apart &= stride >= reach
        reach += (size - 1) * stride
    if apart or array.nbytes > reach:
        return not apart
    # Axes that reach into each other, but there is room for all: look where the elements are.
    places = np.zeros(1, np.int64)
    for stride, size in axes:
        places = np.add.outer(places, stride * np.arange(size)).reshape(-1)
    places.sort()
    return bool((np.diff(places) < array.itemsize).any())


def _overlap(first: Any, second: Any) -> bool:
    if _array.on_device(first):
        if first.flags.c_contiguous and second.flags.c_contiguous and first.size and second.size:
            one, two = first.data.ptr, second.data.ptr
            return bool(one < two + second.nbytes and two < one + first.nbytes)
        first, second = _places(first), _places(second)
    try:
        # NumPy's stub knows the bounds -1 and 0 alone.
        return bool(np.shares_memory(first, second, max_work=10_000))  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def _places(array: Any) -> NDArray[Any]:
    """An array on a device as one of NumPy at the same addresses: for arithmetic with these alone.

    CuPy takes arrays for apart that lie in memory of different owners, as of two tensors.
    """
    interface = dict(array.__cuda_array_interface__)
    interface["strides"] = array.strides
    return np.asarray(SimpleNamespace(__array_interface__=interface))
