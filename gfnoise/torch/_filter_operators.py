"""The operators that warp, filter and interpolate; of the last two, with gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from .. import _checks, _labels
from .._axes import along_axes, displaced_axes, mapped_axes
from .._shared.modes import COORDINATE_SYNONYMS, OF_COORDINATES
from . import _dtypes, _gradients
from ._library import LIBRARY, RULE, core, define, ops, store

DIFFERENTIABLE = ("gaussian_filter", "map_coordinates")
Tensor = torch.Tensor
Numbers = Sequence[float]


def _warped(labels: Tensor, displacement: Tensor, *rest: Any) -> Tensor:
    ndim = displaced_axes(labels, displacement)  # type: ignore[arg-type]
    lead = displacement.shape[: displacement.dim() - ndim - 1]
    return labels.new_empty((*lead, *labels.shape[labels.dim() - ndim :]))


@define(f"warp_labels(Tensor labels, Tensor displacement, int order, {RULE}) -> Tensor", _warped)
def _warp_labels(
    labels: Tensor,
    displacement: Tensor,
    order: int,
    mode: str,
    cval: int,
    ignore_index: int | None,
) -> Tensor:
    return core.warp_labels(
        labels,
        displacement,
        order=order,
        mode=mode,
        cval=cval,
        ignore_index=ignore_index,
    )


def trace_warp_labels(
    labels: Tensor,
    displacement: Tensor,
    *,
    order: int = 0,
    mode: str = "constant",
    cval: int = 0,
    ignore_index: int | None = None,
    out: Tensor | None = None,
) -> Tensor:
    return store(out, ops.warp_labels(labels, displacement, order, mode, cval, ignore_index))


def _real_dtype(source: Tensor, wanted: torch.dtype | None) -> torch.dtype:
    return wanted or (torch.float64 if source.dtype == torch.float64 else torch.float32)


@define(
    "gaussian_filter(Tensor input, float[] sigma, int[]? axes, str mode, float cval, "
    "float truncate, int[]? radius, ScalarType? output) -> Tensor",
    lambda source, sigma, axes, mode, cval, truncate, radius, output: source.new_empty(
        source.shape, dtype=_real_dtype(source, output)
    ),
)
def _gaussian_filter(
    source: Tensor,
    sigma: Numbers,
    axes: Sequence[int] | None,
    mode: str,
    cval: float,
    truncate: float,
    radius: Sequence[int] | None,
    output: torch.dtype | None,
) -> Tensor:
    modes = mode.split(",")
    return core.gaussian_filter(
        source,
        sigma[0] if len(sigma) == 1 else sigma,
        axes=axes,
        mode=modes[0] if len(modes) == 1 else modes,
        cval=cval,
        truncate=truncate,
        radius=radius[0] if radius is not None and len(radius) == 1 else radius,
        output=output,
    )


def trace_gaussian_filter(
    input: Tensor,
    sigma: Any,
    *,
    axes: Any = None,
    mode: Any = "reflect",
    cval: float = 0.0,
    truncate: float = 4.0,
    radius: Any = None,
    output: Any = None,
) -> Tensor:
    out, wanted = _split(output)
    if torch.compiler.is_compiling():
        wanted = _torchs(wanted)
    given = (sigma, axes, mode, cval, truncate, radius, wanted)
    if not torch.compiler.is_compiling():
        settings = _filter_settings(input.dim(), *given)
    elif _are_plain_filter_settings(input.dim(), *given):
        axes, radius = (None if one is None else _listed(one) for one in (axes, radius))
        modes = ",".join(_listed(mode))
        settings = (_listed(sigma), axes, modes, cval, truncate, radius, wanted)
    else:
        options = {"axes": axes, "mode": mode, "cval": cval, "truncate": truncate}
        options |= {"radius": radius, "output": output}
        return _outside(core.gaussian_filter, input, sigma, **options)
    return store(out, ops.gaussian_filter(input, *settings), "output", input=input)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _are_plain_filter_settings(
    ndim: int,
    sigma: Any,
    axes: Any,
    mode: Any,
    cval: Any,
    truncate: Any,
    radius: Any,
    wanted: Any,
) -> bool:
    """Whether the operator takes them as they are, and its checks are the function's."""
    count = ndim if axes is None else len(_listed(axes))
    return (
        _plain_each(sigma, (int, float), count)
        and (axes is None or _plain_each(axes, (int,), count))
        and _plain_each(mode, (str,), count)
        and all("," not in one for one in _listed(mode))
        and type(cval) in (int, float)
        and type(truncate) in (int, float)
        and (radius is None or _plain_each(radius, (int,), count))
        and _plain_output(wanted)
    )


def _filter_settings(
    ndim: int,
    sigma: Any,
    axes: Any,
    mode: Any,
    cval: Any,
    truncate: Any,
    radius: Any,
    wanted: Any,
) -> tuple[Any, ...]:
    """The operator's settings, of the axes that are filtered."""
    along = along_axes(ndim, sigma, axes=axes, mode=mode, truncate=truncate, radius=radius)
    constant = _checks.number("cval", cval)
    dtype = _output_dtype(wanted, "f")
    sigmas, axes = [one.sigma for one in along], [one.axis for one in along]
    modes, radii = ",".join(one.mode for one in along), [one.radius for one in along]
    return sigmas, axes, modes, constant, 4.0, radii, dtype


def _mapped(
    source: Tensor,
    coordinates: Tensor,
    order: int,
    mode: str,
    cval: float,
    output: torch.dtype | None,
) -> Tensor:
    lead = source.dim() - mapped_axes(source, coordinates)  # type: ignore[arg-type]
    shape = (*source.shape[:lead], *coordinates.shape[1:])
    return source.new_empty(shape, dtype=_real_dtype(source, output))


@define(
    "map_coordinates(Tensor input, Tensor coordinates, int order, str mode, float cval, "
    "ScalarType? output) -> Tensor",
    _mapped,
)
def _map_coordinates(
    source: Tensor,
    coordinates: Tensor,
    order: int,
    mode: str,
    cval: float,
    output: torch.dtype | None,
) -> Tensor:
    return core.map_coordinates(
        source,
        coordinates,
        order=order,
        mode=mode,
        cval=cval,
        output=output,
    )


def trace_map_coordinates(
    input: Tensor,
    coordinates: Tensor,
    *,
    order: int = 1,
    mode: str = "constant",
    cval: float = 0.0,
    output: Any = None,
) -> Tensor:
    out, wanted = _split(output)
    if torch.compiler.is_compiling():
        wanted = _torchs(wanted)
    settings = (order, mode, cval, wanted)
    if not torch.compiler.is_compiling():
        settings = _mapping_settings(*settings)
    elif not (
        type(order) is int
        and type(mode) is str
        and type(cval) in (int, float)
        and _plain_output(wanted)
    ):
        options = {"order": order, "mode": mode, "cval": cval, "output": output}
        return _outside(core.map_coordinates, input, coordinates, **options)
    result = ops.map_coordinates(input, coordinates, *settings)
    return store(out, result, "output", input=input, coordinates=coordinates)


def _mapping_settings(order: Any, mode: Any, cval: Any, wanted: Any) -> tuple[Any, ...]:
    _checks.choice("order", order, _labels.ORDERS)
    _checks.choice("mode", mode, (*OF_COORDINATES, *COORDINATE_SYNONYMS))
    constant = _checks.number("cval", cval)
    return int(order), str(mode), constant, _output_dtype(wanted, "biuf")


# --- settings as the operators take them ---------------------------------------------------------


def _split(output: Any) -> tuple[Tensor | None, Any]:
    """SciPy's `output` as the tensor, and the dtype that it is of or asks for."""
    return (output, output.dtype) if isinstance(output, Tensor) else (None, output)


def _output_dtype(wanted: Any, kinds: str) -> torch.dtype | None:
    if wanted is None:
        return None
    dtype = _dtypes.numpy_dtype("output", wanted)
    return _dtypes.TORCH[_checks.output_dtype(None, dtype, kinds=kinds)]


def _outside(function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """A call beside the graph that is compiled: the function's own checks are not traced."""
    from . import _eager

    result: Tensor = _eager.outside(function, *args, **kwargs)
    return result


def _plain_each(value: Any, kinds: tuple[type, ...], count: int) -> bool:
    """Whether a setting is one for all axes, or one for each of `count`, of Python's own types."""
    if type(value) not in (list, tuple):
        return type(value) in kinds
    return len(value) == count and all(type(one) in kinds for one in value)


def _plain_output(wanted: Any) -> bool:
    return wanted is None or isinstance(wanted, torch.dtype)


def _torchs(wanted: Any) -> Any:
    """A dtype of NumPy, or its name, as that of torch; else what it was."""
    if not isinstance(wanted, (str, type, np.dtype)):
        return wanted
    from . import _eager

    return _eager.torch_dtype(wanted) or wanted


for _name in DIFFERENTIABLE:
    torch.library.register_autograd(
        f"gfnoise::{_name}",
        getattr(_gradients, f"{_name}_backward"),
        setup_context=getattr(_gradients, f"{_name}_context"),
        lib=LIBRARY,
    )
