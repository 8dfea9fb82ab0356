"""The Gaussian field, and labels moved by it: launching `field.cu` and `sampling.cu`."""

import math
from collections import namedtuple
from functools import lru_cache
from itertools import accumulate

import numpy as np

from gfnoise._shared.runs import SIDE, cells, run_spans

from ._labels import SHAPE, label_defines, rule_dtype, shape_of
from ._launch import MOST_BLOCKS, MOST_ROWS, NULL, ROUGH, SHARED, blocks, structure
from ._plans import CELLS, PLANS, ROWS, THREADS, Plan, PlanKey, Streams

_TILE_RUNS = 16  # of a block at most, as in sampling.cu
_WORK = 32  # words of what a block is at, as in sampling.cu
_STRIP = 4  # tiles of a block that share what is staged for it
_MOST_KEPT = 1024  # items of a plan that is kept
_INT = np.int32
_OWN = "rows", "edge", "slack", "left", "count", "work"
_STAGED = "plane", "basis_y", "nodes", "curvature"
"""What a block's shared memory has, in this order; the latter of a field of few terms alone."""

_SAMPLING = [
    ("origin", _INT, 3),
    ("step", _INT, 3),
    ("tile_runs", _INT),
    ("strip", _INT),
    ("strips", np.int64),
    ("cells_room", np.int64),
    ("runs", _INT),
    ("down", _INT),
    ("across", _INT),
    *((name, _INT) for name in (*_OWN, *_STAGED)),
    ("of", SHAPE),
]
_Labels = namedtuple("_Labels", "shape, dtype, origin, order, rule, voxels")
"""What a plan knows of labels: their shape (items, z, y, x), and the voxels of a result."""

_Launch = namedtuple("_Launch", "batch, name, defines, grid, sampling, rows, shared")
"""How a batch of streams is sampled; `rows` are the floats for those that do not fit."""


@lru_cache(maxsize=PLANS)
def _field_plan(key, window, raters):
    return Plan(key, window, raters)


@lru_cache(maxsize=PLANS)
def _sampling_plan(key, window, raters, labels):
    return _SamplingPlan(key, window, raters, labels)


def _plan_of(key, window, raters, labels):
    """The plan of a call; that of very many items is large, and not kept."""
    kept = labels.shape[0] <= _MOST_KEPT
    return (_sampling_plan if kept else _SamplingPlan)(key, window, raters, labels)


class _SamplingPlan(Plan):
    """A plan with the tables of uniform cells of all items, and how the batches are sampled."""

    def __init__(self, key, window, raters, labels):
        super().__init__(key, window, raters)
        self.origin = (0,) * (3 - len(labels.origin)) + tuple(labels.origin)
        self.defines = label_defines(labels.dtype, labels.order, labels.shape, labels.voxels)
        self.of, self.labels = shape_of(labels.shape), labels
        self.rows_of_items = min(self.items, MOST_ROWS)
        self.dtype = np.dtype([*_SAMPLING, ("rule", rule_dtype(labels.dtype))], align=True)
        self._place_cells(labels.shape[1:])
        self.launches = [self._sampled(batch) for batch in self.batches]
        self.rough = self.launches[0].name == "sample_rough"

    def _place_cells(self, shape):
        """Where the cells of each item are, and room for those of any."""
        for record, amplitude, length in zip(
            self.records, self.amplitude, self.length_scale, strict=True
        ):
            spans = run_spans(amplitude, length[-1], self.step[-1], self.parts)
            amplitude = (0.0,) * (3 - len(amplitude)) + amplitude
            geometry = cells(shape, self.origin, self.count, self.step, amplitude, spans)
            for name, values in zip(CELLS.names, geometry, strict=True):
                record["cells"][name] = values
        self.cells = int(self.records["cells"]["count"].astype(np.int64).prod(1).max())

    def _sampled(self, batch):
        tile_runs = min(_TILE_RUNS, self.runs)
        height = blocks(self.count[1], ROWS)
        strip = max(1, min(height, _STRIP // blocks(self.runs, tile_runs)))
        down = blocks(height, strip)
        strips = batch.number * self.count[0] * down
        across = blocks(tile_runs * self.parts + 1, 4) * 4
        rough, number, rows, shared, places = self._memory(strips, across)
        sampling = self.origin, self.step, tile_runs, strip, strips, self.cells, self.runs, down
        name = "sample_rough" if rough else "sample_labels"
        defines = (*self.defines, ROUGH) if rough else self.defines
        of, rule = tuple(self.labels.shape[1:]), tuple(self.labels.rule)
        sampling = structure((*sampling, across, *places, of, rule), self.dtype)
        return _Launch(batch, name, defines, (number,), sampling, rows, shared)

    def _memory(self, strips, across):
        """Whether terms are many; blocks, floats of rows, shared bytes, and what is where there."""
        down, along = self.terms[1:]
        sizes = {
            "rows": self.components * along * ROWS,
            "edge": self.components * ROWS * across,
            "slack": self.components * ROWS,
            "left": ROWS * _TILE_RUNS,
            "count": 1,
            "work": _WORK,
            "plane": self.components * down * along,
            "basis_y": down * ROWS,
            "nodes": along * across,
            "curvature": along,
        }
        # Four are loaded at once.
        words = [blocks(sizes[name], 4) * 4 for name in (*_OWN, *_STAGED)]
        number, rows, shared = min(strips, MOST_BLOCKS), 0, 4 * sum(words)
        rough = shared > SHARED
        if rough:
            words[len(_OWN) :] = [0] * len(_STAGED)
            beside = 4 * sum(words[1:])
            number, rows, shared = self.rows(strips, beside)
            words[0] = (shared - beside) // 4
        return rough, number, rows, shared, accumulate(words[:-1], initial=0)


def displacement(out, *, seeds, numbers, amplitude, length_scale, window):
    """Fill (items, raters, ndim, *window) with the displacement, in voxels of the whole grid.

    As on the CPU; `seeds` are uint64 on the host, or int64 on the device.
    """
    plan = _field_plan(_key(amplitude, length_scale), window, out.shape[1])
    streams = Streams(out, plan, seeds, numbers)
    streams.prepare()
    tile_runs = min(_TILE_RUNS, plan.runs)
    volumes = out.reshape(out.shape[0] * out.shape[1], -1)
    for batch in plan.batches:
        planes = streams.planes(batch)
        tiles = plan.tiles(batch.number, tile_runs)
        number, rows, shared = plan.rows(tiles, 0)
        args = plan.field, streams.records, np.int32(batch.first), streams.bases, planes
        args += _spare(streams, rows), np.int32(tile_runs), np.int64(tiles), volumes[batch.first :]
        streams.launch("displace", (number,), args, shared=shared)


def sample_labels(
    labels,
    out,
    *,
    seeds,
    numbers,
    amplitude,
    length_scale,
    window,
    origin,
    order,
    rule,
    strengths=None,
):
    """Fill (items, raters, z, y, x) with noisy labels of (items, z, y, x).

    As on the CPU; `seeds` as in `displacement`. With `strengths`, float64 (items, 2, ndim) on the
    device, or a list of such numbers, `amplitude` and `length_scale` are their bounds, upper and
    lower: strengths that are new at every call need no new plan then.
    """
    voxels = math.prod(out.shape[2:])
    of = window, out.shape[1], _Labels(labels.shape, labels.dtype, origin, order, rule, voxels)
    plan = _plan_of(_key(amplitude, length_scale, strengths is not None), *of)
    on_host = np.array(strengths, np.float64) if isinstance(strengths, list) else None
    on_device = strengths if on_host is None else None
    if on_host is not None and plan.rough:  # but these may be smoother; no call is like it again
        plan, on_host = _SamplingPlan(_key(on_host[:, 0], on_host[:, 1]), *of), None
    streams = Streams(out, plan, seeds, numbers, on_device, on_host)
    streams.prepare()
    low, uniform = _tabulate(streams, labels)
    volumes = out.reshape(-1, *out.shape[2:])
    for batch, name, defines, grid, sampling, rows, shared in plan.launches:
        planes, first = streams.planes(batch), batch.first
        args = plan.field, sampling, streams.records, np.int32(first), streams.bases, planes
        args += (_spare(streams, rows),) if plan.rough else ()
        args += labels, low, uniform, volumes[first:] if first else volumes
        streams.launch(name, grid, args, shared=shared, defines=defines)


def _key(amplitude, length_scale, bounds=False):
    """The key of a plan for amplitudes and length scales (items, ndim)."""
    given = (np.ascontiguousarray(one, np.float64) for one in (amplitude, length_scale))
    return PlanKey(*(one.tobytes() for one in given), amplitude.shape[1], bounds)


def _spare(streams, rows):
    """Memory for rows that do not fit in a block's."""
    return streams.device.scratch("rows", rows, np.float32) if rows else NULL


def _tabulate(streams, labels):
    """Fill the tables of all items: the label of a cell's first voxel, and whether all share it."""
    plan, room = streams.plan, np.int64(streams.plan.cells)
    low, same, uniform = (
        streams.device.scratch(name, plan.cells * plan.items, dtype)
        for name, dtype in (("low", labels.dtype), ("same", np.uint8), ("uniform", np.uint8))
    )
    args = streams.records, np.int32(plan.items), room, low, same
    for name, given, apart, shared in (
        ("tabulate_cells", (labels, plan.of, *args), SIDE - 1, THREADS * (low.itemsize + 1)),
        ("merge_cells", (*args, uniform), 0, 0),
    ):
        grid = blocks(plan.cells, THREADS - apart), plan.rows_of_items
        streams.launch(name, grid, given, shared=shared, defines=plan.defines)
    return low, uniform
