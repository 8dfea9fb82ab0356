"""Tensors for the functions of arrays: the same memory as arrays, and arrays given back as tensors.

CPU tensors become NumPy arrays, CUDA tensors CuPy arrays on torch's current device and stream,
whose outputs and working memory come from torch's allocator.
"""

import functools
import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from .. import _array
from .._shared.owners import owner_of
from . import _dtypes, _filter_operators, _operators

_PLAIN = torch.Tensor.__torch_dispatch__
_STREAMS = ("seed",)  # numbers that may lie elsewhere than the arrays
_WRITTEN = ("out", "output")
_BACKWARD = "has no gradient: call it under torch.no_grad() or with detached tensors"
_FORWARD = (
    "has no forward-mode derivative: call it with primals, which forward_ad.unpack_dual gives"
)


def call(
    function: Callable[..., Any],
    places: Mapping[int, str],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Call a function of arrays with tensors as the arguments that `places` names."""
    if torch.compiler.is_compiling():
        if _operators.has(function, kwargs):
            return _operators.trace(function, args, kwargs)
        from . import _eager

        return _eager.outside(_call, function, places, args, kwargs)
    return _call(function, places, args, kwargs)


def _call(
    function: Callable[..., Any],
    places: Mapping[int, str],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    names = places.values()
    given = {name: args[i] for i, name in places.items() if i < len(args)}
    given |= {name: value for name, value in kwargs.items() if name in names}
    found = {name: value for name, value in given.items() if isinstance(value, torch.Tensor)}
    device = _device(function.__name__, given)
    wants_gradient = torch.is_grad_enabled() and any(one.requires_grad for one in found.values())
    if any(map(is_traced, found.values())):
        return _operators.trace(function, args, kwargs)
    tangent = any(map(_has_tangent, found.values()))
    if wants_gradient and not tangent and function.__name__ in _filter_operators.DIFFERENTIABLE:
        return _operators.trace(function, args, kwargs)
    lost = _FORWARD if tangent else _BACKWARD if wants_gradient else ""
    return _direct(function, given, places, args, kwargs, device, lost)


def _direct(
    function: Callable[..., Any],
    given: dict[str, Any],
    places: Mapping[int, str],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    device: torch.device | None,
    lost: str,
) -> Any:
    """Call the function with arrays on the tensors' memory; `lost`: what it cannot give."""
    name = function.__name__
    if device is not None and device.type not in ("cpu", "cuda"):
        raise NotImplementedError(
            f"{name} has no kernels for tensors on {device}: move them to the CPU or to CUDA"
        )
    written = next((given[one] for one in _WRITTEN if given.get(one) is not None), None)
    if isinstance(written, torch.Tensor):
        if written.requires_grad and torch.is_grad_enabled():
            raise ValueError(f"{name} cannot write to a tensor that requires grad: detach it first")
        if lost == _FORWARD and written.is_floating_point():
            raise NotImplementedError(f"{name} {lost}")
        if lost and written.is_floating_point():
            raise ValueError(f"{name} of a tensor that requires grad takes no output tensor")

    def on(convert: Callable[[str, torch.Tensor], Any]) -> Any:
        arrays = {
            one: convert(one, _sought(one, value))
            if isinstance(value, torch.Tensor)
            else _dtype(one, value)
            for one, value in given.items()
        }
        result = function(
            *[arrays[places[i]] if i in places else value for i, value in enumerate(args)],
            **(kwargs | {one: arrays[one] for one in kwargs if one in arrays}),
        )
        if device is None:
            return result
        if isinstance(written, torch.Tensor):
            if not written.is_inference():
                torch.autograd.graph.increment_version(written)
            return written
        return _as_tensors(result)

    if device is None or device.type == "cpu":
        result = on(view)
    else:
        with _on_cuda(device) as convert:
            result = on(convert)
    if lost and _is_real(result):
        raise NotImplementedError(f"{name} {lost}")
    return result


def _is_real(result: Any) -> bool:
    """Whether a result holds anything but integers, of which no one expects a gradient."""
    if isinstance(result, (tuple, list)):
        return any(map(_is_real, result))
    if isinstance(result, torch.Tensor):
        return result.is_floating_point()
    return not isinstance(result, (int, type(None)))


def is_traced(tensor: torch.Tensor) -> bool:
    """Whether only operators apply: a tensor without memory, or one that records or dispatches."""
    return (
        type(tensor).__torch_dispatch__ is not _PLAIN
        or tensor.device.type == "meta"
        or torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        or torch._C._is_tracing()  # by torch.jit, whose constant the result would be
    )


def _has_tangent(tensor: torch.Tensor) -> bool:
    """Whether a tensor carries a derivative of forward mode, with or without `requires_grad`."""
    return torch.autograd.forward_ad.unpack_dual(tensor).tangent is not None


def _device(function: str, given: Mapping[str, Any]) -> torch.device | None:
    """The device of all tensors but the seeds, or of these where they are alone; None: of none."""
    homes: dict[str, Any] = {}
    for name, value in given.items():
        if name in _STREAMS:
            continue
        if isinstance(value, torch.Tensor):
            homes[name] = value.device
        elif owner_of(value) is not None and hasattr(value, "shape"):
            homes[name] = owner_of(value)
    if not homes:
        seeds = {name: given.get(name) for name in _STREAMS}
        homes = {n: seed.device for n, seed in seeds.items() if isinstance(seed, torch.Tensor)}
    if not any(isinstance(home, torch.device) for home in homes.values()):
        return None
    if len(set(homes.values())) > 1:
        if all(isinstance(home, torch.device) for home in homes.values()):
            listed = ", ".join(f"{name} on {home}" for name, home in homes.items())
            raise ValueError(f"{function} takes tensors of one device, got {listed}")
        owners = {n: "torch" if isinstance(h, torch.device) else h for n, h in homes.items()}
        listed = ", ".join(f"{name} of {owner}" for name, owner in owners.items())
        raise TypeError(f"{function} takes arrays of one library, got {listed}")
    return next(iter(homes.values()))


def _dtype(name: str, value: Any) -> Any:
    """A dtype that is asked for as NumPy's; anything else as it is."""
    wanted = isinstance(value, torch.dtype) or (name == "output" and value is not None)
    if not wanted or (owner_of(value) is not None and hasattr(value, "shape")):
        return value
    return _dtypes.numpy_dtype(name, value)


def _sought(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """What a function wants of a tensor; of `like`, no more than where it lives."""
    return torch.empty(0, device=tensor.device) if name == "like" else tensor


def _dense(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor whose memory is its values; an error where there is none."""
    if type(tensor) is not torch.Tensor:
        with torch._C.DisableTorchFunctionSubclass():
            tensor = tensor.as_subclass(torch.Tensor)
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested:
        kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
        kind = "quantized" if tensor.is_quantized else kind
        raise TypeError(f"{name} must be a dense tensor, got a {kind} one of {tensor.dtype}")
    if tensor.dtype not in _dtypes.NUMPY:
        raise TypeError(
            f"{name} must be of a dtype that NumPy has, got {tensor.dtype}: convert it first, "
            f"as by {name}.float()"
        )
    if tensor.is_neg() or tensor.is_conj():
        if name in _WRITTEN:
            raise ValueError(f"{name} must not be a conjugated or negated view")
        tensor = tensor.resolve_conj().resolve_neg()
    return tensor.detach()


def view(name: str, tensor: torch.Tensor) -> Any:
    """A CPU tensor as a NumPy array on the same memory."""
    if tensor.device.type != "cpu":
        raise ValueError(f"{name} must be on the CPU, as the other arguments, got {tensor.device}")
    return _dense(name, tensor).numpy()


def _as_tensors(result: Any) -> Any:
    """Arrays as tensors, in tuples, lists and dicts as well."""
    if isinstance(result, (np.ndarray, np.generic)):
        return torch.from_numpy(np.asarray(result))
    if isinstance(result, tuple):
        made = [_as_tensors(one) for one in result]
        return type(result)(*made) if hasattr(result, "_fields") else tuple(made)
    if isinstance(result, list):
        return [_as_tensors(one) for one in result]
    if isinstance(result, dict):
        return {key: _as_tensors(one) for key, one in result.items()}
    return _tensor_of(result) if _array.on_device(result) else result


# --- CUDA ---------------------------------------------------------------------------------------


def _cupy(device: torch.device) -> Any:
    """CuPy, or an ImportError that names what to install."""
    try:
        return importlib.import_module("cupy")
    except ImportError as error:
        major = (torch.version.cuda or "12").partition(".")[0]
        raise ImportError(
            f"tensors on {device} need CuPy: pip install 'gfnoise[cuda{major}]'"
        ) from error


@contextmanager
def _on_cuda(device: torch.device) -> Iterator[Callable[[str, torch.Tensor], Any]]:
    """CuPy on torch's device, current stream and allocator."""
    cupy = _cupy(device)
    index = torch.cuda.current_device() if device.index is None else device.index
    with (
        torch.cuda.device(index),
        cupy.cuda.Device(index),
        # Once the device is current: CuPy takes a stream to be of that.
        _on_stream(cupy, torch.cuda.current_stream(index)),
        cupy.cuda.using_allocator(functools.partial(_torch_memory, cupy, index)),
    ):
        yield functools.partial(_cuda_view, cupy, index)


@contextmanager
def _on_stream(cupy: Any, stream: Any) -> Iterator[None]:
    """CuPy on a stream of torch's, then on its own again, which a stream's `with` forgets."""
    before = cupy.cuda.get_current_stream()
    cupy.cuda.Stream.from_external(_Handle(stream)).use()
    try:
        yield
    finally:
        before.use()


class _Handle:
    """A stream of torch by CUDA's stream protocol, which torch has of late alone."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._stream.cuda_stream


def _torch_memory(cupy: Any, index: int, size: int) -> Any:
    """Memory of torch's allocator for CuPy; it lives as long as what CuPy makes of it."""
    owner = torch.empty(size, dtype=torch.uint8, device=torch.device("cuda", index))
    return _lent(cupy, index, owner, size)


def _lent(cupy: Any, index: int, owner: torch.Tensor, size: int) -> Any:
    """The memory of a tensor, from its first element on, as CuPy has it."""
    memory = _memory(cupy)(owner.data_ptr(), size, owner, index)
    memory.owner = owner
    return cupy.cuda.MemoryPointer(memory, 0)


@functools.cache
def _memory(cupy: Any) -> Any:
    """The class of memory that CuPy does not own, with a place for whose it is."""
    return type("TorchMemory", (cupy.cuda.UnownedMemory,), {})


def _tensor_of(array: Any) -> torch.Tensor:
    """An array of `_torch_memory` as a tensor of the storage that it lies in.

    By CUDA's array interface, torch would hold the memory as a stranger's: `record_stream` passes
    over that, and a batch that one stream made would be written over while another still reads it.
    """
    owner, itemsize = array.data.mem.owner, array.dtype.itemsize
    storage = owner.untyped_storage()
    tensor = torch.empty(0, dtype=_dtypes.TORCH[array.dtype], device=owner.device)
    start = (array.data.ptr - storage.data_ptr()) // itemsize
    return tensor.set_(storage, start, array.shape, [step // itemsize for step in array.strides])


def _cuda_view(cupy: Any, index: int, name: str, tensor: torch.Tensor) -> Any:
    """A CUDA tensor as a CuPy array on the same memory; seeds on the CPU as a NumPy array.

    By its address: DLPack may wait for a stream, and a captured graph must not.
    """
    if tensor.device.type == "cpu":
        return view(name, tensor)
    if tensor.device.index != index:
        raise ValueError(f"{name} must be on cuda:{index} or the CPU, got {tensor.device}")
    return _at_address(cupy, index, _dense(name, tensor))


def _at_address(cupy: Any, index: int, tensor: torch.Tensor) -> Any:
    itemsize = tensor.element_size()
    extent = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True)) + 1
    size = itemsize * extent if tensor.numel() else 0
    return cupy.ndarray(
        tuple(tensor.shape),
        _dtypes.NUMPY[tensor.dtype],
        _lent(cupy, index, tensor, size),
        strides=tuple(itemsize * step for step in tensor.stride()),
    )
