"""The seeds of items, and the numbers that follow from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

torch = pytest.importorskip("torch")

from gfnoise.torch import item_seed, item_seeds  # noqa: E402
from gfnoise.torch.item_seeds import _FIRST, _GOLDEN, _SECOND, _mix  # noqa: E402


def test_item_seed_is_what_it_was() -> None:
    """Golden values: to change them is a line in CHANGELOG.md."""
    found = [item_seed(0, 0, 0), item_seed(0, 3, 17), item_seed(2**63 - 1, 2**23 - 1, 2**40 - 1)]
    assert found == [6473275921476908553, 1336494617552781089, 1926850414029025928]
    assert item_seeds.uniforms(7, 2) == [0.5243459416779314, 0.30213903321684277]


def test_no_two_items_share_a_seed() -> None:
    rng = np.random.default_rng(0)
    epochs, indices = rng.integers(0, 2**23, 20_000), rng.integers(0, 2**40, 20_000)
    pairs = {*zip(epochs.tolist(), indices.tolist(), strict=True)}
    pairs |= {(epoch, index) for epoch in range(100) for index in range(300)}
    seeds = {item_seed(5, epoch, index) for epoch, index in pairs}
    assert len(seeds) == len(pairs)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert not seeds & {item_seed(6, epoch, index) for epoch, index in pairs}


def test_item_seed_is_a_permutation() -> None:
    """Each step can be undone."""
    word = _unpermuted(9, item_seed(9, 123, 456))
    assert divmod(word, 2**40) == (123, 456)


def _unpermuted(base: int, word: int) -> int:
    mask = 2**63 - 1
    keys = [_mix(_mix(base) + i * _GOLDEN & 2**64 - 1) & mask for i in (1, 2, 3)]
    for odd, key in zip((_FIRST, _SECOND, _FIRST), keys[::-1], strict=True):
        word ^= word >> 32  # undone by itself: two shifts of 32 leave nothing of 63 bits
        word = word * pow(odd, -1, 2**63) & mask
        word ^= key
    return word


def test_seeds_and_shares_look_random() -> None:
    """One bit of an item changes half of its seed's; uniform shares. Confidence 1 - 1e-6 each."""
    base = np.array([item_seed(0, 0, i) for i in range(2000)], np.uint64)
    for bit in (0, 1, 7, 20, 39, 45, 62):
        other = [item_seed(0, *divmod(i ^ 1 << bit, 2**40)) for i in range(2000)]
        changed = np.bitwise_count(base ^ np.array(other, np.uint64))
        spread = np.sqrt(63 / 4 / 2000)
        assert abs(changed.mean() - 31.5) < 4.9 * spread, bit
    shares = np.array([item_seeds.uniforms(int(seed), 3) for seed in base])
    for column in shares.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-6
    assert (np.abs(np.corrcoef(shares.T)[np.triu_indices(3, 1)]) < 4.9 / np.sqrt(2000)).all()


def test_shares_on_the_device_are_the_same() -> None:
    seeds = torch.randint(2**63 - 1, (500,), generator=torch.Generator().manual_seed(0))
    expected = [item_seeds.uniforms(seed, 3) for seed in seeds.tolist()]
    assert item_seeds.uniforms_on_device(seeds, 3).T.tolist() == expected


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ((-1, 0, 0), ValueError, "^base .*got -1"),
        ((2**63, 0, 0), ValueError, r"^base must be below 2\*\*63, got"),
        ((0, 2**23, 0), ValueError, r"^epoch must be below 2\*\*23, got 8388608"),
        ((0, 0, 2**40), ValueError, r"^index must be below 2\*\*40, got"),
        ((0, 0.5, 0), TypeError, r"^epoch must be an integer.*got 0\.5"),
        ((True, 0, 0), TypeError, "^base must be an integer.*got True"),
    ],
)
def test_bad_items_are_refused(given: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        item_seed(*given)
