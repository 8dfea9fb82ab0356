"""STAPLE on checked arguments: the truth and the raters' performance, item by item."""

import math
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _checks, _fusion, _raters

MAX_ITERATIONS = 1000
TOLERANCE = 1e-9


def estimate(
    kernels: ModuleType,
    stack: _raters.Stack,
    num_classes: int | None,
    ignore: int | None,
    *,
    prior: float | ArrayLike | None = None,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> dict[str, Any]:
    """What a `Staple` has, item by item."""
    codes, classes = _fusion.class_numbers(stack, num_classes, ignore)
    _check_patterns(stack, classes, ignore)
    binary = num_classes is None
    given = None if prior is None else _prior(prior, classes, binary)

    items, raters, voxels = codes.shape
    truth = np.empty((items, 1 if binary else classes, voxels), np.float32)
    priors = np.full((items, classes), np.nan)
    confusion = np.full((items, raters, classes, classes), np.nan)
    iterations = np.zeros(items, np.int64)

    for item in range(items if voxels else 0):
        who = np.flatnonzero(stack.annotated[item])
        priors[item], confusion[item, who], iterations[item] = kernels.staple(
            codes[item],
            who,
            truth[item],
            classes=classes,
            silent=ignore is not None,
            prior=given,
            iterations=max_iterations,
            tolerance=tolerance,
        )
    return _found(stack, ignore, truth, priors, confusion, iterations)


def _check_patterns(stack: _raters.Stack, classes: int, ignore: int | None) -> None:
    """Raise ValueError unless all that an item's raters may answer can be numbered."""
    most = int(stack.annotated.sum(1).max(initial=0))
    if (classes + (ignore is not None)) ** most >= 1 << 63:
        raise ValueError(
            f"masks must have fewer than 2**63 patterns, got {classes} classes of {most} raters"
        )


def _found(
    stack: _raters.Stack,
    ignore: int | None,
    truth: NDArray[np.float32],
    priors: NDArray[np.float64],
    confusion: NDArray[np.float64],
    iterations: NDArray[np.int64],
) -> dict[str, Any]:
    """What was found, with the axes of the masks; a truth of one class is the foreground's."""
    sensitivity, specificity = _rates(confusion, priors)
    binary = truth.shape[1] < priors.shape[1]
    if binary:
        truth, priors = truth[:, 0], priors[:, 1]
        sensitivity, specificity = sensitivity[..., 1], specificity[..., 1]
    shape = stack.items
    probability = truth.reshape((*shape, *truth.shape[1:-1], *stack.space))
    if binary:
        _fusion.keep_ignored(probability, stack, ignore, math.nan)
    else:
        _fusion.keep_ignored(np.moveaxis(probability, len(shape), -1), stack, ignore, 0)
    return {
        "probability": probability,
        "sensitivity": sensitivity.reshape((*shape, *sensitivity.shape[1:])),
        "specificity": specificity.reshape((*shape, *specificity.shape[1:])),
        "prior": priors.reshape((*shape, *priors.shape[1:]))[()],
        "confusion": confusion.reshape((*shape, *confusion.shape[1:])),
        "iterations": iterations.reshape(shape)[()],
    }


def _rates(
    confusion: NDArray[np.float64], priors: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sensitivity and specificity of (items, raters, classes) from the confusion matrices."""
    sensitivity = np.einsum("irtt->irt", confusion)
    others = priors[:, None, :, None] * (1 - np.eye(priors.shape[-1]))
    marked = (others * confusion).sum(2)
    share = np.broadcast_to(others.sum(2), marked.shape)
    rate = np.divide(marked, share, out=np.zeros_like(marked), where=share > 0)
    return sensitivity.copy(), np.where(np.isnan(marked), np.nan, 1 - rate)


def _prior(prior: float | ArrayLike, classes: int, binary: bool) -> NDArray[np.float64]:
    """A prior as the probabilities of all classes."""
    if binary:
        share = _checks.share("prior", prior)
        return np.array([1 - share, share])
    array = _checks.plain("prior must be a probability per class", prior)
    given = array.astype(np.float64) if array.dtype.kind in "iuf" else np.empty(0)
    if given.shape != (classes,) or not (given >= 0).all() or abs(given.sum() - 1) > 1e-6:
        raise ValueError(
            f"prior must be {classes} probabilities that sum to 1, one per class, got {prior!r}"
        )
    return given / given.sum()
