"""Intersection over union, and voxels that the target ignores, against the same without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics.functional.classification import multiclass_jaccard_index

from gfnoise import score
from gfnoise.metrics import dice, iou, precision, recall, volume_difference

OVERLAPS = [dice, iou, precision, recall, volume_difference]
MASK = np.zeros((4, 5), np.uint8)


def labels(dtype: Any = np.uint8, top: int = 3) -> tuple[NDArray[Any], NDArray[Any]]:
    prediction, target = np.random.default_rng(2).integers(0, top, (2, 3, 6, 7))
    return prediction.astype(dtype), target.astype(dtype)


def test_iou_of_masks_and_classes() -> None:
    prediction, target = labels()
    found = iou(prediction, target, num_classes=4, ndim=2)
    assert found.shape == (3, 4)
    for item, c in np.ndindex(3, 3):
        p, t = prediction[item] == c, target[item] == c
        assert found[item, c] == (p & t).sum() / (p | t).sum()
        assert iou(p, t) == found[item, c]
        assert iou(p, t) == pytest.approx(score(p, t.astype(float), "iou"))
    assert (found[:, 3] == 1).all()
    np.testing.assert_allclose(
        found, (d := dice(prediction, target, num_classes=4, ndim=2)) / (2 - d)
    )
    assert (iou(MASK, MASK), iou(MASK, MASK + 1), iou(MASK[:0], MASK[:0])) == (1, 0, 1)


@pytest.mark.parametrize("dtype", ["u1", "i2", ">i4", "i8"])
@pytest.mark.parametrize("ignore", [2, 100])
@pytest.mark.parametrize("classes", [None, 2, 3, 300])
def test_ignored_voxels_are_left_out(dtype: str, ignore: int, classes: int | None) -> None:
    prediction, target = labels(dtype, 2)
    silent = np.random.default_rng(4).random(target.shape) < 0.3
    target[silent] = ignore
    prediction[silent] = np.random.default_rng(5).choice([0, 1, 77], silent.sum())
    for metric in OVERLAPS:
        found = metric(prediction, target, num_classes=classes, ndim=2, ignore_index=ignore)
        for item in range(3):
            kept = ~silent[item]
            expected = metric(prediction[item][kept], target[item][kept], num_classes=classes)
            assert np.array_equal(found[item], expected)


def test_an_ignored_class_and_an_ignored_item() -> None:
    """The target alone decides: what it calls background is left out, not the prediction's."""
    prediction, target = (
        np.array([[0, 0, 1, 1], [1, 0, 0, 1]]),
        np.array([[0, 1, 0, 1], [0, 0, 0, 0]]),
    )
    assert dice(prediction, target, ndim=1, ignore_index=0).tolist() == [pytest.approx(2 / 3), 1]
    assert recall(prediction, target, ndim=1, ignore_index=0).tolist() == [0.5, 1]
    assert volume_difference(prediction, target, ndim=1, ignore_index=0).tolist() == [0.5, 0]


def test_iou_with_ignored_voxels_is_torchmetrics() -> None:
    prediction, target = labels(np.int64)
    target[:, 2:4, 1:5] = 255
    found = iou(prediction.ravel(), target.ravel(), num_classes=3, ignore_index=255)
    expected = multiclass_jaccard_index(
        torch.from_numpy(prediction), torch.from_numpy(target), 3, average="none", ignore_index=255
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    tensors = [torch.from_numpy(one.ravel()) for one in (prediction, target)]
    again = iou(*tensors, num_classes=3, ignore_index=255)
    assert isinstance(again, torch.Tensor)
    assert np.array_equal(again, found)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda f: f(MASK, MASK[1:]),
            ValueError,
            r"target must be of the prediction's shape \(4, 5\)",
        ),
        (lambda f: f(MASK, MASK + 255), ValueError, r"target must be in \{0, 1\}.*got 255"),
        (lambda f: f(MASK + 9, MASK, ignore_index=255), ValueError, r"prediction must be .*got 9"),
        (lambda f: f(MASK, MASK + 9, ignore_index=255), ValueError, r"target must be .*got 9"),
        (
            lambda f: f(MASK, MASK, ignore_index=-1),
            ValueError,
            "ignore_index must be a value of .*uint8",
        ),
        (
            lambda f: f(MASK, MASK, ignore_index=1.5),
            TypeError,
            "ignore_index must be an integer, got",
        ),
        (
            lambda f: f(MASK, MASK / 2, ignore_index=0),
            TypeError,
            "target must be of bool or an int",
        ),
        (
            lambda f: f(MASK / 2, MASK, ignore_index=0),
            TypeError,
            "prediction must be of bool or an",
        ),
    ],
)
@pytest.mark.parametrize("metric", OVERLAPS)
def test_bad_input_is_refused(metric: Any, call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call(metric)
