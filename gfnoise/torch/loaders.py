"""Data sets and loaders whose labels are noisy, the same for an item wherever it is made."""

import functools
import operator
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    default_collate,
)

from .. import _checks
from ._batches import Counted, Paired, Seeded, SeededBatches, rank_and_ranks, repeats
from ._passes import Batching, Epochs, Passes
from ._samples import Change, arrived, moved
from ._states import checked
from .item_seeds import epoch_of, item_seed, seed_of
from .noise import LabelNoise

_VERSION, _LOADER_VERSION = 1, 2  # of the states that are saved
_QUIET = -1  # in place of a count
_BATCHING = ("batch_size", "shuffle", "sampler", "batch_sampler", "drop_last")


class NoisyLabels(Dataset[Any]):
    """A map-style data set with noisy labels, for a `DataLoader` of yours.

    Call `set_epoch` before each epoch, as below, or every epoch has the same noise. (A validation
    set may want that: call ``set_epoch(0)`` once.) `NoisyLabelLoader` counts epochs by itself.

    Parameters
    ----------
    dataset : Dataset
        Map-style. Its samples are dicts, tuples or lists of which one entry is the label, a tensor
        (C, *space) or (*space).
    noise : LabelNoise
        In `eval()`, labels stay clean. Workers have it as it was when they started.
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
    The noise of an item is made where it is loaded, and follows from
    ``item_seed(seed, epoch, index)``: it does not depend on the batch, the number of workers, the
    rank or the point where a run was resumed. `set_epoch` reaches persistent workers. If it is
    never called, one UserWarning comes when more items have been drawn than there are.
    `NoisyLabelLoader` makes the noise on a GPU where asked to.

    A sampler that draws an item twice within an epoch gets the same noise twice; `NoisyLabelLoader`
    counts positions then.

    Examples
    --------
    >>> import torch
    >>> from torch.utils.data import DataLoader
    >>> from gfnoise.torch import LabelNoise, NoisyLabels
    >>> items = [{"image": torch.zeros(1, 16, 16), "label": torch.eye(16, dtype=torch.uint8)}] * 8
    >>> noise = LabelNoise(amplitude=1.0, length_scale=4.0, ndim=2)
    >>> noisy = NoisyLabels(items, noise, "label", seed=1, clean_key="clean")
    >>> loader = DataLoader(noisy, batch_size=8, shuffle=True)
    >>> for epoch in range(2):
    ...     noisy.set_epoch(epoch)
    ...     for batch in loader:
    ...         print(sorted(batch), tuple(batch["label"].shape))
    ['clean', 'image', 'label'] (8, 16, 16)
    ['clean', 'image', 'label'] (8, 16, 16)
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
        if not hasattr(type(dataset), "__len__"):
            raise TypeError(
                f"dataset must have a length, got {type(dataset).__qualname__}, with no __len__"
            )
        self.dataset = dataset
        self._change = Change(noise, label_key, clean_key, spacing_key)
        # In shared memory: what is set here reaches workers that are already running. The last is
        # how many items were drawn until `set_epoch` was called.
        self._stream = torch.tensor([seed_of("seed", seed), 0, 0], device="cpu").share_memory_()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        sample = self.dataset[index]
        number = operator.index(index)
        number += len(self) * (number < 0)
        seed, epoch, drawn = self._stream.tolist()
        if drawn != _QUIET and self._change.noise.training:
            self._count(drawn, epoch)
        return self._change(sample, item_seed(seed, epoch, number))

    def _count(self, drawn: int, epoch: int) -> None:
        """Count an item that is drawn; warn where one must have been drawn before."""
        if drawn < len(self):  # workers may miss one of each other's: the warning is late then
            self._stream[2] = drawn + 1
            return
        self._stream[2] = _QUIET
        warnings.warn(
            f"the noise of epoch {epoch} is drawn again, as set_epoch was never called: call "
            f"set_epoch(epoch) before each epoch or, if the noise shall stay, set_epoch(0) once",
            stacklevel=3,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._stream.share_memory_()  # a copy has a memory of its own

    @property
    def epoch(self) -> int:
        """The epoch whose noise the items have."""
        return int(self._stream[1])

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, in running workers as well.

        Parameters
        ----------
        epoch : int
            In [0, 2**23); else ValueError or TypeError.
        """
        self._stream[1:] = torch.tensor([epoch_of(epoch), _QUIET], device="cpu")

    def state_dict(self) -> dict[str, int]:
        """The seed and the epoch."""
        seed, epoch, _ = self._stream.tolist()
        return {"version": _VERSION, "seed": seed, "epoch": epoch}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue the stream of a saved state.

        Parameters
        ----------
        state : mapping
            Of `state_dict`; ValueError or TypeError if it is of another version, or none.
        """
        self._stream[:2] = torch.tensor(checked(state, _VERSION), device="cpu")


class NoisyLabelLoader:
    """A loader of batches with noisy labels, fresh in each pass.

    Parameters
    ----------
    dataset : Dataset
        Its samples are dicts, tuples or lists of which one entry is the label, a tensor
        (C, *space) or (*space).
    noise : LabelNoise
        In `eval()`, labels stay clean, also those of workers that run; its other settings they have
        as these were when they started.
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
        set, or its position in the epoch, counted over all ranks. By default the index, but the
        position where items may come twice in a pass: for iterable data sets, lists of indices
        with repeats, and torch's RandomSampler, WeightedRandomSampler and SubsetRandomSampler if
        they repeat. To another sampler that does, give "position".
    **loader
        What `torch.utils.data.DataLoader` takes. With `shuffle=True` and no generator, the order
        follows from the seed and the epoch.

    Notes
    -----
    Each pass is an epoch, counted from 0 as its first batch is drawn, when its workers start:
    `set_epoch` sets that of the next one, also in a sampler that has a `set_epoch`, as torch's
    DistributedSampler. Lightning calls it with its own epoch, at ``batch_sampler.sampler``.

    Several ranks share the items out by ``sampler=DistributedSampler(dataset)``, in place of
    `shuffle`; under Lightning too, which gives a sampler to torch's own loaders only. Without one,
    each rank draws all items, and a UserWarning comes once.

    `state_dict` knows how many items of the epoch were given out; after `load_state_dict` the next
    pass begins with the one behind them, with any batch size and number of workers. Each item comes
    once if the sampler has the order it had: that of `shuffle=True` and of DistributedSampler
    follows from the epoch, with the same number of ranks; a generator of yours must be restored by
    you. A batch sampler of yours gives the rest of the batch that the item is in. An iterable data
    set must resume by itself; its positions are counted on.

    With ``in_order=False`` and several workers, batches come as they are ready. An item has the
    noise it has in order, unless it is of an iterable data set; but those given out are not the
    first ones, and `state_dict` raises ValueError until the pass has given out all.

    DistributedSampler gives some items to two ranks, where these cannot share the data out evenly;
    such an item has the same noise on both, as it follows from the index.

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
        self.seed = seed_of("seed", seed)
        self.device = None if device is None else torch.device(device)
        self._on_cuda = self.device is not None and _is_cuda(self.device)
        if by is not None:
            _checks.choice("by", by, ("index", "position"))
        self.dataset = dataset
        self._change = Change(noise, label_key, clean_key, spacing_key)
        self._passes = Passes()
        if self._on_cuda:
            loader.setdefault("pin_memory", True)
        if isinstance(dataset, IterableDataset):
            self._wrap_iterable(by, loader)
        else:
            self._wrap_map(by, loader)
        self._in_order = self.loader.in_order or self.loader.num_workers < 2

    def _wrap_iterable(self, by: str | None, loader: dict[str, Any]) -> None:
        if by == "index":
            raise ValueError("by must be 'position' for an iterable data set, got 'index'")
        if loader.get("batch_size", 1) is None:
            raise ValueError("batch_size must be a number, got None")
        self.by, self._here, self._warns = "position", True, False
        collate = loader.pop("collate_fn", None) or default_collate
        self.loader = DataLoader(self.dataset, collate_fn=Counted(collate), **loader)

    def _wrap_map(self, by: str | None, loader: dict[str, Any]) -> None:
        sampled = any(loader.get(name) is not None for name in ("sampler", "batch_sampler"))
        _check_map(self.dataset, sampled)
        self._warns = not sampled
        order = None
        if loader.get("shuffle") and loader.get("generator") is None:
            order = torch.Generator()
            if not sampled:
                loader = loader | {
                    "shuffle": None,
                    "sampler": RandomSampler(self.dataset, generator=order),
                }
        # An ordinary loader checks the arguments and makes the batches of indices.
        batching = {name: value for name, value in loader.items() if name in _BATCHING}
        plain = DataLoader(self.dataset, generator=loader.get("generator"), **batching)
        if plain.batch_sampler is None:
            raise ValueError("batch_size must be a number, got None: NoisyLabels takes any loader")
        self.by = by or ("position" if repeats(plain.batch_sampler) else "index")
        self._here = self._noise_is_made_here()
        self._batches = SeededBatches(
            plain.batch_sampler, self._change.noise, self.by == "position", order
        )
        collate = loader.pop("collate_fn", None) or default_collate
        self.loader = DataLoader(
            Seeded(self.dataset, None if self._here else self._change),
            batch_sampler=self._batches,
            collate_fn=Paired(collate) if self._here else Counted(collate),
            **{name: value for name, value in loader.items() if name not in batching},
        )

    def _noise_is_made_here(self) -> bool:
        """Whether batches get their noise in this process, not in the workers.

        (A method, for a test that has no device to say so.)
        """
        return self._on_cuda

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        epoch_of(self._passes.next[0])
        return self._pass()

    def _pass(self) -> Iterator[Any]:
        """The batches of an epoch; the state is that behind the last one given out."""
        # Not before the first batch is asked for: until then, a host may set the epoch.
        rank, ranks = rank_and_ranks()
        self._check_shared(ranks)
        epoch, items = self._passes.begin()
        if not isinstance(self.dataset, IterableDataset):
            self._batches.begin(self.seed, epoch, items)
        for batch, count in self._made(iter(self.loader), epoch, items * ranks + rank, ranks):
            items += count
            self._passes.give(epoch, items)
            yield batch
        self._passes.end(epoch)

    def _check_shared(self, ranks: int) -> None:
        """Warn once where each rank draws all items, and no sampler tells that it shall."""
        if ranks == 1 or not self._warns:
            return
        self._warns = False
        warnings.warn(
            f"sampler must share the items out among the {ranks} ranks, got none: each rank draws "
            f"all; give sampler=DistributedSampler(dataset) or, if that is meant, another sampler",
            stacklevel=3,
        )

    def _made(
        self, loaded: Any, epoch: int, position: int, ranks: int
    ) -> Iterator[tuple[Any, int]]:
        """The batches with their noise, and their numbers of items."""
        if not self._here:
            for count, batch in loaded:
                yield batch, count
            return
        stream = _side_stream(self.device) if self._on_cuda else None
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
                yield arrived(ahead, stream)
            ahead = ready
        if ahead is not None and stream is not None:
            yield arrived(ahead, stream)

    def _moved(self, batch: Any, seeds: list[int], stream: Any) -> Any:
        """The batch on the device, with noise; on a stream of its own."""
        spacing = self._change.spacing(batch, len(seeds))
        if stream is None:
            return self._change.batch(batch, seeds, spacing)
        with torch.cuda.stream(stream):
            return self._change.batch(moved(batch, self.device), seeds, spacing)

    @property
    def batch_sampler(self) -> Batching:
        """For hosts: the size of batches, and a `sampler` of which `set_epoch` is the loader's."""
        size = getattr(self.loader.batch_sampler, "batch_size", None)
        return Batching(size, Epochs(self.set_epoch))

    @property
    def epoch(self) -> int:
        """The epoch of the pass that runs or, between two, of the next."""
        return self._passes.now[0]

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next pass, which keeps a place in it that was loaded.

        Parameters
        ----------
        epoch : int
            In [0, 2**23); else ValueError or TypeError.
        """
        self._passes.set_epoch(epoch)

    def state_dict(self) -> dict[str, int]:
        """The seed, the epoch, and how many items of it have been given out (on this rank).

        Raises
        ------
        ValueError
            While a pass runs of which several workers give out the batches as they are ready.
        """
        passes = self._passes
        epoch, items = passes.now
        if not self._in_order and passes.now not in (passes.next, passes.begun, self._end()):
            raise ValueError(
                f"in_order must be True for a state while a pass runs, got False: the {items} "
                f"items given out are not the first ones; ask for the state between passes"
            )
        return {"version": _LOADER_VERSION, "seed": self.seed, "epoch": epoch, "items": items}

    def _end(self) -> tuple[int, int] | None:
        """The epoch and the items of a pass whose last batch is out; None: as far as is known."""
        return None if isinstance(self.dataset, IterableDataset) else self._batches.end

    def _items(self) -> int | None:
        """How many items a pass has; None where only the pass will tell."""
        sampler = getattr(self.loader.batch_sampler, "batches", None)
        sized = type(sampler) is BatchSampler and hasattr(type(sampler.sampler), "__len__")
        return len(sampler.sampler) if sized else None  # type: ignore[union-attr]

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Let the next pass continue behind the items of a saved state.

        Parameters
        ----------
        state : mapping
            Of `state_dict`; ValueError or TypeError if it is of another version, or of a data set
            with fewer items.
        """
        seed, epoch, items = checked(state, _LOADER_VERSION, "items")
        most = self._items()
        if most is not None and items > most:
            raise ValueError(f"items must be at most the {most} of a pass, got {items}")
        self.seed = seed
        self._passes.go(epoch, items)


def _check_map(dataset: Any, sampled: bool) -> None:
    """Raise TypeError unless a data set has what a loader of it asks for."""
    kind = type(dataset).__qualname__
    if not hasattr(type(dataset), "__getitem__"):
        raise TypeError(f"dataset must be map-style or a torch IterableDataset, got {kind}")
    if not sampled and not hasattr(type(dataset), "__len__"):
        raise TypeError(
            f"dataset must have a length, or a sampler or batch_sampler beside it, got {kind}, "
            f"with no __len__"
        )


def _side_stream(device: Any) -> Any:
    """The stream of what is made ahead on a device."""
    return _stream_of(torch.cuda.current_device() if device.index is None else device.index)


@functools.cache
def _stream_of(index: int) -> Any:
    """One for all passes: scratch memory is kept for each stream that there is."""
    return torch.cuda.Stream(index)


def _is_cuda(device: torch.device) -> bool:
    """Whether a device is a GPU, which then must be there; raises ValueError."""
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be of the CPU or of CUDA, got {device}")
    if device.type == "cpu":
        return False
    count = torch.cuda.device_count()  # which, unlike `is_available`, lets workers fork
    if (device.index or 0) >= count:
        raise ValueError(
            f"device must be a GPU that torch sees, of which there are {count}, got {device}: "
            f"install torch for CUDA, or make the noise in the workers, with device='cpu'"
        )
    return True
