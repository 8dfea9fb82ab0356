"""The thread pool in many threads at once, and in forked and spawned processes."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gfnoise._cpu import _pool
from limits import LIMIT
from pools import job, run_python

# Python 3.12 warns of any fork while threads run: what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture(scope="module")
def serial() -> list[list[str]]:
    threads = _pool.threads
    _pool.threads = lambda: 1
    try:
        return [job(number) for number in range(8)]
    finally:
        _pool.threads = threads


@pytest.fixture
def four_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pool, "threads", lambda: 4)


def in_processes(method: str) -> list[list[str]]:
    """Four jobs at once in as many processes, the first twice."""
    context = multiprocessing.get_context(method)
    with context.Pool(4) as pool:
        try:
            return pool.map_async(job, [0, 1, 2, 3, 0], chunksize=1).get(LIMIT)
        finally:
            pool.terminate()


@pytest.mark.usefixtures("four_threads")
def test_eight_threads_at_once(serial: list[list[str]]) -> None:
    start = threading.Barrier(8)

    def together(number: int) -> list[str]:
        start.wait(LIMIT)
        return job(number)

    with ThreadPoolExecutor(8) as executor:
        for _ in range(3):
            found = [executor.submit(together, number) for number in range(8)]
            assert [one.result(LIMIT) for one in found] == serial


@pytest.mark.usefixtures("four_threads")
def test_four_forked_processes_at_once(serial: list[list[str]]) -> None:
    assert job(0) == serial[0]  # the parent has used its pool
    assert _pool._pools
    assert in_processes("fork") == [serial[i] for i in (0, 1, 2, 3, 0)]
    assert job(1) == serial[1]  # and can go on


@pytest.mark.usefixtures("four_threads")
def test_forks_from_a_thread_while_others_work(serial: list[list[str]]) -> None:
    busy = threading.Event()

    def work() -> None:
        while not busy.is_set():
            assert job(5) == serial[5]

    with ThreadPoolExecutor(3) as executor:
        workers = [executor.submit(work) for _ in range(2)]
        try:
            forked = executor.submit(in_processes, "fork").result(LIMIT)
        finally:
            busy.set()
        assert forked == [serial[i] for i in (0, 1, 2, 3, 0)]
        for worker in workers:
            worker.result(LIMIT)


@pytest.mark.usefixtures("four_threads")
def test_a_fork_while_the_lock_is_held(serial: list[list[str]]) -> None:
    with _pool._lock:
        assert in_processes("fork")[3] == serial[3]


def test_a_fork_while_another_thread_makes_the_first_call() -> None:
    """What the call imports is locked by a thread that the child does not have."""
    code = """
import importlib.abc
import os
import signal
import sys
import threading
import time
import warnings
import numpy as np
import gfnoise

warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)  # of Python 3.12
importing = threading.Event()

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "gfnoise._cpu.filters":
            importing.set()
            time.sleep(0.3)

def call():
    return gfnoise.gaussian_filter(np.ones((4, 5)), 1.0).shape

sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=call)
thread.start()
importing.wait()
child = os.fork()
if child == 0:
    signal.alarm(200)
    os._exit(call()[1])
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run_python(code) == "5"


def test_a_fork_that_could_not_wait_is_told_so() -> None:
    """Of an import that never ends, as it waits for what the fork has taken."""
    code = """
import os
import signal
import threading
import warnings
import numpy as np
import gfnoise
from gfnoise import _loading

warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)  # of Python 3.12
_loading._PATIENCE = 0.1
held, done = threading.Event(), threading.Event()

def load():
    with _loading._lock:
        held.set()
        done.wait(60)

def call():
    try:
        return gfnoise.gaussian_filter(np.ones((4, 5)), 1.0).shape[1]
    except RuntimeError as error:
        return 50 + ("forked while another thread used it for the first time" in str(error))

thread = threading.Thread(target=load)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(200)
    os._exit(call())
done.set()
thread.join()
again = os.fork()
if again == 0:
    signal.alarm(200)
    os._exit(call())
print(*(os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) for one in (child, again)), call())
"""
    assert run_python(code) == "51 5 5"


def side_by_side(_: int) -> None:
    """Two tasks that wait for each other: they need two threads."""
    meet = threading.Barrier(2, timeout=LIMIT / 4)
    _pool.run([meet.wait, meet.wait])


@pytest.mark.usefixtures("four_threads")
def test_forked_processes_have_threads_of_their_own() -> None:
    side_by_side(0)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map_async(side_by_side, range(4)).get(LIMIT)
    side_by_side(0)


def test_spawned_processes_give_the_same(serial: list[list[str]]) -> None:
    assert in_processes("spawn") == [serial[i] for i in (0, 1, 2, 3, 0)]
