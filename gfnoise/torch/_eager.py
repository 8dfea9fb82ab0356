"""What torch.compile must not trace: a module of its own, so that torch loads it only then."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from . import _dtypes


@torch.compiler.disable  # type: ignore[untyped-decorator]
def outside(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function as without torch.compile, which would trace its arrays of NumPy."""
    return function(*args, **kwargs)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def torch_dtype(wanted: Any) -> torch.dtype | None:
    """The dtype of torch that NumPy's name, type or dtype stands for; None for what is none."""
    try:
        return _dtypes.TORCH.get(np.dtype(wanted))
    except TypeError:
        return None
