"""The dtypes that torch and NumPy share."""

from typing import Any

import numpy as np
import torch

from .. import _checks

NUMPY = {
    getattr(torch, name): np.dtype(name)
    for name in (
        *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    )
}
TORCH = {dtype: one for one, dtype in NUMPY.items()}


def numpy_dtype(name: str, wanted: Any) -> np.dtype[Any]:
    """The dtype that the argument `name` asks for, of torch or as NumPy takes it; both have it."""
    if isinstance(wanted, torch.dtype):
        if wanted not in NUMPY:
            raise TypeError(f"{name} must be of a dtype that NumPy has, got {wanted}")
        return NUMPY[wanted]
    dtype = _checks.dtype_of(name, wanted)
    if dtype not in TORCH:
        raise TypeError(f"{name} must be of a dtype that torch has, got {dtype}")
    return dtype
