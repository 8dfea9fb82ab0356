"""Modules that are loaded when they are first needed, and forks beside it."""

import importlib
import os
import threading
from types import ModuleType

_lock = threading.RLock()

# The child of a fork while another thread imports would wait for Python's own locks for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )


def load(name: str) -> ModuleType:
    """Import a module by its name; no fork happens meanwhile."""
    with _lock:
        return importlib.import_module(name)
