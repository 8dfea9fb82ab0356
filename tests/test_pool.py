"""The thread pool: its tasks, their errors, and how many threads."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from gfnoise._cpu import _pool
from limits import LIMIT
from pools import run_python, wait_for

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")


# ----------------------------------------------------------------------------- the tasks


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_task_runs_once(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pool, "threads", lambda: threads)
    for count in (0, 1, 2, 3, 200):
        done: list[int] = []
        _pool.run([partial(done.append, i) for i in range(count)])
        assert sorted(done) == list(range(count))


@pytest.mark.parametrize("kind", [ValueError, MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_an_exception_is_raised_once_no_task_runs(
    threads: int, kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pool, "threads", lambda: threads)
    running: list[int] = []
    started: list[int] = []

    def task(i: int, bad: int) -> None:
        started.append(i)
        running.append(i)
        time.sleep(0.001)
        running.remove(i)
        if i == bad:
            raise kind(f"task {i}")

    for bad in (0, 20):
        started.clear()
        with pytest.raises(kind, match=f"task {bad}"):
            _pool.run([partial(task, i, bad) for i in range(500)])
        assert not running
        assert len(started) < 500  # the rest is not started any more
        done: list[int] = []
        _pool.run([partial(done.append, i) for i in range(50)])  # the pool has survived
        assert sorted(done) == list(range(50))
        assert not running


def test_a_pool_that_is_busy_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller does its own tasks while all threads of the pool are taken by another's."""
    monkeypatch.setattr(_pool, "threads", lambda: 2)
    release, entered = threading.Event(), threading.Barrier(3)

    def block() -> None:
        entered.wait(LIMIT)
        release.wait(LIMIT)

    with ThreadPoolExecutor(2) as executor:
        blocked = executor.submit(_pool.run, [block, block])  # its own thread, and the pool's
        entered.wait(LIMIT)
        done: list[int] = []
        other = executor.submit(_pool.run, [partial(done.append, i) for i in range(20)])
        try:
            other.result(LIMIT / 4)
            assert sorted(done) == list(range(20))
        finally:
            release.set()
        blocked.result(LIMIT)


def test_a_pool_that_is_busy_keeps_nothing_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a thread has not come to yet holds no array of a call that is over."""
    monkeypatch.setattr(_pool, "threads", lambda: 2)
    release, busy = threading.Event(), threading.Event()

    def occupy() -> None:
        busy.set()
        release.wait(LIMIT)

    occupied = _pool._pool(1).submit(occupy)
    try:
        assert busy.wait(LIMIT)
        values = np.zeros(3)
        held = weakref.ref(values)
        _pool.run([partial(values.fill, 1), partial(values.fill, 2)])
        del values
        assert held() is None
    finally:
        release.set()
        occupied.result(LIMIT)


def test_what_failed_is_kept_by_its_exception_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pool, "threads", lambda: 4)
    meet = threading.Barrier(2, timeout=LIMIT)

    def fails(values: Any) -> None:
        meet.wait()
        raise ValueError(values.size)

    values = np.zeros(3)
    held = weakref.ref(values)
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(ValueError):
            _pool.run([partial(fails, values), partial(fails, values)])
        del values
        wait_for(lambda: held() is None)  # a thread of the pool lets go a moment later
    finally:
        gc.enable()


def test_all_is_done_where_threads_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """An executor queues work before it starts a thread: it may be done although that failed."""
    monkeypatch.setattr(_pool, "threads", lambda: 3)
    monkeypatch.setattr(_pool, "_pools", [])
    start, started = threading.Thread.start, []

    def one_alone(thread: threading.Thread) -> None:
        if thread.name.startswith("gfnoise"):
            if started:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", one_alone)
    release, taken = threading.Event(), threading.Barrier(3)

    def occupy() -> None:
        taken.wait(LIMIT)
        release.wait(LIMIT)

    other = threading.Thread(target=_pool.run, args=([occupy, occupy],))
    other.start()
    taken.wait(LIMIT)  # the pool has no thread left, and gets none
    done: list[int] = []

    def first() -> None:
        release.set()
        time.sleep(0.2)  # in which the pool's thread comes to what was queued
        done.append(0)

    def later(i: int) -> None:
        time.sleep(0.3)
        done.append(i)

    _pool.run([first, *(partial(later, i) for i in (1, 2, 3))])
    assert sorted(done) == [0, 1, 2, 3]
    other.join()


# ------------------------------------------------------------------------ how many threads


def test_there_is_one_pool_of_the_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pool, "_pools", [])
    before = {thread for thread in threading.enumerate() if thread.name.startswith("gfnoise")}

    def own() -> int:
        return sum(
            thread.name.startswith("gfnoise") and thread not in before
            for thread in threading.enumerate()
        )

    for count in (2, 9, 3, 6):
        monkeypatch.setattr(_pool, "threads", lambda count=count: count)
        meet = threading.Barrier(count)
        _pool.run([partial(meet.wait, LIMIT)] * count)
    wait_for(lambda: own() == 8)
    assert [size for size, _ in _pool._pools] == [8]


def test_no_thread_is_woken_for_what_is_not_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pool, "threads", lambda: 4)
    monkeypatch.setattr(_pool, "_pool", lambda workers: pytest.fail("a thread was asked for"))
    done: list[int] = []
    _pool.run([partial(done.append, i) for i in range(5)], at_once=1)
    assert done == list(range(5))


def test_what_a_signal_calls_while_tasks_are_submitted_waits_for_no_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`submit` holds a lock that its own thread cannot take again: such a call runs alone."""
    monkeypatch.setattr(_pool, "threads", lambda: 1 if _pool._caller.alone else 2)
    monkeypatch.setattr(_pool._caller, "alone", False, raising=False)
    submit, done, found = ThreadPoolExecutor.submit, [], []

    def interrupted(pool: ThreadPoolExecutor, *args: Any) -> Any:
        found.append(_pool.threads())
        _pool.run([partial(done.append, i) for i in range(3)])
        return submit(pool, *args)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    _pool.run([partial(done.append, 3), partial(done.append, 4)])
    assert sorted(done) == [0, 1, 2, 3, 4]
    assert found == [1]


def test_an_interrupt_while_others_work_is_raised_once_they_are_done() -> None:
    """Two of them, while the caller has nothing left to do but wait."""
    code = """
import os
import signal
import threading
import time
from gfnoise._cpu import _pool

signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may have had it ignored
caller = threading.current_thread()
both, idle = threading.Barrier(2, timeout=200), threading.Event()
done = []

def task():
    both.wait()
    if threading.current_thread() is caller:
        idle.set()
        return
    idle.wait(20)
    for _ in range(2):
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)
    done.append("done")

try:
    _pool.run([task, task])
except KeyboardInterrupt:
    print("interrupted", *done)
later = []
_pool.run([lambda i=i: later.append(i) for i in range(50)])
print(sorted(later) == list(range(50)))
"""
    assert run_python(code, OMP_NUM_THREADS="2").split() == ["interrupted", "done", "True"]


def test_work_while_the_interpreter_shuts_down() -> None:
    """Nothing can be submitted any more then, and the caller does all of it."""
    code = """
import atexit
from concurrent.futures import ThreadPoolExecutor
from gfnoise._cpu import _pool

def last():
    try:
        ThreadPoolExecutor(1).submit(print)
    except RuntimeError:
        done = []
        _pool.run([lambda i=i: done.append(i) for i in range(50)])
        print(sorted(done) == list(range(50)))

atexit.register(last)
"""
    for before in ("", "_pool.run([int] * 9)"):  # without threads, and with
        assert run_python(code + before, OMP_NUM_THREADS="3") == "True"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("3", 3), ("1", 1), ("4,2", 4), (" 2 ", 2), ("", 0), ("0", 0), ("x", 0)],
)
def test_threads_of_the_environment(setting: str, expected: int) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    code = "from gfnoise._cpu import _pool; print(_pool.threads())"
    assert int(run_python(code, OMP_NUM_THREADS=setting)) == (expected or cores)


def test_labels_do_not_depend_on_the_threads_of_the_environment() -> None:
    code = "import pools; print(pools.job(3))"
    found = {run_python(code, OMP_NUM_THREADS=threads) for threads in ("1", "5")}
    assert len(found) == 1


@needs_torch
def test_threads_of_torch_once_it_is_imported() -> None:
    code = """
from gfnoise._cpu import _pool
before = _pool.threads()
import torch
torch.set_num_threads(3)
print(before, _pool.threads())
torch.set_num_threads(1)
print(_pool.threads())
"""
    assert run_python(code, OMP_NUM_THREADS="2").split() == ["2", "3", "1"]


@needs_torch
def test_one_thread_in_a_worker_of_torchs_dataloader() -> None:
    code = """
import threading
import warnings
import numpy as np
import torch
from gfnoise import GaussianField
from gfnoise._cpu import _pool

warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)  # of Python 3.12
torch.set_num_threads(3)
field = GaussianField(2.0, 5.0, ndim=3)
labels = np.zeros((20, 70, 70), np.uint8)
labels[5:15, 20:50, 20:50] = 1

class Noisy(torch.utils.data.Dataset):
    def __len__(self):
        return 6
    def __getitem__(self, i):
        noisy = field.sample_labels(labels, seed=i)
        names = [thread.name for thread in threading.enumerate()]
        return _pool.threads(), sum(name.startswith("gfnoise") for name in names), noisy

if __name__ == "__main__":
    expected = [field.sample_labels(labels, seed=i) for i in range(6)]
    loader = torch.utils.data.DataLoader(Noisy(), batch_size=None, num_workers=2, timeout=200)
    for (threads, started, noisy), wanted in zip(loader, expected, strict=True):
        print(threads, started, np.array_equal(noisy, wanted))
"""
    assert run_python(code).splitlines() == ["1 0 True"] * 6


def test_alone_runs_tasks_on_the_callers_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread, of the caller's calls alone, until the block ends; blocks may nest."""
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    many = _pool.threads()
    with _pool.alone():
        with _pool.alone():
            assert _pool.threads() == 1
        assert _pool.threads() == 1
        with ThreadPoolExecutor(1) as other:
            assert other.submit(_pool.threads).result() == many
        seen: set[int] = set()
        _pool.run([lambda: seen.add(threading.get_ident())] * 20)
        assert seen == {threading.get_ident()}
    assert _pool.threads() == many
