"""Dask arrays: the graphs of the functions that have one. Chunks of space overlap as they must.

Nothing is computed at a call but how far the fields of `sample_labels` reach, and thresholds: they
take several passes, and a graph of all of them would hold every chunk from the first to the last.
What runs on a chunk is in `tasks`.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.array.overlap import overlap
from dask.utils import parse_bytes
from numpy.typing import NDArray

from .. import _array, _checks, _decisions, _labels
from .._axes import along_axes
from .._sampling import part_of, streams
from .._shared.digits import rank_of
from .._shared.taps import marginal_taps
from .._strengths import in_voxels
from .._window import Window, cut
from . import tasks
from .reach import reach


def call(
    function: Callable[..., Any],
    places: Mapping[int, str],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Call a function of arrays with dask arrays among its arguments."""
    graph = _GRAPHS.get(function.__qualname__)
    if graph is None:
        known = ", ".join(name.rpartition(".")[2] for name in _GRAPHS)
        raise NotImplementedError(
            f"{function.__name__} takes no dask arrays, only {known} do: call it with NumPy "
            f"arrays, as compute() gives them"
        )
    if dask.config.get("array.query-planning", None):
        raise NotImplementedError(
            f"{function.__name__} takes dask arrays as they are without dask's setting "
            f"array.query-planning, got {dask.config.get('array.query-planning')!r}"
        )
    given = inspect.signature(function).bind(*args, **kwargs)
    given.apply_defaults()
    arguments = given.arguments
    name = next(one for one in arguments if one != "self")
    source = arguments[name]
    _check(function.__name__, name, arguments)
    if 0 in source.shape:
        empty = np.empty(source.shape, source.dtype)
        return da.from_array(np.asarray(function(**{**arguments, name: empty})), chunks=-1)
    return graph(function, **arguments)


def _check(function: str, name: str, arguments: Mapping[str, Any]) -> None:
    """Raise unless the first array alone is a dask array, of known shape, of NumPy arrays."""
    source = arguments[name]
    for other, value in arguments.items():
        if isinstance(value, da.Array) and other != name:
            raise TypeError(f"{function} takes a dask array as {name} alone, got one as {other}")
    for other in ("out", "output"):
        written = arguments.get(other)
        if written is not None and (other == "out" or _array.split_output(written)[0] is not None):
            raise TypeError(
                f"{function} makes a new array of a dask array: {other} must be "
                f"{'None' if other == 'out' else 'a dtype'}, got {type(written).__qualname__}"
            )
    kind = type(source._meta)
    if kind is not np.ndarray:
        raise TypeError(
            f"{name} must be a dask array of NumPy arrays, got one of "
            f"{kind.__module__}.{kind.__qualname__}"
        )
    if any(math.isnan(size) for size in source.shape):
        raise ValueError(
            f"{name} must be of known shape, got {source.shape}: call its compute_chunk_sizes() "
            f"first"
        )


def _twin(source: da.Array, ndim: int) -> np.ndarray[Any, Any]:
    """An array like the source, but without voxels: called with it, a function checks the rest."""
    space = min(ndim, source.ndim)
    return np.empty(source.shape[: source.ndim - space] + (0,) * space, source.dtype)


# --- parts that overlap -------------------------------------------------------------------------


def _overlapping(
    source: da.Array, margins: Mapping[int, int], wrapped: Iterable[int] = ()
) -> tuple[da.Array, tasks.Layout]:
    """The chunks of an array with margins. Chunks smaller than theirs are joined to others."""
    wanted = [
        (sum(sizes),) if margins.get(axis, 0) >= sum(sizes) else _join(sizes, margins.get(axis, 1))
        for axis, sizes in enumerate(source.chunks)
    ]
    joined = source.rechunk(tuple(wanted))
    depth = {axis: margin if joined.numblocks[axis] > 1 else 0 for axis, margin in margins.items()}
    border = {axis: "periodic" if axis in wrapped else "none" for axis in depth}
    parts = overlap(joined, depth, border) if any(depth.values()) else joined
    axes = range(source.ndim)
    layout = tasks.Layout(
        joined.chunks,
        tuple(depth.get(axis, 0) for axis in axes),
        tuple(axis in wrapped for axis in axes),
    )
    return parts, layout


def _join(sizes: tuple[int, ...], least: int) -> tuple[int, ...]:
    """Join neighbours until each has at least so many voxels."""
    joined = [0]
    for size in sizes:
        if joined[-1] >= max(least, 1):
            joined.append(0)
        joined[-1] += size
    if len(joined) > 1 and joined[-1] < max(least, 1):
        last = joined.pop()
        joined[-1] += last
    return tuple(joined)


def _map(
    task: Callable[..., Any],
    parts: da.Array,
    chunks: tuple[tuple[int, ...], ...],
    dtype: Any,
    new_axis: int | None = None,
    **options: Any,
) -> da.Array:
    """Each part by a task."""
    return da.map_blocks(
        task,
        parts,
        chunks=chunks,
        new_axis=None if new_axis is None else [new_axis],
        dtype=dtype,
        meta=np.empty((0,) * len(chunks), dtype),
        **options,
    )


# --- filters ------------------------------------------------------------------------------------


def _gaussian_filter(
    function: Callable[..., Any],
    input: da.Array,
    sigma: Any,
    *,
    axes: Any,
    mode: Any,
    cval: float,
    truncate: float,
    radius: Any,
    output: Any,
) -> da.Array:
    options = {"axes": axes, "mode": mode, "cval": cval, "truncate": truncate, "radius": radius}
    twin = function(_twin(input, input.ndim), sigma, **options, output=output)
    along = along_axes(input.ndim, sigma, axes=axes, mode=mode, truncate=truncate, radius=radius)
    margins = {one.axis: one.radius for one in along}
    wrapped = [one.axis for one in along if one.mode == "wrap"]
    parts, layout = _overlapping(input, margins, wrapped)
    options |= {"sigma": sigma, "output": twin.dtype}
    return _map(tasks.filtered, parts, layout.chunks, twin.dtype, layout=layout, options=options)


def _marginals(
    function: Callable[..., Any],
    self: Any,
    labels: da.Array,
    *,
    num_classes: int | None,
    method: str,
    mode: str,
    cval: int,
    ignore_index: int | None,
    out: None,
) -> da.Array:
    options = {"method": method, "mode": mode, "cval": cval, "ignore_index": ignore_index}
    _checks.integral("labels", labels)  # of a twin, the error would tell another shape
    function(self, _twin(labels, self.ndim), num_classes=num_classes, **options)
    lead, space = labels.ndim - self.ndim, labels.shape[labels.ndim - self.ndim :]
    sigma, _ = in_voxels(self, math.prod(labels.shape[:lead]), space)
    taps = [marginal_taps(row, space, method)[-self.ndim :] for row in np.unique(sigma, axis=0)]
    margins = {lead + i: max(one[i].radius for one in taps) for i in range(self.ndim)}
    parts, layout = _overlapping(labels, margins)
    chunks, classes = layout.chunks, None
    if num_classes is not None:
        classes = _class_chunks(int(num_classes), math.prod(max(sizes) for sizes in chunks))
        chunks = (*chunks[:lead], classes, *chunks[lead:])
    plan = tasks.Marginals(
        layout,
        self.ndim,
        sigma,
        method,
        _labels.rule(labels, mode, cval, ignore_index),
        classes,
        None if num_classes is None else int(num_classes),
    )
    axis = None if classes is None else lead
    return _map(tasks.marginals, parts, chunks, np.float32, axis, plan=plan)


def _class_chunks(classes: int, voxels: int) -> tuple[int, ...]:
    """As many classes to a chunk as dask's limit for one leaves room for in float32."""
    limit = parse_bytes(dask.config.get("array.chunk-size"))
    share = max(1, min(classes, limit // (4 * voxels)))
    rest = classes % share
    return (share,) * (classes // share) + (rest,) * (rest > 0)


# --- the noise ----------------------------------------------------------------------------------


def _sample_labels(
    function: Callable[..., Any],
    self: Any,
    labels: da.Array,
    *,
    seed: Any,
    n: int | None,
    order: int,
    mode: str,
    cval: int,
    ignore_index: int | None,
    window: Any,
    full_shape: Any,
    out: None,
) -> da.Array:
    options = {"order": order, "mode": mode, "cval": cval, "ignore_index": ignore_index}
    _checks.integral("labels", labels)  # of a twin, the error would tell another shape
    function(self, _twin(labels, self.ndim), seed=seed, n=n, **options)
    lead, space = labels.ndim - self.ndim, labels.shape[labels.ndim - self.ndim :]
    part, _ = part_of(space, window if full_shape is not None else None, full_shape)
    wanted = cut(space, window) if full_shape is None and window is not None else None
    items = math.prod(labels.shape[:lead])
    seeds, numbers, _ = streams(self, seed, items)
    amplitude, length_scale = in_voxels(self, items, part.shape)
    raters = None if n is None else int(n)
    given: dict[str, Any] = {
        "seeds": seeds,
        "numbers": numbers,
        "amplitude": amplitude,
        "length_scale": length_scale,
    }
    parts, layout = _overlapping(labels, _margins(labels, self.ndim, raters, part, given))
    chunks, axis = layout.chunks, None
    if raters is not None:
        chunks, axis = (*chunks[:lead], (raters,), *chunks[lead:]), lead
    plan = tasks.Samples(
        layout=layout,
        dtype=labels.dtype,
        **given,
        grid=part.shape,
        start=part.start,
        raters=raters,
        order=order,
        rule=_labels.rule(labels, mode, cval, ignore_index),
    )
    noisy = _map(tasks.sampled, parts, chunks, labels.dtype, axis, plan=plan)
    return noisy if wanted is None else noisy[(..., *_slices(wanted))]


def _margins(
    labels: da.Array, ndim: int, raters: int | None, part: Window, given: Mapping[str, Any]
) -> dict[int, int]:
    """How far the fields reach along each axis of space, where labels have chunks there."""
    lead = labels.ndim - ndim
    if max(labels.numblocks[lead:]) <= 1 or raters == 0:
        return {}
    kernels = _array.kernels("sample_labels", "field")
    far = reach(kernels, **given, raters=raters or 1, window=part)
    return {lead + i: one for i, one in enumerate(far)}


def _slices(window: Window) -> tuple[slice, ...]:
    axes = zip(window.start, window.count, window.step, strict=True)
    return tuple(slice(start, start + count * step, step) for start, count, step in axes)


# --- decisions ----------------------------------------------------------------------------------


def _optimal_threshold(
    function: Callable[..., Any], marginals: da.Array, metric: str, **options: Any
) -> da.Array:
    plan = _plan("optimal_threshold", marginals, metric, **options)
    lead = marginals.ndim - plan.ndim
    if _in_one_chunk(marginals, plan):
        options |= {"metric": metric, "ndim": plan.ndim}
        source = _together(marginals, plan)
        each = _per_map(tasks.thresholds_of_chunk, lead, (), np.float64, source, options=options)
        found = each.compute()
    else:
        found = _decided(marginals, plan)[..., 0]
    return da.from_array(np.asarray(found), chunks=marginals.chunks[:lead])


def _optimal_segmentation(
    function: Callable[..., Any],
    marginals: da.Array,
    metric: str,
    *,
    ties: str,
    out: None,
    **options: Any,
) -> da.Array:
    function(_twin(marginals, marginals.ndim), metric, ties=ties, **options)
    plan = _plan("optimal_segmentation", marginals, metric, **options)
    if _in_one_chunk(marginals, plan):
        options |= {"metric": metric, "ndim": plan.ndim, "ties": ties}
        source = _together(marginals, plan)
        return _map(tasks.masks_of_chunk, source, source.chunks, bool, options=options)
    if ties == "first":
        raise NotImplementedError(
            'optimal_segmentation has ties="first" only for dask arrays whose maps are one chunk '
            "each: rechunk them, or choose other ties"
        )
    every = tuple(range(marginals.ndim))
    batch = marginals.ndim - plan.ndim
    decisions = da.from_array(_decided(marginals, plan), (*marginals.chunks[:batch], (3,)))
    return da.blockwise(
        tasks.segmented,
        every,
        marginals,
        every,
        decisions,
        (*every[:batch], marginals.ndim),
        concatenate=True,
        dtype=bool,
        meta=np.empty((0,) * marginals.ndim, bool),
        plan=plan,
        ties=ties,
    )


def _plan(
    function: str,
    marginals: da.Array,
    metric: str,
    *,
    ndim: int | None,
    **options: Any,
) -> tasks.DecisionPlan:
    """Check the arguments of a decision."""
    twin = _twin(marginals, marginals.ndim)
    checked = _decisions.problem_of(function, twin, metric, ndim=ndim, **options)
    axes = marginals.ndim if ndim is None else int(ndim)
    voxels = math.prod(marginals.shape[marginals.ndim - axes :])
    return tasks.DecisionPlan(
        function,
        axes,
        voxels,
        checked.maps.dtype,
        metric,
        checked.weight,
        rank_of(metric, checked.volume, voxels),
        checked.raters,
    )


def _in_one_chunk(marginals: da.Array, plan: tasks.DecisionPlan) -> bool:
    """Whether each map is one chunk, or so small that it is decided as one."""
    chunks = _array.kernels(plan.function, "chunks")
    blocks = math.prod(marginals.numblocks[marginals.ndim - plan.ndim :])
    return blocks == 1 or plan.voxels <= int(chunks.LEAST)


def _together(marginals: da.Array, plan: tasks.DecisionPlan) -> da.Array:
    return marginals.rechunk(dict.fromkeys(range(-plan.ndim, 0), -1))


def _decided(marginals: da.Array, plan: tasks.DecisionPlan) -> NDArray[np.float64]:
    """What is decided of each map, (*batch, 3), computed: pass after pass over the chunks."""
    kernels = _array.kernels(plan.function, "chunks")
    lead = marginals.ndim - plan.ndim
    batch = marginals.chunks[:lead]
    if plan.raters is not None:
        counts = _summed(tasks.votes, marginals, None, (plan.raters + 1,), plan=plan)
        rows = _per_map(tasks.decided_votes, lead, (3,), np.float64, counts, plan=plan)
        return rows.compute()
    if plan.metric == "accuracy":
        return np.full((*marginals.shape[:lead], 3), 0.5)
    states: Any = None
    bins = (kernels.BINS, kernels.SUMS)
    for digit in range(kernels.digits(plan.real.itemsize)):
        options = {"plan": plan, "digit": digit}
        known = None if states is None else da.from_array(states, chunks=batch)
        tables = _summed(tasks.tally, marginals, known, bins, **options)
        after = _per_map(tasks.descend, lead, (), kernels.STATE, tables, known, **options)
        states = np.asarray(after.compute())
    return tasks.decided(states)


def _summed(
    task: Callable[..., Any],
    source: da.Array,
    states: da.Array | None,
    sizes: tuple[int, ...],
    *,
    plan: Any,
    **options: Any,
) -> da.Array:
    """The integers (*batch, *sizes) that a task counts in each chunk, summed over space."""
    every = tuple(range(source.ndim))
    space = every[source.ndim - plan.ndim :]
    new = {source.ndim + i: size for i, size in enumerate(sizes)}
    shares = da.blockwise(
        task,
        (*every, *new),
        *_indexed(source, states),
        new_axes=new,
        adjust_chunks={axis: (1,) * source.numblocks[axis] for axis in space},
        dtype=np.int64,
        meta=np.empty((0,) * (source.ndim + len(new)), np.int64),
        plan=plan,
        **options,
    )
    return shares.sum(axis=space, dtype=np.int64)


def _per_map(
    task: Callable[..., Any],
    lead: int,
    sizes: tuple[int, ...],
    dtype: Any,
    *arrays: da.Array | None,
    **options: Any,
) -> da.Array:
    """What a task makes of (*batch, ...) arrays, whose first `lead` axes are the batch."""
    new = {-1 - i: size for i, size in enumerate(sizes)}  # indices that no array has
    return da.blockwise(
        task,
        (*range(lead), *new),
        *_indexed(*arrays),
        new_axes=new,
        concatenate=True,
        dtype=dtype,
        meta=np.empty((0,) * (lead + len(new)), dtype),
        **options,
    )


def _indexed(*arrays: da.Array | None) -> list[Any]:
    """The arrays that there are, each followed by the numbers of its axes."""
    given = [array for array in arrays if array is not None]
    return [one for array in given for one in (array, tuple(range(array.ndim)))]


_GRAPHS: dict[str, Callable[..., da.Array]] = {
    "GaussianField.sample_labels": _sample_labels,
    "GaussianField.marginals": _marginals,
    "gaussian_filter": _gaussian_filter,
    "optimal_threshold": _optimal_threshold,
    "optimal_segmentation": _optimal_segmentation,
}
