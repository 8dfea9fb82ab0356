"""ECE against torchmetrics; Dice, Brier score and energy distance against NumPy."""

import numpy as np
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from cases import AMPLITUDE, LENGTH_SCALE, MIDDLE, STRUCTURES
from gfnoise import GaussianField, metrics

CLASSES = 4


def prediction() -> tuple[np.ndarray, np.ndarray]:
    """A confident network: probabilities near the labels."""
    rng = np.random.default_rng(0)
    labels = STRUCTURES["organs"](MIDDLE) % CLASSES
    logits = rng.standard_normal((CLASSES, *MIDDLE), np.float32)
    for c in range(CLASSES):
        logits[c] += 2 * (labels == c)
    p = np.exp(logits)
    return p / p.sum(0), labels


def test_calibration_error(race):
    p, labels = prediction()
    target = torch.from_numpy(labels)[None].long()

    def verify(result: np.ndarray, expected: np.ndarray) -> None:
        np.testing.assert_allclose(result, expected, atol=2e-4)  # sums in float32, over there

    race(
        lambda: metrics.calibration_error(p, labels, num_classes=CLASSES),
        lambda: multiclass_calibration_error(
            torch.from_numpy(p)[None], target, num_classes=CLASSES, n_bins=10, norm="l1"
        ).numpy(),
        name="torchmetrics",
        voxels=labels.size,
        verify=verify,
    )


def test_dice(race):
    p, labels = prediction()
    predicted = p.argmax(0).astype(np.uint8)

    def plain() -> np.ndarray:
        masks = [(predicted == c, labels == c) for c in range(CLASSES)]
        return np.array([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in masks])

    race(
        lambda: metrics.dice(predicted, labels, num_classes=CLASSES),
        plain,
        name="NumPy, class by class",
        voxels=labels.size,
        verify=np.testing.assert_allclose,
    )


def test_brier_score(race):
    p, labels = prediction()
    foreground, target = p[1], labels == 1
    race(
        lambda: metrics.brier_score(foreground, target),
        lambda: np.mean((foreground - target) ** 2, dtype=np.float64),
        name="NumPy",
        voxels=labels.size,
        verify=lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
    )


def test_energy_distance(race):
    noise = GaussianField(2 * AMPLITUDE, LENGTH_SCALE, spacing="unit", ndim=3)
    labels = noise.sample_labels(STRUCTURES["ball"](MIDDLE), seed=0, n=20)
    samples, raters = labels[:16], labels[16:]

    def plain() -> np.ndarray:
        masks = labels > 0
        iou = np.array([[(a & b).sum() / (a | b).sum() for a in masks] for b in masks])
        signs = np.repeat([1 / 16, -1 / 4], [16, 4])
        return -signs @ (1 - iou) @ signs

    race(
        lambda: metrics.energy_distance(samples, raters),
        plain,
        name="NumPy, pair by pair",
        voxels=labels[0].size,
        verify=np.testing.assert_allclose,
    )
