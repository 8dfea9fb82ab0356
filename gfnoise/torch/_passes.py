"""Passes of a loader over its data: the epoch of each, and how many items it has given out."""

from collections.abc import Callable
from dataclasses import dataclass

from .item_seeds import epoch_of

Place = tuple[int, int]  # an epoch, and how many of its items are given out


class Passes:
    """Where the last pass that began is, and where the next one begins."""

    def __init__(self) -> None:
        self.now: Place = (0, 0)
        self.next = self.begun = self.now

    def begin(self) -> Place:
        """Begin the next pass; return where."""
        epoch_of(self.next[0])
        self.now = self.begun = self.next
        self.next = (self.now[0] + 1, 0)
        return self.now

    def give(self, epoch: int, items: int) -> None:
        """Say how many items the pass of an epoch has given out."""
        if self.now[0] == epoch:  # no other has begun
            self.now = (epoch, items)

    def end(self, epoch: int) -> None:
        """Say that the pass of an epoch has given out all."""
        if self.now[0] == epoch:
            self.now = self.next

    def go(self, epoch: int, items: int) -> None:
        """Let the next pass begin behind the items of an epoch."""
        self.now = self.next = (epoch, items)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next pass, whose place stays if the epoch is what it was."""
        epoch = epoch_of(epoch)
        self.go(epoch, self.next[1] if epoch == self.next[0] else 0)


@dataclass(frozen=True, eq=False)
class Epochs:
    """Of a sampler what hosts call."""

    set_epoch: Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Batching:
    """Of a batch sampler what hosts ask for."""

    batch_size: int | None
    sampler: Epochs
