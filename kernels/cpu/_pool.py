"""The thread pool of the process: kernels release the GIL, slabs of work run side by side.

Numba's own threading layers abort after a fork, or when two threads enter them; this pool is made
on first use in each process, so that a forked worker never meets its parent's threads.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

SLAB = 1 << 16
"""Voxels of a task: a fraction of a millisecond of work, and its rows stay in cache."""

_pools: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()
_caller = threading.local()


def _begin_anew() -> None:
    """Forget the parent's pools, whose threads a forked child has not, and its lock."""
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
    with _lock:
        if workers not in _pools:
            _pools[workers] = ThreadPoolExecutor(workers, thread_name_prefix="gfnoise")
        return _pools[workers]


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
    turns = iter(range(len(tasks)))  # next() of a range is atomic

    def work() -> None:
        try:
            for turn in turns:
                tasks[turn]()
        except BaseException:
            for _ in turns:  # leave nothing for the others to start
                pass
            raise

    others: list[Future[None]] = []
    try:
        for _ in range(workers - 1):
            try:
                others.append(_pool(available - 1).submit(work))
            except RuntimeError:  # no more threads, or the interpreter shuts down
                break
        work()
    finally:
        for _ in turns:  # after an exception: leave nothing for the others to start
            pass
        # One that a busy pool has not started yet has nothing left to do.
        others = [other for other in others if not other.cancel()]
        _join(others)
        tasks = ()  # such a one is kept until a thread comes to it, and `work` keeps the tasks
    for other in others:
        other.result()


def _join(others: Sequence[Future[None]]) -> None:
    """Wait until none runs; an interrupt is raised only then."""
    interrupt: KeyboardInterrupt | None = None
    while True:
        try:
            wait(others)
            break
        except KeyboardInterrupt as caught:
            interrupt = caught
    if interrupt is not None:
        raise interrupt
