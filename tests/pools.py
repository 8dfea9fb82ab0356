"""Work for thread pools: every kernel at once, in this process or in one of its own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gfnoise import GaussianField, optimal_threshold, warp_labels
from limits import LIMIT


def job(number: int) -> list[str]:
    """Every kernel on enough voxels for several tasks; hashes of the results."""
    shape = (24, 70, 68)
    labels = np.zeros(shape, np.uint8)
    labels[4 + number % 5 : 20, 10:50, 8:60] = 1 + number % 2
    labels[:, 30 + number % 7, 20:40] = 3
    field = GaussianField(1.0 + number % 3, 5.0, ndim=3)
    move = field.displacement(shape, seed=number)
    marginals = field.marginals(labels, num_classes=4)
    results = [
        field.sample_labels(labels, seed=number, n=2, order=number % 2),
        move,
        warp_labels(labels, move, order=1),
        marginals,
        np.asarray(optimal_threshold(marginals, ndim=3)),
    ]
    return [hashlib.sha256(result.tobytes()).hexdigest() for result in results]


def wait_for(reached: Callable[[], bool]) -> None:
    """Of what comes a moment later; fails where it does not."""
    end = time.monotonic() + LIMIT / 4
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.001)


def run_python(code: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=Path(__file__).parent,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()
