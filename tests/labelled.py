"""Data sets of one label, loaders of them, and the noise that each item has by the core."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

from gfnoise import GaussianField
from gfnoise._cpu import _pool
from gfnoise.torch import LabelNoise, NoisyLabelLoader, item_seed

# Python 3.12 warns of any fork while threads run: what is tested here.
# Torch warns of more workers than cores.
MARKS = [
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]
COUNT = 11
LABEL = torch.zeros(1, 24, 26, dtype=torch.uint8)
LABEL[0, 6:18, 5:20] = 1
NOISE = LabelNoise((1.0, 3.0), (4.0, 6.0), ndim=2)


class Items(Dataset[Any]):
    """The same label for all, so that only the noise differs."""

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -COUNT <= index < COUNT:
            raise IndexError(index)
        info = {"threads": _pool.threads(), "info": torch.utils.data.get_worker_info() is not None}
        return {"image": torch.zeros(1, 2, 2), "label": LABEL.clone(), "id": index % COUNT, **info}


class Stream(IterableDataset[Any]):
    """The items, shared out among the workers."""

    def __iter__(self) -> Iterator[Any]:
        info = torch.utils.data.get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        for i in range(first, COUNT, step):
            yield LABEL.clone(), i


class Here(NoisyLabelLoader):
    """Makes noise where a device would get it: on batches, in this process."""

    def _noise_is_made_here(self) -> bool:
        return True


def digest(label: Any) -> str:
    return hashlib.sha256(label.numpy().tobytes()).hexdigest()


def labels_of(batches: Any) -> list[tuple[int, str]]:
    """Item and label, in the order of the batches."""
    return [
        (int(index), digest(label))
        for batch in batches
        for index, label in zip(batch["id"], batch["label"], strict=True)
    ]


def expected(epoch: int, seed: int = 0) -> dict[int, str]:
    """The core's noise of each item, by hand."""
    found = {}
    for index in range(COUNT):
        (params,) = NOISE.sample_params(1, seed=[item_seed(seed, epoch, index)])
        field = GaussianField(params["amplitude"], params["length_scale"], ndim=2)
        found[index] = digest(field.sample_labels(LABEL, seed=[params["seed"]], mode="nearest"))
    return found


EPOCHS = [expected(epoch) for epoch in range(4)]
