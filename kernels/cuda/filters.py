"""Separable, symmetric filters: launching `filters.cu`."""

import math
from functools import lru_cache

import numpy as np

from gfnoise._shared.modes import OF_FILTERS
from gfnoise._shared.taps import marginal_taps, sampled

from ._launch import (
    MOST_BLOCKS,
    MOST_ROWS,
    SHARED,
    blocks,
    c_type,
    copy_of,
    index_type,
    launcher,
    narrow,
    structure,
)

THREADS = 256
EIGHT, WIDE, HIGH = 8, 64, 32  # as in filters.cu
ITEMS = 8  # filters that are passed by value at once
_BUDGET = 256 << 20  # bytes held between the passes, or one volume
_TAPS = np.dtype(
    [("sigma", np.float64), ("beyond", np.float64), ("radius", np.int32), ("integrated", np.int32)],
    align=True,
)
_FILTERS = np.dtype([("of", _TAPS, (ITEMS, 3))])
_VOLUMES = np.dtype(
    [(axis, np.int32) for axis in ("nz", "ny", "nx")]
    + [("mode", np.int32, 3), ("classes", np.int32), ("first", np.int64)],
    align=True,
)
_INDICATOR = np.dtype(
    [(name, np.uint64) for name in ("first", "largest", "absent", "outside")]
    + [(name, np.int32) for name in ("values", "has_absent", "has_outside")],
    align=True,
)
_PLAIN = structure(0, _INDICATOR)
_OF_LABELS, _FILTERED = 1, 2  # what an indicator's values are
_BANKS = 64  # that are kept
_FEW = 8  # rows of a plane, below which it is not worth a block


class _Bank:
    """The taps of some items along three axes, as the kernels are given them."""

    def __init__(self, taps):
        self.items = len(taps)
        self.reach = [max(one[axis].radius for one in taps) for axis in range(3)]
        self.room = -(-(2 * max(self.reach) + 1) // EIGHT) * EIGHT  # loaded by 16 bytes
        self.parts = []
        for first in range(0, self.items, ITEMS):
            given, part = np.zeros((), _FILTERS), taps[first : first + ITEMS]
            for name in _TAPS.names:
                given["of"][name][: len(part)] = [[getattr(t, name) for t in one] for one in part]
            self.parts.append((first, len(part), structure(given, _FILTERS)))


@lru_cache(maxsize=_BANKS)
def _sampled_bank(sigma, radius):
    return _Bank([[sampled(s, r) for s, r in zip(sigma, radius, strict=True)]])


@lru_cache(maxsize=_BANKS)
def _marginal_bank(sigma, ndim, shape, method):
    """The taps of marginals; sigma is (items, ndim), in bytes by which a call is known again."""
    return _Bank([marginal_taps(r, shape, method) for r in np.frombuffer(sigma).reshape(-1, ndim)])


class _Filter:
    """The filters of some items along three axes, and how their volumes are passed over.

    Parameters
    ----------
    out : array
        Of the results' library and dtype.
    shape : tuple of int
        Of a volume, (z, y, x).
    bank : _Bank
    modes : list of str
        Per axis.
    """

    def __init__(self, out, shape, bank, modes, cval, cap):
        self.device, self.real = launcher(out), out.dtype
        self.shape, self.voxels = shape, math.prod(shape)
        self.cval, self.cap = out.dtype.type(cval), out.dtype.type(cap)
        self.modes = [OF_FILTERS.index(mode) for mode in modes]
        self.reach, self.room = bank.reach, bank.room
        self.width = WIDE + (2 * self.reach[2] // EIGHT + 1) * EIGHT | 1
        padded = HIGH + (2 * self.reach[1] // EIGHT + 1) * EIGHT
        places = (HIGH + 2 * self.reach[1]) * self.width + padded * (WIDE + 1)
        self.shared = places * out.dtype.itemsize + 4 * (HIGH + 2 * self.reach[1] + 1)
        self._weigh(bank)

    def _weigh(self, bank):
        self.weights = self.device.scratch("weights", bank.items * 3 * self.room, self.real)
        self.radii = self.device.scratch("radii", bank.items * 3, np.int32)
        for first, number, given in bank.parts:
            args = given, np.int32(first), np.int32(self.room), self.weights, self.radii
            defines = self._defines(self.real)
            self._launch("filter_weights", defines, (number, 3), args, 8 * THREADS)

    def run(self, source, out, classes=1, indicator=_PLAIN):
        """Filter volumes into those of `out`: `classes` of each item, which has its own taps."""
        together = max(1, _BUDGET // (self.voxels * self.real.itemsize))
        for first in range(0, len(out), together):
            to = out[first : first + together]
            given = source if indicator["values"] == _OF_LABELS else source[first:]
            of = structure((*narrow(self.shape), self.modes, classes, first), _VOLUMES)
            self._pass_over(given, to, of, indicator)

    def _pass_over(self, source, out, of, indicator):
        axes = self._axes()
        between = None
        if len(axes) > 1:
            size = len(out) * self.voxels
            between = self.device.scratch("between", size, self.real).reshape(out.shape)
        for number, axis in enumerate(axes):
            later = len(axes) - 1 - number
            target = between if later % 2 else out
            cap = self.real.type(np.inf) if later else self.cap
            args = indicator, self.weights, self.radii, np.int32(self.room)
            defines = self._defines(source.dtype)
            if axis is None:
                self._planes(defines, source, of, args, cap, target)
            else:
                self._lines(defines, source, of, axis, args, cap, target)
            source = target
            if indicator["values"]:
                indicator = copy_of(indicator)
                indicator["values"] = _FILTERED

    def _axes(self):
        """The axes to pass over one by one; None is x and y at once."""
        filtered = [axis for axis in (2, 1, 0) if self.reach[axis] > 0]
        fits = self.shared <= SHARED and self.shape[1] >= _FEW
        if fits and any(self.reach[1:]):
            return [None, 0] if self.reach[0] > 0 else [None]
        return filtered or [2]  # which copies

    def _planes(self, defines, source, of, args, cap, out):
        nz, ny, nx = self.shape
        work = len(out) * nz * blocks(ny, HIGH) * blocks(nx, WIDE)
        args = source, of, np.int64(work), *args, np.int32(self.width), self.cval, cap, out
        grid = (min(work, MOST_BLOCKS),)
        self._launch("filter_planes", defines, grid, args, self.shared)

    def _lines(self, defines, source, of, axis, args, cap, out):
        units = self.voxels // self.shape[axis] * blocks(self.shape[axis], EIGHT)
        grid = blocks(units, THREADS), min(len(out), MOST_ROWS)
        args = source, of, np.int32(axis), np.int64(len(out)), *args, self.cval, cap, out
        self._launch("filter_lines", defines, grid, args)

    def keep_ignored(self, codes, ignored, out, first, ignore):
        """Give the mass of ignored sources to a voxel's own label; empty the ignored voxels."""
        items, classes = out.shape[:2]
        grid = blocks(self.voxels, THREADS), min(items, MOST_ROWS)
        args = codes, ignore, np.uint64(first), np.uint64(classes), np.int64(items)
        args += np.int64(self.voxels), ignored, out
        self._launch("keep_ignored", self._defines(codes.dtype), grid, args)

    def _defines(self, source):
        index = index_type(self.voxels)
        return ("SOURCE", c_type(source)), ("REAL", c_type(self.real)), ("INDEX", index)

    def _launch(self, name, defines, grid, args, shared=0):
        self.device.launch("filters", name, defines, grid, (THREADS,), args, shared)


def gaussian_filter(source, out, *, sigma, radius, modes, cval):
    """Filter (items, z, y, x) into a float32 or float64 array; sigma, radius and modes per axis.

    As on the CPU.
    """
    bank = _sampled_bank(tuple(map(float, sigma)), tuple(map(int, radius)))
    plan = _Filter(out, source.shape[1:], bank, modes, cval, np.inf)
    plan.run(source, out, classes=len(out))


def marginals(codes, out, *, wanted, sigma, method, rule):
    """Fill (items, classes, z, y, x) with the marginals of the `wanted` classes.

    As on the CPU: `codes` are (items, z, y, x); `sigma` is (items, ndim), in voxels.
    """
    shape, classes = codes.shape[1:], len(wanted)
    mode = "constant" if rule.constant else "nearest"
    sigmas = np.ascontiguousarray(sigma, np.float64).tobytes()
    bank = _marginal_bank(sigmas, sigma.shape[1], tuple(shape), method)
    plan = _Filter(out, shape, bank, [mode] * 3, 0.0, 1.0)
    largest = int(rule.sign) - 1 if rule.sign else np.iinfo(codes.dtype).max
    of_classes = (
        wanted[0],
        largest,
        rule.ignore,
        rule.cval,
        _OF_LABELS,
        rule.has_ignore,
        rule.constant,
    )
    plan.run(codes, out.reshape(-1, *shape), classes, structure(of_classes, _INDICATOR))
    if not rule.has_ignore:
        return
    ignored = plan.device.scratch("ignored", codes.size, out.dtype).reshape(codes.shape)
    of_ignored = (
        rule.ignore,
        np.iinfo(np.uint64).max,
        0,
        rule.cval,
        _OF_LABELS,
        False,
        rule.constant,
    )
    plan.run(codes, ignored, 1, structure(of_ignored, _INDICATOR))
    plan.keep_ignored(codes, ignored, out, wanted[0], rule.ignore)
