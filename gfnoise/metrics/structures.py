"""Metrics of structures: lesions found and invented."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _array, _checks
from . import _arguments


class LesionRates(NamedTuple):
    """How many lesions are found, and how many of the prediction's are none.

    Parameters
    ----------
    true_positive : float64 array, (*batch)
        Share of the target's lesions that the prediction touches; 1 where there is none.
    false_detection : float64 array, (*batch)
        Share of the prediction's lesions that touch no target; 0 where there is none.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise.metrics import lesion_rates
    >>> rates = lesion_rates(np.array([1, 1, 0, 1]), np.array([0, 1, 0, 0]))
    >>> float(rates.true_positive), float(rates.false_detection)
    (1.0, 0.5)
    """

    true_positive: NDArray[np.float64]
    false_detection: NDArray[np.float64]


@_array.any_library("prediction", "target")
def lesion_rates(
    prediction: NDArray[Any],
    target: NDArray[Any],
    *,
    connectivity: int | None = None,
    ndim: int | None = None,
) -> LesionRates:
    """Compute the lesion-wise true positive and false detection rates (LTPR, LFDR).

    Parameters
    ----------
    prediction, target : array of bool or of integers in {0, 1}, (*batch, *space)
    connectivity : int, optional
        Voxels of one lesion may differ by one along so many axes at once: 1 for faces. By default
        all: corners touch.
    ndim : int, optional
        The last `ndim` axes are space. By default all are, of at most three.

    Returns
    -------
    LesionRates
        `true_positive` and `false_detection`.

    Raises
    ------
    ImportError
        If SciPy, which finds the connected components, is not installed.
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    Lemay 2022, 4.3. One shared voxel is enough for a lesion to be found.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise.metrics import lesion_rates
    >>> target = np.array([1, 1, 0, 0, 1, 0, 0])
    >>> found = lesion_rates(np.array([0, 1, 0, 0, 0, 0, 1]), target)
    >>> float(found.true_positive), float(found.false_detection)
    (0.5, 0.5)
    """
    ndimage = _arguments.scipy("ndimage", "lesion_rates")
    _, first, second, _ = _arguments.pair("lesion_rates", prediction, target, None, ndim)
    axes = len(first.space)
    joined = axes if connectivity is None else _checks.integer("connectivity", connectivity, 1)
    if joined > axes:
        raise ValueError(f"connectivity must be at most the {axes} axes of space, got {joined}")
    neighbours = ndimage.generate_binary_structure(axes, joined)
    found, false = np.ones(len(first.codes)), np.zeros(len(first.codes))
    for item, (ours, theirs) in enumerate(_masks(first, second)):
        for mask, other, rates, sign in ((theirs, ours, found, 1), (ours, theirs, false, -1)):
            parts, count = ndimage.label(mask, neighbours)
            if count:
                touched = np.unique(parts[other & mask]).size / count
                rates[item] = touched if sign > 0 else 1 - touched
    return LesionRates(found.reshape(first.batch)[()], false.reshape(first.batch)[()])


def _masks(
    first: _arguments.Labels, second: _arguments.Labels
) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Pairs of masks."""
    pairs = zip(first.codes, second.codes, strict=True)
    return [(a.reshape(first.space) > 0, b.reshape(first.space) > 0) for a, b in pairs]
