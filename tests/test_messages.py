"""What messages say of values that users give by mistake: what helps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gfnoise
from gfnoise import GaussianField
from gfnoise.io import Image

FIELD = GaussianField(1.0, 2.0, ndim=2)
LABELS = np.ones((4, 5), np.uint8)
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
