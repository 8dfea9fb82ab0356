"""Whether there is a GPU, and how what is called with NumPy arrays runs on it."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cuda_on_host import cupy_itself
from gfnoise._cuda import _launch


class StagedLauncher:
    """Launches on a GPU what is called with NumPy arrays: copied there, and back."""

    def launch(
        self,
        stem: str,
        name: str,
        defines: _launch.Defines,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[Any],
        shared: int = 0,
    ) -> None:
        import cupy

        staged = {
            i: cupy.asarray(one)
            for i, one in enumerate(arguments)
            if isinstance(one, np.ndarray) and one.dtype.names is None
        }
        moved = [staged.get(i, one) for i, one in enumerate(arguments)]
        _launch.CupyLauncher().launch(stem, name, defines, grid, block, moved, shared)
        for i, one in staged.items():
            if arguments[i].flags.writeable:
                one.get(out=arguments[i])

    def empty(self, shape: Any, dtype: Any) -> Any:
        return np.empty(shape, dtype)

    def scratch(self, name: str, size: int, dtype: Any) -> Any:
        return np.empty(size, dtype)


def cupy_array(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What looks like an array of CuPy on the current device, of which nothing can be asked."""
    device = SimpleNamespace(id=0)
    stream = SimpleNamespace(is_capturing=lambda: False)
    cuda = SimpleNamespace(Device=lambda: device, get_current_stream=lambda: stream)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
    return type("ndarray", (), {"__module__": "cupy", "device": device})()


def has_gpu() -> bool:
    """Whether CuPy is installed and finds a device."""
    if importlib.util.find_spec("cupy") is None:
        return False
    import cupy

    try:
        return bool(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError:
        return False


if ON_HOST := bool(os.environ.get("GFNOISE_CUPY_ON_HOST")):
    cupy_itself.install()
GPU = has_gpu()
