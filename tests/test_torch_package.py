"""What gfnoise.torch shows: documentation whose code runs, and no CUDA at import."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections import Counter

import pytest
import test_package as package

pytest.importorskip("torch")

import gfnoise.torch
from gfnoise.torch import _operators

MODULES = [one.name for one in pkgutil.iter_modules(gfnoise.torch.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_the_docstrings_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"gfnoise.torch.{name}"))
    assert result.failed == 0
    assert result.attempted or name.startswith("_")


@pytest.mark.parametrize("name", gfnoise.torch.__all__)
def test_public_names_are_documented(name: str) -> None:
    one = getattr(gfnoise.torch, name)
    found = package.sections(one)
    assert re.match(r"[A-Z`].*\.$", found["Summary"].splitlines()[0])
    assert package.documented_parameters(one) == [*inspect.signature(one).parameters]
    assert ">>> " in found["Examples"]
    for method, function in vars(one).items() if inspect.isclass(one) else ():
        if inspect.isfunction(function) and not method.startswith("_"):
            assert inspect.cleandoc(function.__doc__ or "").splitlines()[0].endswith("."), method


def test_every_function_of_arrays_takes_tensors() -> None:
    plain = {name for name, one in package.public().items() if not hasattr(one, "__wrapped__")}
    assert plain == {"check_values", "warm_up"}


def test_operators_and_graphs_are_of_one_function_each() -> None:
    """By whose name they are found."""
    graphs = pytest.importorskip("gfnoise._dask.graphs", exc_type=ImportError)
    modules = map(importlib.import_module, ("gfnoise", *package.TOP, *package.INNER))
    spaces = [vars(module) for module in modules]
    spaces += [vars(one) for space in spaces for one in space.values() if inspect.isclass(one)]
    functions = {one for space in spaces for one in space.values() if inspect.isfunction(one)}
    doors = [one for one in functions if one.__code__.co_name == "door"]  # of `any_library`
    names = Counter(one.__name__ for one in doors)
    places = Counter(one.__qualname__ for one in doors)
    assert {names[name] for name in _operators._TRACED} == {1}
    assert {places[place] for place in graphs._GRAPHS} == {1}


def test_import_starts_no_cuda_and_loads_no_kernels() -> None:
    code = """
import sys
import torch
from gfnoise.torch import *
loaded = {name.partition(".")[0] for name in sys.modules}
print(torch.cuda.is_initialized(), *sorted({"numba", "scipy", "cupy"} & loaded))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
