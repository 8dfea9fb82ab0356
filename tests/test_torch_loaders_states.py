"""States of loaders: runs that are resumed, batches out of order, epochs that nobody sets."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from limits import LIMIT

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader, DistributedSampler  # noqa: E402

from gfnoise.torch import NoisyLabelLoader, NoisyLabels  # noqa: E402
from labelled import (  # noqa: E402
    COUNT,
    EPOCHS,
    MARKS,
    NOISE,
    Here,
    Items,
    Stream,
    digest,
    expected,
    labels_of,
)

pytestmark = MARKS


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


class LateFirst(Items):
    """The first item is held in its worker until the consumer has one of the other worker's."""

    def __init__(self) -> None:
        self.one_came = multiprocessing.get_context("fork").Event()

    def __getitem__(self, index: int) -> dict[str, Any]:
        assert index or self.one_came.wait(LIMIT)
        return super().__getitem__(index)


def test_batches_out_of_order_have_no_state() -> None:
    """But for a pass that has not begun or that gave out all; each item has its own noise."""
    options: dict[str, Any] = {"num_workers": 2, "multiprocessing_context": "fork"}
    options |= {"in_order": False, "timeout": LIMIT}
    items = LateFirst()
    loader = NoisyLabelLoader(items, NOISE, "label", **options)
    assert loader.state_dict()["items"] == 0
    found: list[tuple[int, str]] = []
    begun = iter(loader)
    assert loader.state_dict()["items"] == 0
    for batch in begun:
        items.one_came.set()
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


def test_a_state_resumes_where_it_was_taken() -> None:
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
            (before | {"epoch": (1 << 23) + 1}, ValueError, r"^epoch must be below 2\*\*23"),
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


# -------------------------------------------------------------------- epochs that hosts set


def loaders(**options: Any) -> Iterator[NoisyLabelLoader]:
    for workers in (0, 2):
        own = {"batch_size": 4, "num_workers": workers, "timeout": LIMIT * (workers > 0)} | options
        for kind in (NoisyLabelLoader, Here):
            yield kind(Items(), NOISE, "label", **own)
        yield NoisyLabelLoader(Indexed(), NOISE, "label", **own)


class Indexed(torch.utils.data.IterableDataset):  # type: ignore[misc, name-defined]
    """The items in their order, by the first worker."""

    def __iter__(self) -> Iterator[Any]:
        info = torch.utils.data.get_worker_info()
        return iter([] if info is not None and info.id else [Items()[i] for i in range(COUNT)])


def test_a_pass_counts_when_its_first_batch_is_drawn() -> None:
    for loader in loaders():
        unused = iter(loader), iter(loader)
        assert (loader.epoch, loader.state_dict()["items"]) == (0, 0)
        assert dict(labels_of(loader)) == EPOCHS[0]
        stopped = iter(loader)
        assert loader.epoch == 1
        next(stopped)
        begun = iter(loader)
        assert (loader.epoch, loader.state_dict()["items"]) == (1, 4)
        assert dict(labels_of(begun)) == EPOCHS[2]
        assert dict(labels_of(unused[0])) == EPOCHS[3]


def test_an_epoch_that_is_set_before_the_first_batch() -> None:
    for loader in loaders():
        begun = iter(loader)
        loader.set_epoch(2)
        assert dict(labels_of(begun)) == EPOCHS[2]
        assert loader.epoch == 3


def test_an_epoch_that_is_set_again_keeps_a_loaded_place() -> None:
    for loader in loaders():
        state = {"version": 2, "seed": 0, "epoch": 2, "items": 4}
        loader.load_state_dict(state)
        begun = iter(loader)
        loader.set_epoch(2)
        assert loader.state_dict() == state
        if not isinstance(loader.dataset, Indexed):  # which would have to resume by itself
            assert labels_of(begun) == [*EPOCHS[2].items()][4:]
        loader.load_state_dict(state)
        loader.set_epoch(1)
        assert loader.state_dict() == state | {"epoch": 1, "items": 0}
        assert dict(labels_of(loader)) == EPOCHS[1]


def test_an_epoch_that_is_set_while_it_runs_is_the_next_one() -> None:
    for loader in loaders():
        passing = iter(loader)
        next(passing)
        loader.set_epoch(0)
        assert len([*passing]) == 2
        assert (loader.epoch, loader.state_dict()["items"]) == (0, 0)
        assert dict(labels_of(loader)) == EPOCHS[0]


def test_hosts_find_what_they_ask_of_a_batch_sampler() -> None:
    """But no `sampler` beside it: Lightning would put another one in its place."""
    for loader in loaders():
        assert loader.batch_sampler.batch_size == 4
        loader.batch_sampler.sampler.set_epoch(2)
        assert not hasattr(loader, "sampler")
        assert dict(labels_of(loader)) == EPOCHS[2]
    own = NoisyLabelLoader(Items(), NOISE, "label", batch_sampler=[[0, 1], [2]])
    assert own.batch_sampler.batch_size is None
    sampler = DistributedSampler(Items(), 2, 0)
    shared = NoisyLabelLoader(Items(), NOISE, "label", sampler=sampler)
    shared.batch_sampler.sampler.set_epoch(3)
    found = labels_of(shared)
    assert sampler.epoch == 3
    assert [index for index, _ in found] == [*sampler]
    assert dict(found).items() <= EPOCHS[3].items()


# ------------------------------------------------------------------------------- warnings


def ranks(monkeypatch: pytest.MonkeyPatch, rank: int, count: int) -> None:
    """Let this process be one of several."""
    for name, value in ("is_initialized", True), ("get_rank", rank), ("get_world_size", count):
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)


@pytest.mark.parametrize("options", [{}, {"shuffle": True}])
def test_a_warning_where_ranks_draw_the_same_items(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    loader = NoisyLabelLoader(Items(), NOISE, "label", **options)
    ranks(monkeypatch, 0, 1)
    assert len([*loader]) == COUNT  # alone
    ranks(monkeypatch, 1, 2)
    with pytest.warns(
        UserWarning,
        match=r"^sampler must share the items out among the 2 ranks, got none: each rank draws "
        r"all; give sampler=DistributedSampler\(dataset\) or, if that is meant, another sampler$",
    ) as caught:
        assert len([*loader, *loader]) == 2 * COUNT
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": DistributedSampler(Items(), 2, 1)},
        {"sampler": range(COUNT)},
        {"batch_sampler": [[0, 1], [2]]},
        {"dataset": Indexed()},
    ],
)
def test_no_warning_where_the_user_tells_what_a_rank_draws(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    ranks(monkeypatch, 1, 2)
    assert [
        *NoisyLabelLoader(**{"dataset": Items(), "noise": NOISE, "label_key": "label"} | options)
    ]


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
