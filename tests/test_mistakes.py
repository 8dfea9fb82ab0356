"""What users give by mistake, or by chance: messages say what helps, results are right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gfnoise
from gfnoise import GaussianField, metrics
from gfnoise.io import Image

FIELD = GaussianField(1.0, 2.0, ndim=2)
LABELS = np.ones((4, 5), np.uint8)
DISC = np.hypot(*np.ogrid[-16:16, -16:16]) < 10
HALVES = np.full((4, 5), 0.5)
IMAGE = Image(Path("a.npy"), LABELS, None, LABELS.dtype, None, None)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: FIELD.sample_labels(1.0 * LABELS, seed=0), r"astype\(np\.uint8\)"),
        (lambda: FIELD.sample_labels(HALVES, seed=0), r"no whole numbers .*optimal_segmentation"),
        (lambda: gfnoise.score(HALVES, HALVES), r"^segmentation .* no whole numbers .*m >= 0\.5"),
        (lambda: gfnoise.fuse_raters([LABELS, LABELS], "union"), r"^masks .*list: np\.stack"),
        (lambda: FIELD.sample_labels("a.nii.gz", seed=0), r"^labels .*str: gfnoise\.io\.read_lab"),
        (
            lambda: FIELD.sample_labels(IMAGE, seed=0),
            r"^labels .*Image: give its `data`",
        ),
        (lambda: FIELD.displacement(LABELS, seed=0), r"^shape .*got an array: give its shape, \("),
    ],
)
def test_messages_say_what_helps(call: Callable[[], object], match: str) -> None:
    with pytest.raises((TypeError, ValueError), match=match):
        call()


def test_true_is_whatever_is_not_zero() -> None:
    """A bool that is another library's byte: 255."""
    truth = np.random.default_rng(0).random((20, 22)) < 0.5
    other = (255 * truth.view(np.uint8)).view(np.bool_)
    assert metrics.brier_score(truth.astype(float), other) == 0
    masks = GaussianField(1.5, 6.0, ndim=2).sample_labels(DISC, seed=0, n=4)
    found = gfnoise.fit_field((255 * masks.view(np.uint8)).view(np.bool_))
    assert found == gfnoise.fit_field(masks)


def test_settings_of_numpy_change_nothing() -> None:
    masks = np.repeat(np.random.default_rng(0).random((1, 12, 13)) < 0.5, 5, 0)
    with np.errstate(all="raise"):
        gfnoise.staple(masks)
        gfnoise.svls(masks[0].astype(np.uint8), 2, ndim=2, sigma=0.02)
