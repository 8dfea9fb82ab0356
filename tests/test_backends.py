"""That a test runs on the kernels that its name says."""

from __future__ import annotations

import pytest

from gfnoise import _array

EVERY_BACKEND = True


def test_the_kernels_are_those_of_the_backend(request: pytest.FixtureRequest) -> None:
    """Without the fixture as an argument: tests that do not ask for it must get it as well."""
    backend = request.node.callspec.params["backend"]
    package = "gfnoise._cpu" if backend == "cpu" else "gfnoise._cuda"
    assert _array.kernels("a test", "field").__name__ == f"{package}.field"


@pytest.mark.cpu
def test_the_kernels_of_the_cpu_alone() -> None:
    assert _array.kernels("a test", "field").__name__ == "gfnoise._cpu.field"
