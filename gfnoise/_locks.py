"""Locks between processes, which end with the one that holds them."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_FAR = 1 << 30  # where no file of notes reaches: on Windows, what is locked cannot be read


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process holds a file, and hold it; it is made if it is missing.

    Where the file system has no locks, as some that are shared over a network, and on Windows after
    ten seconds, this goes on without one.
    """
    with path.open("a+b") as stream:
        with contextlib.suppress(OSError):
            _wait(stream.fileno())
        yield  # to close the file ends the lock


@contextlib.contextmanager
def made(path: Path) -> Iterator[None]:
    """Make a file, if it is missing, that is not `left` until the end; not on Windows.

    Who writes it opens it anew, and does not replace it.
    """
    if sys.platform == "win32":  # an open file could not get another name
        yield
    else:
        with path.open("a+b") as stream:
            _try(stream.fileno())
            yield


def left(path: Path) -> bool:
    """Whether no process holds a file, as far as can be known: on Windows, nothing is left."""
    with path.open("rb") as stream:
        return _try(stream.fileno())


if sys.platform == "win32":
    import msvcrt

    def _wait(file: int) -> None:
        os.lseek(file, _FAR, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_LOCK, 1)

    def _try(file: int) -> bool:
        return False

else:
    import fcntl

    def _wait(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)

    def _try(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # held, or there are no locks
            return False
        return True
