"""What all adapters have in common: who imports them, their documentation, their examples."""

from __future__ import annotations

import doctest
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import test_package as package

import gfnoise.io

EXAMPLES = Path(__file__).parents[1] / "examples"
HOSTS = {
    "monai": "monai",
    "torchio": "torchio",
    "torchio2": "torchio",
    "nnunet": "batchgeneratorsv2",
    "nnunet_trainer": "nnunetv2",
    "lightning": "lightning",
}
TORCHIO = {"torchio": "1", "torchio2": "2"}


def adapter(name: str) -> ModuleType:
    """An adapter; skips where its host is missing."""
    pytest.importorskip("torch")
    if importlib.util.find_spec(HOSTS[name]) is None:
        pytest.skip(f"{HOSTS[name]} is not installed")
    if name in TORCHIO and importlib.metadata.version("torchio")[0] != TORCHIO[name]:
        pytest.skip(f"needs TorchIO {TORCHIO[name]}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"gfnoise.integrations.{name}")


def test_the_list_is_complete() -> None:
    folder = Path(gfnoise.__file__).parent / "integrations"
    names = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    assert names == set(HOSTS)


def test_adapters_are_imported_only_by_who_names_them() -> None:
    torch = [] if importlib.util.find_spec("torch") is None else ["gfnoise.torch"]
    code = f"""
import importlib, sys
hosts = {set(HOSTS.values())!r} | {{"pytorch_lightning", "nibabel", "nrrd"}}
for name in ["gfnoise", "gfnoise.cli", "gfnoise.io", "gfnoise.integrations", *{torch!r}]:
    importlib.import_module(name)
print(*[one for one in sys.modules if one.startswith("gfnoise.integrations.")
        or one.partition(".")[0] in hosts])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_a_missing_host_names_the_extra() -> None:
    pytest.importorskip("torch")
    hosts = {*HOSTS.values(), "pytorch_lightning"}
    code = f"""
import importlib, sys
sys.modules.update(dict.fromkeys({hosts!r}))
for name in {[*HOSTS]!r}:
    try:
        importlib.import_module(f"gfnoise.integrations.{{name}}")
    except ImportError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pattern = r"^this adapter needs .*: pip install 'gfnoise\[(\w+)\]'"
    found = re.findall(pattern, done.stdout, re.M)
    assert found == ["monai", "torchio", "torchio2", "nnunet", "nnunet", "lightning"]
    assert set(found) <= set(importlib.metadata.metadata("gfnoise").get_all("Provides-Extra"))


@pytest.mark.parametrize("name", HOSTS)
def test_names_are_documented(name: str) -> None:
    module = adapter(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert doctest.testmod(module).failed == 0
    for public in module.__all__:
        one = getattr(module, public)
        if one.__module__ != module.__name__ or name == "nnunet_trainer":
            continue
        check_documentation(one)


@pytest.mark.parametrize("name", ["Image", "read_labels", "read_map", "write"])
def test_documentation_of_files(name: str) -> None:
    check_documentation(getattr(gfnoise.io, name), example=name != "Image")


def check_documentation(one: Any, example: bool = True) -> None:
    found = package.sections(one)
    assert re.match(r"[A-Z`].*\.$", found["Summary"].splitlines()[0])
    names = [name for name in inspect.signature(one).parameters if name != "self"]
    assert package.documented_parameters(one) == names
    assert not example or ">>> " in found["Examples"]


@pytest.mark.filterwarnings("ignore")  # of the hosts
@pytest.mark.parametrize(
    ("script", "host", "options", "expected"),
    [
        (
            "06_monai",
            "monai",
            ["--size", "16", "--epochs", "2"],
            r"epoch 1: .*changed at \d.*\nmask",
        ),
        ("07_torchio", "torchio", ["--size", "16"], r"GaussianFieldNoise\(.*history: True"),
        ("08_nnunet", "nnunet_trainer", None, r"RemoveLabel\w+\nGaussianFieldNoiseTransform\n"),
        ("09_lightning", "lightning", ["--size", "16"], r"step 3: .*\nvalidation, on clean"),
    ],
)
def test_examples_run(
    script: str, host: str, options: list[str] | None, expected: str, capsys: Any
) -> None:
    adapter(host)
    spec = importlib.util.spec_from_file_location(script, EXAMPLES / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(*[] if options is None else [options])
    assert re.search(expected, capsys.readouterr().out, re.S)
