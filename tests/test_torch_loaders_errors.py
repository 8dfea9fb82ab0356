"""States of loaders that cannot be: refused when loaded, by the name of what is wrong."""

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


def test_data_without_a_length_are_refused() -> None:
    class Endless:
        def __getitem__(self, index: int) -> Any:
            return ITEMS[0]

    with pytest.raises(
        TypeError, match=r"^dataset must have a length, got .*Endless, with no __len"
    ):
        NoisyLabels(Endless(), NOISE, 1)
