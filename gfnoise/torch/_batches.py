"""Batches of indices and seeds: which noise an item of an epoch has."""

import operator
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from torch.utils.data import BatchSampler, Dataset, RandomSampler, WeightedRandomSampler

from ._samples import Change
from .streams import item_seed


class Seeded(Dataset[Any]):
    """Items by (index, seed): with noise or, where it is made later, with their seed."""

    def __init__(self, dataset: Any, change: Change | None):
        self.dataset, self.change = dataset, change

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[Any, int]) -> Any:
        index, seed = key
        sample = self.dataset[index]
        return (seed, sample) if self.change is None else self.change(sample, seed)


class SeededBatches:
    """Batches of (index, seed), from batches of indices."""

    def __init__(self, batches: Any, by_position: bool):
        self.batches, self.by_position = batches, by_position
        self._start = (0, 0, 0)

    def begin(self, seed: int, epoch: int, past: int) -> None:
        """Say what the next pass is: its seed and epoch, and how many items are past."""
        self._start = (seed, epoch, past)
        for one in (self.batches, getattr(self.batches, "sampler", None)):
            set_epoch = getattr(one, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[tuple[Any, int]]]:
        return self._from(*self._start)

    def _from(self, seed: int, epoch: int, past: int) -> Iterator[list[tuple[Any, int]]]:
        rank, ranks = share()
        position = past
        for indices in self._behind(past):
            keys = (
                [rank + ranks * (position + i) for i in range(len(indices))]
                if self.by_position
                else [operator.index(index) for index in indices]
            )
            yield [(i, item_seed(seed, epoch, k)) for i, k in zip(indices, keys, strict=True)]
            position += len(indices)

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


def share() -> tuple[int, int]:
    """Rank and number of ranks of the default process group."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def replaces(batches: Any) -> bool:
    """Whether a sampler may draw an item twice."""
    sampler = getattr(batches, "sampler", None)
    return isinstance(sampler, (RandomSampler, WeightedRandomSampler)) and bool(sampler.replacement)
