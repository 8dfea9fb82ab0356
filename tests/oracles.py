"""Slow, obvious twins of what gfnoise computes, and the comparators that hold it against them.

Plain NumPy and the standard library, in float64 or exact rationals; nothing of gfnoise is used.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

Mode = Literal["constant", "nearest"]
Words = TypeVar("Words", int, NDArray[np.uint64])
WORD = 0xFFFFFFFF


# ---------------------------------------------------------------------------- random numbers


def philox4x32(counter: Sequence[Words], key: Sequence[int]) -> tuple[Words, ...]:
    """Philox4x32-10 (Salmon et al. 2011): four words of 32 bits, as ints or uint64 arrays."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & WORD, (p0 >> 32) ^ c3 ^ k1, p0 & WORD
        k0, k1 = (k0 + 0x9E3779B9) & WORD, (k1 + 0xBB67AE85) & WORD
    return c0, c1, c2, c3


def normals(seed: int, item: int, rater: int, indices: ArrayLike) -> NDArray[np.float32]:
    """Four standard normals per coefficient index, shape (4, *indices.shape)."""
    index = np.asarray(indices, dtype=np.uint64)
    same = np.ones_like(index)
    counter = [index & np.uint64(WORD), same * np.uint64(item), same * np.uint64(rater)]
    words = philox4x32([*counter, index >> np.uint64(32)], (seed & WORD, seed >> 32))
    u0, u1, u2, u3 = ((word.astype(np.float64) + 0.5) * 2.0**-32 for word in words)
    r0, r1 = np.sqrt(-2 * np.log(u0)), np.sqrt(-2 * np.log(u2))
    a0, a1 = 2 * np.pi * u1, 2 * np.pi * u3
    pairs = (r0 * np.cos(a0), r0 * np.sin(a0), r1 * np.cos(a1), r1 * np.sin(a1))
    return np.stack(pairs).astype(np.float32)


# -------------------------------------------------------------------------------- the field


def fourier_basis(n: int, b: float, positions: ArrayLike | None = None) -> NDArray[np.float64]:
    """Basis of the kernel exp(-d^2 / 2 b^2) on 0..n-1, shape (terms, positions).

    Row 0 is the constant, rows 2k-1 and 2k are cos and sin of frequency k.
    """
    length = n - 1
    period = math.ceil(length + 4.1 * b)
    k = np.arange(math.ceil(9 * period / (2 * math.pi * b)) + 2)  # beyond it: 1e-18
    weight = np.where(k > 0, 2, 1) * np.exp(-((2 * math.pi * k / period * b) ** 2) / 2)
    kept = [i for i in k if weight[i:].sum() >= 1e-4 * weight.sum()]
    spectrum = np.zeros(min(len(kept), period // 2 + 1))  # of what integers can tell apart
    for i in kept:
        spectrum[min(i % period, -i % period)] += weight[i]
    spectrum /= spectrum.sum()

    x = np.arange(n) if positions is None else np.asarray(positions)
    rows = [np.full(x.shape, math.sqrt(spectrum[0]))]
    for i in range(1, len(spectrum)):
        angle = 2 * math.pi * i / period * (x - length / 2)
        rows += [math.sqrt(spectrum[i]) * np.cos(angle), math.sqrt(spectrum[i]) * np.sin(angle)]
    return np.stack(rows)


def displacement(
    shape: Sequence[int],
    amplitude_vox: ArrayLike,
    length_vox: ArrayLike,
    seed: int,
    item: int = 0,
    rater: int = 0,
    window: tuple[slice, ...] | None = None,
) -> NDArray[np.float64]:
    """Displacement of one stream, float64 (ndim, *window shape)."""
    ndim = len(shape)
    amplitude = np.broadcast_to(np.asarray(amplitude_vox, float), (ndim,))
    lengths = np.broadcast_to(np.asarray(length_vox, float), (ndim,))
    cuts = window or (slice(None),) * ndim
    bases = [
        fourier_basis(n, float(b), np.arange(n)[cut])
        for n, b, cut in zip(shape, lengths, cuts, strict=True)
    ]
    rows = np.ix_(*(np.arange(len(basis), dtype=np.uint64) for basis in bases))
    shifts = (42, 21, 0)[3 - ndim :]
    index = sum((j << np.uint64(s) for j, s in zip(rows, shifts, strict=True)), np.uint64(0))
    field = normals(seed, item, rater, index)[:ndim].astype(np.float64)
    for basis in bases:  # contracts the first coefficient axis, appends the space axis
        field = np.einsum("cj...,jx->c...x", field, basis)
    return np.asarray(amplitude.reshape((ndim,) + (1,) * ndim) * field)


def theorem3_field(
    shape: Sequence[int],
    amplitude_vox: float,
    length_vox: ArrayLike,
    rng: np.random.Generator,
    n: int,
) -> NDArray[np.float64]:
    """White noise, filtered with sigma = b / sqrt 2 (Nordström et al., Theorem 3); (n, *shape).

    The noise lives on a box extended by 6 b (8.5 sigma) on each side, so the border loses
    nothing. The taps are the inverse transform of the square root of the spectrum, which has
    the right covariance at any b; from b = 2 voxels they are the sampled normal density.
    """
    lengths = np.broadcast_to(np.asarray(length_vox, float), (len(shape),))
    pads = [max(8, math.ceil(6 * b)) for b in lengths]
    box = [size + 2 * pad for size, pad in zip(shape, pads, strict=True)]
    field = amplitude_vox * rng.standard_normal((n, *box))
    for axis, (size, pad, b) in enumerate(zip(shape, pads, lengths, strict=True), start=1):
        far = np.fft.fftfreq(8 * pad, 1 / (8 * pad))
        spectrum = np.fft.fft(np.exp(-(far**2) / (2 * b**2))).real
        taps = np.fft.ifft(np.sqrt(np.maximum(spectrum, 0))).real
        offset = np.arange(size)[:, None] + pad - np.arange(size + 2 * pad)
        matrix = np.where(abs(offset) <= pad, taps[offset % (8 * pad)], 0)
        field = np.moveaxis(np.tensordot(matrix, field, axes=(1, axis)), 0, axis)
    return np.asarray(field)


# --------------------------------------------------------------------------------- the warp


def _sources(
    labels: NDArray[Any], offsets: Sequence[NDArray[np.int64]], mode: Mode, cval: int
) -> NDArray[Any]:
    """Label at w + offset: the nearest voxel outside, or `cval`."""
    grid = np.indices(labels.shape, dtype=np.int64)
    where = [axis + offset for axis, offset in zip(grid, offsets, strict=True)]
    inside = np.ones(labels.shape, bool)
    for i, size in enumerate(labels.shape):
        inside &= (where[i] >= 0) & (where[i] < size)
        where[i] = np.clip(where[i], 0, size - 1)
    found = labels[tuple(where)]
    return found if mode == "nearest" else np.where(inside, found, labels.dtype.type(cval))


def _votes(
    labels: NDArray[Any], displacement: NDArray[Any], order: int, mode: Mode, cval: int
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Label and weight of every source of every voxel: two arrays (corners, *space)."""
    x = np.clip(np.asarray(displacement, np.float32), np.float32(-1e9), np.float32(1e9))
    if order == 0:
        nearest = np.floor(x.astype(np.float64) + 0.5).astype(np.int64)
        found = _sources(labels, list(nearest), mode, cval)[None]
        return found, np.ones(found.shape)
    floor = np.floor(x)
    t = x - floor  # float32: a fraction that rounds to 1 leaves the lower corner no weight
    corners, weights = [], []
    for corner in itertools.product((0, 1), repeat=labels.ndim):
        pairs = list(zip(corner, floor, t, strict=True))
        offsets = [f.astype(np.int64) + up for up, f, _ in pairs]
        parts = [fraction if up else np.float32(1) - fraction for up, _, fraction in pairs]
        corners.append(_sources(labels, offsets, mode, cval))
        weights.append(np.prod(np.asarray(parts, np.float64), axis=0))
    return np.stack(corners), np.stack(weights)


def _decide(
    labels: NDArray[Any],
    displacement: NDArray[Any],
    order: int,
    mode: Mode,
    cval: int,
    ignore_index: int | None,
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Winner of the vote at every voxel, and its lead over the second class."""
    found, weight = _votes(labels, displacement, order, mode, cval)
    voting = np.ones(found.shape, bool) if ignore_index is None else found != ignore_index
    best, second = np.zeros(labels.shape), np.zeros(labels.shape)
    winner = labels.copy()  # where nobody votes, a voxel keeps its own label
    for value in np.unique(found):  # ascending: on a tie the smaller label was first and stays
        total = np.where((found == value) & voting, weight, 0).sum(axis=0)
        ahead = total > best
        second = np.where(ahead, best, np.maximum(second, total))
        best = np.where(ahead, total, best)
        winner[ahead] = value
    lead = best - second
    # Nobody votes: safe, unless a corner of weight zero would, were its weight a little larger.
    lead[best == 0] = np.where(voting.any(axis=0), 0.0, np.inf)[best == 0]
    if ignore_index is not None:
        fixed = labels == ignore_index
        winner[fixed], lead[fixed] = labels[fixed], np.inf
    return winner, lead


def warp(
    labels: NDArray[Any],
    displacement: NDArray[Any],
    order: int = 0,
    mode: Mode = "constant",
    cval: int = 0,
    ignore_index: int | None = None,
) -> NDArray[Any]:
    """Labels (*space) of one item moved by a displacement (ndim, *space)."""
    return _decide(labels, displacement, order, mode, cval, ignore_index)[0]


def warp_margin(
    labels: NDArray[Any],
    displacement: NDArray[Any],
    order: int = 0,
    mode: Mode = "constant",
    cval: int = 0,
    ignore_index: int | None = None,
) -> NDArray[np.float64]:
    """Margin of each decision: voxels to the next cell (order 0), lead in weight (order 1)."""
    if order == 1:
        return _decide(labels, displacement, order, mode, cval, ignore_index)[1]
    x = np.clip(np.asarray(displacement, np.float64), -1e9, 1e9) + 0.5
    return np.asarray(abs(x - np.round(x)).min(axis=0))


# ---------------------------------------------------------------------------- the marginals


def _mass(n: int, s: float, method: str, mode: Mode) -> NDArray[np.float64]:
    """Dense (n, n): mass that voxel w receives from source voxel v, along one axis."""
    if method not in ("integrated", "sampled"):
        raise ValueError(f"unknown method {method!r}")
    reach = n + int(4 * s + 0.5)
    offset = np.arange(-reach, reach + 1)
    if s == 0:
        weight = (offset == 0).astype(float)
    elif method == "sampled":
        weight = np.where(abs(offset) <= int(4 * s + 0.5), np.exp(-(offset**2) / (2 * s**2)), 0)
        weight /= weight.sum()
    else:  # the tails are taken from the far side of the density, where they keep their digits
        weight = ndtr(-(abs(offset) - 0.5) / s) - ndtr(-(abs(offset) + 0.5) / s)
        if mode == "nearest":  # everything beyond `reach` lands in the first and last voxel
            weight[[0, -1]] = ndtr(-(reach - 0.5) / s)
    matrix = np.zeros((n, n))
    for w in range(n):
        for step, mass in zip(offset, weight, strict=True):
            if 0 <= w + step < n:
                matrix[w, w + step] += mass
            elif mode == "nearest":
                matrix[w, 0 if step < 0 else n - 1] += mass
    return matrix


def marginals(
    labels: NDArray[Any],
    sigma_vox: ArrayLike,
    method: str = "integrated",
    mode: Mode = "constant",
    cval: int = 0,
    num_classes: int | None = None,
    ignore_index: int | None = None,
) -> NDArray[np.float64]:
    """Theorem 1 for one item (*space): P(source is of class c), (num_classes, *space) or, binary
    and without `num_classes`, P(class 1), (*space).
    """
    sigma = np.broadcast_to(np.asarray(sigma_vox, float), (labels.ndim,))
    matrices = [_mass(n, s, method, mode) for n, s in zip(labels.shape, sigma, strict=True)]

    def spread(volume: NDArray[Any]) -> NDArray[np.float64]:
        out = volume.astype(np.float64)
        for axis, matrix in enumerate(matrices):
            out = np.moveaxis(np.tensordot(matrix, out, axes=(1, axis)), 0, axis)
        return np.asarray(out)

    outside = 1 - spread(np.ones(labels.shape))

    def received(value: int) -> NDArray[np.float64]:
        return spread(labels == value) + (outside if value == cval else 0)

    classes = [1] if num_classes is None else range(num_classes)
    voting = [received(c) if c != ignore_index else np.zeros(labels.shape) for c in classes]
    result = np.stack(voting)
    if ignore_index is not None:  # a voxel whose source is ignore keeps its own label
        result += received(ignore_index) * np.stack([labels == c for c in classes])
        result[:, labels == ignore_index] = 0
    return result[0] if num_classes is None else result


# ---------------------------------------------------------------------------- the decisions


def _ratio(top: Any, bottom: Any) -> Any:
    return top / bottom if bottom else top * 0 + 1  # 0/0 is 1


def _value(metric: str, inter: Any, size: Any, total: Any, voxels: int, beta2: Any) -> Any:
    """Score of a set of `size` voxels that holds `inter` of the map's mass `total`."""
    if metric == "dice":
        return _ratio(2 * inter, size + total)
    if metric == "iou":
        return _ratio(inter, size + total - inter)
    if metric == "fbeta":
        return _ratio((1 + beta2) * inter, size + beta2 * total)
    if metric == "accuracy":
        return _ratio(2 * inter - size - total + voxels, voxels)
    raise ValueError(f"unknown metric {metric!r}")


def score(
    segmentation: NDArray[np.bool_], m: NDArray[Any], metric: str = "dice", beta: float = 1.0
) -> float:
    """Score of one mask against one map, float64."""
    m = m.astype(np.float64)
    inter, size = m[segmentation].sum(), float(np.count_nonzero(segmentation))
    return float(_value(metric, inter, size, m.sum(), m.size, beta**2))


def optimal_threshold_sorted(
    m: NDArray[Any], metric: str = "dice", beta: float = 1.0, volume: float | None = None
) -> float:
    """Threshold of one map by sorting it in float64; not an oracle for ties."""
    values = np.sort(m.astype(np.float64), axis=None)[::-1]
    if metric == "accuracy":
        return 0.5
    if metric == "volume":
        k = math.floor((values.sum() if volume is None else volume * m.size) + 0.5)
        return float(values[k - 1]) if k else math.inf
    if not values.any():
        return 0.5
    beta2 = beta**2 if metric == "fbeta" else 1.0  # IoU has the Dice optimum
    size = np.arange(1, m.size + 1)
    return float((np.cumsum(values) / (size + beta2 * values.sum())).max())


def optimal_threshold_exact(
    values: ArrayLike,
    raters: int | None = None,
    metric: str = "dice",
    beta: Fraction | int = 1,
    counts: ArrayLike | None = None,
) -> tuple[Fraction | float, int, int]:
    """Threshold, and sizes of the smallest and the largest optimal set, in exact rationals.

    `values` are votes out of `raters`, or, without it, floats taken as the rationals they are.
    With `counts` they are the distinct levels of a map and how often each occurs.
    """
    array = np.asarray(values)
    levels, found = np.unique(array, return_counts=True) if counts is None else (array, counts)
    pairs = zip(levels.tolist(), np.asarray(found).tolist(), strict=True)
    table = sorted(((Fraction(v) / (raters or 1), int(c)) for v, c in pairs), reverse=True)
    voxels, total = sum(c for _, c in table), sum((v * c for v, c in table), Fraction(0))
    if metric == "volume":
        k = math.floor(total + Fraction(1, 2))
        ends = list(itertools.accumulate(c for _, c in table))
        if k == 0:
            return math.inf, 0, 0
        at = next(i for i, end in enumerate(ends) if end >= k)
        return table[at][0], ends[at] - table[at][1], ends[at]
    inter, size = Fraction(0), 0
    sizes, scores = [0], [_value(metric, inter, size, total, voxels, Fraction(beta) ** 2)]
    for value, count in table:
        inter, size = inter + value * count, size + count
        sizes.append(size)
        scores.append(_value(metric, inter, size, total, voxels, Fraction(beta) ** 2))
    best = max(scores)
    optimal = [k for k, s in zip(sizes, scores, strict=True) if s == best]
    if metric == "accuracy" or total == 0:
        threshold = Fraction(1, 2)
    elif metric == "iou":
        threshold = best / (1 + best)  # D* / 2, as D = 2 J / (1 + J)
    else:
        threshold = best / (1 + Fraction(beta) ** 2 if metric == "fbeta" else 2)
    return threshold, min(optimal), max(optimal)


# -------------------------------------------------------- volumes (Nordström et al. 2022)


def volume_cdf(m: Sequence[Fraction], t: Fraction, *, left: bool = False) -> Fraction:
    """F_m(t), the share of the voxels with 1 - m <= t; `left`: F_m(t-), with <."""
    return Fraction(sum(1 - p < t if left else 1 - p <= t for p in m), len(m))


def volume_quantile(m: Sequence[Fraction], v: Fraction) -> Fraction:
    """F_m^{-1}(v) = inf {t >= 0 : F_m(t) >= v}: 0 or a value of 1 - m, as F_m steps there."""
    return min(t for t in {Fraction(0), *(1 - p for p in m)} if volume_cdf(m, t) >= v)


def volume_mass(m: Sequence[Fraction], v: Fraction) -> Fraction:
    """The integral of 1 - F_m^{-1}(u) over u in [0, v], step by step of 1/voxels."""
    n, total = len(m), Fraction(0)
    for k in range(1, n + 1):
        share = min(v, Fraction(k, n)) - Fraction(k - 1, n)
        if share > 0:
            total += share * (1 - volume_quantile(m, Fraction(k, n)))
    return total


def top_sets(m: Sequence[Fraction], k: int) -> set[tuple[int, ...]]:
    """S_{m,v} at v = k / voxels (eq. 5): the sets of k voxels that hold the largest values."""
    level = 1 - volume_quantile(m, Fraction(k, len(m)))
    return {
        s
        for s in itertools.product((0, 1), repeat=len(m))
        if sum(s) == k
        and not any(one and p < level for one, p in zip(s, m, strict=True))
        and not any(not one and p > level for one, p in zip(s, m, strict=True))
    }


# -------------------------------------------------------------------------- the comparators


def assert_labels_agree(
    actual: NDArray[Any],
    expected: NDArray[Any],
    margin: NDArray[np.float64],
    band: float = 1e-3,
    share: float = 0.05,
) -> None:
    """Same dtype and shape, and equal wherever the margin exceeds `band`.

    At most `share` of the voxels may lie within the band, or the comparison would say little.
    """
    assert actual.dtype == expected.dtype, f"dtype {actual.dtype}, expected {expected.dtype}"
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    margin = np.broadcast_to(margin, expected.shape)
    assert not np.isnan(margin).any(), "the margin is NaN somewhere"
    inside = np.count_nonzero(margin <= band)
    assert inside <= share * margin.size, f"{inside} of {margin.size} voxels lie within the band"
    wrong = (actual != expected) & (margin > band)
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise AssertionError(
            f"{np.count_nonzero(wrong)} of {wrong.size} labels differ outside the band; at {at}: "
            f"{actual[at]}, expected {expected[at]}, margin {margin[at]:.3g}"
        )


def assert_within_monte_carlo(
    mean: NDArray[Any], expected: NDArray[Any], n: int, z: float = 6.0
) -> None:
    """The mean of n indicators agrees with its expectation p at every voxel.

    Allowed: z sqrt(p (1 - p) / n) + z^2 / 3n (Bernstein), which a right p exceeds with
    probability at most 2 exp(-z^2 / 2) per voxel: 3e-8 at z = 6. Where p is 0 or 1, nothing.
    """
    assert mean.shape == expected.shape, f"shape {mean.shape}, expected {expected.shape}"
    p = np.clip(expected.astype(np.float64), 0, 1)
    assert np.all(abs(p - expected) <= 1e-6), "the expectation is no probability"
    allowed = z * np.sqrt(p * (1 - p) / n) + z**2 / (3 * n)
    allowed[(p == 0) | (p == 1)] = 0
    error = abs(mean.astype(np.float64) - p)
    wrong = ~(error <= allowed)
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise AssertionError(
            f"{np.count_nonzero(wrong)} of {wrong.size} means are off by more than z = {z}; "
            f"at {at}: {mean[at]:.6g}, expected {p[at]:.6g}, allowed {allowed[at]:.3g}"
        )


def assert_marginals_close(
    actual: NDArray[Any], expected: NDArray[np.float64], atol: float = 1e-6
) -> None:
    """A float32 map of the expected shape within `atol` at every voxel."""
    assert actual.dtype == np.float32, f"dtype {actual.dtype}, expected float32"
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    error = abs(actual.astype(np.float64) - expected)
    assert np.all(error <= atol), f"largest error {error.max():.3g}, allowed {atol:.3g}"
