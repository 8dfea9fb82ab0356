"""Marginals against dense matrices in float64, SciPy's filter and figures known in closed form."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

import oracles
from gfnoise import GaussianField
from gfnoise._cpu import _pool

EVERY_BACKEND = True
Array = NDArray[Any]
METHODS = ["integrated", "sampled"]
MODES = ["constant", "nearest"]
SHAPES = [(23, 34), (1, 45), (40, 2), (1, 1), (9, 14, 11), (17, 1, 20), (3, 33, 2), (70, 5, 6)]
INTEGERS = [f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)]
SIGMAS = [0.0, 0.05, 0.3, 0.5, 1.0, 1.7, 4.0, 25.0, 200.0]


def draw(shape: tuple[int, ...], classes: int, rng: np.random.Generator) -> Array:
    """Noise beside a uniform part, so that lines and planes of one label occur."""
    labels = rng.integers(0, classes, shape)
    labels[: -(-shape[0] // 2)] = rng.integers(0, classes)
    if shape[0] > 8:
        labels[2] = rng.integers(0, classes)
        labels[4, shape[1] // 2] = rng.integers(0, classes)
    return labels


def check(field: GaussianField, labels: Array, **options: Any) -> Array:
    """Hold one item against the oracle; the marginals that came back."""
    before = labels.copy()
    got = field.marginals(labels, **options)
    assert np.array_equal(labels, before)
    sigma = np.array(field.amplitude) / field.spacing
    oracles.assert_marginals_close(got, oracles.marginals(labels, sigma, **options))
    assert got.min() >= 0
    assert got.max() <= 1
    return got


# --------------------------------------------------------------------- against the oracle


@pytest.mark.parametrize("ignoring", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", SHAPES)
def test_marginals_are_the_oracles(
    shape: tuple[int, ...], method: str, mode: str, ignoring: bool
) -> None:
    rng = np.random.default_rng([len(shape), shape[0], METHODS.index(method), ignoring])
    for turn, sigma in enumerate(SIGMAS):
        spacing = rng.choice([0.5, 1.0, 3.0], len(shape))
        shares = rng.choice([0.0, 0.3, 1.0, 1.0], len(shape))  # some axes may be still
        field = GaussianField(sigma * shares * spacing, 5.0, spacing=spacing, ndim=len(shape))
        dtype = INTEGERS[(turn + len(shape)) % len(INTEGERS)]
        options: dict[str, Any] = {"method": method, "mode": mode}

        binary = draw(shape, 2, rng).astype("bool" if turn % 2 else dtype)
        cval = turn % 2
        ignore = cval if turn % 3 == 0 else 1 - cval
        check(field, binary, **options, cval=cval, ignore_index=ignore if ignoring else None)
        if ignoring and turn % 2 == 0:
            binary[rng.random(shape) < 0.3] = 100
            check(field, binary, **options, cval=cval, ignore_index=100)

        classes = 14 if turn % 4 == 0 else 4
        labels = draw(shape, classes, rng).astype(dtype)
        cval, own = turn % classes, int(rng.integers(classes))  # of the ignored label
        if turn % 3:  # else one of the classes is ignored
            labels[rng.random(shape) < 0.1] = own = 77
        if not ignoring:
            labels[labels == 77] = 0
        options |= {"ignore_index": own if ignoring else None, "num_classes": classes}
        m = check(field, labels, **options, cval=cval)
        kept = labels != own if ignoring else np.ones(shape, bool)
        total = m.sum(axis=0, dtype=np.float64)
        if not (ignoring and cval == own and mode == "constant"):
            assert abs(total[kept] - 1).max(initial=0) < 1e-6
        assert not m[:, ~kept].any()


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS])
def test_dtypes_and_how_many_classes_they_hold(dtype: str) -> None:
    labels = draw((9, 14, 11), 2, np.random.default_rng(1))
    field = GaussianField((0.5, 1.0, 2.0), 4.0, ndim=3)
    expected = field.marginals(labels)
    got = check(field, labels.astype(dtype))
    assert np.array_equal(got, expected)
    both = check(field, labels.astype(dtype), num_classes=2)
    assert np.array_equal(both[1], expected)
    many = field.marginals(labels.astype(dtype), num_classes=300)  # no int8 holds a 200
    assert many.shape == (300, 9, 14, 11)
    assert np.array_equal(many[:2], both)
    assert not many[2:].any()
    only = field.marginals(np.zeros((4, 5, 6), dtype), num_classes=1)
    assert (only == 1).all()


def test_negative_ignored_labels() -> None:
    rng = np.random.default_rng(4)
    labels = draw((12, 15), 4, rng).astype(np.int8)
    labels[rng.random(labels.shape) < 0.2] = -56  # 200, were it unsigned
    field = GaussianField(1.5, 4.0, ndim=2)
    m = check(field, labels, num_classes=4, ignore_index=-56)
    many = field.marginals(labels, num_classes=256, ignore_index=-56)
    assert np.array_equal(many[:4], m)
    assert not many[4:].any()


# ------------------------------------------------------------------- figures and theorems


def test_figures_of_a_full_box() -> None:
    """Each axis at a face loses 1 - Phi(1/3) = 0.369: what is a third of a sigma away."""
    m = GaussianField(1.5, 5.0, ndim=3).marginals(np.ones((32, 32, 32), bool))
    # float32 holds a marginal to 6e-8; its weights and the sums over three axes to about 5e-7
    assert m[0, 0, 0] == pytest.approx(0.2507127863, abs=1e-6)
    assert m[0, 16, 16] == pytest.approx(0.6305586598, abs=1e-6)
    assert m.mean(dtype=np.float64) == pytest.approx(0.8938942532, abs=1e-6)
    corners = m[np.ix_((0, -1), (0, -1), (0, -1))]
    assert np.ptp(corners) < 1e-6
    nearest = GaussianField(1.5, 5.0, ndim=3).marginals(np.ones((32, 32, 32), bool), mode="nearest")
    assert nearest.min() > 1 - 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_marginals_sum_to_the_expected_volume(method: str) -> None:
    """Theorem 2: every voxel counts with the probability to stay in the domain."""
    rng = np.random.default_rng(6)
    for shape in [(23, 34), (9, 14, 11)]:
        field = GaussianField(rng.uniform(0.3, 2.5, len(shape)), 4.0, ndim=len(shape))
        labels = rng.integers(0, 2, shape)
        m = field.marginals(labels, method=method)
        stay = field.marginals(np.ones(shape, bool), method=method)
        volume = (labels * stay).sum(dtype=np.float64)
        assert m.sum(dtype=np.float64) == pytest.approx(volume, rel=1e-6)
    inside = np.zeros((40, 40, 40), bool)
    inside[15:25, 15:25, 15:25] = rng.integers(0, 2, (10, 10, 10))
    m = GaussianField(2.0, 5.0, ndim=3).marginals(inside, method=method)
    assert m.sum(dtype=np.float64) == pytest.approx(inside.sum(), rel=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_sampled_is_scipys_filter(mode: str) -> None:
    rng = np.random.default_rng(3)
    for shape in SHAPES:
        labels = draw(shape, 2, rng).astype(np.uint8)
        for sigma, cval in itertools.product((0.1, 0.7, 1.5, 6.0), (0, 1)):
            strengths = sigma * np.array([1.0, 0.5, 2.0])[: len(shape)]
            field = GaussianField(strengths, 4.0, ndim=len(shape))
            got = field.marginals(labels, method="sampled", mode=mode, cval=cval)
            wide = labels.astype(np.float64)
            expected = ndimage.gaussian_filter(wide, strengths, mode=mode, cval=cval)
            oracles.assert_marginals_close(got, expected)


@pytest.mark.parametrize("method", METHODS)
def test_amplitudes_far_beyond_the_image(method: str) -> None:
    """Everything comes from outside: cval, or with "nearest" each corner with the same share."""
    labels = np.zeros((6, 8), np.uint8)
    labels[3:, 4:] = 1
    for amplitude in (1e5, 1e12, 1e30, 1e300):
        allowed = 10 / amplitude + 1e-6  # ten voxels of a density that is so wide
        field = GaussianField(amplitude, 4.0, ndim=2)
        for cval in (0, 1):
            m = field.marginals(labels, method=method, cval=cval)
            assert abs(m - cval).max() < allowed
        m = field.marginals(labels, method=method, mode="nearest")
        assert abs(m - 0.25).max() < allowed


# ---------------------------------------------------------------------- arrays and batches


def test_leading_axes_and_parameters_per_item() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 4, (2, 3, 9, 14, 11)).astype(np.int16)
    rows = rng.uniform(0, 3, (6, 3))
    for field in (GaussianField(1.5, 4.0, ndim=3), GaussianField(rows, 4.0, ndim=3)):
        m = field.marginals(labels, num_classes=4, ignore_index=2)
        assert m.shape == (2, 3, 4, 9, 14, 11)
        for i, at in enumerate(np.ndindex(2, 3)):
            sigma = rows[i] if len(field.amplitude) == 6 else 1.5
            expected = oracles.marginals(labels[at], sigma, num_classes=4, ignore_index=2)
            oracles.assert_marginals_close(m[at], expected)
        binary = field.marginals(labels % 2)
        assert binary.shape == labels.shape
        alone = GaussianField(field.amplitude[-1], 4.0, ndim=3).marginals(labels[1, 2] % 2)
        assert np.array_equal(binary[1, 2], alone)


def test_marginals_know_no_length_scale() -> None:
    labels = draw((23, 34), 2, np.random.default_rng(2))
    one, other = (GaussianField(1.5, b, ndim=2).marginals(labels) for b in (0.2, 1e6))
    assert np.array_equal(one, other)


def test_out_is_filled_and_returned() -> None:
    labels = draw((9, 14, 11), 3, np.random.default_rng(2)).astype(np.uint8)
    field = GaussianField(1.5, 4.0, ndim=3)
    for options, shape in (({}, labels.shape), ({"num_classes": 3}, (3, *labels.shape))):
        source = labels if options else labels % 2
        expected = field.marginals(source, **options)
        wide = np.full((*shape[:-1], 2 * shape[-1]), 9, np.float32)
        plain = np.full(shape, 9, np.float32)
        for out in (plain, np.full(shape, 9, np.float32, "F"), wide[..., ::2], plain[..., ::-1]):
            assert field.marginals(source, **options, out=out) is out
            assert np.array_equal(out, expected)
        assert (wide[..., 1::2] == 9).all()


@pytest.mark.cpu
@pytest.mark.parametrize("mode", MODES)
def test_threads_and_slabs_change_nothing(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    labels = draw((40, 61, 53), 3, rng).astype(np.uint8)
    field = GaussianField(2.0, 4.0, ndim=3)
    options: dict[str, Any] = {"num_classes": 3, "mode": mode, "ignore_index": 2}
    expected = field.marginals(labels, **options)
    for threads, slab in [(1, 1 << 16), (2, 1), (5, 4000), (16, 1 << 12)]:
        monkeypatch.setattr(_pool, "threads", lambda threads=threads: threads)
        monkeypatch.setattr(_pool, "SLAB", slab)
        assert np.array_equal(field.marginals(labels, **options), expected)


@pytest.mark.parametrize("mode", ["constant", "nearest"])
def test_no_rounding_makes_a_probability_of_more_than_one(mode: str) -> None:
    labels = np.ones((9, 10, 11), np.uint8)
    for amplitude in (0.5, 1.0, 2.0, 2.3, 4.4):
        for method in ("integrated", "sampled"):
            found = GaussianField(amplitude, 3.0, ndim=3).marginals(
                labels, mode=mode, method=method
            )
            assert found.max() <= 1
