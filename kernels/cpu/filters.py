"""Separable, symmetric filters: two passes over memory for three axes.

Planes are filtered along x and y in a buffer that stays in cache, then columns of the result along
z, in place. Weights are w[0..radius] of one side; what lies outside an axis is a table of source
indices, with -1 for the constant.
"""

from functools import lru_cache

import numpy as np

from gfnoise._shared.taps import marginal_taps, sampled, weights

from . import _pool
from ._codes import as_bytes, indicate
from ._jit import as_writable, contracted, device, kernel

_COLUMNS = 4  # buffers of columns that are a task
_WIDTH = 128  # voxels along x of a buffer of columns
_LONG = 2048  # taps of one side, beyond which a sum in float32 would lose digits
_ONE = np.float32(1)


# --- borders ------------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def border(mode, size, radius):
    """Source index of the `radius` voxels before an axis, and after; -1 is the constant's."""
    index = np.concatenate([np.arange(-radius, 0), np.arange(size, size + radius)])
    if mode == "constant":
        index[(index < 0) | (index >= size)] = -1
    elif mode == "nearest":
        index = np.clip(index, 0, size - 1)
    elif mode == "wrap":
        index %= size
    elif mode == "reflect":  # d c b a | a b c d | d c b a
        index = np.minimum(index % (2 * size), -(index + 1) % (2 * size))
    elif size > 1:  # mirror: d c b | a b c d | c b a
        index = np.minimum(index % (2 * size - 2), -index % (2 * size - 2))
    else:
        index[:] = 0
    index.flags.writeable = False
    return index


# --- kernels ------------------------------------------------------------------------------------


@contracted
def _correlate_lines(lines, centre, weights, out, width):
    """out[:width] = the filter across the lines around `centre`. Four pairs of taps a pass."""
    radius = weights.size - 1
    for i in range(width):
        out[i] = weights[0] * lines[centre, i]
    paired = 1 + radius - radius % 4
    for d in range(1, paired, 4):
        w0, w1, w2, w3 = weights[d], weights[d + 1], weights[d + 2], weights[d + 3]
        for i in range(width):
            out[i] += (
                w0 * (lines[centre - d, i] + lines[centre + d, i])
                + w1 * (lines[centre - d - 1, i] + lines[centre + d + 1, i])
            ) + (
                w2 * (lines[centre - d - 2, i] + lines[centre + d + 2, i])
                + w3 * (lines[centre - d - 3, i] + lines[centre + d + 3, i])
            )
    for d in range(paired, radius + 1):
        weight = weights[d]
        for i in range(width):
            out[i] += weight * (lines[centre - d, i] + lines[centre + d, i])


@contracted
def _correlate_along(line, weights, out, width):
    """out[:width] = the filter along a padded line. Four pairs of taps a pass."""
    radius = weights.size - 1
    for i in range(width):
        out[i] = weights[0] * line[radius + i]
    paired = 1 + radius - radius % 4
    for d in range(1, paired, 4):
        w0, w1, w2, w3 = weights[d], weights[d + 1], weights[d + 2], weights[d + 3]
        left, right = line[radius - d - 3 :], line[radius + d :]
        for i in range(width):
            out[i] += (w0 * (left[i + 3] + right[i]) + w1 * (left[i + 2] + right[i + 1])) + (
                w2 * (left[i + 1] + right[i + 2]) + w3 * (left[i] + right[i + 3])
            )
    for d in range(paired, radius + 1):
        weight = weights[d]
        left, right = line[radius - d :], line[radius + d :]
        for i in range(width):
            out[i] += weight * (left[i] + right[i])


@device
def _load(source, z, y, label, fill, scale, border_x, line):
    """Copy a row, scaled, or where it holds the label, into the padded line.

    What has four axes are labels, as bytes.
    """
    nx = source.shape[2]
    radius = (line.size - nx) // 2
    inner = line[radius:]
    if source.ndim == 4:  # known when it is compiled
        indicate(source, z, y, label, inner)
    else:
        for x in range(nx):
            inner[x] = source[z, y, x]
            inner[x] *= scale
    for i in range(radius):
        at = border_x[i]
        line[i] = inner[at] if at >= 0 else fill
        at = border_x[radius + i]
        line[radius + nx + i] = inner[at] if at >= 0 else fill


@device
def _is_blank(line, fill):
    """Whether the line holds nothing but `fill`."""
    differs = False
    for i in range(line.size):
        differs |= line[i] != fill
    return not differs


@device
def _are_blank(lines, fill):
    """Whether the lines hold nothing but `fill`."""
    line = 0
    while line < lines.shape[0] and _is_blank(lines[line], fill):
        line += 1
    return line == lines.shape[0]


@device
def _pad(lines, line, at, radius, fill):
    """Fill a line outside: as line `at` of the inside or, for at < 0, with the constant."""
    for i in range(lines.shape[1]):
        lines[line, i] = lines[radius + at, i] if at >= 0 else fill


@kernel
def _filter_planes(source, label, fill, scale, borders, weights, out, start, stop):
    """Filter the planes [start, stop) along x and y: of an image or, of labels, an indicator."""
    border_y, border_x = borders
    weights_y, weights_x = weights
    indicator = source.ndim == 4
    _, ny, nx = out.shape
    radius_y, radius_x = weights_y.size - 1, weights_x.size - 1
    line = np.empty(nx + 2 * radius_x, out.dtype)
    rows = np.empty((ny + 2 * radius_y, nx), out.dtype)
    for z in range(start, stop):
        top, bottom = ny, 0  # beyond them rows are blank, and so is what lies outside
        for y in range(ny):
            row = rows[radius_y + y]
            _load(source, z, y, label, fill, scale, border_x, line)
            if indicator and _is_blank(line, fill):
                row[:] = fill
            else:
                _correlate_along(line, weights_x, row, nx)
                top, bottom = min(top, y), y + 1
        if top >= bottom:
            out[z] = fill
            continue
        for i in range(radius_y):
            _pad(rows, i, border_y[i], radius_y, fill)
            _pad(rows, radius_y + ny + i, border_y[radius_y + i], radius_y, fill)
        for y in range(ny):
            if top - radius_y <= y < bottom + radius_y:
                _correlate_lines(rows, radius_y + y, weights_y, out[z, y], nx)
            else:
                out[z, y] = fill


@kernel
def _filter_columns(volume, fill, border_z, weights, cap, start, stop):
    """Filter along z, in place, at most `cap`: the buffers [start, stop) of columns side by side.

    Rows are cut into buffers of _WIDTH columns, which are numbered row by row. The filter of an
    indicator, which has a cap, leaves columns of nothing but `fill` as they are.
    """
    nz, _, nx = volume.shape
    radius = weights.size - 1
    lines = np.empty((nz + 2 * radius, min(nx, _WIDTH)), volume.dtype)
    cuts = -(-nx // _WIDTH)
    for buffer in range(start, stop):
        y, left = buffer // cuts, buffer % cuts * _WIDTH
        width = min(_WIDTH, nx - left)
        for z in range(nz):
            for x in range(width):
                lines[radius + z, x] = volume[z, y, left + x]
        if cap < np.inf and _are_blank(lines[radius : radius + nz, :width], fill):
            continue  # they are what they will be
        for i in range(radius):
            _pad(lines, i, border_z[i], radius, fill)
            _pad(lines, radius + nz + i, border_z[radius + i], radius, fill)
        for z in range(nz):
            target = volume[z, y, left:]
            _correlate_lines(lines, radius + z, weights, target, width)
            for x in range(width):
                target[x] = min(target[x], cap)


@kernel
def _keep_ignored(codes, ignore, first, ignored, out, start, stop):
    """Give the mass of ignored sources to a voxel's own label; empty the ignored voxels.

    `out` is (classes, voxels), of the labels from `first` on.
    """
    classes = out.shape[0]
    for i in range(start, stop):
        own = np.int64(codes[i]) - first
        if codes[i] == ignore:
            for c in range(classes):
                out[c, i] = 0
        elif 0 <= own < classes:
            out[own, i] = min(out[own, i] + ignored[i], _ONE)


# --- launching ----------------------------------------------------------------------------------


class _Filter:
    """The filter of a volume (z, y, x): weights, borders, constant and cap.

    With `halved`, values are halved where they are loaded, and the last weights doubled: pairs of
    values beyond half of what the dtype holds would have no sum.
    """

    def __init__(self, shape, taps, modes, fill, cap, dtype, halved=False):
        self.image = shape[0] == 1
        if self.image:  # its rows as planes: both passes are then shared by the threads
            shape, taps, modes = ([two, one, three] for one, two, three in (shape, taps, modes))
        self.weights = [np.array(weights(one), dtype) for one in taps]
        self.borders = [
            border(mode, size, one.radius)
            for mode, size, one in zip(modes, shape, taps, strict=True)
        ]
        self.scale = dtype.type(0.5 if halved else 1)
        if halved:
            self.weights[0 if taps[0].radius else 1] *= 2
        self.fill, self.cap = self.scale * dtype.type(fill), dtype.type(cap)

    def planes(self, source, out, label=0):
        """The tasks of the first pass, over an image or a label of labels as bytes."""
        source, out = self._turned(source), self._turned(out)
        nz, ny, nx = out.shape
        share = max(1, _pool.SLAB // (ny * nx))
        args = (
            source,
            np.uint64(label),
            self.fill,
            self.scale,
            tuple(self.borders[1:]),
            tuple(self.weights[1:]),
            out,
        )
        return _pool.tasks(_filter_planes, *args, size=nz, step=share)

    def columns(self, out):
        """The tasks of the second pass."""
        if self.weights[0].size == 1 and not np.isfinite(self.cap):
            return []
        out = self._turned(out)
        buffers = out.shape[1] * -(-out.shape[2] // _WIDTH)
        args = (out, self.fill, self.borders[0], self.weights[0], self.cap)
        return _pool.tasks(_filter_columns, *args, size=buffers, step=_COLUMNS)

    def _turned(self, volume):
        """An image in 2D, of one plane, as planes of one row; of labels, the last axis stays."""
        return volume.swapaxes(0, 1) if self.image else volume


def gaussian_filter(source, out, *, sigma, radius, modes, cval):
    """Filter (items, z, y, x) into a float32 or float64 array; sigma, radius and modes per axis."""
    if out.dtype == np.float32 and max(radius) > _LONG:
        wide = np.empty(out.shape)
        gaussian_filter(source, wide, sigma=sigma, radius=radius, modes=modes, cval=cval)
        with np.errstate(over="ignore"):
            out[...] = wide
        return
    source = as_writable(source)
    taps = [sampled(float(s), int(r)) for s, r in zip(sigma, radius, strict=True)]
    halved = any(one.radius for one in taps)  # what is only copied keeps every bit
    plan = _Filter(source.shape[1:], taps, modes, cval, np.inf, out.dtype, halved)
    _pool.run([task for one, to in zip(source, out, strict=True) for task in plan.planes(one, to)])
    _pool.run([task for to in out for task in plan.columns(to)])


def marginals(codes, out, *, wanted, sigma, method, rule):
    """Fill (items, classes, z, y, x) with the marginals of the `wanted` classes.

    `codes` are (items, z, y, x); `sigma` is (items, ndim), in voxels.
    """
    codes = as_writable(codes)
    mode = "constant" if rule.constant else "nearest"
    shape = codes.shape[1:]
    taps = [marginal_taps(row, shape, method) for row in sigma]
    # A class that the labels' dtype cannot hold is nowhere; neither is the class to be ignored.
    largest = int(rule.sign) - 1 if rule.sign else np.iinfo(codes.dtype).max
    sources, planes, columns = as_bytes(codes), [], []

    def indicator(item, label, to):
        fill = float(rule.constant and label == rule.cval)
        plan = _Filter(shape, taps[item], [mode] * 3, fill, 1.0, out.dtype)
        planes.extend(plan.planes(sources[item], to, label))
        columns.extend(plan.columns(to))

    for c, label in enumerate(wanted):
        if label > largest or (rule.has_ignore and label == rule.ignore):
            out[:, c] = 0
            continue
        for item in range(len(codes)):
            indicator(item, label, out[item, c])
    ignored = np.empty(codes.shape if rule.has_ignore else 0, out.dtype)
    for item in range(len(ignored)):
        indicator(item, rule.ignore, ignored[item])
    _pool.run(planes)
    _pool.run(columns)
    tasks = []
    for item in range(len(ignored)):
        flat = out[item].reshape(len(wanted), -1)
        args = codes[item].reshape(-1), rule.ignore, wanted[0], ignored[item].reshape(-1), flat
        tasks += _pool.tasks(_keep_ignored, *args, size=flat.shape[1])
    _pool.run(tasks)
