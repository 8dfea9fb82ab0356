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
            _lock(stream.fileno())
        yield  # to close the file ends the lock


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        os.lseek(file, _FAR, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_LOCK, 1)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)
