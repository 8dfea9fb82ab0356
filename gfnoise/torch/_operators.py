"""The operators that torch compiles, exports and differentiates: `torch.ops.gfnoise`.

Each is a public function of tensors and plain numbers, with what its result looks like without any
memory ("fake"). Eager calls do without them unless a gradient is asked for.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch

import gfnoise

from .._axes import lead_and_space
from . import _filter_operators
from ._library import LIBRARY, RULE, core, define, ops, store

Tensor = torch.Tensor
Numbers = Sequence[float]

_FIELD = "float[] amplitude, float[] length_scale, float[] spacing, int ndim"


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
    lead, space = lead_and_space(labels.shape, ndim)
    return [*lead, *([] if count is None else [count]), *space]


@define(
    f"sample_labels(Tensor labels, Tensor seed, {_FIELD}, int? n, int order, {RULE}) -> Tensor",
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
    return store(
        out, ops.sample_labels(labels, seed, *_plain(field), n, order, mode, cval, ignore_index)
    )


@define(
    f"marginals(Tensor labels, {_FIELD}, int? num_classes, str method, {RULE}) -> Tensor",
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
    return store(out, ops.marginals(labels, *_plain(field), *options))


def _plain(field: gfnoise.GaussianField) -> tuple[list[float], list[float], list[float], int]:
    return flat(field.amplitude), flat(field.length_scale), flat(field.spacing), field.ndim


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
    return store(out, result)


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


for _name in ("optimal_threshold", "score"):
    torch.library.register_autograd(f"gfnoise::{_name}", _refuse, lib=LIBRARY)

_TRACED: dict[str, Callable[..., Tensor]] = {
    "sample_labels": _trace_sample_labels,
    "marginals": _trace_marginals,
    "warp_labels": _filter_operators.trace_warp_labels,
    "gaussian_filter": _filter_operators.trace_gaussian_filter,
    "map_coordinates": _filter_operators.trace_map_coordinates,
    "optimal_threshold": _trace_optimal_threshold,
    "optimal_segmentation": _trace_optimal_segmentation,
    "score": _trace_score,
}
for _name, _function in _TRACED.items():
    _function.__qualname__ = _name  # which Python names where arguments are missing or too many
