"""A library in a process of its own: it reads requests, one JSON per line, and answers them.

It needs NumPy and the library alone: it may run in another environment than the runner.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import importlib
import importlib.metadata
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from peers import quality
from peers.works import Work


class Worker:
    """One adapter at one piece of work at a time."""

    def open(self, adapter: str, device: str, package: str, options: dict[str, Any]) -> Any:
        """Import the library; its version."""
        module, _, name = adapter.rpartition(".")
        self.options = options if device == "cpu" else {**options, "device": device}
        self.device = device
        self.adapter = getattr(importlib.import_module(module), name)
        return importlib.metadata.version(package)

    def make(self, **work: Any) -> None:
        """Do what is done once per piece of work."""
        self.result = self.call = None
        arguments = Work(**work).arguments()
        self.sources = arguments[0]
        self.call = self.adapter(*arguments, **self.options)

    def time(self, seed: int) -> float:
        """Seconds of a call."""
        self.result = None
        gc.collect()
        self._wait()
        start = time.perf_counter()
        self.result = self.call(seed)
        self._wait()
        return time.perf_counter() - start

    def measure(self, seed: int) -> dict[str, float | None]:
        """Seconds of a call and the bytes it takes at most, its result included."""
        self.result = None
        gc.collect()
        before = self._reset_peak()
        seconds = self.time(seed)
        after = self._peak()
        return {"seconds": seconds, "bytes": max(0, after - before) if after else None}

    def save(self, path: str) -> None:
        """Keep the latest result."""
        np.save(path, self._array())

    def summary(self) -> dict[str, Any]:
        """What became of the labels."""
        result, first = self._array(), self.result[0]
        known = np.unique(self.sources).tolist()
        return {
            "shape": result.shape,
            "dtype": str(first.dtype).removeprefix("torch."),
            "changed": float(np.mean(result != self.sources)),
            "invented": [v for v in np.unique(result).tolist() if v not in (*known, 0)],
        }

    def law(self, side: int, seconds: float) -> dict[str, Any]:
        """Of the displacement that the adapter applies."""
        return quality.law(lambda *given: self.adapter(*given, **self.options), side, seconds)

    def codes(self, side: int) -> dict[str, Any]:
        """Of labels 1 and 4, which touch: is one seed one label, and are there others?"""
        self.sources, noise = quality.touching(side)
        self.call = self.adapter(self.sources, noise, **self.options)
        invented, digests = set(), []
        for seed in (1, 2, 1):
            self.result = self.call(seed)
            invented.update(self.summary()["invented"])
            digests.append(hashlib.sha256(self._array().astype(np.int64).tobytes()).hexdigest())
        return {
            "invented": sorted(invented),
            "repeats": digests[0] == digests[2],
            "seeds_differ": digests[0] != digests[1],
            "digest": digests[0],
        }

    def _array(self) -> np.ndarray:
        """The result for NumPy, in the shape of what it was made from where the sizes agree."""
        result = _numpy(self.result)
        return result.reshape(self.sources.shape) if result.size == self.sources.size else result

    def _wait(self) -> None:
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()

    def _reset_peak(self) -> int:
        if self.device == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()
            return torch.cuda.memory_allocated()
        try:  # give back what is free, or the call would take it from there unseen
            ctypes.CDLL("libc.so.6").malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return 0
        return _status("VmRSS")

    def _peak(self) -> int | None:
        if self.device == "cuda":
            import torch

            return torch.cuda.max_memory_allocated()
        return _status("VmHWM") if Path("/proc/self/clear_refs").exists() else None


def _numpy(result: Any) -> np.ndarray:
    """Of an array or a tensor, on a device or not, or of one of them per item."""
    if isinstance(result, list):
        return np.stack([_numpy(one) for one in result])
    for fetch in ("cpu", "get"):  # torch's, CuPy's
        if hasattr(result, fetch):
            result = getattr(result, fetch)()
    return np.asarray(result)


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return 1024 * int(line.split()[1])
    raise OSError(name)


def main() -> None:
    """Answer until the requests end."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not an answer
    warnings.simplefilter("ignore")
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"answer": getattr(worker, request.pop("do"))(**request)}
        except Exception as error:
            first = (str(error).strip().splitlines() or [""])[0]
            answer = {"error": f"{type(error).__name__}: {first}"[:200]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
