"""STAPLE against SimpleITK and a plain EM."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_raters import MASKS

import oracles_soft as oracles
from gfnoise import GaussianField, fuse_raters, staple

sitk = pytest.importorskip("SimpleITK")


def ball(n: int, radius: float) -> NDArray[np.uint8]:
    axes = np.ogrid[(slice((1 - n) / 2, n / 2),) * 3]
    return (sum(axis**2 for axis in axes) < radius**2).astype(np.uint8)


def test_staple_of_three_raters() -> None:
    found = staple(MASKS)
    expected = [0.995196] * 3 + [0.899113] + [0.0] * 8
    np.testing.assert_allclose(found.probability, expected, atol=5e-7)
    np.testing.assert_allclose(found.sensitivity, [1, 1, 0.768550], atol=5e-7)
    np.testing.assert_allclose(found.specificity, [0.862568, 0.862568, 0.875], atol=5e-7)
    assert found.prior == pytest.approx(14 / 36)
    assert found.probability.dtype == np.float32
    assert 1 < found.iterations < 100
    assert found.consensus.tolist() == [True] * 4 + [False] * 8


def itk_staple(masks: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    fuse = sitk.STAPLEImageFilter()
    fuse.SetForegroundValue(1)
    image = fuse.Execute([sitk.GetImageFromArray(mask) for mask in masks])
    rates = np.array(fuse.GetSensitivity()), np.array(fuse.GetSpecificity())
    return sitk.GetArrayFromImage(image), *rates


@pytest.mark.parametrize("raters", [2, 3, 4, 7])
def test_staple_is_simpleitks_and_the_plain_em(raters: int) -> None:
    field = GaussianField(2.0, 6.0, ndim=3)
    masks = field.sample_labels(ball(32, 9.0), seed=raters, n=raters)
    found = staple(masks)
    truth, sensitivity, specificity = oracles.staple(masks)
    np.testing.assert_allclose(found.probability, truth, atol=1e-6)
    np.testing.assert_allclose(found.sensitivity, sensitivity, atol=1e-7)
    np.testing.assert_allclose(found.specificity, specificity, atol=1e-7)
    probability, sensitivity, specificity = itk_staple(masks)
    # SimpleITK stops earlier; two raters, whose rates move slowly, are then still on their way.
    tolerance = 2e-2 if raters == 2 else 2e-4
    np.testing.assert_allclose(found.probability, probability, atol=tolerance)
    np.testing.assert_allclose(found.sensitivity, sensitivity, atol=tolerance)
    np.testing.assert_allclose(found.specificity, specificity, atol=tolerance)
    assert np.array_equal(found.consensus, probability >= 0.5)


@pytest.mark.parametrize("raters", [3, 9, 20])
def test_staple_of_many_raters(raters: int) -> None:
    """Twenty raters have more patterns than a table holds."""
    rng = np.random.default_rng(raters)
    truth = rng.random((20, 30)) < 0.3
    wrong = rng.uniform(0.02, 0.3, raters)
    masks = truth ^ (rng.random((raters, 20, 30)) < wrong[:, None, None])
    found = staple(masks)
    expected, sensitivity, specificity = oracles.staple(masks)
    np.testing.assert_allclose(found.probability, expected, atol=1e-6)
    np.testing.assert_allclose(found.sensitivity, sensitivity, atol=1e-6)
    np.testing.assert_allclose(found.specificity, specificity, atol=1e-6)


@pytest.mark.parametrize(("raters", "classes"), [(3, 3), (4, 5), (12, 4)])
def test_staple_of_classes(raters: int, classes: int) -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(0, classes, (15, 20))
    random = rng.integers(0, classes, (raters, 15, 20))
    masks = np.where(rng.random((raters, 15, 20)) < 0.25, random, truth)
    found = staple(masks, num_classes=classes)
    probability, confusion = oracles.staple_classes(masks, classes)
    np.testing.assert_allclose(found.probability, probability, atol=1e-6)
    np.testing.assert_allclose(found.confusion, confusion, atol=1e-7)
    assert found.sensitivity.shape == found.specificity.shape == (raters, classes)
    np.testing.assert_allclose(found.confusion.sum(-1), 1)
    assert (found.consensus == truth).mean() > 0.9
    assert np.array_equal(found.consensus, fuse_raters(masks, "staple", num_classes=classes))


def test_staple_of_two_classes_is_the_binary_one() -> None:
    masks = np.random.default_rng(0).integers(0, 2, (4, 12, 13))
    two, binary = staple(masks, num_classes=2), staple(masks)
    assert np.array_equal(two.probability[1], binary.probability)
    assert np.array_equal(two.sensitivity[:, 1], binary.sensitivity)
    np.testing.assert_allclose(two.specificity[:, 1], binary.specificity)
    np.testing.assert_allclose(two.sensitivity[:, 0], binary.specificity)


def test_staple_of_items_and_missing_raters() -> None:
    masks = np.random.default_rng(1).random((3, 4, 9, 8)) < 0.4
    annotated = np.array([[1, 1, 0, 1], [1, 1, 1, 1], [0, 1, 1, 0]], bool)
    found = staple(masks, axis=1, ndim=2, annotated=annotated)
    assert found.probability.shape == (3, 9, 8)
    assert found.sensitivity.shape == (3, 4)
    assert found.prior.shape == found.iterations.shape == (3,)
    for item in range(3):
        alone = staple(masks[item][annotated[item]])
        assert np.array_equal(found.probability[item], alone.probability)
        assert np.array_equal(found.sensitivity[item, annotated[item]], alone.sensitivity)
    assert np.isnan(found.sensitivity[~annotated]).all()
    assert np.isnan(found.specificity[~annotated]).all()


def test_staple_of_raters_who_agree() -> None:
    """All empty, all full, all the same: certain, without a division by zero."""
    some = np.arange(12) < 5
    for mask in (np.zeros(12, bool), np.ones(12, bool), some):
        found = staple(np.stack([mask] * 3))
        np.testing.assert_allclose(found.probability, mask, atol=1e-6)
        assert found.sensitivity == pytest.approx(1)
        assert found.specificity == pytest.approx(1)
        assert np.array_equal(found.consensus, mask)
    assert staple(np.zeros((2, 0, 3), bool)).probability.shape == (0, 3)


def test_prior_and_limits_of_staple() -> None:
    given_prior = staple(MASKS, prior=0.1)
    expected, sensitivity, _ = oracles.staple(MASKS, prior=0.1)
    assert given_prior.prior == pytest.approx(0.1)
    np.testing.assert_allclose(given_prior.probability, expected, atol=1e-6)
    np.testing.assert_allclose(given_prior.sensitivity, sensitivity, atol=1e-6)
    once = staple(MASKS, max_iterations=1)
    assert once.iterations == 1
    np.testing.assert_allclose(once.sensitivity, oracles.staple(MASKS, iterations=1)[1])
    classes = staple(MASKS, num_classes=2, prior=[0.9, 0.1])
    np.testing.assert_allclose(classes.probability[1], expected, atol=1e-6)


# --- raters who say nothing -----------------------------------------------------------------------


@pytest.mark.parametrize(("raters", "classes"), [(3, 2), (4, 3), (12, 4)])
def test_staple_of_raters_who_ignore(raters: int, classes: int) -> None:
    """Against a plain EM, in which they say nothing there; of many patterns, too."""
    rng = np.random.default_rng(8)
    truth = rng.integers(0, classes, (15, 20))
    random = rng.integers(0, classes, (raters, 15, 20))
    masks = np.where(rng.random((raters, 15, 20)) < 0.25, random, truth)
    masks[rng.random(masks.shape) < 0.2] = 255
    masks[:, :2] = 255
    found = staple(masks, num_classes=classes, ignore_index=255)
    probability, confusion = oracles.staple_classes(masks, classes, ignore=255)
    np.testing.assert_allclose(found.probability, probability, atol=1e-6)
    np.testing.assert_allclose(found.confusion, confusion, atol=1e-7)
    silent = (masks == 255).all(0)
    assert silent[:2].all()
    fused = fuse_raters(masks, "staple", num_classes=classes, ignore_index=255)
    assert np.array_equal(fused, np.where(silent, 255, found.consensus))


def test_staple_of_masks_with_ignored_voxels() -> None:
    masks = MASKS.copy()
    masks[:, 9:] = 9
    found = staple(masks, ignore_index=9)
    cropped = staple(masks[:, :9])
    assert np.array_equal(found.probability[:9], cropped.probability)
    assert np.isnan(found.probability[9:]).all()
    assert np.array_equal(found.sensitivity, cropped.sensitivity)
    assert fuse_raters(masks, "staple", ignore_index=9).tolist() == [1] * 4 + [0] * 5 + [9] * 3
    silent = staple(np.full((2, 3), 9), ignore_index=9)
    assert np.isnan(silent.probability).all()
    assert silent.prior == 0.5
