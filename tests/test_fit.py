"""The noise that is fitted to raters: known parameters, standard errors, units."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_staple import ball

from gfnoise import GaussianField, fit_field
from gfnoise._fit import _REPEATS, _SIMULATIONS, _Quadratic
from gfnoise._outline import Outline, Statistic
from gfnoise._seeds import part_seed

STRUCTURE = ball(64, 15.0)
PAIRS = [(2.0, 7.0), (1.0, 5.0), (2.5, 9.0)]
"""Of 64³, with five raters, as in the papers' experiments: amplitude, length scale."""


@pytest.fixture(scope="module")
def fits() -> NDArray[np.float64]:
    """Logarithms of estimate / truth, and relative errors: (pairs, seeds, 2, parameters)."""
    found = []
    for amplitude, length_scale in PAIRS:
        field = GaussianField(amplitude, length_scale, ndim=3)
        for seed in range(3):
            fit = fit_field(field.sample_labels(STRUCTURE, seed=1000 + seed, n=5))
            ratios = [fit.amplitude / amplitude, fit.length_scale / length_scale]
            errors = [
                fit.amplitude_error / fit.amplitude,
                fit.length_scale_error / fit.length_scale,
            ]
            found.append([np.log(ratios), errors])
    return np.array(found).reshape(len(PAIRS), 3, 2, 2)


def test_known_parameters_are_recovered(fits: NDArray[np.float64]) -> None:
    """Within 15 % on average, and without a bias that nine fits could see."""
    ratios = np.exp(fits[:, :, 0])
    assert (abs(ratios - 1).mean((0, 1)) < 0.15).all(), ratios
    assert (abs(ratios.mean((0, 1)) - 1) < 0.10).all(), ratios


def test_a_length_scale_near_the_radius_is_recovered() -> None:
    """A ball of radius 19 has room for few independent parts of such noise."""
    field, ratios = GaussianField(3.0, 12.0, ndim=3), []
    for seed in range(3):
        fit = fit_field(field.sample_labels(ball(64, 19.0), seed=5000 + seed, n=5))
        ratios.append([fit.amplitude / 3, fit.length_scale / 12])
    assert (abs(np.array(ratios) - 1).mean(0) < 0.15).all(), ratios


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0)])
def test_heights_are_distances_of_outlines(spacing: tuple[float, ...]) -> None:
    sizes = np.array(spacing)
    one, other = (ball(48, radius)[:: int(sizes[0])] for radius in (12.0, 15.0))
    heights = Outline(one.astype(np.uint8), sizes, 3.0).heights(np.stack([one, other]))
    np.testing.assert_allclose(heights[1] - heights[0], 3, atol=1.5)
    assert (heights[1] - heights[0]).mean() == pytest.approx(3, abs=0.2)
    np.testing.assert_allclose(heights[0] + heights[1], 0, atol=1e-9)


def test_the_likeliest_length_scale_is_that_of_normal_heights() -> None:
    """Heights of the linear model itself, with its white noise."""
    outline = Outline(ball(48, 14.0).astype(np.uint8), np.ones(3), 2.0)
    count = len(outline.points)
    for length in (5.0, 9.0):
        apart = np.linalg.norm(outline.points[:, None] - outline.points, axis=-1)
        smooth = outline.normals @ outline.normals.T * np.exp(-0.5 * (apart / length) ** 2)
        covariance = 4 * smooth + 4 * 0.1025 * np.eye(count)
        rows = np.random.default_rng(3).standard_normal((40, count))
        heights = rows @ np.linalg.cholesky(covariance).T
        statistic = Statistic(outline, 2.0, np.log(7) + np.linspace(-0.8, 0.8, 9))
        plain, found = np.exp(statistic.of(heights - heights.mean(0)))
        assert found == pytest.approx(length, rel=0.05)
        assert plain == pytest.approx(2 * math.sqrt(1.1025), rel=0.1)


def test_standard_errors_mean_what_they_say(fits: NDArray[np.float64]) -> None:
    """Nine squared z-scores: chi-squared, of 9 degrees, but that the errors are estimates."""
    z = fits[:, :, 0] / fits[:, :, 1]
    total = (z**2).sum((0, 1))
    # 0.1 % and 99.9 % quantiles of chi-squared with 9 degrees of freedom: 1.15 and 27.9
    assert ((total > 1.15) & (total < 27.9)).all(), z
    assert (fits[:, :, 1] < 0.35).all()


def test_spacing_scales_the_fit() -> None:
    """The same voxels in other units; the same structure on a coarser axis."""
    disc = ball(40, 11.0)[20]
    raters = GaussianField(1.5, 6.0, ndim=2).sample_labels(disc, seed=2, n=4)
    one, half = fit_field(raters), fit_field(raters, spacing=0.5)
    assert half.amplitude == pytest.approx(one.amplitude / 2, rel=1e-3)
    assert half.length_scale == pytest.approx(one.length_scale / 2, rel=1e-3)
    assert half.field.spacing == (0.5, 0.5)
    assert fit_field(np.moveaxis(raters, 0, -1), axis=-1) == one
    assert one.field == GaussianField(one.amplitude, one.length_scale, ndim=2)


def test_repeats_that_are_all_alike_are_no_certainty() -> None:
    """As of raters who differ by two voxels: most of their simulations do not differ at all."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (40, 2))
    surface = _Quadratic.through(points, points + 0.3 * rng.standard_normal((40, 2)))
    alike, apart = np.zeros((20, 2)), 0.3 * rng.standard_normal((20, 2))
    sure, usual = (surface.weighted_by(one).error(np.zeros(2)) for one in (alike, apart))
    assert (sure > 0.3 * usual).all()
    assert (sure < usual).all()


@pytest.mark.parametrize("unit", [2.0**-960, 1e-150, 1e-3, 1 / 25.4, 0.7, 10.0, 1e150, 2.0**960])
def test_the_fit_is_the_same_in_any_unit(unit: float) -> None:
    """The voxels' shape counts, not what it is measured in."""
    raters = GaussianField(1.0, 4.0, ndim=2).sample_labels(ball(24, 7.0)[12], seed=1, n=3)
    sizes = 0.8, 1.25
    one = fit_field(raters, spacing=sizes)
    found = fit_field(raters, spacing=[unit * size for size in sizes])
    for name in ("amplitude", "amplitude_error", "length_scale", "length_scale_error"):
        expected = unit * getattr(one, name)
        assert getattr(found, name) == pytest.approx(expected, rel=1e-12, abs=0)


@pytest.mark.parametrize(
    ("spacing", "message"),
    [
        (5e-324, r"^spacing must leave room for the fit in float64, got \[5e-324, 5e-324\]"),
        (1.7e308, r"^spacing must leave room for the fit in float64, got \[1.7e\+308, "),
        ((1.0, 1e300), r"^spacing must not differ .* than 1e\+06 times, got \[1.0, 1e\+300\]"),
        ((1e-300, 1.0), r"^spacing must not differ .* than 1e\+06 times, got \[1e-300, 1.0\]"),
        ((5e-324, 1e308), r"^spacing must not differ between axes by more"),
    ],
)
def test_spacings_beyond_any_voxel(spacing: Any, message: str) -> None:
    raters = GaussianField(1.0, 4.0, ndim=2).sample_labels(ball(24, 7.0)[12], seed=1, n=3)
    with pytest.raises(ValueError, match=message):
        fit_field(raters, spacing=spacing)


def test_anisotropic_voxels_are_fitted_in_mm() -> None:
    thick = ball(48, 15.0)[::2]
    field = GaussianField(2.0, 8.0, spacing=(2.0, 1.0, 1.0), ndim=3)
    fit = fit_field(field.sample_labels(thick, seed=5, n=5), spacing=(2.0, 1.0, 1.0))
    assert abs(math.log(fit.amplitude / 2)) < 4 * fit.amplitude_error / fit.amplitude
    assert abs(math.log(fit.length_scale / 8)) < 4 * fit.length_scale_error / fit.length_scale
    assert fit.field.spacing == (2.0, 1.0, 1.0)


def test_fits_of_almost_nothing_are_finite_or_say_so() -> None:
    """One voxel of difference, tiny structures, a structure that fills the array."""
    one = ball(16, 5.0)
    other = one.copy()
    other[8, 8, 13] ^= 1
    dot = np.zeros((2, 5, 5), bool)
    dot[:, 2, 2] = True
    dot[1, 2, 3] = True
    full = np.ones((2, 6, 6, 6), bool)
    full[1, 0] = False
    for masks in (np.stack([one, other]), dot, full):
        fit = fit_field(masks)
        assert 0 < fit.amplitude < 10
        assert 0 < fit.length_scale < 100
        assert fit.amplitude_error > 0
        assert fit.length_scale_error > 0


def test_seeds_of_parts_do_not_run_into_each_other() -> None:
    numbers = (
        (5, 3, 0),
        (5 + (3 << 32), 0, 0),
        (5, 0, 3),
        (5 + (3 << 32), 3, 0),
        (5 + (3 << 64), 0, 0),
    )
    assert len({part_seed(*one) for one in numbers}) == len(numbers)
    assert all(0 <= part_seed(*one) < 2**63 for one in numbers)


def test_neighbouring_seeds_share_no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits over seeds 0, 1, 2 show their Monte Carlo error; one fit draws no stream twice."""
    sample, drawn = GaussianField.sample_labels, []

    def watched(field: GaussianField, labels: Any, *, seed: int, **settings: Any) -> Any:
        drawn.append(seed)
        return sample(field, labels, seed=seed, **settings)

    raters = GaussianField(1.0, 4.0, ndim=2).sample_labels(ball(24, 7.0)[12], seed=1, n=3)
    monkeypatch.setattr(GaussianField, "sample_labels", watched)
    streams, fits = [], []
    for seed in (0, 1, 2, 2**32, 2**63 - 1):
        drawn.clear()
        fits.append(fit_field(raters, seed=seed))
        repeats = drawn[2 * _SIMULATIONS :]  # of the raters and of their consensus: the same noise
        assert len(set(drawn)) == 2 * _SIMULATIONS + _REPEATS
        assert repeats[::2] == repeats[1::2]
        assert all(0 <= one < 1 << 63 for one in drawn)
        streams.append(set(drawn))
    assert len(set().union(*streams)) == sum(map(len, streams))
    assert len(set(fits)) == len(fits)
    assert fit_field(raters, seed=2) == fits[2]
