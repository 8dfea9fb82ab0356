"""The noise model: Gaussian displacement fields, the labels they make, and their marginals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _array, _checks, _labels
from ._axes import lead_and_space
from ._output import Output
from ._sampling import noisy_labels, streams
from ._strengths import in_voxels, own_items
from ._window import cut, whole

METHODS = ("integrated", "sampled")


@dataclass(frozen=True)
class GaussianField:
    """Random Gaussian field deformations with a squared-exponential covariance.

    The displacement ``X = (X_1, ..., X_ndim)`` has independent, stationary, centred Gaussian
    components with ``Cov(X_i(w), X_i(w')) = amplitude_i² exp(-|w - w'|² / (2 length_scale²))``,
    distances taken along each axis in units of its length scale, and a noisy label is
    ``L(w) = l(w + X(w))`` (Nordström, Hult and Maki 2023, eq. 8, 17, 18).

    Parameters
    ----------
    amplitude : float or array_like
        The standard deviation of each component of the displacement, at every point; at least 0.
    length_scale : float or array_like
        The correlation length along each axis, the same for all components; positive.
    spacing : float, array_like or "unit", default 1.0
        Voxel size per axis of the array, in the unit of `amplitude` and `length_scale`: 1 for
        voxels, mm from the header of an image, in the array's order: (x, y, z) of nibabel, (z, y,
        x) of SimpleITK's arrays, whose ``GetSpacing()`` is the other way round. "unit" is the
        papers' unit cube: a voxel size of ``1 / shape[i]``.
    ndim : {2, 3}
        Number of spatial axes, the last of each array, in the array's order.

    Notes
    -----
    Each parameter is a number or of shape (ndim,), for all items alike, or of shape (items, 1) or
    (items, ndim), one row per item. They are kept as plain tuples: fields compare and hash. A pair
    is one value per axis, and no range: ranges are what `gfnoise.torch.LabelNoise` takes.

    Randomness is a function of (seed, item, rater) alone. With an integer `seed`, item i (leading
    axes flattened in C order) and rater j draw from (seed, i, j). With one seed per item, they
    draw from (seed[i], 0, j): an item's noise then depends neither on its batch nor on its place.

    The Fourier basis of an axis of n voxels takes about ``11 n (n + 4 b) / b`` bytes while it is
    made, b being the length scale in voxels: 9 GB for n = 50 000 and b = 3. Draw such a strip in
    parts, by `window`: of a window of c voxels it is ``11 c (n + 4 b) / b``.

    Examples
    --------
    >>> import numpy as np
    >>> from gfnoise import GaussianField
    >>> label = np.zeros((64, 64, 64), np.uint8)
    >>> label[20:44, 20:44, 20:44] = 1
    >>> noise = GaussianField(amplitude=2.0, length_scale=7.0, ndim=3)
    >>> raters = noise.sample_labels(label, seed=0, n=5)
    >>> raters.shape, raters.dtype
    ((5, 64, 64, 64), dtype('uint8'))
    >>> round(float(noise.marginals(label)[20, 32, 32]), 2)
    0.6
    """

    amplitude: Any
    length_scale: Any
    spacing: Any = field(default=1.0, kw_only=True)
    ndim: int = field(kw_only=True)

    def __post_init__(self) -> None:
        ndim = _checks.dimensions(self.ndim)
        values = {
            "ndim": ndim,
            "amplitude": _checks.strengths("amplitude", self.amplitude, ndim, zero=True),
            "length_scale": _checks.strengths("length_scale", self.length_scale, ndim, zero=False),
        }
        if isinstance(self.spacing, str) and self.spacing != "unit":
            raise TypeError(
                f"spacing must be a number, an array of numbers or 'unit', got {self.spacing!r}"
            )
        if not isinstance(self.spacing, str):
            values["spacing"] = _checks.strengths("spacing", self.spacing, ndim, zero=False)
        for name, value in values.items():
            object.__setattr__(self, name, value)
        own_items(self)  # an error where they do not match

    @_array.any_library("seed", "like")
    def displacement(
        self,
        shape: Sequence[int],
        n: int | None = None,
        *,
        seed: int | ArrayLike,
        window: tuple[slice, ...] | None = None,
        like: Any = None,
    ) -> NDArray[np.float32]:
        """Draw displacement fields.

        Parameters
        ----------
        shape : tuple of int
            The grid, of `ndim` axes.
        n : int, optional
            Number of raters: independent fields per item.
        seed : int, or sequence of int
            In [0, 2**63); one per item or one for all. int64 on a device is not read by the host.
        window : tuple of slices, optional
            The part of the grid to evaluate; the values are those of the whole.
        like : array, optional
            An array of the library that the result shall belong to; the seed's by default.

        Returns
        -------
        float32 array, ([items,] [n,] ndim, *window)
            In voxels, components in the order of the axes. There is no items axis when both the
            seed and the parameters are single.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described.

        Examples
        --------
        >>> from gfnoise import GaussianField
        >>> GaussianField(2.0, 7.0, ndim=2).displacement((64, 48), seed=[3, 4]).shape
        (2, 2, 64, 48)
        """
        placed = _array.placed(seed=seed)
        kernels = _array.kernels("displacement", "field", like=like, **placed)
        grid = _checks.grid_shape("shape", shape, self.ndim)
        part = whole(grid) if window is None else cut(grid, window)
        raters = 1 if n is None else _checks.integer("n", n, 0)
        seeds, numbers, seed_axis = streams(self, seed, None)
        items = len(numbers)
        amplitude, length_scale = in_voxels(self, items, grid)

        items_axis = seed_axis or own_items(self) is not None
        library = _array.module(placed.get("seed") if like is None else like)
        out = library.empty((items, raters, self.ndim, *part.count), np.float32)
        if out.size:
            kernels.displacement(
                out,
                seeds=seeds,
                numbers=numbers,
                amplitude=amplitude,
                length_scale=length_scale,
                window=part,
            )
        lead = (items,) * items_axis + (raters,) * (n is not None)
        return out.reshape(*lead, self.ndim, *part.count)

    @_array.any_library("labels", "seed", "out")
    def sample_labels(
        self,
        labels: NDArray[Any],
        *,
        seed: int | ArrayLike,
        n: int | None = None,
        order: int = 0,
        mode: str = "constant",
        cval: int = 0,
        ignore_index: int | None = None,
        window: tuple[slice, ...] | None = None,
        full_shape: Sequence[int] | None = None,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Draw noisy labels ``L(w) = l(w + X(w))`` (2023, eq. 18).

        Parameters
        ----------
        labels : array of bool or an integer dtype, (*lead, *space)
            Integer-coded, not one-hot: the last `ndim` axes are space, all before are items, each
            with its own field, so that an axis of classes would be torn apart.
        seed : int, or sequence of int
            In [0, 2**63); one per item or one for all. int64 on a device is not read by the host.
        n : int, optional
            Number of raters per item, on a new axis just before space. Asking for more raters
            does not change the first ones.
        order : {0, 1}
            0: the label of the voxel that holds the point; its law at each voxel is the model's
            exactly. 1: the (at most eight) voxels around the point vote by trilinear weight, ties
            to the smaller label: smoother, but structures thinner than about five voxels lose
            volume.
        mode : {"constant", "nearest"}
            What lies outside the labels: class `cval`, or the nearest voxel. The default is for
            whole images: of an organ that is cut by a patch's border, "constant" takes
            ``amplitude / sqrt(2 pi)`` of its depth away there, in the mean, and "nearest", the
            default of `gfnoise.torch.LabelNoise`, does not.
        cval : int, default 0
            The class of the outside.
        ignore_index : int, optional
            A label that stays exactly where it is and never votes. Where no other source is left,
            a voxel keeps its own label.
        window : tuple of slices, optional
            The part of the grid to draw: the same noise as that of the whole, cut.
        full_shape : tuple of int, optional
            The grid that `labels` is the `window` of. The noise is that of the whole grid; `mode`
            says what lies outside the part.
        out : array, optional
            Where to write the result; of its shape and dtype, not overlapping the input.

        Returns
        -------
        array of the labels' dtype, (*lead, [n,] *space)

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described; nothing has been written then.

        See Also
        --------
        warp_labels : The same for a given displacement.

        Notes
        -----
        A dask array gives a dask array, with the same bits whatever its chunks. Chunks overlap by
        a bound on the displacement, which is found at the call, mostly on a coarser grid; those
        of space that are smaller are joined. A task holds a chunk with its overlap, the result's
        chunk with all `n` raters, and 4 bytes for each coefficient and component of the field.

        Examples
        --------
        >>> import numpy as np
        >>> from gfnoise import GaussianField
        >>> label = np.zeros((2, 32, 32), np.int16)  # two images
        >>> label[:, 8:24, 8:24] = 7
        >>> noisy = GaussianField(1.5, 5.0, ndim=2).sample_labels(label, seed=[10, 11])
        >>> np.unique(noisy).tolist()
        [0, 7]
        """
        return noisy_labels(
            self,
            labels,
            seed=seed,
            n=n,
            order=order,
            mode=mode,
            cval=cval,
            ignore_index=ignore_index,
            window=window,
            full_shape=full_shape,
            out=out,
        )

    @_array.any_library("labels", "out")
    def marginals(
        self,
        labels: NDArray[Any],
        *,
        num_classes: int | None = None,
        method: str = "integrated",
        mode: str = "constant",
        cval: int = 0,
        ignore_index: int | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Compute ``E[L]``: the label convolved with a normal density (2023, Theorem 1).

        Parameters
        ----------
        labels : array of bool or an integer dtype, (*lead, *space)
            In {0, 1}, or in range(num_classes); or `ignore_index`.
        num_classes : int, optional
            Compute the probability of each class, on an axis just before space that sums to 1.
        method : {"integrated", "sampled"}
            A voxel's weight is the normal mass of that voxel, exact for samples of order 0; or the
            density at its centre, normalised (SciPy's taps, Listing 1 of the paper).
        mode : {"constant", "nearest"}
            What lies outside: class `cval`, or the nearest voxel.
        cval : int, default 0
            The class of the outside.
        ignore_index : int, optional
            As in `sample_labels`: the mass of ignored sources goes to a voxel's own label. Ignored
            voxels have no marginal: every entry is 0 there.
        out : float32 array, optional
            Where to write the result; of its shape, not overlapping the input.

        Returns
        -------
        float32 array, (*lead, *space) or (*lead, num_classes, *space)

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described; nothing has been written then.

        Notes
        -----
        A dask array gives a dask array. Chunks overlap by what the filter reaches; chunks of the
        class axis are as large as dask's `array.chunk-size` allows.

        Examples
        --------
        >>> import numpy as np
        >>> from gfnoise import GaussianField
        >>> m = GaussianField(1.5, 5.0, ndim=3).marginals(np.ones((32, 32, 32), bool))
        >>> f"{m[0, 0, 0]:.4f} {m.mean():.4f}"  # some of the mass leaves the domain (Theorem 2)
        '0.2507 0.8939'
        """
        kernels = _array.kernels("marginals", "filters", labels=labels, out=out)
        _checks.integral("labels", labels)
        ndim = _checks.dimensions(self.ndim, labels.ndim)
        _checks.choice("method", method, METHODS)
        rule = _labels.rule(labels, mode, cval, ignore_index)
        given = None if num_classes is None else _checks.integer("num_classes", num_classes, 1)
        classes = given or 2
        codes = _labels.encode(labels, ndim)
        _labels.in_classes("labels", codes, labels.dtype, given, rule)
        if mode == "constant" and cval != ignore_index and not 0 <= cval < classes:
            raise ValueError(f"cval must be a class in [0, {classes - 1}], got {cval}")
        lead, space = lead_and_space(labels.shape, ndim)
        items = math.prod(lead)
        amplitude, _ = in_voxels(self, items, space)
        shape = (*lead, *((classes,) * (num_classes is not None)), *space)

        output = Output(out, shape, np.float32, labels=labels)
        wanted = range(1, 2) if num_classes is None else range(classes)
        if output.result.size:
            kernels.marginals(
                codes,
                output.filled.reshape(items, len(wanted), *_labels.volume(space)),
                wanted=wanted,
                sigma=amplitude,
                method=method,
                rule=rule,
            )
        return output.finish()
