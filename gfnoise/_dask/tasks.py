"""What the tasks of a dask graph run, each on one chunk and on one thread: dask shares the cores.

Plain functions of arrays and plain numbers, which pickle, and know nothing of dask.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import _array, _decisions, _labels, thresholding
from .._loading import load
from .._output import Output
from .._window import Window
from ..filters import gaussian_filter

Function = TypeVar("Function", bound=Callable[..., Any])


def _kernels(stem: str) -> ModuleType:
    return load(f"gfnoise._cpu.{stem}")


def _task(function: Function) -> Function:
    """Let a function's kernels run on the caller's thread alone."""

    @functools.wraps(function)
    def task(*args: Any, **kwargs: Any) -> Any:
        with _kernels("_pool").alone():
            return function(*args, **kwargs)

    return task  # type: ignore[return-value]


@dataclass(frozen=True)
class Layout:
    """How an array was cut into chunks, of which each is given with margins.

    Attributes
    ----------
    chunks : tuple of tuple of int
        The sizes along each axis, without margins.
    margins : tuple of int
        Voxels before and after a chunk, but where the array ends.
    wrapped : tuple of bool
        Axes that do not end: the margins of the outermost chunks are taken from the other side.
    """

    chunks: tuple[tuple[int, ...], ...]
    margins: tuple[int, ...]
    wrapped: tuple[bool, ...]

    def box(self, place: Sequence[int]) -> list[tuple[int, int, int]]:
        """Per axis the start and the size of a chunk, and its margin before."""
        axes = zip(place, self.chunks, self.margins, self.wrapped, strict=True)
        return [
            (sum(sizes[:i]), sizes[i], margin * bool(i or wrap)) for i, sizes, margin, wrap in axes
        ]

    def inner(self, place: Sequence[int]) -> tuple[slice, ...]:
        """The chunk within its margins."""
        return tuple(slice(margin, margin + size) for _, size, margin in self.box(place))

    def items(self, place: Sequence[int], lead: int) -> NDArray[np.intp]:
        """The items of a chunk, of the first `lead` axes flattened in C order."""
        if not lead:
            return np.zeros(1, np.intp)
        shape = [sum(sizes) for sizes in self.chunks[:lead]]
        axes = [np.arange(start, start + size) for start, size, _ in self.box(place)[:lead]]
        return np.ravel_multi_index(np.ix_(*axes), shape).reshape(-1)


# --- filters ------------------------------------------------------------------------------------


@_task
def filtered(
    part: NDArray[Any], *, layout: Layout, options: dict[str, Any], block_id: Sequence[int]
) -> NDArray[Any]:
    """A chunk of `gaussian_filter`."""
    return np.ascontiguousarray(gaussian_filter(part, **options)[layout.inner(block_id)])


@dataclass(frozen=True)
class Marginals:
    """A call of `marginals`: `sigma` is (items, ndim), in voxels."""

    layout: Layout
    ndim: int
    sigma: NDArray[np.float64]
    method: str
    rule: _labels.Rule
    classes: tuple[int, ...] | None  # of each chunk of the class axis
    num_classes: int | None


@_task
def marginals(
    part: NDArray[Any], *, plan: Marginals, block_id: Sequence[int]
) -> NDArray[np.float32]:
    """A chunk of `GaussianField.marginals`."""
    lead = part.ndim - plan.ndim
    place, wanted = list(block_id), range(1, 2)
    if plan.classes is not None:
        which = place.pop(lead)
        first = sum(plan.classes[:which])
        wanted = range(first, first + plan.classes[which])
    codes = _labels.encode(part, plan.ndim)
    _labels.in_classes("labels", codes, part.dtype, plan.num_classes, plan.rule)
    space = part.shape[lead:]
    out = np.empty((len(codes), len(wanted), *_labels.volume(space)), np.float32)
    if out.size:
        _kernels("filters").marginals(
            codes,
            out,
            wanted=wanted,
            sigma=plan.sigma[plan.layout.items(place, lead)],
            method=plan.method,
            rule=plan.rule,
        )
    class_axis = (len(wanted),) * (plan.classes is not None)
    shaped: Any = out.reshape(*part.shape[:lead], *class_axis, *space)
    return np.ascontiguousarray(shaped[(..., *plan.layout.inner(place)[lead:])])


# --- the noise ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Samples:
    """A call of `sample_labels`; `grid` and `start` say where the array is."""

    layout: Layout
    dtype: np.dtype[Any]
    seeds: NDArray[np.uint64]
    numbers: NDArray[np.uint32]
    amplitude: NDArray[np.float64]
    length_scale: NDArray[np.float64]
    grid: tuple[int, ...]
    start: tuple[int, ...]
    raters: int | None
    order: int
    rule: _labels.Rule


@_task
def sampled(part: NDArray[Any], *, plan: Samples, block_id: Sequence[int]) -> NDArray[Any]:
    """A chunk of `GaussianField.sample_labels`."""
    ndim = len(plan.grid)
    lead = part.ndim - ndim
    place = list(block_id)
    raters = 1
    if plan.raters is not None:
        place.pop(lead)
        raters = plan.raters
    starts, count, origin = zip(*plan.layout.box(place)[lead:], strict=True)
    start = tuple(a + b for a, b in zip(plan.start, starts, strict=True))
    items = plan.layout.items(place, lead)
    shape = (*part.shape[:lead], *((raters,) * (plan.raters is not None)), *count)
    output = Output(None, shape, plan.dtype, labels=part)
    if output.result.size:
        _kernels("field").sample_labels(
            _labels.encode(part, ndim),
            output.codes((len(items), raters, *_labels.volume(count))),
            seeds=plan.seeds[items],
            numbers=plan.numbers[items],
            amplitude=plan.amplitude[items],
            length_scale=plan.length_scale[items],
            window=Window(plan.grid, start, count, (1,) * ndim),
            origin=origin,
            order=plan.order,
            rule=plan.rule,
        )
    return output.finish()


# --- decisions ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class DecisionPlan:
    """A call of `optimal_threshold` or `optimal_segmentation`."""

    function: str
    ndim: int
    voxels: int
    real: np.dtype[Any]  # of the maps, as the kernels take them
    metric: str
    weight: Fraction
    rank: int  # as `digits.rank_of`
    raters: int | None

    def maps(self, block: NDArray[Any]) -> NDArray[Any]:
        """The maps of a chunk, checked, as (maps, voxels)."""
        if self.raters is None:
            values = _decisions.as_probabilities(block)
        else:
            values = _decisions.as_votes(block, self.raters)
        return _decisions.flatten(values, self.ndim)[0]

    def batch(self, block: NDArray[Any]) -> tuple[int, ...]:
        """How many maps a chunk has, per axis of the batch."""
        return block.shape[: block.ndim - self.ndim]


@_task
def thresholds_of_chunk(block: NDArray[Any], *, options: dict[str, Any]) -> Any:
    """`optimal_threshold` of a chunk of whole maps."""
    return np.asarray(thresholding.optimal_threshold(block, **options))


@_task
def masks_of_chunk(block: NDArray[Any], *, options: dict[str, Any]) -> Any:
    """`optimal_segmentation` of a chunk of whole maps."""
    return thresholding.optimal_segmentation(block, **options)


@_task
def tally(
    block: NDArray[Any], states: NDArray[Any] | None = None, *, plan: DecisionPlan, digit: int
) -> NDArray[np.int64]:
    """A chunk's share of the tables for the next digit, (*batch, 1, ..., 1, BINS, SUMS)."""
    maps = plan.maps(block)
    prefixes = (
        np.zeros(len(maps), np.uint64)
        if states is None
        else np.ascontiguousarray(states["prefix"]).reshape(-1)
    )
    tables = _kernels("chunks").tally(maps, prefixes, digit=digit)
    return tables.reshape(*plan.batch(block), *(1,) * plan.ndim, *tables.shape[1:])


@_task
def descend(
    tables: NDArray[np.int64],
    states: NDArray[Any] | None = None,
    *,
    plan: DecisionPlan,
    digit: int,
) -> NDArray[Any]:
    """The states after a digit, of the batch's shape."""
    batch = tables.shape[:-2]
    before = (
        _kernels("chunks").begin(math.prod(batch), plan.rank)
        if states is None
        else np.ascontiguousarray(states).reshape(-1)
    )
    tables = tables.reshape(-1, *tables.shape[-2:])
    after = _kernels("chunks").descend(
        tables, before, dtype=plan.real, weight=float(plan.weight), digit=digit
    )
    return after.reshape(batch)


def decided(states: NDArray[Any]) -> NDArray[np.float64]:
    """What the last digit decides, (*batch, 3): as `chunks.decide_votes`."""
    thresholds = np.where(states["rank"] == 0, np.inf, states["threshold"])
    return np.stack([thresholds] * 3, axis=-1)


@_task
def votes(block: NDArray[Any], *, plan: DecisionPlan) -> NDArray[np.int64]:
    """A chunk's voxels with 0, 1, ... votes: (*batch, 1, ..., 1, raters + 1)."""
    assert plan.raters is not None
    counts = _kernels("thresholding").count_votes(plan.maps(block), plan.raters)
    return counts.reshape(*plan.batch(block), *(1,) * plan.ndim, counts.shape[1])


@_task
def decided_votes(counts: NDArray[np.int64], *, plan: DecisionPlan) -> NDArray[np.float64]:
    """What the votes decide, (*batch, 3)."""
    rows = _kernels("chunks").decide_votes(
        counts.reshape(-1, counts.shape[-1]),
        raters=plan.raters,
        weight=plan.weight,
        metric=plan.metric,
        rank=plan.rank,
    )
    return np.asarray(rows).reshape(*counts.shape[:-1], 3)


@_task
def segmented(
    block: NDArray[Any], decisions: NDArray[np.float64], *, plan: DecisionPlan, ties: str
) -> NDArray[np.bool_]:
    """A chunk of the masks."""
    kernels = _array.kernels(plan.function, "thresholding", marginals=block)
    maps, rows = plan.maps(block), decisions.reshape(-1, 3)
    thresholds = rows[:, 2 if ties == "smallest" else 1]
    if plan.raters is not None:
        thresholds = thresholds.astype(np.int64)
    out = np.empty(maps.shape, bool)
    kernels.segment(
        maps,
        out,
        thresholds=thresholds,
        strict=ties == "smallest" and plan.raters is None,
        ranks=None,
    )
    return out.reshape(block.shape)
