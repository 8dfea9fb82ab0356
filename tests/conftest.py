"""Which kernels the tests of the core run on: each module of theirs, once per backend."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from cuda_on_host.launcher import HostLauncher, redirected
from gfnoise._cuda import _launch


class StagedLauncher:
    """Launches on a GPU what is called with NumPy arrays: copied there, and back."""

    def __init__(self) -> None:
        self._device = _launch.CupyLauncher()

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
        self._device.launch(stem, name, defines, grid, block, moved, shared)
        for i, one in staged.items():
            if arguments[i].flags.writeable:
                arguments[i][...] = one.get()

    def empty(self, shape: Any, dtype: Any) -> Any:
        return np.empty(shape, dtype)

    def scratch(self, name: str, size: int, dtype: Any) -> Any:
        return np.empty(size, dtype)


def has_gpu() -> bool:
    """Whether CuPy is installed and finds a device."""
    if importlib.util.find_spec("cupy") is None:
        return False
    import cupy

    try:
        return bool(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError:
        return False


GPU = has_gpu()
BACKENDS = ["cpu", "cuda-on-host", *["cuda"] * GPU]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cpu: of the CPU's kernels alone")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of modules that say EVERY_BACKEND on each, but for those marked `cpu`."""
    every = getattr(metafunc.module, "EVERY_BACKEND", False)
    if every and not any(mark.name == "cpu" for mark in metafunc.definition.iter_markers()):
        metafunc.fixturenames.append("backend")
        metafunc.parametrize("backend", BACKENDS, indirect=True, scope="module")


@pytest.fixture(scope="module")
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """The kernels that NumPy arrays run on."""
    if request.param == "cpu":
        yield "cpu"
        return
    with redirected(HostLauncher() if request.param == "cuda-on-host" else StagedLauncher()):
        yield request.param
