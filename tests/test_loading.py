"""What is imported when it is first needed: by other threads as well, and beside forks."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gfnoise
from limits import LIMIT

PACKAGE = Path(gfnoise.__file__).parent
# torch.compile traces one import of `_array`, after `load`.
TRACED = ("_array.py", "torch", "_tensors")


def imports_within(source: Path) -> list[tuple[str, str, str]]:
    """The imports in functions of a module: its file, and the module and names that they take."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    found = []
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.ImportFrom | ast.Import):
                    names = ", ".join(alias.name for alias in node.names)
                    found.append((source.name, getattr(node, "module", None) or "", names))
    return found


@pytest.mark.parametrize("folder", [".", "_dask", "_shared", "io", "metrics"])
def test_late_imports_are_loads(folder: str) -> None:
    """A fork waits for `load`, and would leave its child to wait for a plain import.

    (The process of the command line is its own.)
    """
    sources = sorted((PACKAGE / folder).glob("*.py"))
    assert len(sources) > 3
    late = [one for source in sources for one in imports_within(source)]
    assert set(late) <= {TRACED}


FORKS = """
import os, signal, threading, time, warnings
import numpy as np
import gfnoise._loading
gfnoise._loading._PATIENCE = 100.0  # a slow machine imports slowly
{setup}
warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)  # of Python 3.12
thread = threading.Thread(target=first)
thread.start()
codes = []
for _ in range(5):
    time.sleep(0.02)
    child = os.fork()
    if not child:
        signal.alarm(200)
        first()
        os._exit(0)
    codes.append(os.waitpid(child, 0)[1])
thread.join()
print(codes)
"""
SURFACES = """
import gfnoise.metrics
label = np.zeros((8, 8), np.uint8)
label[2:5, 2:5] = 1
def first():
    gfnoise.metrics.surface_dice(label, label, 1.0)
"""
TENSORS = """
import torch, gfnoise
label = torch.zeros(8, 8, dtype=torch.uint8)
def first():
    gfnoise.GaussianField(1.0, 4.0, ndim=2).sample_labels(label, seed=1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("setup", [SURFACES, TENSORS], ids=["SciPy", "torch"])
def test_forks_beside_a_first_use(setup: str) -> None:
    gfnoise.warm_up()  # the kernels are in the cache: what takes time is imports
    code = FORKS.format(setup=setup)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT
    )
    assert done.stdout == f"{[0] * 5}\n", done.stderr


def test_numba_is_imported_from_the_outside_in() -> None:
    """Else a thread that imports numba itself meanwhile is handed modules that are half made."""
    code = (
        "import sys, gfnoise\n"
        "assert 'numba' not in sys.modules\n"
        "order = []\n"
        "class Finder:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        order.append(name)\n"
        "sys.meta_path.insert(0, Finder)\n"
        "import gfnoise._cpu.field\n"
        "print([name for name in order if name.partition('.')[0] in ('numba', 'llvmlite')][0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT
    )
    assert done.stdout == "numba\n", done.stderr
