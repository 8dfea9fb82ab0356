"""Torch's registry of the library's operators, and what their definitions share."""

from collections.abc import Callable
from typing import Any

import torch

import gfnoise

from .. import _output
from . import _dtypes

# Their scratch memory outlives a call, and their seeds may be the host's: what torch.compile
# captures as CUDA graphs ends before them. (Older versions of torch do not know the second tag.)
_TAGS = tuple(
    getattr(torch.Tag, name)
    for name in ("pt2_compliant_tag", "cudagraph_unsafe")
    if hasattr(torch.Tag, name)
)
LIBRARY = torch.library.Library("gfnoise", "DEF")
RULE = "str mode, int cval, int? ignore_index"
ops = torch.ops.gfnoise
core: Any = gfnoise  # whose functions take tensors as well, unknown to their types
Tensor = torch.Tensor


def define(schema: str, fake: Callable[..., Tensor]) -> Callable[..., Callable[..., Tensor]]:
    """Register the function that follows as an operator of this schema."""
    name = schema.partition("(")[0]
    LIBRARY.define(schema, tags=_TAGS)
    torch.library.register_fake(f"gfnoise::{name}", fake, lib=LIBRARY)

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        for device in ("CPU", "CUDA"):
            LIBRARY.impl(name, function, device)
        return function

    return register


def store(out: Tensor | None, result: Tensor, name: str = "out", **inputs: Tensor) -> Tensor:
    """The result, in the caller's tensor if there is one, which the function's own check looks at.

    Where tensors have no memory, as while a graph is traced, what can be said is in its words.
    """
    if out is None:
        return result
    if out.device != result.device:
        raise ValueError(f"{name} must be on {result.device}, got {out.device}")
    if has_memory(out):
        from ._tensors import view

        arrays = {key: view(key, one) for key, one in inputs.items()}
        dtype = _dtypes.numpy_dtype(name, result.dtype)
        _output.check(view(name, out), tuple(result.shape), dtype, name, **arrays)
    kind = str(out.dtype).removeprefix("torch.")
    if out.dtype != result.dtype:
        expected = str(result.dtype).removeprefix("torch.")
        raise TypeError(
            f"{name} must be of dtype {expected}, got {kind} of shape {tuple(out.shape)}"
        )
    if out.shape != result.shape:
        raise ValueError(
            f"{name} must be of shape {tuple(result.shape)}, got {kind} of shape {tuple(out.shape)}"
        )
    return out.copy_(result)


def has_memory(tensor: Tensor) -> bool:
    """Whether a tensor is an array on the CPU, not one that stands for another."""
    plain = type(tensor).__torch_dispatch__ is Tensor.__torch_dispatch__
    return plain and not torch.compiler.is_compiling() and tensor.device.type == "cpu"
