"""States of data sets and loaders, as they are saved: checked before they are loaded."""

import operator
from collections.abc import Mapping
from typing import Any

from .. import _checks
from .item_seeds import EPOCHS, epoch_of, items_of, seed_of


def checked(state: Mapping[str, int], version: int, *names: str) -> list[int]:
    """The seed, the epoch and other numbers of a saved state."""
    if not isinstance(state, Mapping):
        raise TypeError(f"state must be a dict, got {type(state).__qualname__}")
    if not _is_version(state.get("version"), version):
        raise ValueError(f"state must be of version {version}, got {dict(state)!r}")
    if not {"seed", "epoch", *names} <= {*state}:
        listed = ", ".join(("seed", "epoch", *names))
        raise ValueError(f"state must hold {listed}, got {dict(state)!r}")
    seed, numbers = seed_of("seed", state["seed"]), [items_of(state[name]) for name in names]
    epoch = _checks.integer("epoch", state["epoch"], 0)
    if epoch != EPOCHS or numbers != [0]:  # where a loader is behind the last of all epochs
        epoch_of(epoch)
    return [seed, epoch, *numbers]


def _is_version(found: Any, version: int) -> bool:
    try:
        return not isinstance(found, bool) and operator.index(found) == version
    except TypeError:
        return False
