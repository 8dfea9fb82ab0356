"""Small kernels that test the harness itself: `RIGHT` must pass, each of `WRONG` be reported."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cuda_on_host.launcher import HostLauncher

LABEL = {"LABEL": "unsigned char"}
AFFINE = np.dtype([("factor", "f8"), ("shift", "f4"), ("count", "i4")])
RAMP = np.arange(1, 601, dtype=np.float32)


def source(stem: str) -> str:
    """Return the source of "right" or of "wrong"."""
    return (Path(__file__).parent / f"{stem}.cu").read_text()


# ---- right kernels, with the values that they must give


def reverse(launcher: HostLauncher) -> None:
    """Blocks of 128 threads, the last not full; a struct by value."""
    output = np.empty_like(RAMP)
    affine = np.array((2.0, 0.5, RAMP.size), AFFINE)
    launcher.launch("right", "reverse", LABEL, (5,), (128,), (RAMP, output, affine), 512)
    padded = np.concatenate([RAMP, np.zeros(40, np.float32)])
    expected = padded.reshape(5, 128)[:, ::-1].ravel()[: RAMP.size] * 2 + np.float32(0.5)
    np.testing.assert_array_equal(output, expected)


def total(launcher: HostLauncher) -> None:
    """Barriers in a loop; atomics of four types."""
    labels = (np.arange(500) * 7 % 250 + 3).astype(np.uint8)
    sums = np.zeros(1, np.uint64), np.zeros(1, np.float64)
    least, most = np.full(1, 1000, np.int32), np.zeros(1, np.int32)
    arguments = (labels, np.int64(labels.size), *sums, least, most)
    launcher.launch("right", "sum", LABEL, (4,), (128,), arguments, 512)
    expected = labels.sum(dtype=np.int64)
    assert [*sums, least, most] == [expected, 2 * expected, labels.min(), labels.max()]


def histogram(launcher: HostLauncher) -> None:
    """Shared atomics, fences, and a last block that reads what the others wrote."""
    values = (np.arange(3000) ** 2 % 251).astype(np.uint8)
    counts, done = np.zeros(256, np.uint32), np.zeros(256, np.uint32)
    arguments = (values, np.int32(values.size), counts, np.zeros(1, np.uint32), done)
    launcher.launch("right", "histogram", LABEL, (4, 1), (64,), arguments, 257 * 4)
    expected = np.bincount(values, minlength=256)
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(done, expected)


def rotate(launcher: HostLauncher) -> None:
    """Barriers of a warp; the block has three."""
    values = np.arange(96, dtype=np.int32)
    launcher.launch("right", "rotate", LABEL, (1,), (96,), (values,), 96 * 4)
    expected = np.roll(np.arange(96).reshape(3, 32), -1, axis=1).ravel()
    np.testing.assert_array_equal(values, expected)


def dialect(launcher: HostLauncher) -> None:
    """One thread that uses the dialect's names; values by hand."""
    floats, doubles = np.zeros(7, np.float32), np.zeros(5)
    ints, longs = np.zeros(9, np.int32), np.zeros(5, np.uint64)
    words = np.zeros(8, np.uint32)
    ints[4], longs[4], words[5] = 7, 3, 5
    arguments = (floats, doubles, ints, longs, words)
    launcher.launch("right", "dialect", LABEL, (1,), (1,), arguments, 0)
    half = np.sqrt(0.5)
    expected = np.array([half, half, -1.5, -2 + 2, 4, 4, 0.5], np.float32)
    np.testing.assert_array_equal(floats, expected)
    np.testing.assert_allclose(doubles, [-half, -half, 1, 2.0**-51, 6 + 6], rtol=1e-15)
    expected = [31 + 100 * 8 + 10000 * 4, -2 + 7 + 100 + 1000, 2 + 4, 7 + 0 + 100, 9, 11, 3]
    assert ints.tolist() == [*expected, 2 - 10 + 400, 0 + 1]
    assert longs.tolist() == [3, 3 + 16 + 800 + 120000, 5, 9, 1]
    assert words.tolist() == [1, 2, 3, 4, 6, 2, 8, 5 + 6]


RIGHT = (reverse, total, histogram, rotate, dialect)


# ---- wrong kernels, and what must be said of each


def missing_barrier(launcher: HostLauncher) -> None:
    output = np.empty(64, np.float32)
    launcher.launch("wrong", "missing_barrier", {}, (1,), (64,), (RAMP, output), 256)
    np.testing.assert_array_equal(output, RAMP[:64][::-1])


def overwritten(launcher: HostLauncher) -> None:
    output = np.empty(64, np.float32)
    arguments = (RAMP, output, np.int32(4))
    launcher.launch("wrong", "overwritten", {}, (1,), (64,), arguments, 256)
    expected = np.roll(RAMP[:256].reshape(4, 64), -1, axis=1).sum(axis=0)
    np.testing.assert_array_equal(output, expected)


def racing_blocks(launcher: HostLauncher) -> None:
    total = np.zeros(1, np.int32)
    launcher.launch("wrong", "racing_blocks", {}, (4,), (32,), (total,))


def global_write(launcher: HostLauncher) -> None:
    output = np.empty(100, np.float32)
    launcher.launch("wrong", "global_write", {}, (2,), (64,), (output, np.int32(100)))


def global_read(launcher: HostLauncher) -> None:
    output = np.empty(64, np.int32)
    arguments = (np.zeros(64, np.uint8), output, np.int32(-1))
    launcher.launch("wrong", "global_read", {}, (1,), (64,), arguments)


def shared_write(launcher: HostLauncher) -> None:
    launcher.launch("wrong", "shared_write", {}, (1,), (61,), (np.empty(61, np.uint8),), 61)


def uninitialised(launcher: HostLauncher) -> None:
    output = np.empty(64, np.float32)
    launcher.launch("wrong", "uninitialised", {}, (2,), (64,), (output,), 256)
    np.testing.assert_array_equal(output, 0)


def signed_overflow(launcher: HostLauncher) -> None:
    launcher.launch("wrong", "signed_overflow", {}, (1,), (2,), (np.full(2, 40000, np.int32),))


def misaligned(launcher: HostLauncher) -> None:
    launcher.launch("wrong", "misaligned", {}, (1,), (1,), (RAMP, np.empty(4, np.float32)))


def cast(launcher: HostLauncher) -> None:
    arguments = (np.full(1, np.nan, np.float32), np.empty(1, np.int32))
    launcher.launch("wrong", "cast", {}, (1,), (1,), arguments)


def early_return(launcher: HostLauncher) -> None:
    arguments = (np.empty(64, np.int32), np.uint32(40))
    launcher.launch("wrong", "early_return", {}, (1,), (64,), arguments)


def two_barriers(launcher: HostLauncher) -> None:
    launcher.launch("wrong", "two_barriers", {}, (1,), (64,), (np.empty(64, np.int32),))


def half_a_warp(launcher: HostLauncher) -> None:
    launcher.launch("wrong", "half_a_warp", {}, (1,), (64,), (np.empty(64, np.int32),))


# mode of sanitize.py -> control -> what its report must say
WRONG: dict[str, dict[Callable[[HostLauncher], None], str]] = {
    "fibers": {
        global_write: "heap-buffer-overflow",
        global_read: "heap-buffer-overflow",
        shared_write: "heap-buffer-overflow",
        signed_overflow: "signed integer overflow",
        misaligned: "misaligned address",
        cast: "outside the range of representable values",
        early_return: "barrier divergence",
    },
    "threads": {
        missing_barrier: "data race",
        overwritten: "data race",
        racing_blocks: "data race",
        two_barriers: "barrier divergence",
    },
}
