"""What starting costs: the import, the first call of a process, compiling; in fresh processes.

`stats` in the JSON are of the whole process, `seconds` of the statement alone.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from cases import SMALL

CALL = "gfnoise.GaussianField(1.5, 5.0, ndim=3).sample_labels(labels, seed=0)"
LABELS = "import gfnoise, numpy; labels = numpy.zeros((64, 64, 64), numpy.uint8)"
EVERY_KERNEL = "gfnoise.warm_up()"
ONE_KERNEL = "gfnoise.smooth_labels(labels, 2, 0.1)"
ROUNDS = 1 if SMALL else 7


def test_import(benchmark):
    """Beyond NumPy's own."""
    measure(benchmark, "import numpy", "import gfnoise")


def test_first_call(benchmark):
    """With the kernels in the cache on disk."""
    measure(benchmark, LABELS, CALL)


def test_compile(benchmark, tmp_path):
    """All kernels, into an empty cache."""
    measure(benchmark, LABELS, ONE_KERNEL if SMALL else EVERY_KERNEL, cache=tmp_path)
    benchmark.extra_info["kernels"] = len(list(tmp_path.rglob("*.nbc")))
    assert benchmark.extra_info["kernels"]


def measure(benchmark: Any, prepare: str, statement: str, cache: Path | None = None) -> None:
    """Time a statement in processes of its own; with a new cache, once."""
    script = f"""
import time
{prepare}
start = time.perf_counter()
{statement}
print(time.perf_counter() - start)
"""
    environment = os.environ if cache is None else {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    times: list[float] = []

    def run() -> None:
        command = [sys.executable, "-W", "error", "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        times.append(float(done.stdout))

    rounds = ROUNDS if cache is None else 1
    benchmark.pedantic(run, rounds=rounds, warmup_rounds=int(cache is None))
    benchmark.extra_info["seconds"] = statistics.median(times[-rounds:])
