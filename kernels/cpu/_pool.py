"""The thread pool of the process: kernels release the GIL, slabs of work run side by side.

Numba's own threading layers abort after a fork, or when two threads enter them; this pool is made
on first use in each process, so that a forked worker never meets its parent's threads.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

SLAB = 1 << 16
"""Voxels of a task: a fraction of a millisecond of work, and its rows stay in cache."""

_pools: list[tuple[int, ThreadPoolExecutor]] = []  # with its size: one, or none yet
_lock = threading.Lock()
_caller = threading.local()


def _begin_anew() -> None:
    """Forget the parent's pool, whose threads a forked child has not, and its lock."""
    global _lock
    _lock = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def threads() -> int:
    """How many threads a call may use: torch's setting, else OMP_NUM_THREADS, else all cores.

    Only a torch that is already imported is asked. Its DataLoader workers are set to one.
    """
    if getattr(_caller, "alone", False):
        return 1
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        return int(torch.get_num_threads())
    setting = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if setting.isascii() and setting.isdigit() and int(setting[:9]) > 0:
        return int(setting[:9])
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextmanager
def alone() -> Iterator[None]:
    """Let calls of this thread use no other: for one of many calls that run side by side."""
    before = getattr(_caller, "alone", False)
    _caller.alone = True
    try:
        yield
    finally:
        _caller.alone = before


def _pool(workers: int) -> ThreadPoolExecutor:
    """The pool of the process, which grows to the largest size that was asked for."""
    with _lock:
        if not _pools or _pools[0][0] < workers:
            outgrown = _pools[:]
            _pools[:] = [(workers, ThreadPoolExecutor(workers, thread_name_prefix="gfnoise"))]
            for _, smaller in outgrown:
                smaller.shutdown(wait=False)  # its threads end once they have nothing to do
        return _pools[0][1]


class _Crew:
    """The threads at work on the tasks of one call."""

    def __init__(self, tasks: Sequence[Callable[[], object]]) -> None:
        self._tasks, self._turns = tasks, iter(range(len(tasks)))  # next() of a range is atomic
        self._change = threading.Condition()
        self._inside, self._closed = 0, False
        self._errors: list[BaseException] = []  # the first of those who joined

    def work(self) -> None:
        """Do tasks as long as there are any."""
        try:
            for turn in self._turns:
                self._tasks[turn]()
        finally:
            for _ in self._turns:  # after an exception: leave nothing for the others to start
                pass

    def join(self) -> None:
        """Work with the caller; a pool that is busy may come to it when all is done."""
        with self._change:
            if self._closed:
                return
            self._inside += 1
        try:
            self.work()
        except BaseException as error:
            if not self._errors:
                self._errors.append(error)
        finally:
            with self._change:
                self._inside -= 1
                self._change.notify()

    def close(self) -> list[BaseException]:
        """Let no other join, and wait until none works; an interrupt is raised only then.

        Returns the error of those who joined, if any, and forgets it: they would keep each other.
        """
        interrupt: KeyboardInterrupt | None = None
        while True:
            try:
                with self._change:
                    self._closed = True
                    while self._inside:
                        self._change.wait()
                break
            except KeyboardInterrupt as caught:
                interrupt = caught
        self._tasks = ()  # what a pool has not come to yet keeps none of them alive
        if interrupt is not None:
            raise interrupt
        errors, self._errors = self._errors, []
        return errors


def slabs(size: int, step: int | None = None) -> list[tuple[int, int]]:
    """Cut [0, size) into parts of `step`, or of a SLAB, the last of what is left: (start, stop)."""
    step = SLAB if step is None else step
    return [(start, min(start + step, size)) for start in range(0, size, step)]


def tasks(
    function: Callable[..., object], *args: Any, size: int, step: int | None = None
) -> list[Callable[[], object]]:
    """Make tasks `function(*args, start, stop)` over slabs of [0, size)."""
    return [partial(function, *args, *slab) for slab in slabs(size, step)]


def run(tasks: Sequence[Callable[[], object]], at_once: int | None = None) -> None:
    """Run the tasks, in any order, on the caller's thread and the pool's; return when all are done.

    Tasks must not submit tasks. The first exception is raised once no task runs any more. To wake a
    thread takes longer than a short task: `at_once` says how many are worth it, if not all are.
    """
    available = threads()
    workers = min(available, len(tasks) if at_once is None else at_once)
    if workers <= 1:
        for task in tasks:
            task()
        return
    crew = _Crew(tasks)
    try:
        try:
            with alone():  # a signal's handler that comes in between must not submit as well
                for _ in range(workers - 1):
                    _pool(available - 1).submit(crew.join)
        except RuntimeError:  # no more threads, or the interpreter shuts down
            pass
        crew.work()
    finally:
        errors = crew.close()
    if errors:
        raise errors.pop()
