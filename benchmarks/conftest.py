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
        info = self.benchmark.extra_info
        info["reference"] = name
        rounds = rounds or int(np.clip(_SECONDS / taken, 3, 15))
        info["reference_median"] = self.turns(ours, reference, rounds)
        info["voxels"] = voxels
        info["threads"] = _pool.threads()
        info["extra_bytes_per_voxel"] = self.extra_bytes(ours) / voxels
        info["reference_bytes_per_voxel"] = self.extra_bytes(reference) / voxels

    def turns(self, ours: Callable[[], Any], other: Callable[[], Any], rounds: int) -> float:
        """Time `ours` in turns with the other; the median of the other's seconds."""
        times: list[float] = []

        def turn() -> None:
            start = time.perf_counter()
            other()
            times.append(time.perf_counter() - start)

        self.benchmark.pedantic(ours, setup=turn, rounds=rounds, warmup_rounds=1)
        return statistics.median(times[-rounds:])

    @staticmethod
    def extra_bytes(function: Callable[[], Any]) -> int:
        """What NumPy holds at most during a call, beyond what it returns."""
        tracemalloc.start()
        try:
            result = function()
            return tracemalloc.get_traced_memory()[1] - result.nbytes
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
    for name in ("node", "release"):  # of no one's interest
        machine_info.pop(name, None)


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict) -> None:
    """Keep what sums up the rounds, quartiles and extremes, and not every round."""
    for one in output_json["benchmarks"]:
        one["stats"].pop("data", None)
