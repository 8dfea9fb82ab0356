"""What the adapters have in common: labels of any dtype into the core and back, and seeds."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..torch import LabelNoise, _layouts
from ..torch._applied import Params, to_labels
from ..torch.item_seeds import LARGEST_SEED


class Noises:
    """A `LabelNoise` for each number of axes, made when labels of that many come.

    Parameters
    ----------
    **settings
        Of `LabelNoise`, all but `ndim`; checked here.
    """

    def __init__(self, **settings: Any):
        self.settings = settings
        self._made: dict[int, LabelNoise] = {}
        self.of(3)

    def of(self, ndim: int) -> LabelNoise:
        """The noise for labels with `ndim` axes of space."""
        if ndim not in self._made:
            self._made[ndim] = LabelNoise(ndim=ndim, **self.settings)
        return self._made[ndim]


def integers(labels: Tensor, name: str) -> Tensor:
    """Labels of an integer dtype: host libraries often read them as floats.

    Floats must be whole numbers. (On a CPU: the values on a device are not looked at.)
    """
    if not labels.is_floating_point():
        return labels
    codes = labels.to(torch.int32)
    if labels.device.type == "cpu" and not torch.equal(codes.to(labels.dtype), labels):
        raise ValueError(
            f"{name} must hold labels, which are whole numbers below 2**31, got an image or a map: "
            f"{labels.dtype} of shape {tuple(labels.shape)}"
        )
    return codes


def noisy(labels: Tensor, name: str, noise: LabelNoise, params: Params) -> Tensor:
    """Apply noise to labels (B, C, *space) or (B, *space), whose dtype is kept.

    The parameters are those of `sample_params`, one per item; errors speak of an item.
    """
    codes = integers(labels, name)
    _layouts.items(codes, noise.ndim, name=name, item=True)
    made = to_labels(noise, codes, params)
    return made if codes is labels else made.to(labels.dtype)


def noisy_item(labels: Tensor, name: str, noise: LabelNoise, params: Params) -> Tensor:
    """Apply noise to the labels (C, *space) of one item, whose dtype is kept."""
    if labels.shape[0] == 1:  # which is as good an axis of items: two views less
        return noisy(labels, name, noise, params)
    return noisy(labels[None], name, noise, params)[0]


def affine_spacing(affine: Sequence[Sequence[float]], ndim: int) -> tuple[float, ...]:
    """The voxel size along the first `ndim` axes: the lengths of an affine's columns.

    As the hosts compute it, but in plain numbers: operators of torch and ufuncs of NumPy are slow
    just after a kernel, which leaves nothing of theirs in the caches.

    Parameters
    ----------
    affine : rows of numbers
        Without the last one, of zeros and a one.
    """
    return tuple(math.hypot(*column) for column in zip(*affine, strict=True))[:ndim]


def draw_seed() -> int:
    """A seed from torch's generator of the CPU."""
    return int(torch.randint(LARGEST_SEED, (), device="cpu"))


def join_seed(high: int, low: int) -> int:
    """A seed of 63 bits from two draws of 32."""
    return (int(high) << 32 | int(low)) & LARGEST_SEED


def missing(package: str, extra: str, error: ImportError) -> ImportError:
    """The error of a host library that is not installed."""
    return ImportError(f"this adapter needs {package}: pip install 'gfnoise[{extra}]' ({error})")
