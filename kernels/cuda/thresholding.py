"""Thresholds of probability maps without sorting: launching `thresholding.cu` and `votes.cu`."""

import numpy as np

from gfnoise._shared.digits import BINS, DIGITS

from ._launch import MOST_BLOCKS, MOST_ROWS, blocks, c_type, launcher

THREADS, CHUNK = 256, 4096  # as in masks.cuh
_METRICS = {"accuracy": 1, "volume": 2}  # else the score
_SCORES = {"accuracy": 1, "iou": 2}  # else F-beta
_EACH = 1 << 14  # voxels of a block that counts, at least
_MOST_PARTS = 1024  # such blocks of a map
_FEW = 4096  # levels that shared memory has room for
_SEARCH = np.dtype(
    [
        ("prefix", np.uint64),
        ("above", np.int64),
        ("total", np.float64, 2),
        ("mass", np.float64),
        ("rank", np.int64),
        ("invalid", np.int32),
    ],
    align=True,
)
_BIN = 24  # bytes: a count and two halves of a sum


def _launch(maps, name, grid, args, *, threads=THREADS, shared=0):
    """Launch a kernel over maps: floats, or votes."""
    stem = "thresholding" if maps.dtype.kind == "f" else "votes"
    defines = (("VALUE", c_type(maps.dtype)),)
    launcher(maps).launch(stem, name, defines, grid, (threads,), args, shared)


def _parts(maps):
    """The grid of blocks that go over (maps, voxels): parts of a map, and maps."""
    parts = max(1, min(blocks(maps.shape[1], _EACH), _MOST_PARTS))
    return parts, min(len(maps), MOST_ROWS)


def _results(maps, *dtypes):
    """New arrays of the maps' library, one number per map."""
    return [launcher(maps).empty(len(maps), dtype) for dtype in dtypes]


def optimal_threshold(maps, *, weight, rank):
    """The threshold of each of (maps, voxels), and its rank. As on the CPU.

    NaN where a value is NaN or outside [0, 1].
    """
    thresholds, ranks = _results(maps, np.float64, np.int64)
    if not len(maps):
        return thresholds, ranks
    device, count, sizes = launcher(maps), np.int64(len(maps)), np.int64(maps.shape[1])
    searches = device.scratch("searches", len(maps) * _SEARCH.itemsize, np.uint8)
    tables = device.scratch("tables", len(maps) * BINS * _BIN, np.uint8)
    grid = (min(len(maps), MOST_BLOCKS),)
    _launch(maps, "begin_searches", grid, (count, np.int64(rank), searches, tables))
    widths = DIGITS[maps.itemsize]
    shift = sum(widths)
    for level, width in enumerate(widths):
        shift -= width
        digit, first, last = (
            (np.int32(shift), np.int32(width)),
            level == 0,
            level + 1 == len(widths),
        )
        args = maps, count, sizes, *digit, np.int32(first), searches, tables
        _launch(maps, "tally", _parts(maps), args, shared=5 * BINS * 4)
        args = count, *digit, np.float64(weight), searches, tables, np.int32(last)
        args += thresholds, ranks
        _launch(maps, "descend", grid, args, threads=BINS, shared=24 * BINS + 8)
    return thresholds, ranks


def optimal_level(votes, *, raters, weight, metric, rank):
    """As `optimal_threshold` for integer votes (maps, voxels), in exact arithmetic. As on the CPU.

    Of F-beta, exact where beta² times the votes of a map is a float64, as it is for 1/2, 1 and 2.
    """
    results = _results(votes, np.float64, np.int64, np.int64, np.int64)
    if not len(votes):
        return results
    count, size = np.int64(len(votes)), len(votes) * (raters + 1)
    levels = launcher(votes).scratch("levels", size, np.uint64)
    _launch(votes, "clear_levels", (blocks(size, THREADS),), (np.int64(size), levels))
    few = raters < _FEW
    args = votes, count, np.int64(votes.shape[1]), np.int32(raters), np.int32(few), levels
    _launch(votes, "count_levels", _parts(votes), args, shared=8 * (raters + 1) * few)
    args = count, np.int32(raters), np.int32(_METRICS.get(metric, 0)), np.float64(weight)
    args += np.int64(rank), levels, *results
    _launch(votes, "decide_levels", (blocks(len(votes), THREADS),), args)
    return results


def segment(maps, out, *, thresholds, strict, ranks):
    """Fill (maps, voxels) with values >= thresholds, or >, or the largest of each map's rank."""
    count, sizes = np.int64(len(maps)), np.int64(maps.shape[1])
    rows = min(len(maps), MOST_ROWS)
    if ranks is None:
        grid = blocks(maps.shape[1], THREADS), rows
        args = maps, count, sizes, thresholds, np.int32(strict), out
        _launch(maps, "segment", grid, args)
        return
    chunks = blocks(maps.shape[1], CHUNK)
    ties = launcher(maps).scratch("ties", len(maps) * chunks * 2, np.int64)
    args = maps, count, sizes, np.int64(chunks), thresholds, ties
    _launch(maps, "count_ties", (chunks, rows), args, shared=8)
    args = count, np.int64(chunks), ranks, ties
    grid = (min(len(maps), MOST_BLOCKS),)
    _launch(maps, "share_ties", grid, args, shared=16 * THREADS)
    args = maps, count, sizes, np.int64(chunks), thresholds, ties, out
    _launch(maps, "segment_first", (chunks, rows), args, shared=4 * THREADS)


def score(segmentation, maps, *, metric, weight):
    """The scores of segmentations (maps, voxels), bytes, for maps of values. As on the CPU."""
    (scores,) = _results(maps, np.float64)
    if not len(maps):
        return scores
    parts, rows = _parts(maps)
    partial = launcher(maps).scratch("partial", len(maps) * parts * 3, np.float64)
    count, voxels = np.int64(len(maps)), np.int64(maps.shape[1])
    args = segmentation, maps, count, voxels, partial
    _launch(maps, "overlap", (parts, rows), args, shared=24 * THREADS)
    which = np.int32(_SCORES.get(metric, 0))
    args = partial, count, np.int32(parts), voxels, which, np.float64(weight), scores
    _launch(maps, "score", (blocks(len(maps), THREADS),), args)
    return scores
