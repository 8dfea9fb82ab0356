"""The operators that torch compiles, exports and differentiates: `torch.ops.gfnoise`.

Each is a public function of tensors and plain numbers, with what its result looks like without any
memory ("fake"). Eager calls do without them unless a gradient is asked for.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch

import gfnoise

from .. import _checks, _labels, filters, interpolation
from .._axes import along_axes, displaced_axes
from .._modes import COORDINATE_SYNONYMS, OF_COORDINATES
from . import _dtypes, _gradients

LIBRARY = torch.library.Library("gfnoise", "DEF")
DIFFERENTIABLE = ("gaussian_filter", "map_coordinates")
ops = torch.ops.gfnoise
core: Any = gfnoise  # whose functions take tensors as well, unknown to their types
Tensor = torch.Tensor
Numbers = Sequence[float]

_FIELD = "float[] amplitude, float[] length_scale, float[] spacing, int ndim"
_RULE = "str mode, int cval, int? ignore_index"


def define(schema: str, fake: Callable[..., Tensor]) -> Callable[..., Callable[..., Tensor]]:
    """Register the function that follows as an operator of this schema."""
    name = schema.partition("(")[0]
    LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    torch.library.register_fake(f"gfnoise::{name}", fake, lib=LIBRARY)

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        for device in ("CPU", "CUDA"):
            LIBRARY.impl(name, function, device)
        return function

    return register


def has(function: Callable[..., Any], kwargs: dict[str, Any]) -> bool:
    """Whether a call of a public function has an operator."""
    whole = kwargs.get("window") is None and kwargs.get("full_shape") is None
    return whole and function.__name__ in _TRACED


def trace(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Call a public function as its operator."""
    name = function.__name__
    if not torch.compiler.is_compiling():
        wrapped = torch._C._functorch.is_functorch_wrapped_tensor
        if any(isinstance(one, Tensor) and wrapped(one) for one in (*args, *kwargs.values())):
            raise NotImplementedError(
                f"{name} takes no tensors of torch.vmap and torch.func: leading axes are a batch, "
                f"and torch.autograd gives gradients"
            )
    if name not in _TRACED:
        raise NotImplementedError(
            f"{name} has no operator: it cannot be compiled, exported or called with fake tensors"
        )
    return _TRACED[name](*args, **kwargs)


# --- the field ----------------------------------------------------------------------------------


def flat(value: Any) -> list[float]:
    """A parameter of a field as one list; "unit" as an empty one."""
    if isinstance(value, str):
        return []
    rows = value if isinstance(value[0], tuple) else (value,)
    return [number for row in rows for number in row]


def rows(values: Numbers, ndim: int) -> tuple[Any, ...]:
    """The list of `flat` as a field takes it."""
    if len(values) == ndim:
        return tuple(values)
    return tuple(tuple(values[i : i + ndim]) for i in range(0, len(values), ndim))


def _field(amplitude: Numbers, length_scale: Numbers, spacing: Numbers, ndim: int) -> Any:
    return field(tuple(amplitude), tuple(length_scale), tuple(spacing), ndim)


@lru_cache(maxsize=64)
def field(
    amplitude: tuple[float, ...],
    length_scale: tuple[float, ...],
    spacing: tuple[float, ...],
    ndim: int,
) -> gfnoise.GaussianField:
    """The field of parameters as `flat` gives them."""
    return gfnoise.GaussianField(
        rows(amplitude, ndim),
        rows(length_scale, ndim),
        spacing=rows(spacing, ndim) if spacing else "unit",
        ndim=ndim,
    )


def _with_axis(labels: Tensor, count: int | None, ndim: int) -> list[int]:
    """The shape of labels with an axis of `count` just before space."""
    split = labels.dim() - ndim
    return [*labels.shape[:split], *([] if count is None else [count]), *labels.shape[split:]]


@define(
    f"sample_labels(Tensor labels, Tensor seed, {_FIELD}, int? n, int order, {_RULE}) -> Tensor",
    lambda labels, seed, a, b, spacing, ndim, n, *rest: labels.new_empty(
        _with_axis(labels, n, ndim)
    ),
)
def _sample_labels(
    labels: Tensor,
    seed: Tensor,
    amplitude: Numbers,
    length_scale: Numbers,
    spacing: Numbers,
    ndim: int,
    n: int | None,
    order: int,
    mode: str,
    cval: int,
    ignore_index: int | None,
) -> Tensor:
    return _field(amplitude, length_scale, spacing, ndim).sample_labels(
        labels, seed=seed, n=n, order=order, mode=mode, cval=cval, ignore_index=ignore_index
    )


def _trace_sample_labels(
    field: gfnoise.GaussianField,
    labels: Tensor,
    *,
    seed: Any,
    n: int | None = None,
    order: int = 0,
    mode: str = "constant",
    cval: int = 0,
    ignore_index: int | None = None,
    window: Any = None,
    full_shape: Any = None,
    out: Tensor | None = None,
) -> Tensor:
    if window is not None or full_shape is not None:
        raise NotImplementedError("sample_labels of a window has no operator")
    seed = seed if isinstance(seed, Tensor) else torch.tensor(seed, dtype=torch.int64, device="cpu")
    return _store(
        out, ops.sample_labels(labels, seed, *_plain(field), n, order, mode, cval, ignore_index)
    )


@define(
    f"marginals(Tensor labels, {_FIELD}, int? num_classes, str method, {_RULE}) -> Tensor",
    lambda labels, a, b, spacing, ndim, num_classes, *rest: labels.new_empty(
        _with_axis(labels, num_classes, ndim), dtype=torch.float32
    ),
)
def _marginals(
    labels: Tensor,
    amplitude: Numbers,
    length_scale: Numbers,
    spacing: Numbers,
    ndim: int,
    num_classes: int | None,
    method: str,
    mode: str,
    cval: int,
    ignore_index: int | None,
) -> Tensor:
    return _field(amplitude, length_scale, spacing, ndim).marginals(
        labels,
        num_classes=num_classes,
        method=method,
        mode=mode,
        cval=cval,
        ignore_index=ignore_index,
    )


def _trace_marginals(
    field: gfnoise.GaussianField,
    labels: Tensor,
    *,
    num_classes: int | None = None,
    method: str = "integrated",
    mode: str = "constant",
    cval: int = 0,
    ignore_index: int | None = None,
    out: Tensor | None = None,
) -> Tensor:
    options = (num_classes, method, mode, cval, ignore_index)
    return _store(out, ops.marginals(labels, *_plain(field), *options))


def _plain(field: gfnoise.GaussianField) -> tuple[list[float], list[float], list[float], int]:
    return flat(field.amplitude), flat(field.length_scale), flat(field.spacing), field.ndim


def _store(out: Tensor | None, result: Tensor, name: str = "out", **inputs: Tensor) -> Tensor:
    """The result, in the caller's tensor if there is one, which the function's own check looks at.

    Where tensors have no memory, as while a graph is traced, what can be said is in its words.
    """
    if out is None:
        return result
    if out.device != result.device:
        raise ValueError(f"{name} must be on {result.device}, got {out.device}")
    if _has_memory(out):
        from ._tensors import view

        arrays = {key: view(key, one) for key, one in inputs.items()}
        dtype = _dtypes.numpy_dtype(name, result.dtype)
        _checks.output(view(name, out), tuple(result.shape), dtype, name, **arrays)
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


def _has_memory(tensor: Tensor) -> bool:
    """Whether a tensor is an array on the CPU, not one that stands for another."""
    plain = type(tensor).__torch_dispatch__ is Tensor.__torch_dispatch__
    return plain and not torch.compiler.is_compiling() and tensor.device.type == "cpu"


def _split(output: Any) -> tuple[Tensor | None, Any]:
    """SciPy's `output` as the tensor, and the dtype that it is of or asks for."""
    return (output, output.dtype) if isinstance(output, Tensor) else (None, output)


def _output_dtype(wanted: Any, check: Callable[[Any, Any], Any]) -> torch.dtype | None:
    if wanted is None:
        return None
    return _dtypes.TORCH[check(None, _dtypes.numpy_dtype("output", wanted))]


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


# --- interpolation and filters ------------------------------------------------------------------


def _warped(labels: Tensor, displacement: Tensor, *rest: Any) -> Tensor:
    ndim = displaced_axes(labels, displacement)  # type: ignore[arg-type]
    lead = displacement.shape[: displacement.dim() - ndim - 1]
    return labels.new_empty((*lead, *labels.shape[labels.dim() - ndim :]))


@define(f"warp_labels(Tensor labels, Tensor displacement, int order, {_RULE}) -> Tensor", _warped)
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


def _trace_warp_labels(
    labels: Tensor,
    displacement: Tensor,
    *,
    order: int = 0,
    mode: str = "constant",
    cval: int = 0,
    ignore_index: int | None = None,
    out: Tensor | None = None,
) -> Tensor:
    return _store(out, ops.warp_labels(labels, displacement, order, mode, cval, ignore_index))


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


def _trace_gaussian_filter(
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
    return _store(out, ops.gaussian_filter(input, *settings), "output", input=input)


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
    dtype = _output_dtype(wanted, filters._result_dtype)
    numbers, sigmas, radii, modes = ([one[i] for one in along] for i in (0, 1, 2, 3))
    return sigmas, numbers, ",".join(map(str, modes)), constant, 4.0, radii, dtype


@define(
    "map_coordinates(Tensor input, Tensor coordinates, int order, str mode, float cval, "
    "ScalarType? output) -> Tensor",
    lambda source, coordinates, order, mode, cval, output: source.new_empty(
        (*source.shape[: source.dim() - coordinates.shape[0]], *coordinates.shape[1:]),
        dtype=_real_dtype(source, output),
    ),
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


def _trace_map_coordinates(
    input: Tensor,
    coordinates: Tensor,
    *,
    order: int = 1,
    mode: str = "constant",
    cval: float = 0.0,
    output: Any = None,
) -> Tensor:
    out, wanted = _split(output)
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
    return _store(out, result, "output", input=input, coordinates=coordinates)


def _mapping_settings(order: Any, mode: Any, cval: Any, wanted: Any) -> tuple[Any, ...]:
    _checks.choice("order", order, _labels.ORDERS)
    _checks.choice("mode", mode, (*OF_COORDINATES, *COORDINATE_SYNONYMS))
    constant = _checks.number("cval", cval)
    return int(order), str(mode), constant, _output_dtype(wanted, interpolation._mapped_dtype)


# --- decisions ----------------------------------------------------------------------------------


def _per_map(maps: Tensor, ndim: int | None) -> Tensor:
    axes = maps.dim() if ndim is None else ndim
    return maps.new_empty(maps.shape[: maps.dim() - axes], dtype=torch.float64)


_DECISION = "Tensor marginals, str metric, int? ndim, float beta, float? volume, int? raters"


@define(
    f"optimal_threshold({_DECISION}) -> Tensor",
    lambda marginals, metric, ndim, *rest: _per_map(marginals, ndim),
)
def _optimal_threshold(
    marginals: Tensor,
    metric: str,
    ndim: int | None,
    beta: float,
    volume: float | None,
    raters: int | None,
) -> Tensor:
    return core.optimal_threshold(
        marginals,
        metric,
        ndim=ndim,
        beta=beta,
        volume=volume,
        raters=raters,
    )


def _trace_optimal_threshold(
    marginals: Tensor,
    metric: str = "dice",
    *,
    ndim: int | None = None,
    beta: float = 1.0,
    volume: float | None = None,
    raters: int | None = None,
) -> Tensor:
    return ops.optimal_threshold(marginals, metric, ndim, beta, volume, raters)


@define(
    f"optimal_segmentation({_DECISION}, str ties) -> Tensor",
    lambda marginals, *rest: marginals.new_empty(marginals.shape, dtype=torch.bool),
)
def _optimal_segmentation(
    marginals: Tensor,
    metric: str,
    ndim: int | None,
    beta: float,
    volume: float | None,
    raters: int | None,
    ties: str,
) -> Tensor:
    return core.optimal_segmentation(
        marginals,
        metric,
        ndim=ndim,
        beta=beta,
        volume=volume,
        raters=raters,
        ties=ties,
    )


def _trace_optimal_segmentation(
    marginals: Tensor,
    metric: str = "dice",
    *,
    ndim: int | None = None,
    beta: float = 1.0,
    volume: float | None = None,
    raters: int | None = None,
    ties: str = "largest",
    out: Tensor | None = None,
) -> Tensor:
    result = ops.optimal_segmentation(marginals, metric, ndim, beta, volume, raters, ties)
    return _store(out, result)


@define(
    "score(Tensor segmentation, Tensor marginals, str metric, int? ndim, float beta) -> Tensor",
    lambda segmentation, marginals, metric, ndim, beta: _per_map(marginals, ndim),
)
def _score(
    segmentation: Tensor, marginals: Tensor, metric: str, ndim: int | None, beta: float
) -> Tensor:
    return core.score(
        segmentation,
        marginals,
        metric,
        ndim=ndim,
        beta=beta,
    )


def _trace_score(
    segmentation: Tensor,
    marginals: Tensor,
    metric: str = "dice",
    *,
    ndim: int | None = None,
    beta: float = 1.0,
) -> Tensor:
    return ops.score(segmentation, marginals, metric, ndim, beta)


def _refuse(ctx: Any, grad: Tensor) -> None:
    raise NotImplementedError("thresholds and scores have no gradient")


for _name in DIFFERENTIABLE:
    torch.library.register_autograd(
        f"gfnoise::{_name}",
        getattr(_gradients, f"{_name}_backward"),
        setup_context=getattr(_gradients, f"{_name}_context"),
        lib=LIBRARY,
    )
for _name in ("optimal_threshold", "score"):
    torch.library.register_autograd(f"gfnoise::{_name}", _refuse, lib=LIBRARY)

_TRACED: dict[str, Callable[..., Tensor]] = {
    "sample_labels": _trace_sample_labels,
    "marginals": _trace_marginals,
    "warp_labels": _trace_warp_labels,
    "gaussian_filter": _trace_gaussian_filter,
    "map_coordinates": _trace_map_coordinates,
    "optimal_threshold": _trace_optimal_threshold,
    "optimal_segmentation": _trace_optimal_segmentation,
    "score": _trace_score,
}
for _name, _function in _TRACED.items():
    _function.__qualname__ = _name  # which Python names where arguments are missing or too many
