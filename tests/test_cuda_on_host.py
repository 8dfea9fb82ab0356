"""CUDA kernels on the host: the harness itself, on kernels right and wrong."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cuda_on_host import controls, launcher, sanitize
from cuda_on_host.launcher import ORDERS, HostLauncher, LaunchError

WAYS = [*({"order": order} for order in ORDERS), {"threads": True}]
ways = pytest.mark.parametrize("way", WAYS, ids=[*ORDERS, "threads"])
RAMP = controls.RAMP


def named(tests):
    return pytest.mark.parametrize("control", tests, ids=[test.__name__ for test in tests])


def host(**options):
    return HostLauncher(controls.source, **options)


@ways
@named(controls.RIGHT)
def test_right_kernels_are_not_reported(control, way):
    control(host(**way))


@pytest.mark.parametrize("seed", range(3))
def test_right_kernels_in_other_random_orders(seed):
    for control in controls.RIGHT:
        control(host(order="random", seed=seed))


# ---- orders


def visit(grid, block, **options):
    """Return each thread's turn (blocks, lanes), and its place (blocks, lanes, 2, 3)."""
    threads = int(np.prod(grid) * np.prod(block))
    turns, places = np.zeros(threads, np.uint32), np.zeros(2 * threads * 3, np.uint32)
    arguments = (np.zeros(1, np.uint32), turns, places)
    host(**options).launch("right", "visit", controls.LABEL, grid, block, arguments)
    return turns.reshape(np.prod(grid), -1), places.reshape(np.prod(grid), -1, 2, 3)


def test_ascending_and_descending_orders():
    up, _ = visit((3,), (64,), order="ascending")
    down, _ = visit((3,), (64,), order="descending")
    np.testing.assert_array_equal(up.ravel(), np.arange(192))
    np.testing.assert_array_equal(down.ravel(), np.arange(192)[::-1])


def test_random_order_of_blocks_and_of_their_threads():
    turns, _ = visit((5,), (64,), order="random", seed=1)
    first = turns.min(axis=1)
    assert sorted(turns.ravel()) == list(range(320))
    assert sorted(first) == list(range(0, 320, 64))
    assert list(first) != sorted(first)
    inside = turns - first[:, None]
    assert all(list(order) != list(inside[0]) for order in inside[1:])
    np.testing.assert_array_equal(turns, visit((5,), (64,), order="random", seed=1)[0])
    assert (turns != visit((5,), (64,), order="random", seed=2)[0]).any()


@ways
@pytest.mark.parametrize(
    ("grid", "block"), [((2, 3, 2), (4, 2, 8)), ((2, 2), (3, 5)), ((1,), (1024,))]
)
def test_every_thread_has_its_place(grid, block, way):
    turns, places = visit(grid, block, **way)
    assert sorted(turns.ravel()) == list(range(turns.size))
    for axis, extents in ((0, block), (1, grid)):
        shape = (*extents, 1, 1)[:3]
        z, y, x = np.indices(shape[::-1]).reshape(3, -1)
        expected = np.stack([x, y, z], axis=-1)
        expected = expected[None] if axis == 0 else expected[:, None]
        np.testing.assert_array_equal(
            places[:, :, axis], np.broadcast_to(expected, places[:, :, axis].shape)
        )


# ---- faults that show without a sanitizer


@named([controls.missing_barrier, controls.overwritten])
def test_a_missing_barrier_gives_wrong_values_in_some_order(control):
    wrong = 0
    for order in ORDERS:
        try:
            control(host(order=order))
        except AssertionError:
            wrong += 1
    assert wrong


@ways
def test_uninitialised_shared_memory_shows(way):
    with pytest.raises(AssertionError):
        controls.uninitialised(host(**way))


@ways
@pytest.mark.parametrize(
    ("control", "texts"),
    [
        (controls.early_return, (r"thread \(40, 0, 0\) has returned",)),
        (controls.two_barriers, (r"thread \(0, 0, 0\)", r"thread \(1, 0, 0\)")),
    ],
    ids=["early_return", "two_barriers"],
)
def test_divergent_barriers_are_reported(control, texts, way):
    one = host(**way)
    for text in (f"^{control.__name__}: barrier divergence in block", *texts, r"of line \d+, "):
        with pytest.raises(LaunchError, match=text):
            control(one)
    with pytest.raises(LaunchError):
        control(one)


def test_a_warp_that_waits_for_half_of_itself():
    with pytest.raises(LaunchError, match=r"waits at __syncwarp .* has returned"):
        controls.half_a_warp(host())


def test_a_launch_after_a_failed_one():
    one = host()
    with pytest.raises(LaunchError):
        launch(one, "barriers", (1,), (64,), (np.int32(3),))
    launch(one, "barriers", (5,), (64,), (np.int32(64),))


BARRIERS = """extern "C" __global__ void barriers(int most) {
  for (int i = 0; i < 10; ++i) if ((int)threadIdx.x < most || i < 5) __syncthreads();
}"""


def launch(one, name, grid, block, arguments, shared=0):
    one.source = lambda stem: BARRIERS
    one.launch("barriers", name, {}, grid, block, arguments, shared)


# ---- what the device would refuse


ONE = (np.zeros(1, np.uint32), np.zeros(64, np.uint32), np.zeros(64 * 6, np.uint32))


@pytest.mark.parametrize(
    ("grid", "block", "shared", "text"),
    [
        ((0,), (1,), 0, r"visit: the grid \(0,\) is not within"),
        ((1, 65536), (1,), 0, r"the grid \(1, 65536\)"),
        ((1, 1, 1, 1), (1,), 0, r"the grid \(1, 1, 1, 1\)"),
        ((1,), (1, 1, 65), 0, r"the block \(1, 1, 65\) is not within \(1024, 1024, 64\)"),
        ((1,), (64, 32), 0, "visit: 2048 threads in a block, at most 1024"),
        ((1,), (1,), 49153, "49153 bytes of shared memory, at most 49152"),
        ((1,), (1,), -1, "-1 bytes of shared memory"),
    ],
)
def test_shapes_that_no_device_takes(grid, block, shared, text):
    with pytest.raises(LaunchError, match=text):
        host().launch("right", "visit", controls.LABEL, grid, block, ONE, shared)


def test_blocks_beyond_the_launch_bounds_are_refused():
    arguments = (RAMP, np.empty_like(RAMP), np.zeros((), controls.AFFINE))
    with pytest.raises(LaunchError, match="512 threads in a block, at most 256 are allowed by its"):
        host().launch("right", "reverse", controls.LABEL, (1,), (512,), arguments, 2048)


AFFINE = np.array((1.0, 0.0, 4), controls.AFFINE)
FOUR = np.zeros(4, np.float32)
READ_ONLY = np.broadcast_to(np.float32(0), 4)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((FOUR, FOUR), "reverse takes 3 arguments, got 2"),
        ((FOUR.astype("f8"), FOUR, AFFINE), "argument 0 .* const float of 4 bytes, got .* float64"),
        (
            (FOUR, FOUR.view("i4"), AFFINE),
            "argument 1 .* pointer to float of 4 bytes, got .* int32",
        ),
        ((FOUR, READ_ONLY, AFFINE), "argument 1 .* to write to, got a read-only one"),
        ((FOUR, [0.0], AFFINE), r"argument 1 .* expected an array or an address, got \[0.0\]"),
        ((FOUR, None, AFFINE), "argument 1 .* expected an array or an address, got None"),
        ((FOUR, FOUR, 3), "argument 2 .* expected a NumPy scalar, got 3"),
        ((FOUR, FOUR, np.float32(3)), "argument 2 .* struct of 16 bytes, got float32"),
        ((FOUR, FOUR, np.zeros((), "f8, f4")), "argument 2 .* struct of 16 bytes"),
        ((FOUR, FOUR, np.zeros(2, controls.AFFINE)), "argument 2 .* expected a NumPy scalar"),
    ],
)
def test_arguments_that_do_not_fit_the_kernel(arguments, text):
    with pytest.raises(LaunchError, match=text):
        host().launch("right", "reverse", controls.LABEL, (1,), (4,), arguments, 16)


@pytest.mark.parametrize("count", [np.int32(4), np.float64(4), np.array(4, ">i8")])
def test_widths_of_scalars(count):
    sums, least = (np.zeros(1, np.uint64), np.zeros(1)), np.zeros(1, np.int32)
    arguments = (np.zeros(4, np.uint8), count, *sums, least, least)
    with pytest.raises(LaunchError, match=f"argument 1 of sum: .* 8 bytes, got {count.dtype}"):
        host().launch("right", "sum", controls.LABEL, (1,), (4,), arguments, 16)


def test_other_arguments_that_fit():
    output = np.zeros(4, np.float32)
    scratch = RAMP[:4].copy().view(np.uint8)  # bytes are scratch of any type
    address = np.uint64(output.ctypes.data)
    arguments = (scratch, address, AFFINE.reshape(1)[0])
    host().launch("right", "reverse", controls.LABEL, (1,), (4,), arguments, 16)
    assert output.tolist() == [4, 3, 2, 1]
    none = np.uint64(0), np.uint64(0), np.zeros_like(AFFINE)
    host().launch("right", "reverse", controls.LABEL, (1,), (4,), none, 16)


def test_scratch_holds_nothing_of_use():
    one = host()
    assert np.isnan(one.scratch("a", 5, np.float32)).all()
    assert np.isnan(one.scratch("a", 5, np.float64)).all()
    assert one.scratch("a", 3, np.uint8).shape == (3,)
    assert one.scratch("a", 0, np.int32).size == 0
    assert np.isnan(one.empty((2, 3), np.float32)).all()
    assert np.isnan(host(order="descending").empty((), np.float64))


# ---- compiling


def test_kernels_that_do_not_exist_or_compile():
    with pytest.raises(LaunchError, match='right has no `extern "C" __global__ void missing'):
        host().kernel("right", "missing", controls.LABEL)
    broken = HostLauncher(lambda stem: "int fine;\nint broken")
    with pytest.raises(RuntimeError, match=r"compiling stem: .*\n[^\n]*stem.cu:\d"):
        broken.kernel("stem", "broken")


def test_heads_of_kernels():
    text = """
    // extern "C" __global__ void commented(int x) {}
    #if 0
    extern "C" __global__ void removed(int x) {}
    #endif
    #define THREADS (16 * (2 + 2))
    extern "C" __global__ void __launch_bounds__(THREADS, 2) after(int x) {}
    extern "C" __launch_bounds__(1) __global__ void first(int x) {}
    extern "C" void no_kernel(int x) {}
    extern "C" __global__ __launch_bounds__(THREADS + SPARE) void before(int x) {}
    extern "C" __global__
    void plain() {}
    """
    one = HostLauncher(lambda stem: text)
    defines = (("SPARE", 3),)
    assert one.kernel("heads", "after", defines).most_threads == 64
    assert one.kernel("heads", "before", defines).most_threads == 67
    assert one.kernel("heads", "first", defines).most_threads == 1
    assert one.kernel("heads", "plain", defines).most_threads == 1024
    for name in ("commented", "removed", "no_kernel"):
        with pytest.raises(LaunchError, match=name):
            one.kernel("heads", name, defines)
    one.launch("heads", "plain", defines, (1,), (1,), ())


def test_a_missing_compiler_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("GFNOISE_CUDA_ON_HOST_CACHE", str(tmp_path))
    launcher.compiler.cache_clear()
    launcher.version.cache_clear()
    try:
        with pytest.raises(
            RuntimeError, match=r"run on the host by g\+\+ \(11 or later\): found no"
        ):
            host().kernel("right", "reverse", controls.LABEL)
    finally:
        monkeypatch.undo()
        launcher.compiler.cache_clear()


def test_sanitizers_need_their_runtime():
    with pytest.raises(RuntimeError, match=r"run tests/cuda_on_host/sanitize\.py"):
        host(sanitizers="thread").kernel("right", "reverse", controls.LABEL)


def test_processes_that_compile_at_once(tmp_path):
    code = (
        "from cuda_on_host import controls; from cuda_on_host.launcher import HostLauncher;"
        "controls.reverse(HostLauncher(controls.source))"
    )
    tests = str(Path(__file__).parent)
    environment = {**os.environ, "GFNOISE_CUDA_ON_HOST_CACHE": str(tmp_path), "PYTHONPATH": tests}
    running = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert [path.suffix for path in tmp_path.iterdir()] == [".so"]


def test_threads_that_launch_at_once():
    one = host(order="random")
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(controls.reverse, one) for _ in range(40)]:
            done.result()
    assert one.launches == [("right", "reverse")] * 40


# ---- sanitizers


WRONG = [(mode, test.__name__) for mode, tests in controls.WRONG.items() for test in tests]


@pytest.mark.parametrize(("mode", "name"), WRONG)
def test_sanitizers_report_wrong_kernels(mode, name):
    sanitize.check_control(mode, name)


@pytest.mark.parametrize("mode", controls.WRONG)
def test_sanitizers_pass_right_kernels(mode):
    done = sanitize.run(mode, *(f"control:{control.__name__}" for control in controls.RIGHT))
    assert done.returncode == 0, done.stdout


def test_a_control_that_goes_unreported(monkeypatch):
    monkeypatch.setitem(controls.WRONG["fibers"], controls.missing_barrier, "heap-buffer-overflow")
    with pytest.raises(AssertionError, match="missing_barrier: no 'heap-buffer-overflow'"):
        sanitize.check_control("fibers", "missing_barrier")
