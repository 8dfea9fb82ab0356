"""The Fourier basis of one axis, and of grids of two and three, against the kernel itself."""

from __future__ import annotations

import math
import tracemalloc
from functools import reduce
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import oracles
from gfnoise._shared import spectrum
from gfnoise._shared.spectrum import axis_basis

SIZES = [1, 2, 3, 4, 5, 7, 13, 31, 64, 101, 257]


def scales(n: int, count: int = 25) -> NDArray[np.float64]:
    """Correlation lengths from a tenth of a voxel to ten times the axis."""
    return np.geomspace(0.1, 10 * n, count)


def basis(n: int, b: float) -> NDArray[np.float64]:
    """The float32 basis that the kernels use, in float64, so that only its own error counts."""
    values = axis_basis(n, b).values
    assert values.dtype == np.float32
    return values.astype(np.float64)


def covariance(n: int, b: float) -> NDArray[np.float64]:
    return basis(n, b).T @ basis(n, b)


def kernel(points: NDArray[Any], length_scale: Any) -> NDArray[np.float64]:
    """exp(-d² / 2 b²) between all pairs of points (ndim, count)."""
    scaled = points / np.reshape(length_scale, (-1, 1))
    squared = ((scaled[:, :, None] - scaled[:, None]) ** 2).sum(axis=0)
    return np.asarray(np.exp(-squared / 2))


# ------------------------------------------------------------------------------ covariance


@pytest.mark.parametrize("n", SIZES)
def test_all_pairs_on_an_axis(n: int) -> None:
    for b in [*scales(n), 0.15 * n, 0.15 / math.sqrt(2) * n]:
        found = covariance(n, b)
        assert abs(found - kernel(np.arange(n)[None], b)).max() < 1e-3, b
        assert abs(np.diag(found) - 1).max() < 1e-6, b


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((9, 11), (1, 1)),
        ((1, 13), (3.0, 1.0)),
        ((16, 7), (0.7, 2.5)),
        ((2, 3), (1, 4)),
        ((5, 4, 6), (1, 1, 1)),
        ((3, 5, 7), (3.0, 0.9, 1.3)),
        ((1, 2, 3), (5, 1, 1)),
        ((2, 1, 11), (1, 1, 0.5)),
    ],
)
def test_all_pairs_on_small_grids(shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    points = np.indices(shape).reshape(len(shape), -1)
    physical = points * np.reshape(spacing, (-1, 1))  # the law is isotropic in mm
    for b in np.geomspace(0.1 * min(spacing), 10 * physical.max(), 9):
        axes = [basis(n, b / h) for n, h in zip(shape, spacing, strict=True)]
        found = reduce(np.kron, [axis.T @ axis for axis in axes])  # (a x b)'(a x b) = a'a x b'b
        assert abs(found - kernel(physical, b)).max() < 1e-3, b
        assert abs(np.diag(found) - 1).max() < 1e-6, b


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2.5, 0.7, 0.7), (1, 1, 6)])
@pytest.mark.parametrize("shape", [(64, 64, 64), (31, 96, 53), (3, 128, 97)])
def test_all_pairs_on_volumes(shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    """Every pair of voxels, as a covariance depends on the difference of the positions alone."""
    for b in np.geomspace(0.1 * min(spacing), 10 * max(shape), 12):
        lags, slack, variance = [], 0.0, 1.0
        for n, h in zip(shape, spacing, strict=True):
            found = covariance(n, b / h)
            lags.append(found[0])
            stationary = found[0][abs(np.arange(n)[:, None] - np.arange(n))]
            slack += abs(found - stationary).max()
            variance *= np.diag(found).max()
        # |abc - a'b'c'| <= |a - a'| + |b - b'| + |c - c'| for numbers of at most 1
        assert slack < 2e-6
        assert abs(variance - 1) < 1e-6
        squares = [(h * np.arange(n) / b) ** 2 for n, h in zip(shape, spacing, strict=True)]
        far = reduce(np.add.outer, squares)
        assert abs(reduce(np.multiply.outer, lags) - np.exp(-far / 2)).max() + slack < 1e-3, b


def test_white_noise_below_a_tenth_of_a_voxel() -> None:
    for n in (1, 2, 3, 17):
        for b in (0.09, 1e-3, 1e-300):
            assert abs(covariance(n, b) - np.eye(n)).max() < 1e-3
            assert abs(np.diag(covariance(n, b)) - 1).max() < 1e-6


def test_nearly_constant_above_ten_times_the_image() -> None:
    for n in (1, 2, 64):
        for b in (1e3, 1e9, 1e150):
            expected = kernel(np.arange(n)[None], b * n)
            assert abs(covariance(n, b * n) - expected).max() < 1e-3


# ------------------------------------------------------------------------------- the terms


@pytest.mark.parametrize("n", SIZES)
def test_agrees_with_the_oracle(n: int) -> None:
    for b in scales(n, 12):
        expected = oracles.fourier_basis(n, b)
        assert axis_basis(n, b).values.shape == expected.shape
        assert np.allclose(axis_basis(n, b).values, expected, rtol=0, atol=2e-7)


@pytest.mark.parametrize("n", [64, 128, 256, 512])
def test_number_of_terms(n: int) -> None:
    """The resolution costs no terms: they depend on the share of the axis that b is."""
    for b, terms in [(0.15 / math.sqrt(2), 17), (0.15 * math.sqrt(2), 11), (0.03, 47)]:
        assert axis_basis(n, b * n).values.shape == (terms, n)


@pytest.mark.parametrize("tail", [1e-2, 1e-4, 1e-6])
def test_terms_are_numbered_by_frequency(tail: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Term j is frequency (j + 1) // 2, whatever the size, the length scale or the tolerance."""
    monkeypatch.setattr(spectrum, "TAIL", tail)
    monkeypatch.setattr(spectrum, "harmonics", spectrum.harmonics.__wrapped__)
    for n, b in [(2, 0.1), (3, 5.0), (17, 0.3), (64, 0.7), (64, 9.0), (65, 9.0), (200, 40.0)]:
        found = axis_basis.__wrapped__(n, b)
        terms = len(found.values)
        assert terms % 2 == 1
        period = math.ceil(n - 1 + 4.1 * b)
        wave = 2 * math.pi * ((np.arange(terms) + 1) // 2) / period
        assert np.allclose(found.frequencies, wave, rtol=1e-14)
        x = np.arange(n) - (n - 1) / 2
        cosine = (np.arange(terms) % 2 == 1) | (np.arange(terms) == 0)
        angle = wave[:, None] * x
        shapes = np.where(cosine[:, None], np.cos(angle), np.sin(angle))
        assert np.allclose(found.values, found.scales[:, None] * shapes, rtol=0, atol=2e-7)
        assert np.array_equal(found.scales[1::2], found.scales[2::2])  # cos² + sin² = 1
        assert (found.scales**2)[0] + (found.scales**2)[1::2].sum() == pytest.approx(1, abs=1e-14)


def test_a_tolerance_only_cuts_and_rescales(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = axis_basis(64, 6.8).scales
    monkeypatch.setattr(spectrum, "TAIL", 1e-2)
    monkeypatch.setattr(spectrum, "harmonics", spectrum.harmonics.__wrapped__)
    coarse = axis_basis.__wrapped__(64, 6.8).scales
    assert len(coarse) < len(fine)
    ratio = coarse / fine[: len(coarse)]
    assert np.allclose(ratio, ratio[0], rtol=1e-14)


def test_spectrum_is_a_distribution() -> None:
    for n in SIZES:
        for b in scales(n):
            frequency, weight = spectrum.spectrum(n, b)
            assert weight.sum() == pytest.approx(1, abs=1e-14)
            assert np.all(weight >= 0)
            assert np.all(np.diff(frequency) > 0)
            assert frequency[-1] <= math.pi * (1 + 1e-14)  # what whole voxels can tell apart
            assert 2 * len(frequency) - 1 <= math.ceil(n - 1 + 4.1 * max(b, 0.1)) + 1


# ----------------------------------------------------------------------------- the windows


@pytest.mark.parametrize("n", [1, 2, 13, 64])
def test_a_window_is_the_cut_bit_for_bit(n: int) -> None:
    for b in (0.1, 1.0, 0.15 * n + 0.1, 10.0 * n):
        whole = axis_basis(n, b)
        for start, count, step in [
            (0, n, 1),
            (n - 1, 1, 1),
            (n // 3, n // 2, 1),
            (0, -(-n // 3), 3),
        ]:
            part = axis_basis(n, b, start, count, step)
            cut = whole.values[:, start : start + count * step : step]
            assert np.array_equal(part.values, cut)
            assert np.array_equal(part.scales, whole.scales)
            assert np.array_equal(part.frequencies, whole.frequencies)
    assert axis_basis(n, 2.0, 0, 0).values.shape[1] == 0


def test_a_basis_is_shared_and_cannot_be_written_to() -> None:
    found = axis_basis(8, 2.0)
    for array in (found.values, found.frequencies, found.scales):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    assert axis_basis(8, 2.0) is found


def test_too_many_terms_for_a_coefficients_number() -> None:
    with pytest.raises(ValueError, match=r"length_scale.*at most 2097152 terms.*2097162 voxels"):
        axis_basis(spectrum.MAX_TERMS + 10, 1.0)


def test_terms_made_in_parts_are_those_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    make = spectrum.axis_basis.__wrapped__
    expected = make(40, 3.0, -2, 45, 1)
    for share in (1, 45, 200):
        monkeypatch.setattr(spectrum, "_AT_ONCE", share)
        assert np.array_equal(make(40, 3.0, -2, 45, 1).values, expected.values)


def test_the_memory_of_a_long_axis() -> None:
    """Not much more than the basis itself, and as much of that as is documented."""
    size, length = 6000, 3.0
    tracemalloc.start()
    values = spectrum.axis_basis.__wrapped__(size, length).values
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert values.nbytes == pytest.approx(5 * size * (size + 4 * length) / length, rel=0.05)
    assert peak < values.nbytes + (64 << 20)


@pytest.mark.parametrize("unit", [1e-3, 0.05, 0.3, 1.0, 2 * math.pi / 4.1])
def test_total_is_that_of_all_harmonics(unit: float) -> None:
    harmonics = np.arange(1, math.ceil(12 / unit))
    expected = 1 + 2 * math.fsum(np.exp(-0.5 * (unit * harmonics) ** 2))
    assert spectrum._total(unit) == pytest.approx(expected, rel=1e-14)
