"""Every CUDA kernel compiles for every architecture, without a warning and without spills."""

from pathlib import Path

import pytest

from cuda_on_host import controls, nvrtc
from gfnoise._cuda import _launch

# None; one that runs once per item or per coefficient, not per voxel, could be named here.
MAY_USE_STACK: frozenset[str] = frozenset()

GOOD = controls.source("right")
UNUSED = 'extern "C" __global__ void k(int *p) { int unused; p[0] = 1; }'
BROKEN = 'extern "C" __global__ void k(int *p) { p[0] = missing; }'
STACK = """extern "C" __global__ void k(float *p, int n) {
  float kept[64];
  for (int i = 0; i < 64; ++i) kept[i] = p[i];
  for (int i = 0; i < 64; ++i) p[i] = kept[(i * n) & 63];
}"""
SPILLS = """extern "C" __global__ void __launch_bounds__(1024, 2) k(float *p) {
  float kept[80];
  #pragma unroll
  for (int i = 0; i < 80; ++i) kept[i] = p[i];
  __syncthreads();
  #pragma unroll
  for (int i = 0; i < 80; ++i) p[i] = kept[79 - i] * kept[(7 * i) % 80];
}"""


@pytest.fixture(scope="module")
def controlled():
    """What NVRTC says of the controls, by name."""
    sources = {"good": GOOD, "unused": UNUSED, "broken": BROKEN, "stack": STACK, "spills": SPILLS}
    defines = (("LABEL", "unsigned char"),)
    tasks = [nvrtc.Task(name, text, defines, (), 90) for name, text in sources.items()]
    return {done.task.stem: done for done in nvrtc.compile_all(tasks)}


def test_good_kernels_are_measured(controlled):
    done = controlled["good"]
    names = {"reverse", "sum", "histogram", "rotate", "dialect", "visit"}
    assert not nvrtc.faults(done, frozenset())
    assert {usage.kernel for usage in done.kernels} == names
    assert all(4 <= usage.registers <= 64 for usage in done.kernels)


@pytest.mark.parametrize(
    ("name", "text"), [("unused", "declared but never"), ("broken", 'identifier "missing"')]
)
def test_warnings_and_errors_are_reported(controlled, name, text):
    (fault,) = nvrtc.faults(controlled[name], frozenset())
    assert text in fault
    assert f"{name}.cu LABEL=unsigned char sm_90" in fault


def test_spills_and_stacks_are_reported(controlled):
    assert controlled["stack"].kernels[0].stack == 256
    assert len(nvrtc.faults(controlled["stack"], frozenset())) == 1
    assert not nvrtc.faults(controlled["stack"], frozenset({"k"}))
    assert controlled["spills"].kernels[0].spilled > 0
    assert len(nvrtc.faults(controlled["spills"], frozenset({"k"}))) == 1


@pytest.fixture(scope="module")
def compiled():
    """What NVRTC says of the kernels: of a choice of variants and architectures."""
    return nvrtc.compile_all(nvrtc.tasks(complete=False))


def test_kernels_compile_without_warnings_or_spills(compiled):
    found = [fault for done in compiled for fault in nvrtc.faults(done, MAY_USE_STACK)]
    assert not found, "\n".join(found)


def test_filters_of_float32_have_registers_to_spare(compiled):
    """But on Blackwell, for which each is compiled: it is no matter for what else."""
    limit = 65536 // (2 * 256)  # of two blocks of 256 threads, their launch bounds
    used = [
        usage
        for done in compiled
        if done.task.stem == "filters" and ("REAL", "float") in done.task.defines
        for usage in done.kernels
        if usage.kernel in ("filter_planes", "filter_lines") and done.task.architecture < 100
    ]
    assert len(used) >= 20
    assert max(usage.registers for usage in used) <= limit - 16


def test_every_file_has_variants():
    folder = Path(_launch.__file__).parent
    assert {stem for stem, _ in _launch.variants()} == {path.stem for path in folder.glob("*.cu")}


def test_the_choice_of_compilations():
    tasks, every = nvrtc.tasks(complete=False), nvrtc.tasks(complete=True)
    variants = set(_launch.variants())
    assert len(every) == len(set(every)) == len(variants) * len(nvrtc.ARCHITECTURES)
    assert set(tasks) < set(every)
    assert {(task.stem, task.defines) for task in tasks} == variants
    for stem, _ in variants:
        mine = {task.architecture for task in tasks if task.stem == stem}
        assert mine == set(nvrtc.ARCHITECTURES)
    for architecture in nvrtc.GENERATIONS:
        mine = [
            (task.stem, dict(task.defines)) for task in tasks if task.architecture == architecture
        ]
        usual = {"LABEL": "unsigned char", "INDEX": "int"}
        assert all(("sampling", usual | {"ORDER": order}) in mine for order in "01")
    filters = [
        dict(task.defines) for task in tasks if task.stem == "filters" and task.architecture == 120
    ]
    hot = [one["SOURCE"] for one in filters if (one["REAL"], one["INDEX"]) == ("float", "int")]
    assert len(hot) == len(set(hot)) == 6
