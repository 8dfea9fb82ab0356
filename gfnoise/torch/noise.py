"""Label noise as a module of a network's pipeline."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import _checks, _labels
from .._shared import modes
from ..field import GaussianField
from . import _applied, _layouts, _operators, item_seeds
from ._applied import KEYS, Params


class LabelNoise(torch.nn.Module):
    """Fresh noisy labels in every training step, by Gaussian field deformations.

    Call it with the labels alone: ``noise(batch["label"])``. Called with a dict, it moves images
    *with* the labels, as an augmentation does: they still match then, and that is no label noise.

    Parameters
    ----------
    amplitude, length_scale : float or (low, high)
        Of the noise, as in `GaussianField`, in voxels, or in mm if `spacing` is: a number, or a
        range from which each item draws its own, uniformly. (A pair is a range here, and one value
        per axis in `GaussianField`; `from_field` takes one of these.)
    ndim : {2, 3}
        Number of spatial axes, the last ones.
    spacing : float, array_like or "unit", default 1.0
        Voxel size, as in `GaussianField`, 1.0 for lengths in voxels: for all items, or one row per
        item.
    p : float, default 1.0
        The probability that an item gets any noise.
    order : {0, 1}, default 0
        0: the label of the voxel that holds the displaced point. 1: the voxels around it vote.
    mode : {"nearest", "constant"}, default "nearest"
        What lies outside the labels: the nearest voxel, or class 0. Training is on patches, which
        cut through organs: with "constant", an organ loses ``amplitude / sqrt(2 pi)`` of its depth
        at each face that is cut, in the mean. `GaussianField` has "constant", for whole images.
    ignore_index : int, optional
        A label that stays exactly where it is.

    Notes
    -----
    All that is random about an item, its strengths, whether `p` applies and its field, follows from
    its seed: `item_seed` makes seeds that do not depend on batches, workers or ranks. In `eval()`
    the module returns what it is given. It has neither parameters nor buffers, and draws nothing
    from any generator but torch's: one number of the CPU's per call or, while a CUDA graph is
    captured, one of the device's per item. Given a seed, it draws none.

    Of one amplitude and one length scale, with p=1 and order=0, the law of a noisy label is that of
    `GaussianField.sample_labels`, and its mean ``GaussianField.marginals(..., mode="nearest")``:
    the `mode` is to be given there, whose default is "constant".

    Examples
    --------
    >>> import torch
    >>> from gfnoise.torch import LabelNoise
    >>> labels = torch.zeros(2, 1, 32, 32, 32, dtype=torch.uint8)
    >>> labels[..., 8:24, 8:24, 8:24] = 1
    >>> noise = LabelNoise(amplitude=(0.5, 2.0), length_scale=6.0, ndim=3)
    >>> noisy = noise(labels, seed=[10, 11])
    >>> noisy.shape, noisy.dtype
    (torch.Size([2, 1, 32, 32, 32]), torch.uint8)
    >>> bool((noise(labels[1:], seed=[11]) == noisy[1:]).all())
    True
    """

    def __init__(
        self,
        amplitude: float | Sequence[float],
        length_scale: float | Sequence[float],
        *,
        ndim: int,
        spacing: Any = 1.0,
        p: float = 1.0,
        order: int = 0,
        mode: str = "nearest",
        ignore_index: int | None = None,
    ):
        super().__init__()
        self.ndim = _checks.dimensions(ndim)
        self.amplitude = _range("amplitude", amplitude, zero=True)
        self.length_scale = _range("length_scale", length_scale, zero=False)
        self.spacing = self._rows(spacing)
        self.p = _checks.share("p", p)
        _checks.choice("order", order, _labels.ORDERS)
        _checks.choice("mode", mode, modes.OF_LABELS)
        self.order, self.mode = order, mode
        self.ignore_index = _checks.ignored_label(ignore_index, np.dtype(np.int64))

    @classmethod
    def from_field(cls, field: GaussianField, **options: Any) -> "LabelNoise":
        """The module with the noise of a field, such as the one that `fit_field` finds.

        Parameters
        ----------
        field : GaussianField
            Of one amplitude and one length scale, for all axes and items.
        **options
            p, order, mode and ignore_index, as of the class.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described.

        Examples
        --------
        >>> from gfnoise import GaussianField
        >>> from gfnoise.torch import LabelNoise
        >>> field = GaussianField(2.0, 8.0, spacing=(3.0, 0.8, 0.8), ndim=3)
        >>> LabelNoise.from_field(field, p=0.8).amplitude
        (2.0, 2.0)
        """
        if not isinstance(field, GaussianField):
            raise TypeError(f"field must be a GaussianField, got {type(field).__qualname__}")
        given = {"amplitude": field.amplitude, "length_scale": field.length_scale}
        for name, value in given.items():
            if len(set(value)) > 1 or isinstance(value[0], tuple):
                raise ValueError(
                    f"field must have one {name} for all axes and items, got {value!r}"
                )
            given[name] = value[0]
        return cls(**given, ndim=field.ndim, spacing=field.spacing, **options)

    def forward(
        self,
        labels: Any,
        *,
        spacing: Any = None,
        generator: torch.Generator | None = None,
        seed: Any = None,
    ) -> Any:
        """Draw noisy labels.

        Parameters
        ----------
        labels : tensor of bool or an integer dtype, (B, C, *space) or (B, *space), or dict
            Integer-coded, channels first: C label maps share the field of their item, and what
            looks to have classes as channels, or channels last, is refused. So are labels that were
            read as floats, as floats are images: use ``labels.long()`` or
            ``labels.to(torch.uint8)`` (the adapters for MONAI and TorchIO do it). In a dict,
            tensors of a floating dtype (B, C, *space) move with the labels, of which there must be
            at least one, by linear interpolation; an image of an integer dtype would be taken for
            labels. What has other axes, or is no tensor, stays as it is.
        spacing : float, array_like or "unit", optional
            Voxel size of these labels, in place of the module's.
        generator : torch.Generator, optional
            A generator of the CPU to draw the call's seed from, in place of torch's own.
        seed : int, or sequence or tensor of int, optional
            In [0, 2**63): one per item, or one for the call, whose item i has the seed
            ``item_seed(seed, 0, i)``. Nothing is drawn then.

        Returns
        -------
        tensor or dict
            As the input. In `eval()`, the input.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described.
        """
        if not self.training:
            return labels
        if isinstance(labels, Mapping):
            if torch.compiler.is_compiling():
                from . import _eager

                return _eager.outside(self._move_together, labels, spacing, generator, seed)
            return self._move_together(labels, spacing, generator, seed)
        if torch.compiler.is_compiling():
            return self._traced(labels, spacing, generator, seed)
        if isinstance(labels, Tensor) and labels.is_cuda:
            if isinstance(seed, Tensor) and seed.is_cuda:
                return self._on_device(labels, spacing, seed)
            if seed is None and torch.cuda.is_current_stream_capturing():
                if generator is not None:
                    raise ValueError("generator must be None while a CUDA graph is captured")
                seed = torch.randint(
                    item_seeds.LARGEST_SEED, labels.shape[:1], device=labels.device
                )
                return self._on_device(labels, spacing, seed)
        count = _layouts.items(labels, self.ndim)
        params = self.sample_params(count, spacing=spacing, generator=generator, seed=seed)
        return _applied.to_labels(self, labels, params)

    def sample_params(
        self,
        batch_size: int,
        *,
        spacing: Any = None,
        generator: torch.Generator | None = None,
        seed: Any = None,
    ) -> Params:
        """Draw what is random about the items of a batch.

        Parameters
        ----------
        batch_size : int
            Number of items.
        spacing, generator, seed
            As in `forward`.

        Returns
        -------
        list of dict
            One per item, of plain numbers that JSON can hold: its seed, whether noise is applied,
            its amplitude, length scale and spacing. `apply` takes them, now or later.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described.
        """
        count = _checks.integer("batch_size", batch_size, 0)
        rows = self._spacing(spacing)
        if rows == "unit" or not isinstance(rows[0], tuple):
            rows = (rows,)
        if len(rows) not in (1, count):
            raise ValueError(f"spacing must be given once or for {count} items, got {len(rows)}")
        seeds = self._seeds(count, generator, seed)
        ranges = self.amplitude, self.length_scale
        params = []
        for i, one in enumerate(seeds):
            chance, *shares = item_seeds.uniforms(one, 3)
            amplitude, length_scale = (
                low + (high - low) * share
                for (low, high), share in zip(ranges, shares, strict=True)
            )
            row = rows[i % len(rows)]
            values = one, chance < self.p, amplitude, length_scale, row if row == "unit" else [*row]
            params.append(dict(zip(KEYS, values, strict=True)))
        return params

    def apply(self, labels: Any, params: Params | None = None, *, interpolate: bool = False) -> Any:
        """Apply drawn parameters to labels, or to an image.

        Parameters
        ----------
        labels : tensor, (B, C, *space) or (B, *space)
            As in `forward`; with `interpolate`, an image of a floating dtype.
        params : list of dict
            One per item, from `sample_params`.
        interpolate : bool, default False
            Interpolate linearly: the image moves as the labels do with the same parameters.

        Returns
        -------
        tensor
            As the input.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described.
        """
        if params is None and callable(labels):
            return super().apply(labels)  # torch's own, of a function to modules
        count = _layouts.items(labels, self.ndim, floating=interpolate)
        drawn = _applied.checked(params, count, self.ndim)
        return _applied.apply(self, labels, drawn)

    def extra_repr(self) -> str:
        """The settings, for `print`."""
        return (
            f"amplitude={self.amplitude}, length_scale={self.length_scale}, ndim={self.ndim}, "
            f"spacing={self.spacing}, p={self.p}, order={self.order}, mode={self.mode!r}, "
            f"ignore_index={self.ignore_index}"
        )

    def _rows(self, spacing: Any) -> Any:
        """A tuple per item, one tuple for all, or "unit"."""
        if isinstance(spacing, str) and spacing == "unit":
            return spacing
        return _checks.strengths("spacing", spacing, self.ndim, zero=False)

    def _spacing(self, own: Any) -> Any:
        """The voxel sizes of a call: its own, or the module's."""
        return self.spacing if own is None else self._rows(own)

    def _seeds(self, count: int, generator: torch.Generator | None, seed: Any) -> list[int]:
        """The seeds of the items."""
        if seed is None:
            return item_seeds.items(int(self._draw(generator)), count)
        if type(seed) is int and 0 <= seed <= item_seeds.LARGEST_SEED:
            return item_seeds.items(seed, count)
        if type(seed) is list and all(type(one) is int for one in seed):  # as loaders give them
            known = len(seed) == count and min(seed, default=0) >= 0
            if known and max(seed, default=0) <= item_seeds.LARGEST_SEED:
                return seed
        if isinstance(seed, Tensor):
            if seed.device.type != "cpu":
                raise ValueError(f"seed must be on the CPU here, got a tensor on {seed.device}")
            seed = seed.numpy()
        numbers, _, per_item = _checks.seeds(seed, count)
        return numbers.tolist() if per_item else item_seeds.items(int(seed), count)

    def _draw(self, generator: torch.Generator | None) -> Tensor:
        """One number of torch's generator."""
        if generator is not None and generator.device.type != "cpu":
            raise ValueError(f"generator must be one of the CPU, got one of {generator.device}")
        if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                "parameters cannot be drawn on the host while a CUDA graph is captured: every "
                "replay would have the same; call the module itself"
            )
        return torch.randint(item_seeds.LARGEST_SEED, (), generator=generator, device="cpu")

    def _move_together(
        self, sample: Mapping[Any, Any], spacing: Any, generator: torch.Generator | None, seed: Any
    ) -> dict[Any, Any]:
        """Move labels and images of a dict by the same field."""
        axes = (self.ndim + 1, self.ndim + 2)
        moving = {
            key: one
            for key, one in sample.items()
            if isinstance(one, Tensor) and one.dim() in axes[one.is_floating_point() :]
        }
        shapes = {(one.shape[0], *one.shape[-self.ndim :]) for one in moving.values()}
        if len(shapes) != 1:
            listed = ", ".join(f"{key!r} of {tuple(one.shape)}" for key, one in moving.items())
            raise ValueError(
                f"a dict must hold labels (B, C, *space) or (B, *space) and images (B, C, *space) "
                f"of one batch and one space of {self.ndim} axes, got {listed or 'neither'}"
            )
        if all(one.is_floating_point() for one in moving.values()):
            listed = ", ".join(f"{key!r} of {one.dtype}" for key, one in moving.items())
            raise TypeError(
                f"a dict must hold labels of bool or an integer dtype ({_layouts.AS_INTEGERS}), as "
                f"floats are images, which move with them, got {listed}"
            )
        count = max(
            _layouts.items(one, self.ndim, floating=one.is_floating_point(), name=repr(key))
            for key, one in moving.items()
        )
        params = self.sample_params(count, spacing=spacing, generator=generator, seed=seed)
        return {
            key: _applied.apply(self, one, params) if key in moving else one
            for key, one in sample.items()
        }

    def _traced(
        self, labels: Tensor, spacing: Any, generator: torch.Generator | None, seed: Any
    ) -> Tensor:
        """The operator, which reads the seeds when it runs."""
        if generator is not None:
            raise ValueError("generator must be None where the module is compiled: give a seed")
        if seed is None:
            seed = torch.randint(item_seeds.LARGEST_SEED, (), device="cpu")
        elif not isinstance(seed, Tensor):
            seed = torch.tensor(seed, dtype=torch.int64, device="cpu")
        rows = self._spacing(spacing)
        return torch.ops.gfnoise.label_noise(
            labels,
            seed,
            *(list(self.amplitude), list(self.length_scale), _operators.flat(rows), self.ndim),
            *(self.p, self.order, self.mode, self.ignore_index),
        )

    def _on_device(self, labels: Tensor, spacing: Any, seed: Tensor) -> Tensor:
        """The noise of seeds on the device, which the host never reads."""
        _layouts.items(labels, self.ndim)
        return _applied.to_labels_on_device(self, labels, seed, self._spacing(spacing))


def _range(name: str, value: Any, *, zero: bool) -> tuple[float, float]:
    """A number or (low, high) as (low, high)."""
    expected = f"{name} must be a number or a range (low, high) with low <= high"
    value = value.tolist() if isinstance(value, np.ndarray) else value
    given = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(given) != 2:
        raise ValueError(f"{expected}, got {value!r}")
    low, high = (
        _checks.number(name, one, 0.0) if zero else _checks.positive(name, one) for one in given
    )
    if low > high:
        raise ValueError(f"{expected}, got {value!r}")
    return low, high
