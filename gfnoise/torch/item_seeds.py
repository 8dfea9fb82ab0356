"""Seeds: stateless, the same integers on every machine. Version 1: a change is in CHANGELOG.md."""

import torch

from .. import _checks

LARGEST_SEED = (1 << 63) - 1
"""Of 63 bits. It is never drawn: the bound of `torch.randint` is exclusive, and 2**63 too large."""

_WORD = (1 << 64) - 1
_SEED_BITS, _EPOCH_BITS, _INDEX_BITS = 63, 23, 40
EPOCHS = 1 << _EPOCH_BITS
"""How many there are: a loader that went through all is at this one."""

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_SHIFT = 32


def item_seed(base: int, epoch: int, index: int) -> int:
    """Compute the seed of an item of a data set in an epoch.

    The same whatever the batch, the worker, the rank or the point where a run was resumed.

    Parameters
    ----------
    base : int
        The seed of the run, in [0, 2**63).
    epoch : int
        In [0, 2**23).
    index : int
        The item's, in [0, 2**40).

    Returns
    -------
    int
        In [0, 2**63), as `GaussianField.sample_labels` and `LabelNoise` take it.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    For one base it is a permutation of the 63 bits of ``epoch << 40 | index``: two items, or two
    epochs of one, never share a seed. It consists of three rounds of ``x ^= key``, a product with
    an odd constant and ``x ^= x >> 32``, modulo 2**63, with keys by SplitMix64 from the base.

    Examples
    --------
    >>> from gfnoise.torch import item_seed
    >>> item_seed(0, epoch=3, index=17)
    1336494617552781089
    """
    base, epoch, index = seed_of("base", base), epoch_of(epoch), _below("index", index, _INDEX_BITS)
    return _permute(base, epoch << _INDEX_BITS | index)


def seed_of(name: str, value: object) -> int:
    """A seed, checked."""
    return _below(name, value, _SEED_BITS)


def epoch_of(value: object) -> int:
    """An epoch, checked."""
    return _below("epoch", value, _EPOCH_BITS)


def items_of(value: object) -> int:
    """How many items of an epoch are past, checked."""
    return _below("items", value, _INDEX_BITS)


def _below(name: str, value: object, bits: int) -> int:
    number = _checks.integer(name, value, 0)
    if number >> bits:
        raise ValueError(f"{name} must be below 2**{bits}, got {number}")
    return number


def _permute(base: int, word: int) -> int:
    state = _mix(base)
    for odd in (_FIRST, _SECOND, _FIRST):
        state = state + _GOLDEN & _WORD
        word = (word ^ _mix(state)) & LARGEST_SEED
        word = word * odd & LARGEST_SEED
        word ^= word >> _SHIFT
    return word


def items(seed: int, count: int) -> list[int]:
    """The seeds of the items of a call that was given a single one."""
    return [_permute(seed, index) for index in range(count)]


def uniforms(seed: int, count: int) -> list[float]:
    """Numbers in [0, 1) that follow from a seed: SplitMix64, 53 bits each."""
    state = _mix(seed)
    return [(_mix(state + _GOLDEN * (i + 1) & _WORD) >> 11) * 2.0**-53 for i in range(count)]


def _mix(word: int) -> int:
    word = (word ^ word >> 30) * _FIRST & _WORD
    word = (word ^ word >> 27) * _SECOND & _WORD
    return word ^ word >> 31


def uniforms_on_device(seeds: torch.Tensor, count: int) -> torch.Tensor:
    """`uniforms` of int64 seeds on their device, unread by the host: float64 (count, items)."""
    state = _mix_tensor(seeds)
    words = [_mix_tensor(state + _signed(_GOLDEN * (i + 1))) for i in range(count)]
    return torch.stack([_shifted(word, 11).double() * 2.0**-53 for word in words])


def _mix_tensor(word: torch.Tensor) -> torch.Tensor:
    word = (word ^ _shifted(word, 30)) * _signed(_FIRST)
    word = (word ^ _shifted(word, 27)) * _signed(_SECOND)
    return word ^ _shifted(word, 31)


def _shifted(word: torch.Tensor, bits: int) -> torch.Tensor:
    """A shift to the right that fills with zeros."""
    return word >> bits & (1 << 64 - bits) - 1


def _signed(word: int) -> int:
    word &= _WORD
    return word - (1 << 64) if word >> 63 else word
