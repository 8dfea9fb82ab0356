"""Data sets and loaders: the same noise whatever the workers, the batches, the rank, the resume."""

from __future__ import annotations

import copy
import hashlib
import multiprocessing
import pickle
from collections import UserDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from gfnoise import GaussianField
from gfnoise._cpu import _pool

torch = pytest.importorskip("torch")

from torch.utils.data import (  # noqa: E402
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from gfnoise.torch import LabelNoise, NoisyLabelLoader, NoisyLabels, item_seed  # noqa: E402

# Python 3.12 warns of any fork while threads run: what is tested here.
# Torch warns of more workers than cores.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]
LIMIT = 60  # seconds until a worker that hangs is a failure
COUNT = 11
LABEL = torch.zeros(1, 24, 26, dtype=torch.uint8)
LABEL[0, 6:18, 5:20] = 1
HOT = torch.cat([1 - LABEL, LABEL])
NOISE = LabelNoise((1.0, 3.0), (4.0, 6.0), ndim=2)
NOISED = NOISE(LABEL[None], seed=[item_seed(0, 0, 0)])


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


def test_no_two_items_or_epochs_share_their_noise() -> None:
    every = [label for epoch in EPOCHS for label in epoch.values()]
    assert len(set(every)) == len(every) == 4 * COUNT


# ------------------------------------------------------------------------- any arrangement


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("workers", [0, 1, 4])
def test_batches_and_workers_change_nothing(workers: int, batch_size: int) -> None:
    options = {"num_workers": workers, "batch_size": batch_size, "timeout": LIMIT * (workers > 0)}
    context = {"multiprocessing_context": "fork"} if workers else {}
    loader = NoisyLabelLoader(Items(), NOISE, "label", **options, **context)
    assert dict(labels_of(loader)) == EPOCHS[0]
    assert len(loader) == -(-COUNT // batch_size)
    plain = DataLoader(NoisyLabels(Items(), NOISE, "label"), **options, **context)
    assert dict(labels_of(plain)) == EPOCHS[0]


@pytest.mark.parametrize(("method", "workers"), [("fork", 2), ("spawn", 1)])
def test_epochs_reach_persistent_workers(method: str, workers: int) -> None:
    options: dict[str, Any] = {"num_workers": workers, "persistent_workers": True, "batch_size": 3}
    options |= {"multiprocessing_context": method, "timeout": LIMIT}
    dataset = NoisyLabels(Items(), NOISE, "label")
    plain = DataLoader(dataset, shuffle=True, **options)
    for epoch in (2, 0, 3):
        dataset.set_epoch(epoch)
        assert dict(labels_of(plain)) == EPOCHS[epoch]
    del plain
    loader = NoisyLabelLoader(Items(), NOISE, "label", shuffle=True, **options)
    assert [dict(labels_of(loader)) for _ in range(2)] == EPOCHS[:2]
    loader.set_epoch(3)
    assert dict(labels_of(loader)) == EPOCHS[3]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", [0, 1])
def test_eval_reaches_workers_that_run(kind: int, workers: int) -> None:
    noise = copy.deepcopy(NOISE)
    options: dict[str, Any] = {"num_workers": workers, "timeout": LIMIT * (workers > 0)}
    loader = (NoisyLabelLoader, Here)[kind](
        Items(), noise, "label", batch_size=4, persistent_workers=workers > 0, **options
    )
    noise.eval()
    assert {label for _, label in labels_of(loader)} == {digest(LABEL)}
    noise.train()
    assert dict(labels_of(loader)) == EPOCHS[1]
    noise.eval()
    assert {label for _, label in labels_of(loader)} == {digest(LABEL)}
    noise.train()
    assert dict(labels_of(loader)) == EPOCHS[3]


@pytest.mark.parametrize("workers", [0, 2])
def test_two_passes_at_once(workers: int) -> None:
    """Each has the order and the noise of its own epoch."""

    def make() -> NoisyLabelLoader:
        options: dict[str, Any] = {"timeout": LIMIT * (workers > 0), "num_workers": workers}
        return NoisyLabelLoader(Items(), NOISE, "label", shuffle=True, batch_size=3, **options)

    loader = make()
    expected = [labels_of(loader) for _ in range(2)]
    loader = make()
    both = [*zip(loader, loader, strict=True)]
    assert [labels_of(one) for one in zip(*both, strict=True)] == expected


def test_workers_that_do_not_persist() -> None:
    loader = NoisyLabelLoader(Items(), NOISE, "label", num_workers=2, batch_size=4, timeout=LIMIT)
    assert [dict(labels_of(loader)) for _ in range(3)] == EPOCHS[:3]


def test_forked_workers_after_threads() -> None:
    """The parent has used its pool; a worker runs on one thread, and does not hang."""
    volume = np.zeros((20, 70, 70), np.uint8)
    GaussianField(2.0, 5.0, ndim=3).sample_labels(volume, seed=0)
    options: dict[str, Any] = {"num_workers": 2, "timeout": LIMIT, "batch_size": 2}
    loader = NoisyLabelLoader(Items(), NOISE, "label", multiprocessing_context="fork", **options)
    for batch in loader:
        assert batch["info"].all()
        assert (batch["threads"] == 1).all()


class Here(NoisyLabelLoader):
    """Makes noise where a device would get it: on batches, in this process."""

    def _noise_is_made_here(self) -> bool:
        return True


@pytest.mark.parametrize("workers", [0, 2])
def test_noise_on_batches_is_that_on_samples(workers: int) -> None:
    loader = Here(Items(), NOISE, "label", batch_size=4, num_workers=workers, clean_key="clean")
    for epoch in range(2):
        batches = list(loader)
        assert dict(labels_of(batches)) == EPOCHS[epoch]
        assert all((batch["clean"] == LABEL).all() for batch in batches)


def _rank(rank: int, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    torch.set_num_threads(1)
    sampler = DistributedSampler(Items(), shuffle=True)
    loader = NoisyLabelLoader(Items(), NOISE, "label", sampler=sampler, batch_size=2)
    found = [labels_of(loader) for _ in range(2)]
    weights = [1.0] * COUNT
    drawn = NoisyLabelLoader(
        Items(), NOISE, "label", sampler=WeightedRandomSampler(weights, 8), batch_size=3
    )
    found.append(labels_of(drawn))
    Path(folder, f"{rank}").write_bytes(pickle.dumps(found))
    torch.distributed.destroy_process_group()


def test_two_ranks(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=_rank, args=(rank, str(tmp_path))) for rank in range(2)]
    for one in ranks:
        one.start()
    for one in ranks:
        one.join(LIMIT)
        assert one.exitcode == 0
    found = [pickle.loads((tmp_path / f"{rank}").read_bytes()) for rank in range(2)]
    for epoch in range(2):
        both = found[0][epoch] + found[1][epoch]
        assert len(both) == 12
        assert {index for index, _ in both} == set(range(COUNT))
        assert all(EPOCHS[epoch][index] == label for index, label in both)
    assert found[0][0] != found[0][1]
    # With replacement, positions count over the ranks: all different.
    drawn = [label for _, label in found[0][2] + found[1][2]]
    assert len(set(drawn)) == len(drawn) == 16


# ---------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_continues(workers: int) -> None:
    def make() -> NoisyLabelLoader:
        options: dict[str, Any] = {"batch_size": 2, "shuffle": True, "num_workers": workers}
        return NoisyLabelLoader(Items(), NOISE, "label", seed=5, **options)

    whole = make()
    batches = [labels_of([batch]) for _ in range(3) for batch in whole]
    assert len(batches) == 18
    for stop in (0, 1, 4, 6, 8, 12):
        first = make()
        state, given = first.state_dict(), []
        while len(given) < stop:
            for batch in first:
                given.append(labels_of([batch]))
                state = copy.deepcopy(first.state_dict())
                if len(given) == stop:
                    break
        second = make()
        second.load_state_dict(state)
        rest = []
        while len(given) + len(rest) < 18:
            rest += [labels_of([batch]) for batch in second]
        assert given + rest == batches, stop


@pytest.mark.parametrize("kind", [NoisyLabelLoader, Here])
@pytest.mark.parametrize(
    ("first", "second", "sizes"),
    [
        ({"batch_size": 4}, {"batch_size": 2}, [2, 1]),
        ({"batch_size": 2}, {"batch_size": 4}, [4, 3]),
        ({"batch_size": 1}, {"batch_size": 4, "drop_last": True}, [4, 4]),
        ({"batch_size": 2}, {"batch_sampler": [[*range(5)], [*range(5, 9)], [9, 10]]}, [1, 4, 2]),
        ({"batch_size": 2, "by": "position"}, {"batch_size": 3, "by": "position"}, [3, 3, 1]),
    ],
)
def test_a_run_resumes_with_other_batches(kind: Any, first: Any, second: Any, sizes: Any) -> None:
    """What counts is the items: none is left out, none is repeated."""
    one, other = (kind(Items(), NOISE, "label", **options) for options in (first, second))
    passing = iter(one)
    found = labels_of([next(passing), next(passing)])
    assert one.state_dict()["items"] == len(found)
    other.load_state_dict(one.state_dict())
    batches = list(other)
    assert [len(batch["id"]) for batch in batches] == sizes
    found += labels_of(batches)
    assert [index for index, _ in found] == [*range(len(found))]
    assert all(EPOCHS[0][index] == label for index, label in found)
    assert dict(labels_of(other)).items() <= EPOCHS[1].items()  # the next pass is whole again
    assert other.epoch == 2


class Slow(Items):
    """The first item comes behind the fourth, of another worker, whatever the machine's pace."""

    def __init__(self) -> None:
        self.fourth = multiprocessing.get_context("fork").Event()

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == 3:
            self.fourth.set()
        assert index or self.fourth.wait(LIMIT)
        return super().__getitem__(index)


def test_batches_out_of_order_have_no_state() -> None:
    """But for a pass that has not begun or that gave out all; each item has its own noise."""
    options: dict[str, Any] = {"num_workers": 2, "multiprocessing_context": "fork"}
    options |= {"in_order": False, "timeout": LIMIT}
    loader = NoisyLabelLoader(Slow(), NOISE, "label", **options)
    assert loader.state_dict()["items"] == 0
    found: list[tuple[int, str]] = []
    for batch in loader:
        found += labels_of([batch])
        if len(found) < COUNT:
            with pytest.raises(
                ValueError,
                match=r"^in_order must be True .* while a pass runs, got False: .* between passes",
            ):
                loader.state_dict()
        else:
            assert loader.state_dict()["items"] == COUNT
    assert found[0][0] != 0
    assert dict(found) == EPOCHS[0]
    assert (loader.state_dict()["epoch"], loader.state_dict()["items"]) == (1, 0)


def test_a_state_of_batches_in_order_serves_those_out_of_order() -> None:
    first = NoisyLabelLoader(Items(), NOISE, "label", batch_size=4)
    found = labels_of([next(iter(first))])
    options: dict[str, Any] = {"num_workers": 2, "timeout": LIMIT, "batch_size": 3}
    second = NoisyLabelLoader(Items(), NOISE, "label", in_order=False, **options)
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()
    found += labels_of(second)
    assert (len(found), dict(found)) == (COUNT, EPOCHS[0])


@pytest.mark.parametrize("workers", [0, 1])
def test_one_worker_is_always_in_order(workers: int) -> None:
    options: dict[str, Any] = {"num_workers": workers, "timeout": LIMIT * workers}
    loader = NoisyLabelLoader(Items(), NOISE, "label", in_order=False, **options)
    for i, _ in enumerate(loader):
        assert loader.state_dict()["items"] == i + 1


def test_iterables_out_of_order_have_no_state() -> None:
    options: dict[str, Any] = {"num_workers": 2, "timeout": LIMIT}
    loader = NoisyLabelLoader(Stream(), NOISE, 0, in_order=False, **options)
    for _ in loader:
        with pytest.raises(ValueError, match=r"^in_order must be True"):
            loader.state_dict()
    assert loader.state_dict()["epoch"] == 1


def test_states() -> None:
    loader = NoisyLabelLoader(Items(), NOISE, "label", batch_size=4, seed=3)
    assert loader.state_dict() == {"version": 2, "seed": 3, "epoch": 0, "items": 0}
    passing = iter(loader)
    next(passing)
    assert (loader.state_dict()["epoch"], loader.state_dict()["items"]) == (0, 4)
    assert len(list(passing)) == 2
    assert (loader.epoch, loader.state_dict()["items"]) == (1, 0)
    dataset = NoisyLabels(Items(), NOISE, "label", seed=3)
    dataset.set_epoch(2)
    other = NoisyLabels(Items(), NOISE, "label")
    other.load_state_dict(dataset.state_dict())
    assert (other.epoch, digest(other[4]["label"])) == (2, expected(2, seed=3)[4])
    for one, version in (loader, 2), (dataset, 1):
        before = one.state_dict()
        for bad, error, match in (
            (before | {"version": 3}, ValueError, f"^state must be of version {version}, got"),
            ({"version": version, "seed": 7}, ValueError, "^state must hold seed, epoch.*, got "),
            (None, TypeError, "^state must be a dict, got NoneType"),
            (before | {"seed": -7}, ValueError, "^seed must be .*got -7"),
            (before | {"epoch": 1 << 23}, ValueError, r"^epoch must be below 2\*\*23"),
            (before | {"epoch": 0.5}, TypeError, "^epoch must be an integer"),
        ):
            with pytest.raises(error, match=match):
                one.load_state_dict(bad)
        assert one.state_dict() == before
    old = {"version": 1, "seed": 0, "epoch": 0, "batches": 2, "items": 0}  # of which none is known
    with pytest.raises(ValueError, match=r"^state must be of version 2, got \{'version': 1"):
        loader.load_state_dict(old)
    with pytest.raises(ValueError, match=r"^items must be an integer of at least 0, got -1"):
        loader.load_state_dict(loader.state_dict() | {"items": -1})
    with pytest.raises(ValueError, match=r"^state must hold seed, epoch, items, got \{'v"):
        loader.load_state_dict(dataset.state_dict() | {"version": 2})
    assert loader.seed == 3


def test_a_warning_where_the_noise_repeats() -> None:
    def draw(dataset: Any) -> None:
        for _ in range(3):
            list(dataset)

    dataset = NoisyLabels(Items(), NOISE, "label")
    list(dataset)  # once: it may be all there is
    with pytest.warns(UserWarning, match=r"^the noise of epoch 0 .*set_epoch\(epoch\)") as caught:
        draw(dataset)
    assert len(caught) == 1
    quiet = NoisyLabels(Items(), NOISE, "label")
    quiet.set_epoch(0)
    draw(quiet)
    clean = NoisyLabels(Items(), copy.deepcopy(NOISE).eval(), "label")
    draw(clean)


def test_a_warning_from_workers() -> None:
    """They count together, and live for one epoch each; a warning is an error here."""
    options: dict[str, Any] = {"num_workers": 2, "multiprocessing_context": "fork"}
    loader = DataLoader(NoisyLabels(Items(), NOISE, "label"), timeout=LIMIT, **options)
    list(loader)
    with pytest.raises(UserWarning, match="the noise of epoch 0"):
        assert [*loader, *loader, *loader]
    assert len([*loader, *loader, *loader]) == 3 * COUNT  # once


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_have_an_epoch_of_their_own(copied: Any) -> None:
    dataset = NoisyLabels(Items(), NOISE, "label")
    dataset.set_epoch(1)
    other = copied(dataset)
    dataset.set_epoch(2)
    assert (other.epoch, digest(other[0]["label"])) == (1, EPOCHS[1][0])
    assert digest(dataset[-1]["label"]) == EPOCHS[2][COUNT - 1]
    assert len(list(dataset)) == COUNT
    options: dict[str, Any] = {"num_workers": 1, "multiprocessing_context": "fork"}
    loader = DataLoader(other, persistent_workers=True, timeout=LIMIT, **options)
    for epoch in (1, 3):
        other.set_epoch(epoch)
        assert dict(labels_of(loader)) == EPOCHS[epoch]


# ------------------------------------------------------------------ iterables and replacement


def by_position(label: Any, position: int, epoch: int = 0) -> bool:
    clean = LABEL[None]
    return torch.equal(label, NOISE(clean, seed=[item_seed(0, epoch, position)])[0])


@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_iterables_are_keyed_by_position(batch_size: int) -> None:
    loader = NoisyLabelLoader(Stream(), NOISE, 0, batch_size=batch_size)
    assert loader.by == "position"
    for epoch in range(2):
        labels = [label for batch, _ in loader for label in batch]
        assert len(labels) == COUNT
        assert all(by_position(label, i, epoch) for i, label in enumerate(labels))
    with pytest.raises(TypeError, match="has no len"):
        len(loader)


def test_iterables_with_workers_and_resume() -> None:
    options: dict[str, Any] = {"batch_size": 2, "num_workers": 2, "timeout": LIMIT}
    loader = NoisyLabelLoader(Stream(), NOISE, 0, **options)
    labels, states = [], []
    for batch, _ in loader:
        labels += list(batch)
        states.append(loader.state_dict())
    assert all(by_position(label, i) for i, label in enumerate(labels))
    resumed = NoisyLabelLoader(Stream(), NOISE, 0, **options)
    resumed.load_state_dict(states[1])
    first, _ = next(iter(resumed))
    assert by_position(first[0], 4)


@pytest.mark.parametrize("workers", [0, 2])
def test_replacement_is_keyed_by_position(workers: int) -> None:
    sampler = RandomSampler(Items(), replacement=True, num_samples=40)
    for one in (sampler, WeightedRandomSampler([1.0] * COUNT, 40)):
        loader = NoisyLabelLoader(
            Items(), NOISE, "label", sampler=one, batch_size=3, num_workers=workers
        )
        assert loader.by == "position"
        labels = [label for batch in loader for label in batch["label"]]
        assert all(by_position(label, i) for i, label in enumerate(labels))
    loader = NoisyLabelLoader(Items(), NOISE, "label", sampler=sampler, by="index")
    assert all(EPOCHS[0][index] == label for index, label in labels_of(loader))


ONCE, TWICE = [4, 0, 9], [4, 0, 4, 9]


@pytest.mark.parametrize(
    ("options", "by"),
    [
        ({}, "index"),
        ({"shuffle": True}, "index"),
        ({"sampler": RandomSampler(Items())}, "index"),
        ({"sampler": RandomSampler(Items(), num_samples=COUNT)}, "index"),
        ({"sampler": RandomSampler(Items(), num_samples=3 * COUNT + 1)}, "position"),
        ({"sampler": RandomSampler(Items(), replacement=True, num_samples=2)}, "position"),
        ({"sampler": WeightedRandomSampler([1.0] * COUNT, 9)}, "position"),
        ({"sampler": WeightedRandomSampler([1.0] * COUNT, 9, replacement=False)}, "index"),
        ({"sampler": SubsetRandomSampler(ONCE)}, "index"),
        ({"sampler": SubsetRandomSampler(TWICE)}, "position"),
        ({"sampler": SubsetRandomSampler(torch.tensor(ONCE))}, "index"),
        ({"sampler": SubsetRandomSampler(torch.tensor(TWICE))}, "position"),
        ({"sampler": DistributedSampler(Items(), 4, 0)}, "index"),
        ({"sampler": ONCE}, "index"),
        ({"sampler": TWICE}, "position"),
        ({"sampler": np.array(TWICE)}, "position"),
        ({"batch_sampler": [[4, 0], [9]]}, "index"),
        ({"batch_sampler": [[4, 0], [9, 4]]}, "position"),
        ({"batch_sampler": BatchSampler(SubsetRandomSampler(TWICE), 2, False)}, "position"),
    ],
)
def test_an_item_that_comes_twice_has_two_noises(options: dict[str, Any], by: str) -> None:
    for kind in (NoisyLabelLoader, Here):
        loader = kind(Items(), NOISE, "label", **options)
        assert loader.by == by
        found = labels_of(loader)
        assert len({label for _, label in found}) == len(found)
    loader = NoisyLabelLoader(Items(), NOISE, "label", **options, by="index")
    assert all(EPOCHS[0][index] == label for index, label in labels_of(loader))


def test_batch_samplers_and_generators() -> None:
    batches = [[3, 1], [0], [10, 9, 8]]
    loader = NoisyLabelLoader(Items(), NOISE, "label", batch_sampler=batches)
    found = labels_of(loader)
    assert [index for index, _ in found] == [3, 1, 0, 10, 9, 8]
    assert all(EPOCHS[0][index] == label for index, label in found)
    orders = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(4)
        loader = NoisyLabelLoader(Items(), NOISE, "label", shuffle=True, generator=generator)
        orders.append([labels_of(loader), labels_of(loader)])
    assert orders[0] == orders[1]


# ---------------------------------------------------------------------------------- samples


class Pair(NamedTuple):
    image: Any
    label: Any


@pytest.mark.parametrize(
    ("sample", "key", "clean"),
    [
        ({"x": 0, "label": LABEL}, "label", "clean"),
        (UserDict({"x": 0, "label": LABEL}), "label", "clean"),
        ((LABEL, 1), 0, 2),
        ([0, LABEL], 1, 2),
        (Pair(0, LABEL), 1, None),
        ({"x": 0, "label": LABEL[0]}, "label", None),
    ],
)
def test_samples(sample: Any, key: Any, clean: Any) -> None:
    dataset = NoisyLabels([sample], NOISE, key, clean_key=clean)
    found = dataset[0]
    assert type(found) is type(sample)
    assert digest(found[key]) == EPOCHS[0][0]
    assert len(found) == len(sample) + (clean is not None)
    if clean is not None:
        assert found[clean] is sample[key]
    assert int(sample[key].sum()) == 180  # the data set's own label is as it was
    NOISE.eval()
    try:
        assert torch.equal(dataset[0][key], sample[key])
    finally:
        NOISE.train()


def test_spacing_of_samples() -> None:
    noise = LabelNoise(2.0, 5.0, ndim=2)
    for spacing in ((2.0, 0.5), 2.0, torch.tensor([2.0, 0.5]), np.array([2.0, 0.5])):
        items = [{"label": LABEL, "spacing": spacing}] * 3
        field = GaussianField(2.0, 5.0, spacing=spacing, ndim=2)
        expected = field.sample_labels(LABEL, seed=[item_seed(0, 0, 2)], mode="nearest")
        for kind in (NoisyLabelLoader, Here):
            (batch,) = kind(items, noise, "label", spacing_key="spacing", batch_size=3)
            assert torch.equal(batch["label"][2], expected)


def collate(samples: list[Any]) -> Any:
    return [sample["id"] for sample in samples], torch.stack([s["label"] for s in samples])


def test_collate_functions_of_the_user() -> None:
    for kind in (NoisyLabelLoader, Here):
        key = "label" if kind is NoisyLabelLoader else 1
        for indices, labels in kind(Items(), NOISE, key, batch_size=4, collate_fn=collate):
            assert [EPOCHS[0][i] for i in indices] == [digest(label) for label in labels]


# ------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("sample", "options", "error", "match"),
    [
        ({"mask": LABEL}, {}, ValueError, r"^label_key must be one of .*\['mask'\], got 'label'"),
        ((LABEL, 1), {}, ValueError, "^label_key must be a position below 2, got 'label'"),
        ((LABEL, 1), {"label_key": 2}, ValueError, "^label_key must be a position below 2, got 2"),
        (LABEL, {}, TypeError, r"^samples must be dicts, tuples or lists, got torch\.Tensor"),
        ({"label": LABEL.numpy()}, {}, TypeError, r"'label' must be a torch tensor, got numpy\."),
        ({"label": 3}, {}, TypeError, r"'label' must be a torch tensor, got builtins\.int"),
        (
            {"label": LABEL.float()},
            {},
            TypeError,
            r"^a sample's 'label' .*uint8\)\), got .*\(1, 24, 26",
        ),
        ({"label": LABEL[0, 0]}, {}, ValueError, r"'label' .*\(C, \*space\) or .*got \(26,\)$"),
        (
            {"label": HOT},
            {},
            ValueError,
            r"^a sample's 'label' .*one-hot .*\(2, 24, 26\): use argmax\(0",
        ),
        (
            (0, HOT),
            {"label_key": 1},
            ValueError,
            r"^a sample's 1 must be integer-coded, got one-hot",
        ),
        ({"label": LABEL}, {"spacing_key": "mm"}, ValueError, "^spacing_key must be .*got 'mm'"),
        ((LABEL, 1), {"label_key": 0, "clean_key": 5}, ValueError, "^clean_key must .*2, .*got 5"),
        (Pair(1, LABEL), {"label_key": 1, "clean_key": 2}, ValueError, "^clean_key .*for a Pair"),
    ],
)
def test_bad_samples(sample: Any, options: dict[str, Any], error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        NoisyLabels([sample], NOISE, **{"label_key": "label"} | options)[0]


def test_one_hot_labels_of_batches() -> None:
    """The user knows his samples: the text is theirs, and what it says is right for them."""
    items = [{"label": HOT}] * 3
    for kind in (NoisyLabelLoader, Here):
        with pytest.raises(
            ValueError, match=r"'label' .*shape \(2, 24, 26\): use argmax\(0, keepdim="
        ):
            next(iter(kind(items, NOISE, "label", batch_size=3)))
    coded = {"label": HOT.argmax(0, keepdim=True)}
    assert torch.equal(NoisyLabels([coded], NOISE, "label")[0]["label"], NOISED[0].long())


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"noise": torch.nn.Identity()}, TypeError, "^noise must be a LabelNoise, got Identity"),
        ({"seed": -1}, ValueError, "^seed must be .*got -1"),
        ({"seed": 2**63}, ValueError, r"^seed must be below 2\*\*63, got"),
        ({"batch_size": None}, ValueError, "^batch_size must be a number, got None"),
        ({"dataset": Stream(), "batch_size": None}, ValueError, "^batch_size must be a number"),
        ({"dataset": Stream(), "by": "index"}, ValueError, "^by must be 'position' for an iter"),
        ({"by": "rank"}, ValueError, "^by must be one of 'index', 'position', got 'rank'"),
        ({"device": "mps"}, ValueError, "^device must be of the CPU or of CUDA, got mps"),
        (
            {"device": "cuda:99"},
            ValueError,
            r"^device .* GPU .* there are \d+, got cuda:99: .*'cpu'",
        ),
        ({"shuffle": True, "sampler": [1]}, ValueError, "sampler option is mutually exclusive"),
        ({"batch_size": 2, "batch_sampler": [[1]]}, ValueError, "mutually exclusive"),
    ],
)
def test_bad_loaders(given: dict[str, Any], error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        NoisyLabelLoader(**{"dataset": Items(), "noise": NOISE, "label_key": "label"} | given)


@pytest.mark.skipif(torch.cuda.device_count() > 0, reason="there is a GPU")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(
        ValueError, match=r"^device must be a GPU .* there are 0, got cuda: install"
    ):
        NoisyLabelLoader(Items(), NOISE, "label", device="cuda")


def test_a_data_set_that_is_iterable_only() -> None:
    with pytest.raises(
        TypeError, match=r"^dataset must be map-style, got Stream: NoisyLabelLoader"
    ):
        NoisyLabels(Stream(), NOISE, 0)
    with pytest.raises(ValueError, match=r"^epoch .*got -1"):
        NoisyLabels(Items(), NOISE, "label").set_epoch(-1)
    with pytest.raises(IndexError):
        NoisyLabels(Items(), NOISE, "label")[COUNT]
