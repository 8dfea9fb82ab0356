"""Slow, obvious twins of soft labels, of the fusion of raters and of the metrics."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def one_hot(labels: NDArray[Any], classes: int) -> Floats:
    """(classes, *space)."""
    return np.stack([labels == c for c in range(classes)]).astype(float)


def svls_weights(ndim: int, sigma: float = 1.0) -> Floats:
    """A Gaussian sampled on 3^n voxels, its middle the sum of the rest (Islam and Glocker 2021)."""
    offsets = np.stack(np.meshgrid(*[[-1, 0, 1]] * ndim, indexing="ij"))
    weights = np.exp(-(offsets**2).sum(0) / (2 * sigma**2))
    middle = (1,) * ndim
    weights[middle] = weights.sum() - weights[middle]
    return np.asarray(weights / weights.sum())


def svls(
    labels: NDArray[Any], classes: int, sigma: float = 1.0, ignore: int | None = None
) -> Floats:
    """Eq. 2 for each voxel and neighbour: (classes, *space)."""
    weights = svls_weights(labels.ndim, sigma)
    out = np.zeros((classes, *labels.shape))
    for w in np.ndindex(labels.shape):
        if labels[w] == ignore:
            continue
        for offset in itertools.product((-1, 0, 1), repeat=labels.ndim):
            near = tuple(np.clip(np.add(w, offset), 0, np.array(labels.shape) - 1))
            label = labels[w] if labels[near] == ignore else labels[near]
            out[(int(label), *w)] += weights[tuple(np.add(offset, 1))]
    return out


def cross_entropy(logits: Floats, soft: Floats) -> tuple[Floats, Floats]:
    """Loss of each voxel, and its gradient by the logits (classes, *space)."""
    shifted = logits - logits.max(0)
    log_softmax = shifted - np.log(np.exp(shifted).sum(0))
    kept = soft.sum(0) > 0
    return -(soft * log_softmax).sum(0), (np.exp(log_softmax) - soft) * kept


def staple(
    masks: NDArray[Any], prior: float | None = None, iterations: int = 1000
) -> tuple[Floats, Floats, Floats]:
    """Warfield's EM, voxel by voxel: posterior, sensitivity, specificity."""
    said = masks.reshape(len(masks), -1) > 0
    g = said.mean() if prior is None else prior
    p = q = np.full(len(masks), 0.99999)
    for _ in range(iterations):
        a = np.where(said, p[:, None], 1 - p[:, None]).prod(0) * g
        b = np.where(said, 1 - q[:, None], q[:, None]).prod(0) * (1 - g)
        w = a / (a + b)
        new_p, new_q = (said * w).sum(1) / w.sum(), (~said * (1 - w)).sum(1) / (1 - w).sum()
        done = max(abs(new_p - p).max(), abs(new_q - q).max()) < 1e-13
        p, q = new_p, new_q
        if done:
            break
    return w.reshape(masks.shape[1:]), p, q


def staple_classes(
    masks: NDArray[Any], classes: int, iterations: int = 1000, ignore: int | None = None
) -> tuple[Floats, Floats]:
    """The same for several classes: posterior (classes, *space), confusion matrices.

    A rater who says `ignore` says nothing there; the posterior of a voxel of silence is 0.
    """
    raters = len(masks)
    said = np.stack([one_hot(mask.ravel(), classes) for mask in masks])  # (raters, said, voxels)
    said *= (masks.reshape(raters, 1, -1) != ignore) if ignore is not None else 1
    spoke = said.sum(1)  # (raters, voxels)
    prior = said.sum((0, 2)) / said.sum()
    theta = np.full((raters, classes, classes), 1e-5 / (classes - 1))
    theta[:, range(classes), range(classes)] = 0.99999
    for _ in range(iterations):
        own = np.einsum("rts,rsv->rtv", theta, said)
        w = prior[:, None] * np.where(spoke[:, None] > 0, own, 1).prod(0)
        w /= w.sum(0)
        new = np.einsum("tv,rsv->rts", w, said) / np.einsum("tv,rv->rt", w, spoke)[..., None]
        done = abs(new - theta).max() < 1e-13
        theta = new
        if done:
            break
    return (w * spoke.any(0)).reshape(classes, *masks.shape[1:]), theta


def majority(labels: Sequence[int], largest: bool = True) -> int:
    """The commonest of some labels; a tie goes to the largest, or to the smallest."""
    most = max(list(labels).count(one) for one in labels)
    tied = [one for one in labels if list(labels).count(one) == most]
    return max(tied) if largest else min(tied)


def calibration_error(p: Floats, labels: NDArray[Any], bins: int = 10) -> float:
    """ECE of (classes, voxels), bin by bin."""
    best, confidence = p.argmax(0), p.max(0)
    k = np.minimum((confidence[:, None] >= np.arange(1, bins + 1) / bins).sum(1), bins - 1)
    error = 0.0
    for one in range(bins):
        inside = k == one
        if inside.any():
            gap = (best[inside] == labels[inside]).mean() - confidence[inside].mean()
            error += inside.mean() * abs(gap)
    return float(error)


def adaptive_calibration_error(
    p: Floats, labels: NDArray[Any], threshold: float = 1e-3, ranges: int = 15
) -> float:
    """TACE of (classes, voxels), range by range."""
    errors = []
    for c, own in enumerate(p):
        kept = sorted((i for i in range(own.size) if own[i] > threshold), key=lambda i: own[i])
        cuts = [len(kept) * r // ranges for r in range(ranges + 1)]
        for r in range(ranges):
            part = kept[cuts[r] : cuts[r + 1]]
            gap = np.mean([own[i] - (labels[i] == c) for i in part]) if part else 0.0
            errors.append(abs(gap))
    return float(np.mean(errors))


def energy_distance(samples: NDArray[Any], raters: NDArray[Any], classes: int = 2) -> float:
    """Kohl's D2 of (labels, *space), pair by pair, of one minus the mean IoU of the foreground."""

    def distance(one: NDArray[Any], other: NDArray[Any]) -> float:
        overlaps = []
        for c in range(1, classes):
            either = ((one == c) | (other == c)).sum()
            overlaps.append(((one == c) & (other == c)).sum() / either if either else 1.0)
        return 1 - float(np.mean(overlaps))

    def mean(first: NDArray[Any], second: NDArray[Any]) -> float:
        return float(np.mean([distance(one, other) for one in first for other in second]))

    return 2 * mean(samples, raters) - mean(samples, samples) - mean(raters, raters)


def surface_dice(
    first: NDArray[Any], second: NDArray[Any], tolerance: float, spacing: Sequence[float]
) -> float:
    """The share of both surfaces' area that is near."""
    sides = _sides(first, second, spacing)
    if sides is None:
        return float(first.any() == second.any())
    within = sum(a for side in sides for d, a in side if d <= tolerance + 1e-6)
    return within / sum(a for side in sides for _, a in side)


def hausdorff_distance(
    first: NDArray[Any], second: NDArray[Any], percentile: float, spacing: Sequence[float]
) -> float:
    """Of each surface, the first distance by which that much of the area is reached; the larger."""
    sides = _sides(first, second, spacing)
    if sides is None:
        return 0.0 if first.any() == second.any() else math.inf
    found = []
    for side in sides:
        reached, total = 0.0, sum(a for _, a in side)
        for distance, area in sorted(side):
            reached += area
            if reached >= (percentile / 100 - 1e-9) * total:
                found.append(distance)
                break
    return max(found)


def average_surface_distance(
    first: NDArray[Any], second: NDArray[Any], spacing: Sequence[float]
) -> float:
    """The mean of both surfaces' distances, by area."""
    sides = _sides(first, second, spacing)
    if sides is None:
        return 0.0 if first.any() == second.any() else math.inf
    pairs = [pair for side in sides for pair in side]
    return sum(d * a for d, a in pairs) / sum(a for _, a in pairs)


def _sides(
    first: NDArray[Any], second: NDArray[Any], spacing: Sequence[float]
) -> list[list[tuple[float, float]]] | None:
    """(distance, area) of all corners of each surface, by all of the other; None: one is empty."""
    points, areas = zip(*(_surface(mask, spacing) for mask in (first, second)), strict=True)
    if not len(points[0]) or not len(points[1]):
        return None
    distance = np.sqrt(((points[0][:, None] - points[1][None]) ** 2).sum(-1))
    return [list(zip(distance.min(1 - i).tolist(), areas[i].tolist(), strict=True)) for i in (0, 1)]


def _surface(mask: NDArray[Any], spacing: Sequence[float]) -> tuple[Floats, Floats]:
    padded = np.pad(np.asarray(mask, float), 1)
    points, areas = [], []
    for corner in np.ndindex(*(n + 1 for n in mask.shape)):
        cell = padded[tuple(slice(c, c + 2) for c in corner)]
        if 0 < cell.sum() < cell.size:
            gradient = [
                (cell.take(1, axis).mean() - cell.take(0, axis).mean()) / spacing[axis]
                for axis in range(mask.ndim)
            ]
            points.append(np.multiply(corner, spacing))
            areas.append(np.linalg.norm(gradient) * np.prod(spacing))
    return np.array(points), np.array(areas)
