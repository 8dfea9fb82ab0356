"""Which library an array belongs to, without importing any."""

import sys

import numpy as np


def owner_of(array: object) -> str | None:
    """Name the library of an array: "numpy", "cupy" or "torch"; None for anything else."""
    if isinstance(array, np.ndarray):
        return "numpy"
    root = type(array).__module__.partition(".")[0]
    if root in ("cupy", "torch"):
        return root
    kind = getattr(sys.modules.get("cupy"), "ndarray", None)
    return "cupy" if kind is not None and isinstance(array, kind) else None
