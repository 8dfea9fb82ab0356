"""Batches of indices and seeds: which noise an item of an epoch has."""

import operator
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    Dataset,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from ._samples import Change
from .item_seeds import item_seed
from .noise import LabelNoise

_ORDER = (1 << 40) - 1  # the index whose seed shuffles an epoch
_LISTS = (list, tuple, np.ndarray)


Key = tuple[Any, int, bool]  # of an item: its index and seed, and whether its noise is on


class Seeded(Dataset[Any]):
    """Items by their keys: with noise or, where it is made later, with their seed."""

    def __init__(self, dataset: Any, change: Change | None):
        self.dataset, self.change = dataset, change

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> Any:
        index, seed, noisy = key
        sample = self.dataset[index]
        if self.change is None:
            return seed, sample
        self.change.noise.train(noisy)  # a worker's is a copy
        return self.change(sample, seed)


class SeededBatches:
    """Batches of keys, from batches of indices; `order` is a generator that shuffles these."""

    def __init__(
        self, batches: Any, noise: LabelNoise, by_position: bool, order: torch.Generator | None
    ):
        self.batches, self.noise = batches, noise
        self.batch_size = getattr(batches, "batch_size", None)
        self.by_position, self.order = by_position, order
        self._start = (0, 0, 0)
        self.end: tuple[int, int] | None = None  # of a pass that is drawn: epoch, items

    def begin(self, seed: int, epoch: int, past: int) -> None:
        """Say what the next pass is: its seed and epoch, and how many items are past."""
        self._start = (seed, epoch, past)
        self.end = None

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Key]]:
        return self._from(*self._start)

    def _from(self, seed: int, epoch: int, past: int) -> Iterator[list[Key]]:
        # Here, and not before: another pass may have begun in the meantime.
        if self.order is not None:
            self.order.manual_seed(item_seed(seed, epoch, _ORDER))
        for one in (self.batches, getattr(self.batches, "sampler", None)):
            set_epoch = getattr(one, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)
        rank, ranks = rank_and_ranks()
        position = past
        for indices in self._behind(past):
            numbers = (
                [rank + ranks * (position + i) for i in range(len(indices))]
                if self.by_position
                else [operator.index(index) for index in indices]
            )
            seeds = [item_seed(seed, epoch, one) for one in numbers]
            noisy = [self.noise.training] * len(indices)
            yield [*zip(indices, seeds, noisy, strict=True)]
            position += len(indices)
        self.end = (epoch, position)

    def _behind(self, past: int) -> Iterator[list[Any]]:
        """The batches behind the items that are past."""
        batches = self.batches
        if past and type(batches) is BatchSampler:  # whose batches may begin at any item
            rest = islice(batches.sampler, past, None)
            batches, past = BatchSampler(rest, batches.batch_size, batches.drop_last), 0
        for batch in batches:
            indices = list(batch)
            if past < len(indices) or not past:
                yield indices[past:]
            past = max(past - len(indices), 0)


class Paired:
    """Collates (seed, sample) into (seeds, batch)."""

    def __init__(self, collate: Callable[[list[Any]], Any]):
        self.collate = collate

    def __call__(self, samples: list[tuple[int, Any]]) -> tuple[list[int], Any]:
        return [seed for seed, _ in samples], self.collate([sample for _, sample in samples])


class Counted(Paired):
    """Collates samples into (their number, batch)."""

    def __call__(self, samples: list[Any]) -> tuple[int, Any]:  # type: ignore[override]
        return len(samples), self.collate(samples)


def rank_and_ranks() -> tuple[int, int]:
    """Rank and number of ranks of the default process group."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def repeats(batches: Any) -> bool:
    """Whether a sampler is known to draw an item twice in a pass, or to be free to."""
    sampler = getattr(batches, "sampler", None)
    if isinstance(sampler, RandomSampler):
        return sampler.replacement or sampler.num_samples > len(sampler.data_source)
    if isinstance(sampler, WeightedRandomSampler):
        return sampler.replacement
    if isinstance(sampler, SubsetRandomSampler):
        sampler = sampler.indices
    listed = [*chain.from_iterable(batches)] if isinstance(batches, _LISTS) else sampler
    if not isinstance(listed, (*_LISTS, torch.Tensor)):
        return False
    indices = [operator.index(index) for index in listed]
    return len({*indices}) < len(indices)
