"""How a benchmark is run: verified, then timed in turns with its reference, then its memory."""

import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import pytest
import scipy

import gfnoise
from gfnoise._cpu import _pool

_SECONDS = 5.0  # for all turns of a reference, but three at least


@dataclass
class Race:
    """Times a function in turns with a reference; what it finds goes into the JSON."""

    benchmark: Any

    def __call__(
        self,
        ours: Callable[[], Any],
        reference: Callable[[], Any],
        *,
        name: str,
        voxels: int,
        verify: Callable[[Any, Any], None],
        rounds: int | None = None,
    ) -> None:
        """Compare `ours` with `reference`; `verify` takes what they return."""
        start = time.perf_counter()
        expected, taken = reference(), time.perf_counter() - start
        result = ours()
        verify(result, expected)
        times: list[float] = []

        def turn() -> None:
            start = time.perf_counter()
            reference()
            times.append(time.perf_counter() - start)

        rounds = rounds or int(np.clip(_SECONDS / taken, 3, 15))
        self.benchmark.pedantic(ours, setup=turn, rounds=rounds, warmup_rounds=1)
        info = self.benchmark.extra_info
        info["reference"] = name
        info["reference_median"] = statistics.median(times[-rounds:])
        info["voxels"] = voxels
        info["threads"] = _pool.threads()
        info["extra_bytes_per_voxel"] = (_peak(ours) - result.nbytes) / voxels
        info["reference_bytes_per_voxel"] = (_peak(reference) - expected.nbytes) / voxels


def _peak(function: Callable[[], Any]) -> int:
    """Bytes that NumPy held at most during a call, its result included."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def race(benchmark: Any) -> Race:
    return Race(benchmark)


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict) -> None:
    machine_info["versions"] = {
        module.__name__: module.__version__ for module in (gfnoise, np, scipy, numba)
    }
    machine_info["threads"] = _pool.threads()
    machine_info.pop("node", None)
