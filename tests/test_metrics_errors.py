"""Bad input to the metrics: the error names the argument, the expectation and what arrived."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from gfnoise.metrics import (
    adaptive_calibration_error,
    brier_score,
    calibration_error,
    composite_score,
    dice,
    entropy,
    entropy_error,
    lesion_rates,
    precision,
    recall,
    reliability_curve,
    search_threshold,
    surface_dice,
)

MASK = np.zeros((4, 5), np.uint8)
MAP = np.full((4, 5), 0.5)
PAIR = np.full((2, 4, 5), 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dice(MASK, MASK[1:]), r"target must be of the prediction's shape \(4, 5\), got"),
        (lambda: dice(MASK + 2, MASK), r"prediction must be in \{0, 1\} \(or give num_classes\)"),
        (lambda: recall(MASK, MASK + 3, num_classes=3), r"target must be in \[0, 2\], got 3"),
        (lambda: precision(MASK, MASK.astype(int) - 1), "target must be in {0, 1}.*got -1"),
        (lambda: dice(MASK, MASK, num_classes=0), "num_classes must be an integer of at least 1"),
        (lambda: dice(MASK[None, None], MASK[None, None]), "ndim must say how many"),
        (lambda: dice(MASK, MASK, ndim=3), "ndim must be between 1 and the 2 axes"),
        (lambda: lesion_rates(MASK, MASK, connectivity=3), "connectivity must be at most the 2"),
        (lambda: surface_dice(MASK, MASK, -1.0), "tolerance must be a finite number of at least 0"),
        (lambda: surface_dice(MASK, MASK, 1.0, spacing=0), "spacing must be finite and positive"),
        (lambda: surface_dice(MASK[0], MASK[0], 1.0), "must have 2 or 3 axes of space, got 1"),
        (lambda: brier_score(MAP * np.nan, MAP), r"probabilities must hold values in \[0, 1\] and"),
        (lambda: brier_score(MAP, MAP * 3), r"target must hold values in \[0, 1\] and no NaN"),
        (lambda: entropy(MAP + 1), r"probabilities must hold values in \[0, 1\]"),
        (lambda: entropy(PAIR * 1.1, num_classes=2), "sum to 1 over the classes.*sums off by up"),
        (lambda: entropy(PAIR * np.nan, num_classes=2), "without NaN, got a minimum"),
        (lambda: entropy(PAIR - [[[1]], [[-1]]], num_classes=2), "got a minimum of -0.5"),
        (lambda: entropy(PAIR, num_classes=3), "probabilities must have 3 classes on the axis"),
        (lambda: entropy_error(MAP, MAP[1:]), "target must be of the prediction's shape"),
        (lambda: calibration_error(MAP, MASK[1:]), r"labels must be of shape \(4, 5\), got"),
        (lambda: calibration_error(PAIR, MASK + 2, num_classes=2), r"labels must be in \[0, 1\]"),
        (lambda: calibration_error(MAP, MASK, bins=0), "bins must be an integer of at least 1"),
        (lambda: adaptive_calibration_error(MAP, MASK, ranges=0), "ranges must be an integer"),
        (
            lambda: adaptive_calibration_error(MAP, MASK, threshold=2.0),
            "threshold must be a num",
        ),
        (lambda: search_threshold(MAP, MASK, thresholds=[0.5, 0.2]), "thresholds must rise"),
        (lambda: search_threshold(MAP, MASK, thresholds=[]), "thresholds must rise"),
        (lambda: search_threshold(MAP, MASK, thresholds=[0.5, 1.5]), "at most 1, got 1.5"),
        (lambda: search_threshold(MAP, MASK[1:]), "target must be of the probabilities' shape"),
        (lambda: composite_score([1.0, 2.0]), r"of shape \(candidates, metrics\)"),
        (lambda: composite_score([[1.0], [np.nan]]), "values must be finite"),
        (lambda: composite_score([[1.0], [2.0]], [1, 1]), r"weights must be of shape \(1,\)"),
        (lambda: composite_score([[1.0], [2.0, 3.0]]), "values must be an array of real numbers"),
        (lambda: search_threshold(MAP, MASK, thresholds=[0.5, [1]]), "thresholds must be an array"),
        (lambda: calibration_error(MAP, MASK, bins=1 << 40), "bins must be at most 16777216, got"),
        (lambda: reliability_curve(MAP, MASK, bins=10**400), "bins must be at most 16777216"),
        (lambda: adaptive_calibration_error(MAP, MASK, ranges=1 << 31), "ranges must be at most"),
        *[
            (
                partial(call, np.full((1, 4), np.nan), *labels, num_classes=1),
                "integer of at least 2",
            )
            for call, labels in (
                (entropy, ()),
                (calibration_error, (np.zeros(4, int),)),
                (reliability_curve, (np.zeros(4, int),)),
                (adaptive_calibration_error, (np.zeros(4, int),)),
            )
        ],
    ],
)
def test_bad_values_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dice(MAP, MASK), "prediction must be of bool or an integer dtype, got float64"),
        (lambda: dice([[1]], MASK), "prediction must be a NumPy array"),
        (lambda: entropy(MAP + 1j), "probabilities must be of a real dtype, got complex128"),
        (lambda: calibration_error(MAP, MAP), "labels must be of bool or an integer dtype"),
        (lambda: surface_dice(MASK, MASK, "1"), "tolerance must be a finite number"),
        (lambda: composite_score([["1"], ["2"]]), "values must be an array of real numbers, got"),
        (lambda: composite_score([[1j], [2]]), "values must be an array of real numbers, got"),
        (lambda: composite_score([[10**400], [1]]), "values must be an array of real numbers, got"),
        (lambda: composite_score([[1], [2]], [None]), "weights must be an array of real numbers"),
        (
            lambda: composite_score(np.ma.array([[1.0], [2.0]], mask=[[True], [False]])),
            "values must be an array of real numbers, got a masked array",
        ),
        (lambda: search_threshold(MAP, MASK, thresholds={}), "thresholds must be an array of real"),
        (lambda: search_threshold(MAP, MASK, thresholds=["0.5"]), "thresholds must be an array of"),
        (
            lambda: dice(MASK.astype("M8[s]"), MASK, ignore_index=1),
            r"prediction must be of bool or an integer dtype, got datetime64\[s\]",
        ),
        (
            lambda: dice(np.zeros((4, 5), [("a", "u1")]), MASK, ignore_index=1),
            "prediction must be of bool or an integer dtype, got",
        ),
    ],
)
def test_bad_types_are_refused(call: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()
