"""The CUDA kernels where the tests of the core do not lead: wide indices, batches, seeds there.

On the host, as `tests/cuda_on_host` runs them; `test_gpu.py` has what takes a device.
"""

from __future__ import annotations

import re
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gfnoise
from cuda_on_host.launcher import ORDERS, HostLauncher, redirected
from gfnoise import GaussianField, _warm_up
from gfnoise._cuda import _labels, _launch, _plans, field, filters, interpolation
from gfnoise._cuda import thresholding as thresholds
from gfnoise._shared import digits
from gfnoise._shared.modes import OF_COORDINATES, OF_FILTERS

Array = NDArray[Any]
SHAPE = (7, 21, 37)
LABELS = (np.indices((2, *SHAPE)).sum(axis=0) // 9 % 3).astype(np.uint8)
IMAGE = np.random.default_rng(0).random((2, *SHAPE), np.float32)
NOISE = GaussianField([[2.0], [0.7]], [[5.0], [1.5]], ndim=3)


def everything() -> dict[str, Array]:
    """What each verb makes of the labels and the image."""
    move = NOISE.displacement(SHAPE, seed=[3, 4])
    options: dict[str, Any] = {"ndim": 3}
    return {
        "displacement": move,
        "sample_labels": NOISE.sample_labels(LABELS, seed=[3, 4], n=2, ignore_index=1),
        "sample_labels, order 1": NOISE.sample_labels(LABELS, seed=1, order=1, mode="nearest"),
        "warp_labels": gfnoise.warp_labels(LABELS, move),
        "map_coordinates": gfnoise.map_coordinates(IMAGE, move[0], mode="mirror"),
        "whole numbers": gfnoise.map_coordinates(LABELS * 99, move[0], output=np.uint8),
        "labels at coordinates": gfnoise.map_coordinates(LABELS, move[0], order=0, output=np.uint8),
        "marginals": NOISE.marginals(LABELS, num_classes=3, ignore_index=2, cval=1),
        "gaussian_filter": gfnoise.gaussian_filter(IMAGE, (0, 1.0, 2.0, 9.0)),
        "optimal_threshold": gfnoise.optimal_threshold(IMAGE, **options),
        "first": gfnoise.optimal_segmentation(
            np.round(IMAGE, 1), "volume", volume=0.3, ties="first", **options
        ),
        "votes": gfnoise.optimal_segmentation(LABELS, raters=3, **options),
        "score": gfnoise.score(IMAGE > 0.6, IMAGE, **options),
        "iou": gfnoise.score(LABELS // 2, IMAGE, "iou", **options),
        "accuracy": gfnoise.score(LABELS // 2, IMAGE, "accuracy", **options),
    }


@pytest.fixture(scope="module")
def expected() -> dict[str, Array]:
    """What the CPU's kernels make of it."""
    return everything()


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Set limits of launches by their names, wherever they are known, for plans that are new."""

    def forget() -> None:
        field._field_plan.cache_clear()
        field._sampling_plan.cache_clear()

    def set_limits(**values: int) -> None:
        for name, value in values.items():
            stems = _launch, _plans, field, filters, interpolation, thresholds
            modules = [module for module in stems if hasattr(module, name)]
            assert modules, name
            for module in modules:
                monkeypatch.setattr(module, name, value)
        forget()

    yield set_limits
    forget()


def assert_alike(found: dict[str, Array], expected: dict[str, Array]) -> None:
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        tolerance = 1e-4 if name == "displacement" else 1e-6
        if array.dtype.kind != "f":
            tolerance = 0
        np.testing.assert_allclose(found[name], array, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("order", ORDERS)
def test_the_order_of_threads_and_blocks_is_of_no_effect(
    order: str, expected: dict[str, Array]
) -> None:
    with redirected(HostLauncher(order=order)):
        assert_alike(everything(), expected)


def test_volumes_beyond_32_bits(
    host: HostLauncher,
    expected: dict[str, Array],
    limits: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The path of wide indices, forced upon small volumes."""
    limits(_NARROW=0)
    seen = []
    launch = host.launch

    def spy(stem: str, name: str, defines: Any, *rest: Any) -> None:
        seen.append((name, dict(defines).get("INDEX")))
        launch(stem, name, defines, *rest)

    monkeypatch.setattr(host, "launch", spy)
    assert_alike(everything(), expected)
    wide = {name for name, index in seen if index == "long long"}
    assert wide >= {"sample_labels", "warp_labels", "map_coordinates", "filter_planes"}
    assert not [name for name, index in seen if index == "int"]


def test_streams_and_volumes_held_at_once(
    host: HostLauncher, expected: dict[str, Array], limits: Callable[..., None]
) -> None:
    """What does not fit is done in batches; rows that do not, in memory of their own."""
    limits(_BUDGET=1, SHARED=9 << 10, _SPARE=1 << 16, _TILE_RUNS=3, _EACH=100)
    assert_alike(everything(), expected)


def test_grids_are_smaller_than_the_work(
    host: HostLauncher, expected: dict[str, Array], limits: Callable[..., None]
) -> None:
    limits(MOST_BLOCKS=1, MOST_ROWS=1)
    assert_alike(everything(), expected)


def test_a_seed_gives_the_bits_of_the_cpu() -> None:
    """Both sum by multiply-adds, in one order. A GPU's sines may differ in a last bit."""
    rng = np.random.default_rng(0)
    calls = []
    for number in range(12):
        ndim = 2 + number % 2
        noise = GaussianField(rng.uniform(0.1, 6), rng.uniform(0.3, 20), ndim=ndim)
        labels = rng.integers(0, 4, rng.integers(3, 30, ndim)).repeat(3, axis=0).astype(np.uint8)
        options = {"order": number % 2, "mode": ("constant", "nearest")[number // 4 % 2]}
        calls.append(partial(noise.sample_labels, labels, seed=number, **options))
        calls.append(partial(noise.displacement, labels.shape, seed=number))
    on_cpu = [call() for call in calls]
    with redirected(HostLauncher()):
        on_host = [call() for call in calls]
    for one, other in zip(on_cpu, on_host, strict=True):
        np.testing.assert_array_equal(one, other)


def test_more_items_than_are_passed_by_value(host: HostLauncher) -> None:
    labels = np.stack([np.roll(LABELS[0, 0], i) for i in range(2 * _plans.ITEMS + 3)])
    noise = GaussianField(1.5, 4.0, ndim=2)
    seeds = np.arange(len(labels)) * 2**57
    several = noise.sample_labels(labels, seed=seeds)
    for i, label in enumerate(labels):
        assert np.array_equal(several[i], noise.sample_labels(label, seed=int(seeds[i])))
    rows = np.linspace(0.2, 3, len(labels))[:, None]
    found = GaussianField(rows, 4.0, ndim=2).marginals(labels, num_classes=3)
    for i, label in enumerate(labels):
        alone = GaussianField(rows[i], 4.0, ndim=2).marginals(label, num_classes=3)
        np.testing.assert_allclose(found[i], alone, rtol=0, atol=2e-7)


@pytest.mark.parametrize("single", [False, True])
def test_seeds_that_are_on_the_device(single: bool, host: HostLauncher) -> None:
    """They are int64 there; on the host, seeds come as uint64, by value."""
    out = np.empty((3, 1, 2, *LABELS.shape[-2:]), np.float32)
    options: dict[str, Any] = {
        "amplitude": np.full((3, 2), 2.0),
        "length_scale": np.full((3, 2), 5.0),
        "window": gfnoise._window.whole(LABELS.shape[-2:]),
    }
    seeds = np.array([2**62 + 1] if single else [5, 2**62, 7])
    numbers = np.arange(3, dtype=np.uint32) if single else np.zeros(3, np.uint32)
    field.displacement(out, seeds=seeds, numbers=numbers, **options)
    noise = GaussianField(2.0, 5.0, ndim=2)
    items = GaussianField([[2.0]] * 3, 5.0, ndim=2)
    expected = (items if single else noise).displacement(
        LABELS.shape[-2:], seed=int(seeds[0]) if single else seeds
    )
    assert np.array_equal(out[:, 0], expected)


def test_values_that_are_not_checked(host: HostLauncher) -> None:
    """On a device, a map of NaN has no threshold, and is segmented as nothing."""
    maps = np.tile(np.linspace(0, 1, 50), (4, 1))
    maps[0, 3], maps[1, 4], maps[2, 5] = np.nan, -0.5, 1.5
    found, _ = thresholds.optimal_threshold(maps, weight=1.0, rank=digits.NO_RANK)
    assert np.isnan(found[:3]).all()
    assert found[3] == gfnoise.optimal_threshold(maps[3])
    mask = np.ones(maps.shape, bool)
    thresholds.segment(maps, mask, thresholds=found, strict=False, ranks=None)
    assert not mask[:3].any()
    assert mask[3].any()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int64])
def test_votes_that_are_not_checked(
    dtype: type, host: HostLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device, votes beyond the raters count as theirs, and votes below 0 as none."""
    votes = np.random.default_rng(4).integers(0, 4, (5, 60))
    votes[0] = 3
    wild = votes.astype(dtype)
    wild[votes == 3] = 127 if np.dtype(dtype).itemsize == 1 else 256
    if np.dtype(dtype).kind == "i":
        wild[votes == 0] = -1
    for module in (gfnoise._values, gfnoise._checks):
        monkeypatch.setattr(module, "readable", lambda array: False)
    options: dict[str, Any] = {"ndim": 1, "raters": 3}
    choices: tuple[dict[str, Any], ...] = (
        {},
        {"ties": "smallest"},
        {"metric": "volume", "volume": 0.0},
        {"metric": "volume", "volume": 0.4},
        {"metric": "volume", "volume": 0.4, "ties": "first"},
    )
    if dtype == np.uint8:  # taken as they are, without a copy: beyond the raters' is above them
        choices = choices[:-1]
    for choice in choices:
        found = gfnoise.optimal_segmentation(wild, **options, **choice)
        assert np.array_equal(found, gfnoise.optimal_segmentation(votes, **options, **choice))


def test_subnormal_values_where_they_are_flushed(host: HostLauncher) -> None:
    """CuPy compiles so: float32 below 1.2e-38 are 0, in arithmetic, comparisons and conversions."""
    torch = pytest.importorskip("torch")
    scales = np.array([[1e-40], [3e-38], [1.0]])
    maps = (np.random.default_rng(3).random((3, 60)) * scales).astype(np.float32)
    maps[2, :50] = 1e-42
    expected = gfnoise.optimal_threshold(maps.astype(np.float64), ndim=1)
    inside = maps >= expected[:, None]
    torch.set_flush_denormal(True)
    try:
        found = gfnoise.optimal_threshold(maps, ndim=1)
        mask = gfnoise.optimal_segmentation(maps, ndim=1)
        scores = gfnoise.score(mask, maps, ndim=1)
    finally:
        torch.set_flush_denormal(False)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert np.array_equal(mask, inside)
    np.testing.assert_allclose(scores, 2 * expected, rtol=1e-12)


def test_what_has_a_result_to_write_to_takes_no_memory(host: HostLauncher) -> None:
    """Nor do scores, of masks that are bytes."""
    image, mask = np.repeat(IMAGE, 20, axis=-1), np.repeat(LABELS // 2, 20, axis=-1)
    at = np.repeat(NOISE.displacement(SHAPE, seed=3)[0], 20, axis=-1)
    whole = np.empty((2, *at.shape[1:]), np.uint16)
    calls = {
        "whole numbers": lambda: gfnoise.map_coordinates(image, at, output=whole),
        "labels": lambda: gfnoise.map_coordinates(mask, at, order=0, output=whole),
        "score": lambda: gfnoise.score(mask, image, "iou", ndim=3),
    }
    for name, call in calls.items():
        call()
        tracemalloc.start()
        call()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < mask.size / 2, name


def test_no_kernel_names_a_type_that_is_not_declared() -> None:
    """What is compiled ahead, for the matrix, is what is launched."""
    declared = {(stem, defines) for stem, defines in _launch.variants()}
    launched: set[tuple[str, Any]] = set()

    class Spy(HostLauncher):
        def launch(self, stem: str, name: str, defines: Any, *rest: Any) -> None:
            launched.add((stem, tuple(defines)))
            super().launch(stem, name, defines, *rest)

    with redirected(Spy()):
        everything()
    assert launched <= declared


def test_warming_up_compiles_what_is_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """All variants of volumes within 32 bits but those of other images, and of integers."""
    launched: set[tuple[str, Any]] = set()

    class Silent(HostLauncher):
        def launch(self, stem: str, name: str, defines: Any, *rest: Any) -> None:
            launched.add((stem, tuple(defines)))

    for module in (gfnoise._values, gfnoise._checks):  # nothing was computed
        monkeypatch.setattr(module, "readable", lambda array: False)
    with redirected(Silent()):
        _warm_up._use(np)
    wanted = set()
    for stem, defines in _launch.variants():
        names = {"INDEX": "int", **dict(defines)}
        of_codes = names.get("SOURCE") in _launch.CODES and names["REAL"] == "float"
        image, real = names.get("IMAGE", names.get("SOURCE")), names.get("REAL", names.get("VALUE"))
        usual = image is None or image == real or of_codes
        if names["INDEX"] == "int" and "INTEGER" not in names and usual:
            wanted.add((stem, defines))
    assert len(wanted) > 30
    assert launched >= wanted, sorted(wanted - launched)


def test_axes_that_32_bits_do_not_number(host: HostLauncher) -> None:
    labels = np.broadcast_to(np.uint8(0), (1, 1, 2**31))
    for shape in (_labels.shape_of, _launch.narrow):
        with pytest.raises(ValueError, match=r"^axes of arrays on a device .* got a volume of"):
            shape(labels[None].shape)
    assert _launch.narrow((1, 2, 3)) == (1, 2, 3)


@pytest.mark.parametrize(
    ("stem", "modes"), [("filters", OF_FILTERS), ("interpolation", OF_COORDINATES)]
)
def test_modes_are_numbered_as_the_kernels_do(stem: str, modes: tuple[str, ...]) -> None:
    source = (Path(filters.__file__).parent / f"{stem}.cu").read_text()
    (names,) = re.findall(r"^enum Mode { (.*) };", source, re.MULTILINE)
    assert names.lower().replace("_", "-").split(", ") == list(modes)


@pytest.mark.parametrize("device", [True, -1, "gpu", "cuda:", "cuda:x", 1.5])
def test_warm_up_of_no_device(device: Any) -> None:
    with pytest.raises(ValueError, match=r"^device must be .*got"):
        gfnoise.warm_up(device)


def test_warm_up_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for CuPy says what CUDA says then."""

    class CudaError(RuntimeError):
        status = 100

    def count() -> None:
        raise CudaError

    runtime = SimpleNamespace(getDeviceCount=count, CUDARuntimeError=CudaError)
    cupy = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    for status in (35, 100):  # the driver is too old; there is no device
        CudaError.status = status
        with pytest.raises(ValueError, match=r"^device must be one of the machine's 0 .*'cuda'"):
            gfnoise.warm_up("cuda")
    CudaError.status = 999
    with pytest.raises(CudaError):
        gfnoise.warm_up("cuda")


def test_axes_longer_than_a_grid(host: HostLauncher, limits: Callable[..., None]) -> None:
    """Of 524288 planes and more, blocks along the second axis of a grid run out."""
    noise = GaussianField(1.0, 1e6, ndim=3)
    expected = noise.displacement((50, 2, 3), seed=4)
    limits(MOST_ROWS=2)
    assert np.array_equal(noise.displacement((50, 2, 3), seed=4), expected)


@pytest.mark.parametrize("shape", [(1, 1, 2**31), (2**31, 1, 3)])
def test_axes_longer_than_32_bits_count(shape: tuple[int, ...], host: HostLauncher) -> None:
    source = np.broadcast_to(np.float32(1), (1, *shape))  # no memory of that size
    options: dict[str, Any] = {"sigma": (0, 0, 1.0), "radius": (0, 0, 4), "modes": ["wrap"] * 3}
    with pytest.raises(ValueError, match=r"must be at most 2146435072 long, got .*2147483648"):
        filters.gaussian_filter(source, source, cval=0.0, **options)


def test_a_process_forked_after_cuda_was_used_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for CuPy says what CUDA says then."""

    class CudaError(RuntimeError):
        status = 3

    def device() -> None:
        raise CudaError("cudaErrorInitializationError: initialization error")

    cuda = SimpleNamespace(Device=device, runtime=SimpleNamespace(CUDARuntimeError=CudaError))
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
    with pytest.raises(RuntimeError, match=r"^CUDA cannot be used .* forked"):
        _launch.current_device()
    CudaError.status = 35
    with pytest.raises(CudaError):
        _launch.current_device()
