"""Data and states that a loader cannot take: refused by the name of what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gfnoise.torch import LabelNoise, NoisyLabelLoader, NoisyLabels  # noqa: E402

NOISE = LabelNoise(1.0, 3.0, ndim=2)
ITEMS = [(torch.zeros(1), torch.zeros(4, 4, dtype=torch.uint8))] * 5


def loader(**options: Any) -> NoisyLabelLoader:
    return NoisyLabelLoader(ITEMS, NOISE, 1, **{"batch_size": 2} | options)


class Counting(torch.utils.data.IterableDataset):  # type: ignore[misc, name-defined]
    def __iter__(self) -> Any:
        return iter(ITEMS)


def test_items_beyond_the_data_are_refused() -> None:
    for made in (loader(), loader(shuffle=True, drop_last=True)):
        state = made.state_dict()
        made.load_state_dict(state | {"items": 4})
        made.load_state_dict(state | {"items": 5})  # behind the last batch
        assert [*made] == []
        assert made.epoch == 1
        with pytest.raises(ValueError, match=r"^items must be at most the 5 of a pass, got 6$"):
            made.load_state_dict(state | {"items": 6})
        assert made.state_dict()["epoch"] == 1  # nothing has been loaded
    batches = loader(batch_size=1, batch_sampler=[[0, 1], [2]])
    for made in (batches, NoisyLabelLoader(Counting(), NOISE, 1)):
        with pytest.raises(ValueError, match=r"^items must be below 2\*\*40, got 1180591620717411"):
            made.load_state_dict(made.state_dict() | {"items": 2**70})


@pytest.mark.parametrize("version", [np.array([2, 2]), torch.tensor([2, 2]), None, "2", True, 2.0])
def test_versions_that_are_no_number(version: Any) -> None:
    for made, number in ((loader(), 2), (NoisyLabels(ITEMS, NOISE, 1), 1)):
        with pytest.raises(ValueError, match=rf"^state must be of version {number}, got \{{'ver"):
            made.load_state_dict(made.state_dict() | {"version": version})


def test_the_state_after_the_last_epoch_is_one_to_load() -> None:
    made = loader()
    made.set_epoch(2**23 - 1)
    assert len([*made]) == 3
    state = made.state_dict()
    assert state["epoch"] == 2**23
    made.load_state_dict(state)
    with pytest.raises(ValueError, match=r"^epoch must be below 2\*\*23, got 8388608$"):
        iter(made)
    for wrong in ({"epoch": 2**23 + 1}, {"items": 1}):
        with pytest.raises(ValueError, match=r"^epoch must be below 2\*\*23, got 838860[89]$"):
            made.load_state_dict(state | wrong)


class Endless:
    def __getitem__(self, index: int) -> Any:
        return ITEMS[0]


def test_data_without_a_length_are_refused() -> None:
    with pytest.raises(
        TypeError, match=r"^dataset must have a length, got Endless, with no __len__$"
    ):
        NoisyLabels(Endless(), NOISE, 1)
    for options in ({}, {"shuffle": True}, {"batch_size": 2, "sampler": None}):
        with pytest.raises(
            TypeError,
            match=r"^dataset must have a length, or a sampler or batch_sampler beside it, got "
            r"Endless, with no __len__$",
        ):
            NoisyLabelLoader(Endless(), NOISE, 1, **options)


@pytest.mark.parametrize("options", [{"sampler": [7, 1, 2]}, {"batch_sampler": [[7], [1, 2]]}])
def test_data_without_a_length_have_a_sampler(options: dict[str, Any]) -> None:
    """Also behind a saved state."""
    made = NoisyLabelLoader(Endless(), NOISE, 1, **options)
    batches = [label for _, label in made]
    assert len(batches) == len(made)
    made.load_state_dict(made.state_dict() | {"epoch": 0, "items": 1})
    for found, expected in zip(made, batches[1:], strict=True):
        assert torch.equal(found[1], expected)


@pytest.mark.parametrize("dataset", [None, 3, iter(ITEMS), {*range(3)}])
def test_what_is_no_data_set_is_refused(dataset: Any) -> None:
    kind = type(dataset).__qualname__
    with pytest.raises(
        TypeError, match=rf"^dataset must be map-style or a torch IterableDataset, got {kind}$"
    ):
        NoisyLabelLoader(dataset, NOISE, 1)


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (
            Counting(),
            {"shuffle": True},
            r"expected unspecified shuffle option, but got shuffle=True",
        ),
        (Counting(), {"sampler": [0, 1]}, r"expected unspecified sampler option, but got sampler="),
        (Counting(), {"batch_sampler": [[0]]}, r"expected unspecified batch_sampler option"),
        (Counting(), {"batch_size": None}, r"^batch_size must be a number, got None$"),
        (Counting(), {"by": "index"}, r"^by must be 'position' for an iterable data set"),
        (ITEMS, {"batch_size": None}, r"^batch_size must be a number, got None: NoisyLabels takes"),
        (ITEMS, {"shuffle": True, "sampler": [0]}, r"^sampler option is mutually exclusive"),
        (ITEMS, {"shuffle": True, "batch_sampler": [[0]]}, r"^batch_sampler option is mutually"),
        (ITEMS, {"sampler": [0], "batch_sampler": [[0]]}, r"^batch_sampler option is mutually"),
        (ITEMS, {"batch_size": 2, "batch_sampler": [[0]]}, r"^batch_sampler option is mutually"),
        (ITEMS, {"drop_last": True, "batch_sampler": [[0]]}, r"^batch_sampler option is mutually"),
    ],
)
def test_options_that_exclude_each_other(
    dataset: Any, options: dict[str, Any], message: str
) -> None:
    """Torch's own words, where they name what is wrong."""
    with pytest.raises(ValueError, match=message):
        NoisyLabelLoader(dataset, NOISE, 1, **options)


def test_an_iterable_data_set_takes_what_says_nothing() -> None:
    options: dict[str, Any] = {"shuffle": False, "sampler": None, "batch_sampler": None}
    made = NoisyLabelLoader(Counting(), NOISE, 1, batch_size=3, drop_last=True, **options)
    assert [len(label) for _, label in made] == [3]
