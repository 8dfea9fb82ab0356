"""Locks between processes, which end with the one that holds them.

A lock is a file of its own, which nobody reads or writes: where some file systems are shared over a
network, and on Windows, whoever is not its holder cannot.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import cast

_TIMES = 10_000  # that a lock may be found removed by those who were quicker


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process holds a lock, and hold it: a file that is there until the end.

    Where the file system has no locks, and on Windows after ten seconds, this goes on without.
    """
    stream = _opened(path)
    try:
        yield
    finally:
        _end(stream, path)


@contextlib.contextmanager
def unheld(path: Path) -> Iterator[bool]:
    """Hold a lock that is there if no process does; whether that is so, as far as can be known."""
    stream = cast(BufferedIOBase, path.open("r+b"))
    if not _try(stream.fileno()):
        stream.close()
        yield False
        return
    try:
        yield True
    finally:
        _end(stream, path)


def _opened(path: Path) -> BufferedIOBase:
    """A lock that is held, and that nobody removed meanwhile."""
    for _ in range(_TIMES):
        stream = cast(BufferedIOBase, path.open("a+b"))
        with contextlib.suppress(OSError):
            _wait(stream.fileno())
        if sys.platform == "win32":  # an open file cannot be removed
            break
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                break
        stream.close()
    return stream


def _end(stream: BufferedIOBase, path: Path) -> None:
    """End a lock and its file: who waited for that one finds it removed, and makes another."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            path.unlink()
        stream.close()
    else:
        _release(stream.fileno())
        stream.close()
        with contextlib.suppress(OSError):  # another process has opened it
            path.unlink()


if sys.platform == "win32":
    import msvcrt

    def _wait(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_LOCK, 1)

    def _try(file: int) -> bool:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _release(file: int) -> None:
        with contextlib.suppress(OSError):
            os.lseek(file, 0, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

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
