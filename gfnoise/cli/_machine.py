"""What this machine has, for `gfnoise info` and `gfnoise bench`."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from .. import __version__
from .._loading import load

# Distribution, the extra that installs it, and what it is for.
_OPTIONAL = (
    ("torch", "torch", "tensors, training loops"),
    ("cupy-cuda12x", "cuda12", "GPUs, CUDA 12"),
    ("cupy-cuda13x", "cuda13", "GPUs, CUDA 13"),
    ("nibabel", "io", "NIfTI files"),
    ("pynrrd", "io", "NRRD files"),
    ("tqdm", "cli", "progress bars"),
    ("matplotlib", "cli", "gfnoise figure"),
    ("scipy", "metrics", "metrics of surfaces and lesions, gfnoise bench"),
    ("dask", "dask", "volumes that outgrow memory"),
    ("monai", "monai", "gfnoise.integrations.monai"),
    ("torchio", "torchio", "gfnoise.integrations.torchio (and torchio2)"),
    ("batchgeneratorsv2", "nnunet", "gfnoise.integrations.nnunet"),
    ("lightning", "lightning", "gfnoise.integrations.lightning"),
)


def describe() -> dict[str, Any]:
    """Versions, devices, the cache of compiled kernels, optional libraries."""
    return {
        "gfnoise": __version__,
        "python": platform.python_version(),
        "numpy": _version("numpy"),
        "numba": _version("numba"),
        **system(),
        "devices": _devices(),
        "cache": _cache(),
        "optional": [
            {
                "name": name,
                "version": _version(name),
                "install": f"gfnoise[{extra}]",
                "for": purpose,
            }
            for name, extra, purpose in _OPTIONAL
        ],
    }


def system() -> dict[str, Any]:
    """The system, and how many cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"system": f"{platform.system()} {platform.machine()}", "cores": cores}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> list[str]:
    """The CPU, and the devices that kernels can run on: those that CuPy sees."""
    found = ["cpu"]
    try:
        import cupy

        for i in range(cupy.cuda.runtime.getDeviceCount()):
            name = cupy.cuda.runtime.getDeviceProperties(i)["name"].decode()
            found.append(f"cuda:{i} ({name})")
    except Exception as error:  # no CuPy, or no driver, or one that does not work
        reason = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        found.append(f"no cuda ({reason})")
    return found


def _cache() -> dict[str, Any]:
    """Where Numba keeps compiled kernels, and how much; in no folder: they are not kept."""
    try:
        folder = load("gfnoise._cpu._jit").cache_folder()
    except Exception:  # whatever is wrong with Numba: the rest is to be told
        folder = None
    found = Path(folder).glob("*.nb[ci]") if folder else ()
    files = [one for one in found if one.is_file()]
    return {
        "folder": folder,
        "files": len(files),
        "bytes": sum(one.stat().st_size for one in files),
    }
