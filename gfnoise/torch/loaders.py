"""Data sets and loaders whose labels are noisy, the same for an item wherever it is made."""

import copy
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    WeightedRandomSampler,
    default_collate,
)

from .. import _checks
from .noise import LabelNoise
from .streams import item_seed

_VERSION = 1  # of the states that are saved
_ORDER = (1 << 40) - 1  # the index whose seed shuffles an epoch
_BATCHING = ("batch_size", "shuffle", "sampler", "batch_sampler", "drop_last")


class NoisyLabels(Dataset[Any]):
    """A map-style data set with noisy labels, made where its items are loaded.

    Parameters
    ----------
    dataset : Dataset
        Map-style. Its samples are dicts, tuples or lists of which one entry is the label, a tensor
        (C, *space) or (*space).
    noise : LabelNoise
        In `eval()`, labels stay clean.
    label_key : hashable
        The label's key or, in a tuple or list, its position.
    seed : int, default 0
        The run's, in [0, 2**63).
    clean_key : hashable, optional
        Where to keep the clean label: a new key or, in a tuple or list, the next position.
    spacing_key : hashable, optional
        The key of the voxel size of each sample, in place of the module's.

    Notes
    -----
    The noise of an item follows from ``item_seed(seed, epoch, index)``: it does not depend on the
    batch, the number of workers, the rank or the point where a run was resumed. Call `set_epoch`
    before each epoch, or its noise repeats; it reaches persistent workers. `NoisyLabelLoader` does
    this by itself, and makes the noise on a GPU where asked to.

    A sampler with replacement gives the same noise each time it draws an item within an epoch;
    `NoisyLabelLoader` counts positions then.

    Examples
    --------
    >>> import torch
    >>> from gfnoise.torch import LabelNoise, NoisyLabels
    >>> items = [{"image": torch.zeros(1, 16, 16), "label": torch.eye(16, dtype=torch.uint8)}] * 8
    >>> noise = LabelNoise(amplitude=1.0, length_scale=4.0, ndim=2)
    >>> noisy = NoisyLabels(items, noise, "label", seed=1, clean_key="clean")
    >>> noisy.set_epoch(3)
    >>> sorted(noisy[0])
    ['clean', 'image', 'label']
    """

    def __init__(
        self,
        dataset: Any,
        noise: LabelNoise,
        label_key: Any,
        *,
        seed: int = 0,
        clean_key: Any = None,
        spacing_key: Any = None,
    ):
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
            raise TypeError(
                f"dataset must be map-style, got {type(dataset).__qualname__}: NoisyLabelLoader "
                f"takes iterable ones"
            )
        self.dataset = dataset
        self._change = _Change(noise, label_key, clean_key, spacing_key)
        item_seed(seed, 0, 0)
        # In shared memory: what is set here reaches workers that are already running.
        self._stream = torch.tensor([seed, 0]).share_memory_()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        sample = self.dataset[index]
        number = operator.index(index)
        number += len(self) * (number < 0)
        seed, epoch = self._stream.tolist()
        return self._change(sample, item_seed(seed, epoch, number))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._stream.share_memory_()  # a copy has a memory of its own

    @property
    def epoch(self) -> int:
        """The epoch whose noise the items have."""
        return int(self._stream[1])

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, in running workers as well."""
        item_seed(0, epoch, 0)
        self._stream[1] = epoch

    def state_dict(self) -> dict[str, int]:
        """The seed and the epoch."""
        seed, epoch = self._stream.tolist()
        return {"version": _VERSION, "seed": seed, "epoch": epoch}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue the stream of a saved state."""
        _check_version(state)
        item_seed(state["seed"], state["epoch"], 0)
        self._stream.copy_(torch.tensor([state["seed"], state["epoch"]]))


class NoisyLabelLoader:
    """A loader of batches with noisy labels, fresh in each pass.

    Parameters
    ----------
    dataset : Dataset
        Its samples are dicts, tuples or lists of which one entry is the label, a tensor
        (C, *space) or (*space).
    noise : LabelNoise
        In `eval()`, labels stay clean.
    label_key : hashable
        The label's key or, in a tuple or list, its position.
    device : torch.device or str, optional
        Where batches are wanted. On a CUDA device, noise is made there, after a prefetch on a
        stream of its own; else on the CPU, in the workers.
    seed : int, default 0
        The run's, in [0, 2**63).
    clean_key : hashable, optional
        Where to keep the clean label: a new key or, in a tuple or list, the next position.
    spacing_key : hashable, optional
        The key of the voxel size of each sample, in place of the module's.
    by : {"index", "position"}, optional
        What an item's noise follows from, beside the seed and the epoch: its index in the data
        set, or its position in the epoch, counted over all ranks. By default the index; the
        position for iterable data sets and torch's samplers with replacement, which may draw an
        item twice.
    **loader
        What `torch.utils.data.DataLoader` takes. With `shuffle=True` and no generator, the order
        follows from the seed and the epoch.

    Notes
    -----
    Each pass is an epoch, counted from 0: `set_epoch` sets that of the next one, also in a sampler
    that has a `set_epoch`, as torch's DistributedSampler. `state_dict` knows the batches that were
    given out; after `load_state_dict` the next pass begins behind them, in the order of the
    sampler. An iterable data set must resume by itself; its positions are counted on.

    The noise of an iterable data set is made in the process that iterates, where positions are
    known: so they depend on how workers share the data out, as the data do themselves.

    Examples
    --------
    >>> import torch
    >>> from gfnoise.torch import LabelNoise, NoisyLabelLoader
    >>> items = [(torch.zeros(1, 16, 16), torch.eye(16, dtype=torch.uint8))] * 8
    >>> noise = LabelNoise(amplitude=1.0, length_scale=4.0, ndim=2)
    >>> loader = NoisyLabelLoader(items, noise, 1, batch_size=4, shuffle=True)
    >>> for image, label in loader:
    ...     print(tuple(image.shape), tuple(label.shape))
    (4, 1, 16, 16) (4, 16, 16)
    (4, 1, 16, 16) (4, 16, 16)
    """

    def __init__(
        self,
        dataset: Any,
        noise: LabelNoise,
        label_key: Any,
        *,
        device: torch.device | str | None = None,
        seed: int = 0,
        clean_key: Any = None,
        spacing_key: Any = None,
        by: str | None = None,
        **loader: Any,
    ):
        item_seed(seed, 0, 0)
        self.device = None if device is None else torch.device(device)
        if self.device is not None and self.device.type not in ("cpu", "cuda"):
            raise ValueError(f"device must be of the CPU or of CUDA, got {self.device}")
        if by is not None:
            _checks.choice("by", by, ("index", "position"))
        self.dataset, self.seed = dataset, seed
        self._change = _Change(noise, label_key, clean_key, spacing_key)
        self._now = self._next = (0, 0, 0)  # epoch, batches and items given out
        self._order: torch.Generator | None = None
        self._on_cuda = self.device is not None and self.device.type == "cuda"
        if self._on_cuda:
            loader.setdefault("pin_memory", True)
        if isinstance(dataset, IterableDataset):
            self._wrap_iterable(by, loader)
        else:
            self._wrap_map(by, loader)

    def _wrap_iterable(self, by: str | None, loader: dict[str, Any]) -> None:
        if by == "index":
            raise ValueError("by must be 'position' for an iterable data set, got 'index'")
        if loader.get("batch_size", 1) is None:
            raise ValueError("batch_size must be a number, got None")
        self.by, self._here = "position", True
        collate = loader.pop("collate_fn", None) or default_collate
        self.loader = DataLoader(self.dataset, collate_fn=_Counted(collate), **loader)

    def _wrap_map(self, by: str | None, loader: dict[str, Any]) -> None:
        if loader.get("shuffle") and loader.get("generator") is None:
            self._order = torch.Generator()
            if loader.get("sampler") is None and loader.get("batch_sampler") is None:
                loader = loader | {
                    "shuffle": None,
                    "sampler": RandomSampler(self.dataset, generator=self._order),
                }
        # An ordinary loader checks the arguments and makes the batches of indices.
        batching = {name: value for name, value in loader.items() if name in _BATCHING}
        plain = DataLoader(self.dataset, generator=loader.get("generator"), **batching)
        if plain.batch_sampler is None:
            raise ValueError("batch_size must be a number, got None: NoisyLabels takes any loader")
        self.by = by or ("position" if _replaces(plain.batch_sampler) else "index")
        self._here = self._noise_is_made_here()
        self._batches = _SeededBatches(plain.batch_sampler, self.by == "position")
        collate = loader.pop("collate_fn", None) or default_collate
        self.loader = DataLoader(
            _Seeded(self.dataset, None if self._here else self._change),
            batch_sampler=self._batches,
            collate_fn=_Paired(collate) if self._here else collate,
            **{name: value for name, value in loader.items() if name not in batching},
        )

    def _noise_is_made_here(self) -> bool:
        """Whether batches get their noise in this process, not in the workers."""
        return self._on_cuda

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        epoch, given, items = self._now = self._next
        self._next = (epoch + 1, 0, 0)
        if not isinstance(self.dataset, IterableDataset):
            if self._order is not None:
                self._order.manual_seed(item_seed(self.seed, epoch, _ORDER))
            self._batches.begin(self.seed, epoch, given)
        return self._pass(iter(self.loader), epoch, given, items)

    def _pass(self, loaded: Any, epoch: int, given: int, items: int) -> Iterator[Any]:
        """The batches of an epoch; the state is that behind the last one given out."""
        rank, ranks = _share()
        for batch, count in self._made(loaded, epoch, items * ranks + rank, ranks):
            given, items = given + 1, items + count
            if self._now[0] == epoch:
                self._now = (epoch, given, items)
            yield batch
        if self._now[0] == epoch:
            self._now = (epoch + 1, 0, 0)

    def _made(
        self, loaded: Any, epoch: int, position: int, ranks: int
    ) -> Iterator[tuple[Any, int]]:
        """The batches with their noise, and their numbers of items."""
        if not self._here:
            for batch in loaded:
                yield batch, 0
            return
        stream = torch.cuda.Stream(self.device) if self._on_cuda else None
        ahead = None
        for keys, batch in loaded:
            if isinstance(keys, int):  # of an iterable data set: how many they are
                count, first = keys, position
                keys = [item_seed(self.seed, epoch, first + i * ranks) for i in range(count)]
                position += count * ranks
            ready = self._moved(batch, keys, stream), len(keys)
            if stream is None:
                yield ready
                continue
            if ahead is not None:
                yield _arrived(ahead, stream)
            ahead = ready
        if ahead is not None and stream is not None:
            yield _arrived(ahead, stream)

    def _moved(self, batch: Any, seeds: list[int], stream: Any) -> Any:
        """The batch on the device, with noise; on a stream of its own."""
        spacing = self._change.spacing(batch, len(seeds))
        if stream is None:
            return self._change.batch(batch, seeds, spacing)
        with torch.cuda.stream(stream):
            return self._change.batch(_to(batch, self.device), seeds, spacing)

    @property
    def epoch(self) -> int:
        """The epoch of the pass that runs or, between two, of the next."""
        return self._now[0]

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next pass."""
        item_seed(0, epoch, 0)
        self._now = self._next = (epoch, 0, 0)

    def state_dict(self) -> dict[str, int]:
        """The seed, the epoch, and how many batches and items of it have been given out."""
        epoch, batches, items = self._now
        state = {"version": _VERSION, "seed": self.seed, "epoch": epoch}
        return state | {"batches": batches, "items": items}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Let the next pass continue behind the batches of a saved state."""
        _check_version(state)
        item_seed(state["seed"], state["epoch"], 0)
        self.seed = state["seed"]
        self._now = self._next = (state["epoch"], state["batches"], state["items"])


class _Change:
    """Puts noise on the label of a sample, or on those of a batch."""

    def __init__(self, noise: Any, label_key: Any, clean_key: Any, spacing_key: Any):
        if not isinstance(noise, LabelNoise):
            raise TypeError(f"noise must be a LabelNoise, got {type(noise).__qualname__}")
        self.noise, self.label_key, self.clean_key = noise, label_key, clean_key
        self.spacing_key = spacing_key

    def __call__(self, sample: Any, seed: int) -> Any:
        """A sample with a noisy label."""
        label = self._label(sample)
        spacing = None
        if self.spacing_key is not None:
            spacing = _entry("spacing_key", sample, self.spacing_key)
        noisy = self.noise(label[None], spacing=spacing, seed=[seed])[0]
        return self._replaced(sample, label, noisy)

    def spacing(self, batch: Any, count: int) -> Tensor | None:
        """The voxel sizes of a batch on the CPU, one row per item."""
        if self.spacing_key is None:
            return None
        rows = _entry("spacing_key", batch, self.spacing_key)
        if isinstance(rows, (tuple, list)):  # as default_collate leaves tuples of numbers
            rows = torch.stack([torch.as_tensor(row) for row in rows], -1)
        return rows.double().reshape(count, -1)

    def batch(self, batch: Any, seeds: list[int], spacing: Tensor | None) -> Any:
        """A batch with noisy labels."""
        labels = self._label(batch)
        return self._replaced(batch, labels, self.noise(labels, spacing=spacing, seed=seeds))

    def _label(self, sample: Any) -> Tensor:
        label = _entry("label_key", sample, self.label_key)
        if not isinstance(label, Tensor):
            raise TypeError(
                f"a sample's {self.label_key!r} must be a torch tensor, got {_kind(label)} "
                f"(torch.from_numpy takes arrays)"
            )
        return label

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
            if self.clean_key != len(values) or hasattr(sample, "_fields"):
                raise ValueError(
                    f"clean_key must be the next position, {len(values)}, of a sample that is a "
                    f"tuple or list, got {self.clean_key!r} for a {type(sample).__qualname__}"
                )
            values.append(label)
        if hasattr(sample, "_fields"):
            return type(sample)(*values)
        return values if isinstance(sample, list) else tuple(values)


def _entry(name: str, sample: Any, key: Any) -> Any:
    """An entry of a sample; an error that names what there is."""
    if isinstance(sample, Mapping):
        if key not in sample:
            raise ValueError(f"{name} must be one of the sample's keys {list(sample)}, got {key!r}")
        return sample[key]
    if not isinstance(sample, (tuple, list)):
        raise TypeError(f"samples must be dicts, tuples or lists, got {_kind(sample)}")
    if isinstance(key, bool) or not isinstance(key, int) or not 0 <= key < len(sample):
        raise ValueError(f"{name} must be a position below {len(sample)}, got {key!r}")
    return sample[key]


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


class _Seeded(Dataset[Any]):
    """Items by (index, seed): with noise or, where it is made later, with their seed."""

    def __init__(self, dataset: Any, change: _Change | None):
        self.dataset, self.change = dataset, change

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[Any, int]) -> Any:
        index, seed = key
        sample = self.dataset[index]
        return (seed, sample) if self.change is None else self.change(sample, seed)


class _SeededBatches:
    """Batches of (index, seed), from batches of indices."""

    def __init__(self, batches: Any, by_position: bool):
        self.batches, self.by_position = batches, by_position
        self._start = (0, 0, 0)

    def begin(self, seed: int, epoch: int, skipped: int) -> None:
        """Say what the next pass is: its seed and epoch, and how many batches are past."""
        self._start = (seed, epoch, skipped)
        for one in (self.batches, getattr(self.batches, "sampler", None)):
            set_epoch = getattr(one, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[tuple[Any, int]]]:
        return self._from(*self._start)

    def _from(self, seed: int, epoch: int, skipped: int) -> Iterator[list[tuple[Any, int]]]:
        rank, ranks = _share()
        position = 0
        for number, batch in enumerate(self.batches):
            indices = list(batch)
            if number >= skipped:
                keys = (
                    [rank + ranks * (position + i) for i in range(len(indices))]
                    if self.by_position
                    else [operator.index(index) for index in indices]
                )
                yield [(i, item_seed(seed, epoch, k)) for i, k in zip(indices, keys, strict=True)]
            position += len(indices)


class _Paired:
    """Collates (seed, sample) into (seeds, batch)."""

    def __init__(self, collate: Callable[[list[Any]], Any]):
        self.collate = collate

    def __call__(self, samples: list[tuple[int, Any]]) -> tuple[list[int], Any]:
        return [seed for seed, _ in samples], self.collate([sample for _, sample in samples])


class _Counted(_Paired):
    """Collates samples into (their number, batch)."""

    def __call__(self, samples: list[Any]) -> tuple[int, Any]:  # type: ignore[override]
        return len(samples), self.collate(samples)


def _share() -> tuple[int, int]:
    """Rank and number of ranks of the default process group."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _replaces(batches: Any) -> bool:
    """Whether a sampler may draw an item twice."""
    sampler = getattr(batches, "sampler", None)
    return isinstance(sampler, (RandomSampler, WeightedRandomSampler)) and bool(sampler.replacement)


def _check_version(state: Mapping[str, int]) -> None:
    if state.get("version") != _VERSION:
        raise ValueError(f"state must be of version {_VERSION}, got {dict(state)!r}")


def _to(batch: Any, device: torch.device | None) -> Any:
    """The tensors of a batch on a device, without waiting."""
    return _mapped(batch, lambda tensor: tensor.to(device, non_blocking=True))


def _arrived(ready: tuple[Any, int], stream: Any) -> tuple[Any, int]:
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
