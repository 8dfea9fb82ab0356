"""Which kernels the tests of the core run on: each module of theirs, once per backend.

`pytest -m gpu` runs all that takes a GPU, and no more.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cuda_on_host.launcher import HostLauncher, redirected
from devices import GPU, StagedLauncher

BACKENDS = ["cpu", "cuda-on-host", *[pytest.param("cuda", marks=pytest.mark.gpu)] * GPU]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cpu: of the CPU's kernels alone")
    config.addinivalue_line("markers", "gpu: what takes a GPU")
    config.addinivalue_line("markers", "long: minutes on the host, where threads are fibers")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of modules that say EVERY_BACKEND on each, but for those marked `cpu`."""
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    if getattr(metafunc.module, "EVERY_BACKEND", False) and "cpu" not in marks:
        backends = [one for one in BACKENDS if one != "cuda-on-host" or "long" not in marks]
        metafunc.parametrize("backend", backends, indirect=True, scope="module")


@pytest.fixture(scope="module", autouse=True)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """The kernels that NumPy arrays run on; used by itself, or pytest would drop it unseen."""
    chosen = getattr(request, "param", "cpu")
    if chosen == "cpu":
        yield "cpu"
        return
    with redirected(HostLauncher() if chosen == "cuda-on-host" else StagedLauncher()):
        yield chosen


@pytest.fixture
def host() -> Iterator[HostLauncher]:
    """The CUDA kernels on the host, for NumPy arrays."""
    with redirected(HostLauncher()) as launcher:
        yield launcher
