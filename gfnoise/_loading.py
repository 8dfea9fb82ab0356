"""Modules that are loaded when they are first needed, and forks beside their first use.

The child of a fork while another thread imports, or compiles, would wait for ever for a lock of
Python's, or Numba's, whose owner it does not have. So a fork waits for them.
"""

# Both have locks that a fork takes, and so does whoever imports them. As they are registered before
# ours, a fork waits for an import first, and takes what the import may need only then.
import concurrent.futures.thread  # noqa: F401 (as said)
import importlib
import logging  # noqa: F401 (as said)
import os
import sys
import threading
from types import ModuleType
from typing import Any

_PATIENCE = 10.0  # seconds, where another library's lock makes import and fork wait for each other
_lock = threading.RLock()
_loaded: dict[str, ModuleType] = {}
_held: list[Any] = []  # by a fork: our lock, and Numba's
_cut_off = False  # whether this process was forked all the same


def load(name: str) -> ModuleType:
    """Import a module by its name."""
    if _cut_off:
        raise RuntimeError(
            "gfnoise cannot be used in a process that was forked while another thread used it for "
            "the first time: call gfnoise.warm_up() before"
        )
    module = _loaded.get(name)
    if module is None or sys.modules.get(name) is not module:
        with _lock:
            module = _loaded[name] = importlib.import_module(name)
    return module


def _before_fork() -> None:
    if _lock.acquire(timeout=_PATIENCE):
        _held.append(_lock)
    # Not before it is imported, but from here on: an import must not add to what a fork has begun.
    numba = sys.modules.get("numba.core.compiler_lock")
    compiling = getattr(numba, "global_compiler_lock", None)
    if compiling is not None:
        compiling.acquire()
        _held.append(compiling)


def _after_fork() -> None:
    while _held:
        _held.pop().release()


def _after_fork_in_child() -> None:
    global _cut_off
    _cut_off = _lock not in _held
    _after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
    )
