"""How kernels are compiled: damaged and full caches, and processes forked meanwhile."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from gfnoise._cpu import _jit
from limits import LIMIT

KERNEL = """
from gfnoise._cpu._jit import kernel

@kernel
def twice(value):
    return 2 * value
"""


def use(folder: Path) -> str:
    """Call the folder's kernel as a new process would, and say where its machine code was from."""
    spec = importlib.util.spec_from_file_location("mine", folder / "mine.py")
    assert spec is not None
    assert spec.loader is not None
    mine = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mine)
    assert mine.twice(21) == 42
    return "cache" if sum(mine.twice.stats.cache_hits.values()) else "compiler"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a kernel and its cache."""
    (tmp_path / "mine.py").write_text(KERNEL)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_a_damaged_cache_is_compiled_anew_and_mended(suffix: str, folder: Path) -> None:
    assert [use(folder), use(folder)] == ["compiler", "cache"]
    (file,) = folder.rglob(f"*{suffix}")
    whole = file.read_bytes()
    damaged = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "zeros": bytes(len(whole)),
        "noise": np.random.default_rng(0).bytes(len(whole)),
        "another's": b"\x80\x04cmath\nnothing\n.",  # a name that is gone
    }
    for how, data in damaged.items():
        file.write_bytes(data)
        assert [use(folder), use(folder)] == ["compiler", "cache"], how


def test_machine_code_that_is_gone(folder: Path) -> None:
    assert use(folder) == "compiler"
    (file,) = folder.rglob("*.nbc")
    file.unlink()
    assert [use(folder), use(folder)] == ["compiler", "cache"]


def test_a_cache_that_cannot_be_mended(folder: Path) -> None:
    assert use(folder) == "compiler"
    (file,) = folder.rglob("*.nbi")
    file.unlink()
    file.mkdir()
    assert [use(folder), use(folder)] == ["compiler", "compiler"]


def run(folder: Path, code: str) -> str:
    file = folder / "program.py"
    file.write_text(code)
    found = subprocess.run(
        [sys.executable, "-W", "error", str(file)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert found.returncode == 0, f"{found.returncode}: {found.stderr}"
    return found.stdout.strip()


def test_a_full_disk_is_no_error(folder: Path) -> None:
    """A limit on the size of files stands for it: writing fails midway all the same."""
    pytest.importorskip("resource", reason="this system has no such limits")
    code = """
import resource
import mine
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
print(mine.twice(21))
"""
    assert run(folder, code) == "42"
    assert not [*folder.rglob("*.nbc")]
    assert [use(folder), use(folder)] == ["compiler", "cache"]


def test_machine_code_is_told_apart_by_all_that_it_is_made_of() -> None:
    """A kernel's file alone does not tell that a constant of another one has changed."""
    text = "".join(path.read_text() for path in Path(_jit.__file__).parent.glob("*.py"))
    names = set(re.findall(r"from (gfnoise\.[\w.]+)", text))
    modules = [importlib.import_module(name) for name in names]
    assert len(modules) > 5
    assert {Path(str(module.__file__)) for module in modules} < set(_jit.sources())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_while_another_thread_compiles(folder: Path) -> None:
    """The child would find Numba's lock held by a thread that it does not have."""
    code = """
import os
import signal
import threading
import warnings
import mine
from numba.core.compiler_lock import global_compiler_lock

warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)  # of Python 3.12
compiling, forked = threading.Event(), threading.Event()

def compiles():
    with global_compiler_lock:  # as a compilation does
        compiling.set()
        forked.wait(0.5)  # a fork waits for it

thread = threading.Thread(target=compiles)
thread.start()
compiling.wait()
child = os.fork()
if child == 0:
    signal.alarm(200)
    os._exit(mine.twice(21))
forked.set()
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), mine.twice(21))
"""
    assert run(folder, code) == "42 42"


UNCOUNTED = """
import sys
import numpy as np
from numba.core.dispatcher import Dispatcher
import gfnoise

label = np.zeros((2, 3, 4), np.uint8)
noise = gfnoise.GaussianField(1.0, 2.0, ndim=3)
gfnoise.warp_labels(noise.sample_labels(label, seed=0), noise.displacement(label.shape, seed=0))
gfnoise.optimal_segmentation(noise.marginals(label, num_classes=2)[0])
gfnoise.map_coordinates(label, np.zeros((3, 5)))
gfnoise.svls(label, 2, ndim=3)
inner = {
    value.py_func.__name__: value
    for name, module in sys.modules.items()
    if name.startswith("gfnoise._cpu")
    for value in vars(module).values()
    if isinstance(value, Dispatcher) and value.targetoptions.get("_nrt") is False
}
found = [(name, one.return_type) for name in inner for one in inner[name].nopython_signatures]
print(len(found) > 40, [one for one in found if "array" in str(one[1])])
"""


def test_what_counts_no_references_returns_no_array(tmp_path: Path) -> None:
    """It would be freed while it is in use. What comes from the cache tells nothing: a new one.

    Types are the same without optimisation, and there sooner.
    """
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_OPT": "0"}
    command = [sys.executable, "-c", UNCOUNTED]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT)
    assert found.stdout.strip() == "True []", found.stderr
