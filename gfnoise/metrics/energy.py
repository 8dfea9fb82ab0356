"""How far sampled labels are from several raters', as sets: the generalised energy distance."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _array, _checks, _labels, _raters
from .._loading import load
from . import _arguments

_Floats = NDArray[np.float64]

_BLOCK = 1 << 20  # bytes of labels that a thread compares at once


@_array.any_library("samples", "raters", "annotated")
def energy_distance(
    samples: NDArray[Any],
    raters: NDArray[Any],
    *,
    axis: int = 0,
    ndim: int | None = None,
    num_classes: int | None = None,
    annotated: ArrayLike | None = None,
    ignore_index: int | None = None,
) -> NDArray[np.float64]:
    """Compute the generalised energy distance (GED, squared) of samples to several raters' labels.

    Parameters
    ----------
    samples, raters : array of bool or an integer dtype
        Labels with an axis of samples, or of raters; the last `ndim` of the other axes are space,
        all before are items. In {0, 1}, or in range(num_classes). There may be more of one than of
        the other, and each set has at least one.
    axis : int, default 0
        Where both have that axis, as in `gfnoise.fuse_raters`; the result has it not.
    ndim : int, optional
        Number of spatial axes. By default all but `axis`, of at most three.
    num_classes : int, optional
        Compare the classes above 0, the background; at most 65536.
    annotated : array_like of bool, (*items, raters), optional
        Who annotated which item; the others' labels are not looked at, but must be valid.
    ignore_index : int, optional
        Voxels that any of the samples or of the raters who annotated the item labels so are left
        out of all comparisons of the item.

    Returns
    -------
    float64 array, (*items)
        In [0, 2]; 0 for equal sets, but for rounding.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    Kohl et al. 2018, *A Probabilistic U-Net for Segmentation of Ambiguous Images* (section 3)::

        D2 = 2 E[d(S, R)] - E[d(S, S')] - E[d(R, R')],    d = 1 - IoU

    The means are over all pairs, as published: a sample is paired with itself as well, at distance
    0 (a V-statistic). So D2 of n samples and m raters of one law is not 0 on average, but
    ``(1/n + 1/m) E[d]`` over different pairs: compare models at the same n.

    Two empty masks are at distance 0. With classes, d is the mean over the foreground of ``1 -
    IoU``, and a class that neither label has counts as 0, as in Monteiro et al. 2020 (*Stochastic
    Segmentation Networks*): with it, as of masks, D2 is never negative, since the Jaccard index is
    a positive definite kernel. Kohl's code leaves such classes out of the mean, which may be less
    than 0.

    Overlaps are counted in one pass over the labels, block by block. Beside these, each thread
    holds 5 MB, or as many voxels of all labels as there are classes, and counts of its items; and
    all counts are held: 8 bytes for each item, pair of its labels and class.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import GaussianField
    >>> from gfnoise.metrics import energy_distance
    >>> label = np.zeros((32, 32), np.uint8)
    >>> label[8:24, 8:24] = 1
    >>> raters = GaussianField(1.5, 6.0, ndim=2).sample_labels(label, seed=0, n=4)
    >>> for amplitude in (0.0, 1.5, 3.0):
    ...     samples = GaussianField(amplitude, 6.0, ndim=2).sample_labels(label, seed=1, n=16)
    ...     print(f"{amplitude}: {energy_distance(samples, raters):.3f}")
    0.0: 0.311
    1.5: 0.206
    3.0: 0.277
    """
    kernels = _arguments.kernels("energy_distance", "metrics", samples=samples, raters=raters)
    classes = 2 if num_classes is None else _checks.integer("num_classes", num_classes, 2)
    _labels.count(classes)  # raises where they are too many for two bytes
    sets = []
    for name, array, flags in (("samples", samples, None), ("raters", raters, annotated)):
        _checks.integral(name, array)
        sets.append(_raters.stack(array, axis, ndim, flags, name=name))
    first, second = sets
    if (second.items, second.space) != (first.items, first.space):
        raise ValueError(
            f"raters must have the samples' items {first.items} and space {first.space}, "
            f"got {second.items} and {second.space}"
        )
    ignored = _checks.ignored_label(ignore_index, raters.dtype)
    count = first.raters + second.raters
    pairs = np.stack(np.triu_indices(count))
    both = np.zeros((*first.items, len(pairs[0]), classes - 1), np.int64)

    def count_both(part: dict[str, _raters.Stack]) -> NDArray[np.int64]:
        found = kernels.pairs(_foreground(part, num_classes, ignored), pairs.T.copy(), classes)
        return np.asarray(found)

    _add_up(count_both, {"samples": first, "raters": second}, both)
    both = both.reshape(math.prod(first.items), *both.shape[-2:])
    distances = np.zeros((len(both), count, count))
    distances[:, pairs[0], pairs[1]] = distances[:, pairs[1], pairs[0]] = _distances(both, pairs)
    # D2 is -w' d w of the weights of samples less those of raters.
    weights = np.concatenate([_shares(first), -_shares(second)], 1)
    found = 0 - np.einsum("ij,ijk,ik->i", weights, distances, weights)  # of nothing: not -0
    return np.asarray(found.clip(0, 2).reshape(first.items))[()]


def _add_up(
    function: Callable[[dict[str, _raters.Stack]], NDArray[np.int64]],
    sets: dict[str, _raters.Stack],
    counts: NDArray[np.int64],
) -> None:
    """Add what a function counts in blocks of the sets to the counts of their items."""
    pool = load("gfnoise._cpu._pool")
    first = sets["samples"]
    split = len(first.items)
    # Voxels may come in any order: in that of the memory.
    space = [*range(split + 1, first.labels.ndim)]
    space.sort(key=lambda axis: -abs(first.labels.strides[axis]))
    axes = *range(split + 1), *space
    moved = {name: one._replace(labels=one.labels.transpose(axes)) for name, one in sets.items()}
    shape = *first.items, *(first.labels.shape[axis] for axis in space)
    voxel = sum(one.raters * one.labels.itemsize for one in sets.values())
    least = counts.shape[-1]  # or tables of many classes would cost more than the voxels
    lock = threading.Lock()

    def add(box: tuple[slice, ...]) -> None:
        with pool.alone():
            found = function({name: _part(one, box) for name, one in moved.items()})
        with lock:
            counts[box[:split]] += found.reshape(counts[box[:split]].shape)

    pool.run([partial(add, box) for box in _boxes(shape, max(_BLOCK // voxel, least))])


def _boxes(shape: Sequence[int], most: int) -> Iterator[tuple[slice, ...]]:
    """Boxes that an array of this shape consists of, of at most `most` elements, in C order."""
    rest, split = math.prod(shape), 0
    while rest > most:
        rest //= shape[split]
        split += 1
    steps = [max(1, size) for size in shape]
    steps[:split] = [1] * split
    if split:
        steps[split - 1] = most // rest
    for corner in itertools.product(*map(range, itertools.repeat(0), shape, steps)):
        yield tuple(slice(i, i + step) for i, step in zip(corner, steps, strict=True))


def _part(labels: _raters.Stack, box: tuple[slice, ...]) -> _raters.Stack:
    """The labels in a box of items and space."""
    split = len(labels.items)
    part = labels.labels[*box[:split], :, *box[split:]]
    annotated = labels.annotated.reshape(*labels.items, labels.raters)[box[:split]]
    flags = annotated.reshape(-1, labels.raters)
    return _raters.Stack(part, part.shape[:split], part.shape[split + 1 :], flags)


def _foreground(
    sets: dict[str, _raters.Stack], num_classes: int | None, ignored: int | None
) -> NDArray[Any]:
    """The labels of all sets, (items, labels, voxels), 0 where any of an item is to be ignored."""
    codes, silent = [], []
    for name, one in sets.items():
        shape = (*one.annotated.shape, math.prod(one.space))
        own = None if ignored is None else one.labels == ignored
        kept = _labels.class_numbers(name, _arguments.without(one.labels, own), num_classes)
        codes.append(kept.reshape(shape))
        if own is not None:
            silent.append((own.reshape(shape) & one.annotated[:, :, None]).any(1))
    joined = np.concatenate(codes, 1)
    for where in silent:
        joined *= ~where[:, None]
    return joined


def _shares(labels: _raters.Stack) -> _Floats:
    """The weight of each of a set's labels in a mean, (items, labels)."""
    return np.asarray(labels.annotated / labels.annotated.sum(1, keepdims=True))


def _distances(both: NDArray[np.int64], pairs: NDArray[np.intp]) -> _Floats:
    """One less the mean IoU of pairs that have (items, pairs, classes) voxels in both."""
    own = pairs[0] == pairs[1]  # each with itself: sizes, in the order of the labels
    sizes = both[:, own]
    either = sizes[:, pairs[0]] + sizes[:, pairs[1]] - both
    share = np.divide(both, either, out=np.ones(both.shape), where=either > 0)
    return np.asarray(1 - share.mean(-1))
