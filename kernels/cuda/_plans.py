"""The streams (item, rater) of a call: what the kernels that draw their fields share.

All that is known of a call but its seeds is worked out once and kept: a training step makes the
same call again and again, and the device waits for the host.
"""

import math
from collections import namedtuple
from functools import cached_property

import numpy as np

from gfnoise._shared.runs import RUN, pieces
from gfnoise._shared.spectrum import CONSTANT, LARGEST, PADDING, TAIL, WHITE, harmonics

from ._launch import (
    MOST_BLOCKS,
    MOST_ROWS,
    NULL,
    SHARED,
    blocks,
    copy_of,
    launcher,
    narrow,
    structure,
)

# As in field.cuh and field.cu: a test compares them.
ROWS = 16  # of a block
THREADS = 128
ITEMS = 16  # streams that are passed by value at once
_BASES = 4  # of an item: one of each axis, and one at the nodes
DEEP = 8  # planes that a thread contracts at once
PLANS = 64  # that are kept
_SPARE = 64 << 20  # bytes for rows that are too long for shared memory
_BUDGET = 256 << 20  # bytes of contracted planes held at once
_INT = np.int32
CELLS = np.dtype([(name, _INT, 3) for name in ("bits", "first", "count")])
_STREAM = np.dtype(
    [
        ("seed", np.uint64),
        ("length", np.float64, 3),
        ("period", np.float64, 3),
        ("amplitude", np.float32, 3),
        ("harmonics", _INT, 3),
        ("terms", _INT, 3),
        ("number", np.uint32),
        ("cells", CELLS),
    ],
    align=True,
)
_CUT = np.dtype([(name, np.float64) for name in ("padding", "tail", "white", "constant")])
_STREAMS = np.dtype([("of", _STREAM, ITEMS), ("cut", _CUT)], align=True)
_FIELD = np.dtype(
    [
        ("components", _INT),
        ("raters", _INT),
        ("size", _INT, 3),
        ("start", _INT, 3),
        ("step", _INT, 3),
        ("count", _INT, 3),
        ("terms", _INT, 3),
        ("padded", _INT, 3),
        ("nodes", _INT),
        ("spread", _INT),
        ("parts", _INT),
    ],
    align=True,
)
# Terms are fewer for longer length scales but for the period's being a whole number and, below
# about 1.1 voxels, where all frequencies of the torus are terms, for its being shorter.
_ROUGHEST, _SPARE_TERMS = 1.1, 6

PlanKey = namedtuple("PlanKey", "amplitude, length_scale, ndim, bounds")
"""Amplitudes and length scales (items, ndim), as bytes: calls that are alike share a plan.

With `bounds` they are the upper and the lower bounds of the call's own.
"""

Batch = namedtuple("Batch", "first, number, of_draws, of_planes")
"""Streams that are held at once: the first, how many, and the grids of what makes their planes."""


class Plan:
    """What the streams of a call share, and all that is known of them but their seeds.

    Axes are (z, y, x): an image is a single plane, with one constant term along z.

    Parameters
    ----------
    key : PlanKey
    window : gfnoise._window.Window
    raters : int
    """

    def __init__(self, key, window, raters):
        amplitude, length_scale = (_rows(one, key.ndim) for one in key[:2])
        self.items, self.raters, self.components = len(amplitude), raters, key.ndim
        self.bounds = key.bounds
        missing = 3 - self.components
        ones, zeros = (1,) * missing, (0,) * missing
        self.step, self.count = ones + tuple(window.step), ones + tuple(window.count)
        size = narrow(ones + tuple(window.shape))
        grid = size, zeros + tuple(window.start), self.step, self.count
        self.amplitude, self.length_scale = amplitude, length_scale
        self.parts = max(
            pieces(one, row[-1], self.step[-1])
            for one, row in zip(amplitude, length_scale, strict=True)
        )
        self.records = self._records(size, missing)
        self.terms = self.records["terms"].max(0).tolist()
        if self.bounds:
            self.terms[missing:] = [
                max(room_for_terms(n, row[axis]) for row in length_scale)
                for axis, n in enumerate(size[missing:])
            ]
        self.padded = [
            blocks(n, part) * part for n, part in zip(self.count, (DEEP, ROWS, RUN), strict=True)
        ]
        self.runs = blocks(self.count[-1], RUN)
        self.nodes = self.runs * self.parts + 1
        spread = RUN * self.step[-1] // self.parts
        values = self.components, raters, *grid, self.terms, self.padded, self.nodes, spread
        self.field = structure((*values, self.parts), _FIELD)
        self.batches = list(self._batches())

    def _records(self, size, missing):
        records = np.zeros(self.items, _STREAM)
        zeros = (0.0,) * missing
        records["amplitude"] = np.minimum([zeros + row for row in self.amplitude], LARGEST)
        for record, row in zip(records, self.length_scale, strict=True):
            cuts = [harmonics(n, b) for n, b in zip(size, zeros + row, strict=True)]
            record["length"] = [cut.length for cut in cuts]
            record["period"] = [cut.period for cut in cuts]
            record["harmonics"] = [cut.kept for cut in cuts]
            record["terms"] = [cut.terms for cut in cuts]
        return records

    def _batches(self):
        depth, flat = self.count[0], math.prod(self.terms[1:])
        each = 4 * self.components * flat * (self.terms[0] + depth)
        total = self.items * self.raters
        together = max(1, min(total, _BUDGET // each, MOST_ROWS))
        across = min(blocks(depth, DEEP), MOST_ROWS)
        for first in range(0, total, together):
            number = min(together, total - first)
            of_draws = blocks(self.terms[0] * flat, THREADS), number
            yield Batch(first, number, of_draws, (blocks(flat, THREADS), across, number))

    @cached_property
    def records_by_value(self):
        """The records as they are passed by value: the first, how many, and these."""
        parts = []
        for first in range(0, self.items, ITEMS):
            part, given = self.records[first : first + ITEMS], np.zeros((), _STREAMS)
            given["of"][: len(part)], given["cut"] = part, (PADDING, TAIL, WHITE, CONSTANT)
            parts.append((first, len(part), structure(given, _STREAMS)))
        return parts

    def completed(self, seeds, numbers, strengths):
        """The parts of the records, with all that the host knows; None: it is on the device."""
        for first, count, part in self.records_by_value:
            given, own = copy_of(part), slice(first, first + count)
            records = given["of"]
            records["number"][:count] = numbers[own]
            if seeds is not None:
                records["seed"][:count] = seeds[own]
            if strengths is not None:
                amplitude, length_scale = strengths[own, 0], strengths[own, 1]
                records["amplitude"][:count, -self.components :] = amplitude.clip(None, LARGEST)
                records["length"][:count, -self.components :] = length_scale
            yield np.int32(first), count, given

    @cached_property
    def bases(self):
        """Floats of an item's bases."""
        room = sum(map(math.prod, zip(self.terms, self.padded, strict=True)))
        return blocks(room + self.terms[-1] * (self.nodes + 1), 4) * 4

    def tiles(self, number, tile_runs):
        """How many blocks' work a batch of streams is."""
        depth, height, _ = self.count
        return number * depth * blocks(height, ROWS) * blocks(self.runs, tile_runs)

    def rows(self, tiles, beside):
        """How many blocks, floats for rows that do not fit beside the rest, and shared bytes."""
        row = 4 * ROWS * self.components * self.terms[-1]
        if row + beside <= SHARED:
            return min(tiles, MOST_BLOCKS), 0, row + beside
        number = max(1, min(tiles, _SPARE // row))
        return number, number * row // 4, beside


def _rows(values, ndim):
    """The rows of an array that comes as bytes."""
    return [tuple(row) for row in np.frombuffer(values).reshape(-1, ndim).tolist()]


def room_for_terms(size, length_scale):
    """How many terms an axis has at most, for this length scale or any longer one."""
    return harmonics(size, max(length_scale, _ROUGHEST)).terms + _SPARE_TERMS


class Streams:
    """The streams of a call, on the device: `records` of them, and the `bases` of all items.

    Parameters
    ----------
    out : array
        Of the results' library.
    plan : Plan
    seeds, numbers : array
        Seeds are uint64 on the host, or int64 on the device.
    on_device, on_host : array, optional
        Strengths, float64 (items, 2, ndim), on the device or on the host: for a plan of bounds.
    """

    def __init__(self, out, plan, seeds, numbers, on_device=None, on_host=None):
        self.device, self.plan = launcher(out), plan
        known = seeds.dtype == np.uint64
        self.host_values = seeds if known else None, numbers, on_host
        several = np.int32(not known and seeds.size > 1)
        strengths = NULL if on_device is None else on_device
        self.drawn_from = NULL if known else seeds, several, strengths, np.int32(plan.bounds)
        self.records = self.device.scratch("records", plan.items * _STREAM.itemsize, np.uint8)
        self.bases = self.device.scratch("bases", plan.bases * plan.items, np.float32)

    def prepare(self):
        """Bring the records to the device, and make the bases of all items there."""
        shared = 8 * THREADS + _STREAM.itemsize
        for first, count, given in self.plan.completed(*self.host_values):
            args = self.plan.field, given, *self.drawn_from, first, self.records, self.bases
            self.launch("prepare_streams", (count, _BASES), args, shared=shared)

    def planes(self, batch):
        """Draw the coefficients of a batch, and contract their first axis."""
        plan, first = self.plan, np.int32(batch.first)
        room = batch.number * plan.components * math.prod(plan.terms[1:])
        coefficients = self.device.scratch("coefficients", room * plan.terms[0], np.float32)
        planes = self.device.scratch("planes", room * plan.count[0], np.float32)
        args = plan.field, self.records, first
        self.launch("draw_coefficients", batch.of_draws, (*args, coefficients))
        args += self.bases, coefficients, planes
        self.launch("contract_planes", batch.of_planes, args)
        return planes

    def launch(self, name, grid, arguments, *, shared=0, defines=()):
        """Launch a kernel: of `field.cu` or, with the defines of labels, of `sampling.cu`."""
        stem = "sampling" if defines else "field"
        self.device.launch(stem, name, defines, grid, (THREADS,), arguments, shared)
