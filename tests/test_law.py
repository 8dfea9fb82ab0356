"""Monte Carlo: the law of the displacement, and Theorems 1 to 3 of Nordström et al. 2023.

Seeds are fixed. Bounds are z = 6 standard errors, which a right value exceeds with a probability
of 2e-9, or of at most 1e-4 in a test with its tens of thousands of comparisons.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import ndtr

import oracles
from gfnoise import GaussianField

EVERY_BACKEND = True
pytestmark = pytest.mark.long  # the same streams, bit by bit: test_sampling.py
Array = NDArray[Any]
Z = 6.0
MODES = ["constant", "nearest"]
FIELDS = {
    "square": ((4, 5), GaussianField(1.5, 2.0, ndim=2)),
    "oblong": ((1, 13), GaussianField((0.5, 3.0), (1.0, 4.0), spacing=(2.0, 0.8), ndim=2)),
    "cube": ((3, 4, 3), GaussianField((1.0, 2.0, 3.0), 2.5, spacing=(1.0, 1.4, 0.7), ndim=3)),
    "rough": ((2, 3, 4), GaussianField(1.0, 0.4, ndim=3)),
    "smooth": ((5, 4), GaussianField(2.0, 40.0, ndim=2)),
}  # fmt: skip


def covariance(shape: tuple[int, ...], field: GaussianField) -> Array:
    """Of all components at all voxels: blocks a_i² exp(-d² / 2 b²) / h_i², and 0 between them."""
    ndim = field.ndim
    points = np.indices(shape).reshape(ndim, -1) * np.reshape(field.spacing, (-1, 1))
    scaled = points / np.reshape(field.length_scale, (-1, 1))
    kernel = np.exp(-((scaled[:, :, None] - scaled[:, None]) ** 2).sum(axis=0) / 2)
    return np.kron(np.diag((np.array(field.amplitude) / field.spacing) ** 2), kernel)


def assert_covariance(x: Array, y: Array, expected: Array, x_std: Array, y_std: Array) -> None:
    """Means of products of n pairs: 6 standard errors, which are at most sqrt(2 / n) s s'."""
    scale = np.multiply.outer(x_std, y_std)
    error = abs(x.T @ y / len(x) - expected)
    assert np.all(error <= (Z * math.sqrt(2 / len(x)) + 1e-3) * scale)  # 1e-3: as the README grants


# ------------------------------------------------------------------------ the displacement


@pytest.mark.parametrize("streams", ["raters", "items", "seeds"])
@pytest.mark.parametrize("name", FIELDS)
def test_covariance_of_streams(name: str, streams: str) -> None:
    """At every pair of voxels, corners and faces included; and none from stream to stream."""
    shape, field = FIELDS[name]
    n = 10_000
    if streams == "raters":
        fields = field.displacement(shape, n, seed=17)
    elif streams == "items":
        fields = replace(field, amplitude=[field.amplitude] * n).displacement(shape, seed=17)
    else:
        fields = field.displacement(shape, seed=range(n))
    x = fields.reshape(n, -1).astype(np.float64)
    expected = covariance(shape, field)
    std = np.sqrt(np.diag(expected))
    assert np.all(abs(x.mean(axis=0)) <= Z * std / math.sqrt(n))
    assert_covariance(x, x, expected, std, std)
    for lag in (1, 2, 7):
        assert_covariance(x[lag:], x[:-lag], np.zeros_like(expected), std, std)


def test_raters_of_items_are_uncorrelated() -> None:
    shape, field = FIELDS["square"]
    n = 10_000
    pair = replace(field, amplitude=[field.amplitude] * 2)
    std = np.sqrt(np.diag(covariance(shape, field)))
    none = np.zeros((len(std), len(std)))
    for seed in (3, [3, 2**32 + 3], [3, 4]):  # an item's number and both words of its seed count
        x = pair.displacement(shape, n, seed=seed).reshape(2, n, -1).astype(np.float64)
        assert_covariance(x[0], x[1], none, std, std)
        assert_covariance(x[0, 1:], x[1, :-1], none, std, std)


@pytest.mark.parametrize("name", FIELDS)
def test_every_value_is_normal(name: str) -> None:
    """Kolmogorov's distance, with the bound of Dvoretzky, Kiefer, Wolfowitz and Massart."""
    shape, field = FIELDS[name]
    n, wrong = 20_000, 1e-9  # the probability that a right law fails
    x = field.displacement(shape, n, seed=23).reshape(n, -1)
    x = np.sort(x / np.sqrt(np.diag(covariance(shape, field))), axis=0)
    steps = np.arange(1, n + 1)[:, None] / n
    distance = np.maximum(abs(steps - ndtr(x)), abs(steps - 1 / n - ndtr(x))).max()
    assert distance <= math.sqrt(math.log(2 / wrong) / (2 * n))


@pytest.mark.parametrize(
    ("shape", "b", "n"), [((4, 6), 2.0, 20_000), ((3, 9), 0.7, 20_000), ((4, 3, 5), 1.5, 4_000)]
)
def test_agrees_in_law_with_filtered_noise(shape: tuple[int, ...], b: float, n: int) -> None:
    """Theorem 3: white noise filtered on a box that the border is far from; at every lag."""
    field = GaussianField(1.5, b, ndim=len(shape))
    x = field.displacement(shape, n, seed=5)[:, 0].reshape(n, -1).astype(np.float64)
    y = oracles.theorem3_field(shape, 1.5, b, np.random.default_rng(6), n).reshape(n, -1)
    allowed = 1.5**2 * (Z * math.sqrt(2) * math.sqrt(2 / n) + 1e-3)  # both are random
    assert np.all(abs(x.T @ x / n - y.T @ y / n) <= allowed)
    triple = [(f[:, :-2] * f[:, 1:-1] * f[:, 2:]).mean(axis=0) for f in (x, y)]
    assert np.all(abs(np.array(triple)) <= Z * math.sqrt(15 / n) * 1.5**3)  # odd moments: none


# ---------------------------------------------------------------------- Theorems 1 and 2


def blobs(shape: tuple[int, ...], classes: int, seed: int) -> Array:
    rough = np.random.default_rng(seed).standard_normal((classes, *shape))
    smooth = ndimage.gaussian_filter(rough, 1.2, axes=range(1, rough.ndim))
    return smooth.argmax(axis=0).astype(np.uint8)


@pytest.mark.parametrize("ignoring", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("shape", "field"),
    [
        ((17, 22), GaussianField(1.6, 3.0, ndim=2)),
        ((14, 23), GaussianField((0.6, 4.0), 2.0, spacing=(0.7, 1.9), ndim=2)),
        ((9, 7, 11), GaussianField((1.0, 0.4, 2.0), 2.5, ndim=3)),
        ((5, 9, 8), GaussianField(5.0, 0.6, ndim=3)),
    ],
)
def test_means_of_samples_are_the_marginals(
    shape: tuple[int, ...], field: GaussianField, mode: str, classes: int, ignoring: bool
) -> None:
    """Theorem 1, at every voxel, the border included."""
    n = 6_000
    labels = blobs(shape, classes, seed=classes)
    options: dict[str, Any] = {"mode": mode, "cval": classes - 1, "ignore_index": None}
    if ignoring:
        labels[labels.shape[0] // 3, 1:] = 9
        labels[2:4, labels.shape[1] // 2 :] = 9
        options["ignore_index"] = 9
    noisy = field.sample_labels(labels, seed=31, n=n, **options)
    marginals = field.marginals(labels, num_classes=classes, **options)
    for c in range(classes):
        oracles.assert_within_monte_carlo((noisy == c).mean(axis=0), marginals[c], n, Z)
    if classes == 2:
        oracles.assert_within_monte_carlo(
            (noisy == 1).mean(axis=0), field.marginals(labels, **options), n, Z
        )
    # Theorem 2: the expected volume, with the standard error that the samples show
    volumes = (noisy == 1).reshape(n, -1).sum(axis=1)
    expected = marginals[1].sum(dtype=np.float64)
    assert abs(volumes.mean() - expected) <= Z * volumes.std(ddof=1) / math.sqrt(n)


def test_means_differ_where_the_law_does() -> None:
    """What these bounds detect: an amplitude that is off by a tenth, or order 1 for order 0."""
    labels, n = blobs((17, 22), 2, seed=1), 10_000
    field = GaussianField(1.6, 3.0, ndim=2)
    marginals = field.marginals(labels)
    wrong = [
        replace(field, amplitude=1.44).sample_labels(labels, seed=1, n=n),
        field.sample_labels(labels, seed=1, n=n, order=1),
        field.sample_labels(labels, seed=1, n=n, mode="nearest"),
    ]
    for noisy in wrong:
        with pytest.raises(AssertionError, match="off by more than z"):
            oracles.assert_within_monte_carlo(noisy.mean(axis=0), marginals, n, Z)


def test_the_volume_that_order_1_keeps() -> None:
    """The table of the documentation: thin structures lose volume, and order 0 loses none.

    A voxel on its own wins where the product of its three weights exceeds 1/2: of all points
    around it, a volume of 8 (1 - (1 + ln 2 + ln² 2 / 2) / 2) = 0.2665. A tube of three by three
    voxels loses at each edge the points where the product of two weights is less than 1/2, of the
    quarter of a voxel where both exceed 1/2.
    """
    n, field, ln2 = 400, GaussianField(1.5, 4.0, ndim=3), math.log(2)
    point = np.zeros((25, 25, 25), np.uint8)
    point[12, 12, 12] = 1
    y, x = np.indices((25, 25)) - 12
    tubes = [np.tile((y**2 + x**2 <= r**2).astype(np.uint8), (25, 1, 1)) for r in (1.5, 2.5)]
    inner = slice(8, 17)  # the ends of the tube lose some to the outside

    def volumes(labels: Array, order: int, cut: Any) -> Array:
        noisy = field.sample_labels(labels, seed=8, n=n, order=order)[(slice(None), cut)]
        return noisy.reshape(n, -1).sum(axis=1) / labels[cut].sum()

    of_a_voxel = 8 * (1 - (1 + ln2 + ln2**2 / 2) / 2)
    of_nine = 1 - 4 * (1 / 4 - (1 - (1 + ln2) / 2)) / 9
    cases = ((point, ..., of_a_voxel), (tubes[0], inner, of_nine), (tubes[1], inner, 0.9816))
    for labels, cut, share in cases:
        whole, kept = volumes(labels, 0, cut), volumes(labels, 1, cut)
        for differences in (whole - 1, kept - share * whole):  # the second are of the same fields
            allowed = Z * differences.std(ddof=1) / math.sqrt(n)
            assert abs(differences.mean()) <= allowed


def test_how_often_fields_fold_in_2d() -> None:
    """A closed form: 1 + q T + q² D <= 0 of the trace and the determinant of four normals."""
    n, corners = 100_000, ((0, 0), (1, 0), (0, 1))
    for ratio, documented in ((0.25, 1 / 6000), (0.5, 0.07), (1.0, 0.30)):
        law = math.exp(-1 / (2 * ratio**2)) / 2
        assert abs(law - documented) <= 0.04 * documented
        moved = GaussianField(64.0 * ratio, 64.0, ndim=2).displacement((2, 2), n, seed=5)
        here, down, across = (moved[:, :, y, x].astype(np.float64) for y, x in corners)
        found = np.eye(2) + np.stack([down - here, across - here], axis=-1)
        share = (np.linalg.det(found) <= 0).mean()
        assert abs(share - law) <= Z * math.sqrt(law / n) + 0.02 * law


def test_how_often_fields_fold() -> None:
    """The shares of the documentation: slopes are nine independent normals of deviation a / b."""
    n, rng = 20_000, np.random.default_rng(0)
    for ratio, documented in ((0.25, 1 / 1800), (0.5, 0.13), (1.0, 0.40)):
        slopes = rng.standard_normal((40 * n, 3, 3))
        law = (np.linalg.det(np.eye(3) + ratio * slopes) <= 0).mean()
        allowed = Z * math.sqrt(law / (40 * n))
        assert abs(law - documented) <= allowed + 0.01 * documented
        field = GaussianField(32.0 * ratio, 32.0, ndim=3)
        moved = field.displacement((3, 3, 3), n, seed=5).astype(np.float64)
        middle = moved[:, :, 1, 1, 1]
        steps = [moved[:, :, 2, 1, 1], moved[:, :, 1, 2, 1], moved[:, :, 1, 1, 2]]
        found = np.stack([step - middle for step in steps], axis=-1)
        share = (np.linalg.det(np.eye(3) + found) <= 0).mean()
        assert abs(share - law) <= Z * math.sqrt(law / n) + 0.02 * law
