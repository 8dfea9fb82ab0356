"""Calls that torch.compile leaves alone: imported once it traces one, for torch loads it then."""

from collections.abc import Callable
from typing import Any

import torch


@torch.compiler.disable  # type: ignore[untyped-decorator]
def outside(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function as without torch.compile, which would trace its arrays of NumPy."""
    return function(*args, **kwargs)
