"""Samples and batches of a data set: their labels made noisy, their tensors moved."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import _layouts
from .noise import LabelNoise


class Change:
    """Puts noise on the label of a sample, or on those of a batch.

    Parameters
    ----------
    given : {"sample", "batch"}
        What the user gives, and errors speak of.
    """

    def __init__(
        self, noise: Any, label_key: Any, clean_key: Any, spacing_key: Any, given: str = "sample"
    ):
        if not isinstance(noise, LabelNoise):
            raise TypeError(f"noise must be a LabelNoise, got {type(noise).__qualname__}")
        self.noise, self.label_key, self.clean_key = noise, label_key, clean_key
        self.spacing_key, self.given = spacing_key, given

    def __call__(self, sample: Any, seed: int) -> Any:
        """A sample with a noisy label."""
        label = self.label(sample)
        spacing = None
        if self.spacing_key is not None:
            spacing = self._entry("spacing_key", sample, self.spacing_key)
        noisy = self.noisy(label[None], [seed], spacing)[0]
        return self._replaced(sample, label, noisy)

    def spacing(self, batch: Any, count: int) -> Tensor | None:
        """The voxel sizes of a batch on the CPU, one row per item."""
        if self.spacing_key is None:
            return None
        given = self._entry("spacing_key", batch, self.spacing_key)
        try:
            sizes = _rows(given, count)
        except (TypeError, ValueError, RuntimeError):
            sizes = None
        if sizes is None or sizes.shape not in ((count,), (count, 1), (count, self.noise.ndim)):
            raise ValueError(
                f"a batch's {self.spacing_key!r} must hold voxel sizes of {count} items, one each "
                f"or one per axis, got {given!r:.200}"
            )
        return sizes.reshape(count, -1)

    def batch(self, batch: Any, seeds: list[int], spacing: Tensor | None) -> Any:
        """A batch with noisy labels."""
        labels = self.label(batch)
        return self._replaced(batch, labels, self.noisy(labels, seeds, spacing))

    def noisy(self, labels: Tensor, seeds: list[int], spacing: Any) -> Tensor:
        """Labels with noise; errors speak of what the user gave."""
        if self.noise.training:
            name = f"a {self.given}'s {self.label_key!r}"
            _layouts.items(labels, self.noise.ndim, name=name, item=self.given == "sample")
        noisy: Tensor = self.noise(labels, spacing=spacing, seed=seeds)
        return noisy

    def label(self, sample: Any) -> Tensor:
        """The label of a sample or batch, where the clean one has a place as well."""
        label = self._entry("label_key", sample, self.label_key)
        if not isinstance(label, Tensor):
            raise TypeError(
                f"a {self.given}'s {self.label_key!r} must be a torch tensor, got {_kind(label)} "
                f"(torch.from_numpy takes arrays)"
            )
        if self.clean_key is not None:
            self._check_clean_key(sample)
        return label

    def _entry(self, name: str, sample: Any, key: Any) -> Any:
        """An entry; an error that names what there is."""
        if isinstance(sample, Mapping):
            if key not in sample:
                keys = f"the {self.given}'s keys {list(sample)}"
                raise ValueError(f"{name} must be one of {keys}, got {key!r}")
            return sample[key]
        if not isinstance(sample, (tuple, list)):
            raise TypeError(f"samples must be dicts, tuples or lists, got {_kind(sample)}")
        if isinstance(key, bool) or not isinstance(key, int) or not 0 <= key < len(sample):
            raise ValueError(f"{name} must be a position below {len(sample)}, got {key!r}")
        return sample[key]

    def _check_clean_key(self, sample: Any) -> None:
        """Raise ValueError unless the clean label finds a place that nothing else has."""
        if isinstance(sample, Mapping):
            if self.clean_key in sample:
                raise ValueError(
                    f"clean_key must be a new key, got {self.clean_key!r}, which a {self.given} "
                    f"has: {list(sample)}"
                )
        elif self.clean_key != len(sample) or hasattr(sample, "_fields"):
            raise ValueError(
                f"clean_key must be the next position, {len(sample)}, of a {self.given} that is a "
                f"tuple or list, got {self.clean_key!r} for a {type(sample).__qualname__}"
            )

    def _replaced(self, sample: Any, label: Tensor, noisy: Tensor) -> Any:
        """A copy of the sample with the noisy label, and with the clean one if it is wanted."""
        keep = self.clean_key is not None
        if isinstance(sample, Mapping):
            changed: Any = copy.copy(sample)
            changed[self.label_key] = noisy
            if keep:
                changed[self.clean_key] = label
            return changed
        values = list(sample)
        values[self.label_key] = noisy
        if keep:
            values.append(label)
        if hasattr(sample, "_fields"):
            return type(sample)(*values)
        return values if isinstance(sample, list) else tuple(values)


def _rows(sizes: Any, count: int) -> Tensor:
    """The voxel sizes of `count` items, as a collate function leaves them."""
    if isinstance(sizes, (tuple, list)) and all(isinstance(one, Tensor) for one in sizes):
        # Of tuples of numbers, default_collate makes a tensor per axis.
        by_axis = all(one.shape == (count,) for one in sizes)
        sizes = torch.stack(list(sizes), -1 if by_axis else 0)
    array = sizes if isinstance(sizes, Tensor) else np.asarray(sizes, np.float64)
    return torch.as_tensor(array, dtype=torch.float64, device="cpu")


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def moved(batch: Any, device: torch.device | None) -> Any:
    """The tensors of a batch on a device, without waiting."""
    return _mapped(batch, lambda tensor: tensor.to(device, non_blocking=True))


def arrived(ready: tuple[Any, int], stream: Any) -> tuple[Any, int]:
    """A batch of a side stream, for use on the current one."""
    current = torch.cuda.current_stream(stream.device)
    current.wait_stream(stream)

    def mark(tensor: Tensor) -> Tensor:
        if tensor.is_cuda:
            tensor.record_stream(current)
        return tensor

    return _mapped(ready[0], mark), ready[1]


def _mapped(batch: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """A batch with a function applied to its tensors."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {key: _mapped(one, function) for key, one in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_mapped(one, function) for one in batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)(_mapped(one, function) for one in batch)
    return batch
