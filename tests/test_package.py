"""What the package shows: imports, names, and documentation whose code runs."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.metadata
import importlib.resources
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gfnoise
import gfnoise._cpu
import gfnoise._cuda
from gfnoise import io

ROOT = Path(__file__).parents[1]
TOP = [f"gfnoise.{one.name}" for one in pkgutil.iter_modules(gfnoise.__path__)]
PUBLIC_MODULES = ["gfnoise", *(name for name in TOP if "._" not in name)]
INNER = [
    f"{name}.{one.name}"
    for name in TOP
    if name not in ("gfnoise.torch", "gfnoise.integrations")  # which have tests of their own
    for one in pkgutil.iter_modules(getattr(importlib.import_module(name), "__path__", []))
]
KERNELS = sorted(one.name for one in pkgutil.iter_modules(gfnoise._cpu.__path__))
SECTIONS = ["Parameters", "Returns", "Raises", "Examples"]


def public() -> dict[str, Callable[..., Any]]:
    """Public functions, and the public methods of public classes."""
    found = {}
    for name in gfnoise.__all__:
        one = getattr(gfnoise, name)
        if not inspect.isclass(one):
            found[name] = one
            continue
        for method, function in vars(one).items():
            if inspect.isfunction(function) and not method.startswith("_"):
                found[f"{name}.{method}"] = function
    return found


def sections(documented: Any) -> dict[str, str]:
    """The sections of a numpydoc docstring, by their names."""
    text = inspect.cleandoc(documented.__doc__ or "")
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", text, flags=re.MULTILINE)
    return {"Summary": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def documented_parameters(documented: Any) -> list[str]:
    """Names of the Parameters section, in their order; "a, b : int" are two."""
    lines = re.findall(r"^([*\w][*\w, ]*?)(?: : .*)?$", sections(documented)["Parameters"], re.M)
    return [name.strip("* ") for line in lines for name in line.split(",")]


# -------------------------------------------------------------------------------- imports


def test_import_loads_no_heavy_library() -> None:
    code = """
import sys
import gfnoise
from gfnoise import *
gfnoise.GaussianField(1.5, 5.0, ndim=3)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    loaded = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "gfnoise" in loaded
    heavy = {"scipy", "numba", "llvmlite", "torch", "cupy", "matplotlib", "pytest"}
    assert not heavy & set(loaded)


def test_all_is_complete() -> None:
    defined = {
        name
        for module in map(importlib.import_module, PUBLIC_MODULES)
        if not hasattr(module, "__all__")  # gfnoise.io, gfnoise.cli, ...: with names of their own
        for name, one in vars(module).items()
        if (inspect.isfunction(one) or inspect.isclass(one)) and one.__module__ == module.__name__
        if not name.startswith("_")
    }
    assert defined <= set(gfnoise.__all__)
    assert sorted(gfnoise.__all__) == list(gfnoise.__all__)
    for name in gfnoise.__all__:
        assert hasattr(gfnoise, name)


def test_version_and_types_are_shipped() -> None:
    assert gfnoise.__version__ == importlib.metadata.version("gfnoise")
    assert (importlib.resources.files(gfnoise) / "py.typed").is_file()


@pytest.mark.parametrize("name", [name for name in KERNELS if not name.startswith("_")])
def test_kernels_check_nothing(name: str) -> None:
    """Arguments are checked by the public functions, before anything is written."""
    path = Path(importlib.util.find_spec(f"gfnoise._cpu.{name}").origin)
    tree = list(ast.walk(ast.parse(path.read_text())))
    assert not [node.lineno for node in tree if isinstance(node, ast.Raise | ast.Assert)]


CPU, CUDA = (Path(one.__path__[0]) for one in (gfnoise._cpu, gfnoise._cuda))


@pytest.mark.parametrize("folder", [CPU, CUDA], ids=lambda folder: folder.name)
def test_kernels_import_only_downwards(folder: Path) -> None:
    for path in folder.glob("*.py"):
        tree = list(ast.walk(ast.parse(path.read_text())))
        froms = [one for one in tree if isinstance(one, ast.ImportFrom) and not one.level]
        imports = [name for one in tree if isinstance(one, ast.Import) for name in one.names]
        names = {one.module or "" for one in froms} | {one.name for one in imports}
        above = {name for name in names if name.partition(".")[0] == "gfnoise"}
        assert all(f"{name}.".startswith("gfnoise._shared.") for name in above), path


def signatures(path: Path) -> dict[str, set[str]]:
    """The arguments of a module's public functions."""
    functions = [
        one for one in ast.parse(path.read_text()).body if isinstance(one, ast.FunctionDef)
    ]
    return {
        one.name: {each.arg for each in (*one.args.args, *one.args.kwonlyargs)}
        for one in functions
        if not one.name.startswith("_") and not one.decorator_list
    }


def test_twins_are_called_alike() -> None:
    """But for what kernels/README.md names."""
    cpu_alone = "count_votes", "decide_votes", "every_block"
    for path in CUDA.glob("[!_]*.py"):
        cpu, cuda = signatures(CPU / path.name), signatures(path)
        if path.stem == "field":
            cuda["sample_labels"] -= {"strengths"}
        assert cuda == {name: given for name, given in cpu.items() if name not in cpu_alone}


# -------------------------------------------------------------------------- documentation


@pytest.mark.parametrize("name", ["gfnoise", *TOP, *INNER])
def test_examples_of_the_docstrings_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


@pytest.mark.parametrize("name", public())
def test_public_functions_are_documented(name: str) -> None:
    function = public()[name]
    found = sections(function)
    assert re.match(r"[A-Z`].*\.$", found["Summary"].splitlines()[0])
    has_arguments = [p for p in inspect.signature(function).parameters if p != "self"]
    returns = inspect.signature(function).return_annotation not in (None, "None")
    needed = [
        section
        for section in SECTIONS
        if (section != "Parameters" or has_arguments) and (section != "Returns" or returns)
    ]
    assert [section for section in found if section in SECTIONS] == needed
    if has_arguments:
        assert documented_parameters(function) == has_arguments
    assert ">>> " in found["Examples"]


def test_public_classes_are_documented() -> None:
    classes = [one for one in map(gfnoise.__dict__.get, gfnoise.__all__) if inspect.isclass(one)]
    assert gfnoise.GaussianField in classes
    for one in classes:
        found = sections(one)
        assert documented_parameters(one) == list(inspect.signature(one).parameters)
        assert ">>> " in found["Examples"]


def test_code_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Block after block, in one namespace."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    label = np.zeros((20, 22, 24), np.uint8)
    label[5:15, 5:15, 5:15] = 1
    io.write("label.nii.gz", label)
    namespace: dict[str, Any] = {}
    for block in blocks:
        line = readme[: readme.index(block)].count("\n")
        exec(compile("\n" * line + block, str(ROOT / "README.md"), "exec"), namespace)


def test_the_readme_lists_every_verb() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in public():
        verb = name.rpartition(".")[2]
        assert re.search(rf"\b{verb}\(", readme), verb


def stems(folder: str) -> set[str]:
    """The stems that have kernels."""
    return {path.stem for path in (ROOT / "kernels" / folder).glob("[!_]*.py")}


def test_the_readme_says_what_runs_on_cuda() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = re.search(r"run on CUDA kernels in (.*?), and so", readme, flags=re.DOTALL)
    on_cuda = {
        name.rpartition(".")[2]
        for name, verb in public().items()
        if verb.__module__.rpartition(".")[2] in stems("cuda")
    }
    assert listed
    assert sorted(re.findall(r"`(\w+)`", listed[1])) == sorted(on_cuda)


def test_the_readme_of_the_kernels_lists_the_stems() -> None:
    text = (ROOT / "kernels" / "README.md").read_text(encoding="utf-8")
    both, alone = re.search(
        r"in both: (.*?)\. On the CPU alone:\s(.*?)\.", text, re.DOTALL
    ).groups()
    assert set(re.findall(r"`(\w+)`", both)) == stems("cuda")
    assert set(re.findall(r"`(\w+)`", alone)) == stems("cpu") - stems("cuda")
