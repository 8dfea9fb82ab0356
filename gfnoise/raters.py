"""Several raters: fusing their labels, STAPLE, and the noise model that looks like them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _array, _checks, _fusion, _raters, _staple
from ._decisions import TIES
from ._loading import load
from .field import GaussianField

METHODS = ("average", "majority", "union", "intersection", "staple", "random")


@_array.any_library("masks", "annotated", "seed")
def fuse_raters(
    masks: NDArray[Any],
    method: str = "average",
    *,
    axis: int = 0,
    ndim: int | None = None,
    num_classes: int | None = None,
    annotated: ArrayLike | None = None,
    ignore_index: int | None = None,
    ties: str = "largest",
    seed: int | ArrayLike | None = None,
) -> NDArray[Any]:
    """Make one label of several raters'.

    Parameters
    ----------
    masks : array of bool or an integer dtype
        Labels with a rater axis, of at most 65535 but for "random"; the last `ndim` of the other
        axes are space, all before are items. In {0, 1}, or in range(num_classes); any labels for
        "majority" and "random".
    method : {"average", "majority", "union", "intersection", "staple", "random"}
        "average": the share of the raters, soft. "majority": the label of most. "union": what any
        marked; "intersection": what all did. "staple": where `staple` gives the foreground a
        probability of at least 1/2 or, with classes, the most probable one. "random": the label of
        one rater, drawn per item.
    axis : int, default 0
        The raters' axis, which the result has not.
    ndim : int, optional
        Number of spatial axes. By default all but the raters', of at most three.
    num_classes : int, optional
        Fuse classes, at most 65536, or 65535 with `ignore_index`: "average", "union" and
        "intersection" then have a class axis just before space.
    annotated : array_like of bool, (*items, raters), optional
        Who annotated which item; the others' labels are not looked at, but must be valid.
    ignore_index : int, optional
        What a rater writes where he says nothing: there, the others are fused. Voxels that all
        ignore stay ignored: `ignore_index` in a label, False or 0 for each class, NaN in a map of
        the foreground. "random" copies a rater as he is.
    ties : {"largest", "smallest"}
        Which label wins a tie of "majority". "largest" of two classes: half of the votes is
        enough, as for `optimal_segmentation`.
    seed : int, or sequence of int
        For "random": one per item or one for all, as in `GaussianField`: with one per item the
        choice does not depend on the batch.

    Returns
    -------
    array, (*items, *space) or (*items, num_classes, *space)
        float32 for "average", bool for "union" and "intersection" of classes, else of the masks'
        dtype.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, or an item has no rater (or, for "staple", just one).
    NotImplementedError
        For arrays that it has no kernels for: CuPy's, CUDA tensors and dask's.

    See Also
    --------
    staple : The probabilities, and what they say of the raters.
    svls : The average of softened labels (mSVLS).

    Notes
    -----
    Lemay 2022, *Impact of Soft Segmentation Training on Medical Image Segmentation and Uncertainty
    Representation* (2.4; union is what any rater marked, and intersection what all did). The
    average is the mOH of Islam and Glocker 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import fuse_raters
    >>> masks = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]])
    >>> print(fuse_raters(masks, "average").round(2))
    [1.   0.67 0.33 0.  ]
    >>> fuse_raters(masks, "majority").tolist(), fuse_raters(masks, "union").tolist()
    ([1, 1, 0, 0], [1, 1, 1, 0])
    """
    kernels = _array.kernels("fuse_raters", "raters", masks=masks, **_array.placed(seed=seed))
    _checks.choice("method", method, METHODS)
    _checks.choice("ties", ties, TIES)
    if method == "random" and seed is None:
        raise ValueError('seed must be given with method "random", got None')
    if method != "random" and seed is not None:
        raise ValueError(f'seed goes with method "random" alone, got {seed!r} with {method!r}')
    _checks.integral("masks", masks)
    stack = _raters.stack(masks, axis, ndim, annotated, least=1 + (method == "staple"))
    if method != "random" and stack.raters > _raters.MOST:
        raise ValueError(f"masks must be of at most {_raters.MOST} raters, got {stack.raters}")
    ignore = _checks.ignored_label(ignore_index, masks.dtype)
    if method == "random":
        if num_classes is not None:
            _fusion.class_numbers(stack, num_classes, ignore)  # raises where a label is of no class
        return _fusion.random(kernels, stack, seed)
    if method == "majority":
        return _fusion.majority(kernels, stack, num_classes, ignore, ties == "largest")
    if method == "staple":
        found = Staple(**_staple.estimate(kernels, stack, num_classes, ignore))
        fused: NDArray[Any] = found.consensus.astype(masks.dtype)
        return _fusion.keep_ignored(fused, stack, ignore, ignore)
    if num_classes is None:
        return _fusion.binary(kernels, stack, method, ignore)

    return _fusion.classes(kernels, stack, method, num_classes, ignore)


class Staple(NamedTuple):
    """What STAPLE found: the truth it deems probable, and how good each rater is.

    Parameters
    ----------
    probability : float32 array, (*items, [classes,] *space)
        Of the foreground, or of each class.
    sensitivity : float64 array, (*items, raters[, classes])
        P(rater marks | truth is marked). NaN for who did not annotate.
    specificity : float64 array, (*items, raters[, classes])
        P(rater does not mark | truth is not marked).
    prior : float64 array, (*items[, classes])
        Share of the foreground, or of each class.
    confusion : float64 array, (*items, raters, classes, classes)
        P(rater says the last class | truth is the one before); of two classes without
        `num_classes`.
    iterations : int array, (*items)
        Iterations taken.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import Staple, staple
    >>> isinstance(staple(np.array([[1, 1, 0], [1, 0, 0]])), Staple)
    True
    """

    probability: NDArray[np.float32]
    sensitivity: NDArray[np.float64]
    specificity: NDArray[np.float64]
    prior: NDArray[np.float64]
    confusion: NDArray[np.float64]
    iterations: NDArray[np.int64]

    @property
    def consensus(self) -> NDArray[Any]:
        """Bool: at least as probable as not; or the most probable class, of equals the first."""
        items = self.iterations.ndim
        if self.prior.ndim == items:  # no class axis
            return self.probability >= 0.5
        return self.probability.argmax(items)


@_array.any_library("masks", "annotated")
def staple(
    masks: NDArray[Any],
    *,
    axis: int = 0,
    ndim: int | None = None,
    num_classes: int | None = None,
    annotated: ArrayLike | None = None,
    ignore_index: int | None = None,
    prior: float | ArrayLike | None = None,
    max_iterations: int = _staple.MAX_ITERATIONS,
    tolerance: float = _staple.TOLERANCE,
) -> Staple:
    """Estimate the truth and the raters' performance at once (STAPLE).

    Parameters
    ----------
    masks, axis, ndim, num_classes, annotated
        As in `fuse_raters`, with two raters at least for each item, and ``answers**raters`` below
        2**63: 62 raters of two classes. Answers are the classes and, with `ignore_index`, none.
    ignore_index : int, optional
        What a rater writes where he says nothing: such voxels tell nothing of him, and he nothing
        of them. Where all ignore, the probability is 0 for each class, NaN without classes.
    prior : float or array_like, (num_classes,), optional
        Share of the foreground, or of each class. By default the raters' mean.
    max_iterations : int, default 1000
        When to stop in any case.
    tolerance : float, default 1e-9
        Stop when no rate moved by more.

    Returns
    -------
    Staple
        `probability`, `sensitivity`, `specificity`, `prior`, `confusion`, `iterations`, and
        `consensus`, the mask of what is at least as probable as not.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.
    NotImplementedError
        For arrays that it has no kernels for: CuPy's, CUDA tensors and dask's.

    Notes
    -----
    Warfield, Zou and Wells 2004, without a spatial prior: expectation-maximisation, from raters
    who are right with probability 0.99999 and a prior that is their mean, as in SimpleITK. The
    posterior of a voxel depends on who marked it alone: the patterns are counted once, and the
    iterations run on the counts, in float64. Without `prior`, a class that nobody marked anywhere
    has probability 0, and its raters are perfect.

    Per item, the probability of classes takes num_classes x voxels x 4 bytes, and the confusion
    matrices raters x num_classes² x 8: number the labels that occur from 0 on.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import staple
    >>> rows = "111110000000", "111101000000", "111000100000"
    >>> found = staple(np.array([[int(one) for one in row] for row in rows]))
    >>> print(found.probability[:5].round(4))
    [0.9952 0.9952 0.9952 0.8991 0.    ]
    >>> print(found.sensitivity.round(4), found.specificity.round(4))
    [1.     1.     0.7686] [0.8626 0.8626 0.875 ]
    """
    kernels = _array.kernels("staple", "raters", masks=masks)
    _checks.integral("masks", masks)
    stack = _raters.stack(masks, axis, ndim, annotated, least=2)
    ignore = _checks.ignored_label(ignore_index, masks.dtype)
    most = _checks.integer("max_iterations", max_iterations, 1)
    least = _checks.number("tolerance", tolerance, 0)
    estimate = _staple.estimate(
        kernels, stack, num_classes, ignore, prior=prior, max_iterations=most, tolerance=least
    )
    return Staple(**estimate)


@dataclass(frozen=True)
class FieldFit:
    """A noise model fitted to raters.

    Parameters
    ----------
    field : GaussianField
        The model.
    amplitude, length_scale : float
        Its parameters, in the unit of `spacing`.
    amplitude_error, length_scale_error : float
        Their standard errors; inf where the raters say next to nothing of a parameter: few voxels
        differ, or the length scale is beyond twice the structure's diameter.

    Examples
    --------
    >>> from gfnoise import FieldFit, GaussianField
    >>> FieldFit(GaussianField(2.0, 7.0, ndim=3), 2.0, 7.0, 0.1, 0.6).amplitude_error
    0.1
    """

    field: GaussianField
    amplitude: float
    length_scale: float
    amplitude_error: float
    length_scale_error: float


@_array.any_library("masks")
def fit_field(
    masks: NDArray[Any],
    *,
    spacing: float | ArrayLike = 1.0,
    axis: int = 0,
    seed: int = 0,
) -> FieldFit:
    """Fit the noise model to two or more raters of a structure.

    Parameters
    ----------
    masks : array of bool or of integers in {0, 1}
        One structure, with a rater axis; the other two or three axes are space.
    spacing : float or array_like, (ndim,), default 1.0
        Voxel size per axis, in the unit that amplitude and length scale shall have.
    axis : int, default 0
        The raters' axis.
    seed : int, default 0
        Of the simulations: the same seed and masks give the same fit. Other seeds, neighbours as
        well, share no noise with it: fits over several show how much of the fit is chance.

    Returns
    -------
    FieldFit
        `field`, a `GaussianField`; `amplitude`, `length_scale`, and their standard errors.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described: fewer than two raters, one who marked nothing, two who
        share no voxel, or raters who are all alike; or if the spacing of one axis is more than 1e6
        times another's.
    NotImplementedError
        For arrays that it has no kernels for: CuPy's, CUDA tensors and dask's.

    Notes
    -----
    The raters are taken as independent samples `L(w) = l(w + X(w))` of an unknown `l`. Raters are
    simulated on their consensus for amplitudes and length scales around the sought ones, and the
    estimate is where the simulated outlines are as far apart as the real ones, and of the same
    smoothness: the length scale that is likeliest for their distances along the normals of the
    consensus, were the deformation small (a method of simulated moments). The errors come from the
    scatter of the simulations. They are relative errors times the estimate: an interval is better
    taken on the logarithm, ``estimate * exp(+-1.96 error / estimate)``. An infinite error says that
    the raters do not tell; of the length scale, that theirs is too long for the structure, as when
    one always draws it larger. A bias that all raters share cannot be seen from their disagreement.

    A surface of few length scales tells less: five raters of a ball whose radius is 1.6 length
    scales give either parameter to about 9 %; small deformations could not tell the amplitude to
    less than about 7 %, even if outlines were known to 3 % of it.

    It takes about 120 simulations of the raters: seconds for a structure of 40³ voxels.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import GaussianField, fit_field
    >>> z, y, x = np.ogrid[-16:16, -16:16, -16:16]
    >>> ball = z**2 + y**2 + x**2 < 100
    >>> raters = GaussianField(1.5, 6.0, ndim=3).sample_labels(ball, seed=0, n=5)
    >>> found = fit_field(raters)
    >>> abs(found.amplitude - 1.5) < 3 * found.amplitude_error
    True
    """
    _array.kernels("fit_field", "outline", masks=masks)
    _checks.binary("masks", masks)
    stack = _raters.stack(masks, axis, None, None, least=2)
    ndim = _checks.axes_of_image("masks", len(stack.space))
    sizes = _checks.voxel_size(spacing, ndim)
    start = _checks.integer("seed", seed, 0)
    raters = np.ascontiguousarray(stack.labels != 0)
    _check_one_structure(raters)

    found = load("gfnoise._fit").fit(raters, np.array(sizes), start)
    (a, b), (a_error, b_error) = np.exp(found.log).tolist(), found.error.tolist()
    field = GaussianField(a, b, spacing=sizes, ndim=ndim)
    return FieldFit(field, a, b, a * a_error, b * b_error)


def _check_one_structure(raters: NDArray[np.bool_]) -> None:
    """Raise ValueError unless the raters overlap, and differ."""
    flat = raters.reshape(len(raters), -1)
    empty = np.flatnonzero(~flat.any(1))
    if empty.size:
        raise ValueError(f"masks must outline a structure each, got none from rater {empty[0]}")
    for i in range(len(flat)):
        for j in range(i):
            if not (flat[i] & flat[j]).any():
                raise ValueError(
                    f"masks must outline one structure, got raters {j} and {i} who share no voxel"
                )
    if (flat == flat[0]).all():
        raise ValueError("masks must differ for their noise to be fitted, got raters all alike")
