"""The Gaussian field, and labels moved by it: launching `field.cu` and `sampling.cu`."""

import math
from functools import lru_cache
from itertools import accumulate

import numpy as np

from gfnoise._runs import RUN, SIDE, cells, pieces, run_spans
from gfnoise._spectrum import CONSTANT, PADDING, TAIL, WHITE, harmonics

from ._labels import label_defines, rule_of, shape_of
from ._launch import MOST_BLOCKS, MOST_ROWS, NULL, ROUGH, SHARED, blocks, launcher, narrow

ROWS = 16  # of a block, as in field.cu
THREADS = 256
ITEMS = 16  # streams that are passed by value at once
DEEP = 8  # planes that a thread contracts at once
_TILE_RUNS = 16  # of a block at most: with the rows, one for each thread
_WORK = 32  # words of what a block is at, as in sampling.cu
_PLANS = 64  # that are kept
_STRIP = 4  # tiles of a block that share what is staged for it
_SPARE = 64 << 20  # bytes for rows that are too long for shared memory
_BUDGET = 256 << 20  # bytes of contracted planes held at once
_LARGEST = 1e30  # voxels; a larger amplitude would overflow float32, and is as far outside
_INT = np.int32
_STREAM = np.dtype(
    [
        ("seed", np.uint64),
        ("length", np.float64, 3),
        ("period", np.float64, 3),
        ("amplitude", np.float32, 3),
        ("harmonics", _INT, 3),
        ("terms", _INT, 3),
        ("number", np.uint32),
        ("bits", _INT, 3),
        ("first", _INT, 3),
        ("cells", _INT, 3),
    ],
    align=True,
)
_STREAMS = np.dtype([("of", _STREAM, ITEMS)], align=True)
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
_CUT = np.array(
    (PADDING, TAIL, WHITE, CONSTANT),
    [(name, np.float64) for name in ("padding", "tail", "white", "constant")],
)
# Terms are fewer for longer length scales but for the period's being a whole number and, below
# about 1.1 voxels, where all frequencies of the torus are terms, for its being shorter.
_ROUGHEST, _SPARE_TERMS = 1.1, 6
_SAMPLING = np.dtype(
    [
        ("origin", _INT, 3),
        ("step", _INT, 3),
        ("tile_runs", _INT),
        ("strip", _INT),
        ("strips", np.int64),
        ("cells_room", np.int64),
        ("runs", _INT),
        ("down", _INT),
        ("across", _INT),
        ("places", _INT, 10),  # of a block's shared memory, as in `_Streams.memory`
    ],
    align=True,
)


class _Plan:
    """What the streams of a call share, and all that is known of them but their seeds.

    Axes are (z, y, x): an image is a single plane, with one constant term along z.
    """

    def __init__(self, amplitude, length_scale, window, raters, bounds):
        self.items, self.raters, ndim = len(amplitude), raters, amplitude.shape[1]
        missing = 3 - ndim
        ones, zeros = (1,) * missing, (0,) * missing
        self.step, self.count = ones + tuple(window.step), ones + tuple(window.count)
        size = narrow(ones + tuple(window.shape))
        grid = size, zeros + tuple(window.start), self.step, self.count
        self.amplitude = [(0.0,) * missing + tuple(row) for row in amplitude.tolist()]
        self.length = [(0.0,) * missing + tuple(row) for row in length_scale.tolist()]
        self.parts = max(
            pieces(one, row[-1], self.step[-1])
            for one, row in zip(self.amplitude, self.length, strict=True)
        )
        self.records = self._records(size)
        self.terms = [int(most) for most in self.records["terms"].max(0)]
        if bounds:
            self.terms[missing:] = [
                max(room_for_terms(n, row[axis]) for row in self.length)
                for axis, n in enumerate(size)
            ][missing:]
        self.padded = [
            blocks(n, part) * part for n, part in zip(self.count, (DEEP, ROWS, RUN), strict=True)
        ]
        self.runs = blocks(self.count[-1], RUN)
        self.nodes = self.runs * self.parts + 1
        spread = RUN * self.step[-1] // self.parts
        values = ndim, raters, *grid, self.terms, self.padded, self.nodes, spread, self.parts
        self.field = np.array(values, _FIELD)

    def _records(self, size):
        records = np.zeros(self.items, _STREAM)
        records["amplitude"] = np.minimum(self.amplitude, _LARGEST)
        for record, row in zip(records, self.length, strict=True):
            cuts = [harmonics(n, b) for n, b in zip(size, row, strict=True)]
            record["length"] = [cut.length for cut in cuts]
            record["period"] = [cut.period for cut in cuts]
            record["harmonics"] = [cut.kept for cut in cuts]
            record["terms"] = [cut.terms for cut in cuts]
        return records

    @lru_cache(maxsize=8)  # noqa: B019 (plans are few)
    def tables(self, shape, origin):
        """The records with the tables of labels of that shape, and room for an item's cells."""
        records, ndim = self.records.copy(), int(self.field["components"])
        for record, amplitude, length in zip(records, self.amplitude, self.length, strict=True):
            spans = run_spans(amplitude[-ndim:], length[-1], self.step[-1], self.parts)
            geometry = cells(shape, origin, self.count, self.step, amplitude, spans)
            record["bits"], record["first"], record["cells"] = geometry
        return records, int(records["cells"].astype(np.int64).prod(1).max())


@lru_cache(maxsize=_PLANS)
def _plan(amplitude, length_scale, shape, window, raters, bounds):
    """The plan of a call; parameters come as bytes, by which calls are known again."""
    rows = (np.frombuffer(one).reshape(shape) for one in (amplitude, length_scale))
    return _Plan(*rows, window, raters, bounds)


class _Streams:
    """The streams (item, rater) of a call: what the kernels that draw their fields share."""

    def __init__(
        self, out, seeds, numbers, amplitude, length_scale, window, raters, strengths=None
    ):
        self.device = launcher(out)
        given = (np.ascontiguousarray(one, np.float64) for one in (amplitude, length_scale))
        given, shape = [one.tobytes() for one in given], amplitude.shape
        self.plan = _plan(*given, shape, window, raters, strengths is not None)
        self.seeds = None if seeds.dtype == np.uint64 else seeds
        self.strengths = strengths
        self.records = self.plan.records.copy()
        self.records["number"] = numbers
        self.records["seed"] = 0 if self.seeds is not None else seeds

    def prepare(self):
        """Bring the records to the device, and make the bases of all items there."""
        streams = self.device.scratch("streams", self.plan.items * _STREAM.itemsize, np.uint8)
        for first in range(0, self.plan.items, ITEMS):
            given = np.zeros((), _STREAMS)
            count = min(ITEMS, self.plan.items - first)
            given["of"][:count] = self.records[first : first + count]
            several = self.seeds is not None and self.seeds.size > 1
            seeds, strengths = (
                NULL if one is None else one for one in (self.seeds, self.strengths)
            )
            args = self.plan.field, given, seeds, np.int32(several), strengths, _CUT
            args += np.int32(first), np.int32(count), streams
            self.launch("prepare_streams", (1,), args, block=ITEMS)
        room = sum(map(math.prod, zip(self.plan.terms, self.plan.padded, strict=True)))
        room += self.plan.terms[-1] * (self.plan.nodes + 1)
        bases = self.device.scratch("bases", -(-room // 4) * 4 * self.plan.items, np.float32)
        args = self.plan.field, streams, bases
        self.launch("tabulate_bases", (self.plan.items, 4), args, shared=8 * THREADS)
        return streams, bases

    def batches(self):
        """The first stream and the number of streams of each batch that is held at once."""
        components = int(self.plan.field["components"])
        each = (
            4
            * components
            * math.prod(self.plan.terms[1:])
            * (self.plan.terms[0] + self.plan.count[0])
        )
        total = self.plan.items * self.plan.raters
        together = max(1, min(total, _BUDGET // each, MOST_ROWS))
        for first in range(0, total, together):
            yield first, min(together, total - first)

    def planes(self, first, number, streams, bases):
        """Draw the coefficients of a batch, and contract their first axis."""
        flat, (depth, *_) = math.prod(self.plan.terms[1:]), self.plan.count
        room = number * int(self.plan.field["components"]) * flat
        coefficients = self.device.scratch("coefficients", room * self.plan.terms[0], np.float32)
        grid = blocks(self.plan.terms[0] * flat, THREADS), number
        args = self.plan.field, streams, np.int32(first)
        self.launch("draw_coefficients", grid, (*args, coefficients))
        planes = self.device.scratch("planes", room * depth, np.float32)
        grid = blocks(flat, THREADS), min(blocks(depth, DEEP), MOST_ROWS), number
        self.launch("contract_planes", grid, (*args, bases, coefficients, planes))
        return planes

    def tiles(self, number, tile_runs):
        """How many blocks' work a batch of streams is."""
        depth, height, _ = self.plan.count
        return number * depth * blocks(height, ROWS) * blocks(self.plan.runs, tile_runs)

    def rows(self, tiles, beside):
        """How many blocks, memory for rows that do not fit beside the rest, and shared bytes."""
        row = 4 * ROWS * int(self.plan.field["components"]) * self.plan.terms[-1]
        if row + beside <= SHARED:
            return min(tiles, MOST_BLOCKS), NULL, row + beside
        number = max(1, min(tiles, _SPARE // row))
        return number, self.device.scratch("rows", number * row // 4, np.float32), beside

    def memory(self, strips, tile_runs):
        """The kernel that samples, its blocks, rows and shared bytes, and where these have what."""
        components, (_, down, along) = int(self.plan.field["components"]), self.plan.terms
        across = blocks(tile_runs * self.plan.parts + 1, 4) * 4
        sizes = {
            "rows": components * along * ROWS,
            "edge": components * ROWS * across,
            "slack": components * ROWS,
            "left": THREADS,
            "count": 1,
            "work": _WORK,
        }
        staged = {
            "plane": components * down * along,
            "basis_y": down * ROWS,
            "nodes": along * across,
            "curvature": along,
        }
        words = [blocks(n, 4) * 4 for n in (sizes | staged).values()]  # four are loaded at once
        name, number, spare, shared = "sample_labels", min(strips, MOST_BLOCKS), (), 4 * sum(words)
        if shared > SHARED:
            name, words[-len(staged) :] = "sample_rough", [0] * len(staged)
            beside = 4 * sum(words[1:])
            number, *spare, shared = self.rows(strips, beside)
            words[0] = (shared - beside) // 4
        return name, number, spare, shared, (across, [*accumulate(words[:-1], initial=0)])

    def launch(self, name, grid, arguments, *, block=THREADS, shared=0, defines=()):
        """Launch a kernel: of `field.cu` or, with the defines of labels, of `sampling.cu`."""
        stem = "sampling" if defines else "field"
        self.device.launch(stem, name, defines, grid, (block,), arguments, shared)


def room_for_terms(size, length_scale):
    """How many terms an axis has at most, for this length scale or any longer one."""
    return harmonics(size, max(length_scale, _ROUGHEST)).terms + _SPARE_TERMS


def displacement(out, *, seeds, numbers, amplitude, length_scale, window):
    """Fill (items, raters, ndim, *window) with the displacement, in voxels of the whole grid.

    As on the CPU; `seeds` are uint64 on the host, or int64 on the device.
    """
    streams = _Streams(out, seeds, numbers, amplitude, length_scale, window, out.shape[1])
    prepared = streams.prepare()
    tile_runs = min(_TILE_RUNS, streams.plan.runs)
    volumes = out.reshape(out.shape[0] * out.shape[1], -1)
    for first, number in streams.batches():
        planes = streams.planes(first, number, *prepared)
        tiles = streams.tiles(number, tile_runs)
        grid, spare, shared = streams.rows(tiles, 0)
        args = streams.plan.field, prepared[0], np.int32(first), prepared[1], planes, spare
        args += np.int32(tile_runs), np.int64(tiles), volumes[first:]
        streams.launch("displace", (grid,), args, shared=shared)


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
    device, `amplitude` and `length_scale` are what those are at most, and at least.
    """
    streams = _Streams(
        out, seeds, numbers, amplitude, length_scale, window, out.shape[1], strengths
    )
    origin = (0,) * (3 - len(origin)) + tuple(origin)
    defines = label_defines(labels, order, math.prod(out.shape[2:]))
    table = _Table(streams, labels, origin, defines)
    prepared = streams.prepare()
    table.fill(prepared[0])
    tile_runs = min(_TILE_RUNS, streams.plan.runs)
    runs, height = streams.plan.runs, blocks(streams.plan.count[1], ROWS)
    strip = max(1, min(height, _STRIP // blocks(runs, tile_runs)))
    down = blocks(height, strip)
    volumes = out.reshape(out.shape[0] * out.shape[1], -1)
    for first, number in streams.batches():
        planes = streams.planes(first, number, *prepared)
        strips = number * streams.plan.count[0] * down
        name, grid, spare, shared, places = streams.memory(strips, tile_runs)
        sampling = origin, streams.plan.step, tile_runs, strip, strips, table.room, runs, down
        sampling = np.array((*sampling, *places), _SAMPLING)
        args = streams.plan.field, sampling, prepared[0], np.int32(first), prepared[1], planes
        args += *spare, labels, shape_of(labels), rule_of(rule)
        args += table.low, table.uniform, volumes[first:]
        types = (*defines, ROUGH) if name == "sample_rough" else defines
        streams.launch(name, (grid,), args, shared=shared, defines=types)


class _Table:
    """The tables of uniform cells of all items."""

    def __init__(self, streams, labels, origin, defines):
        self.streams, self.labels, self.defines = streams, labels, defines
        records, self.room = streams.plan.tables(tuple(labels.shape[1:]), origin)
        for name in ("bits", "first", "cells"):
            streams.records[name] = records[name]
        self.low = streams.device.scratch("low", self.room * streams.plan.items, labels.dtype)
        self.uniform = streams.device.scratch("uniform", self.room * streams.plan.items, np.uint8)

    def fill(self, records):
        """Tabulate the cells, once the records are on the device."""
        streams, room = self.streams, np.int64(self.room)
        same = streams.device.scratch("same", self.room * streams.plan.items, np.uint8)
        rows = min(streams.plan.items, MOST_ROWS)
        args = records, np.int32(streams.plan.items), room, self.low, same
        of, shared = (self.labels, shape_of(self.labels)), THREADS * (self.low.itemsize + 1)
        grid = blocks(self.room, THREADS - SIDE + 1), rows
        streams.launch("tabulate_cells", grid, (*of, *args), shared=shared, defines=self.defines)
        grid = blocks(self.room, THREADS), rows
        streams.launch("merge_cells", grid, (*args, self.uniform), defines=self.defines)
