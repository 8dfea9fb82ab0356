"""Metrics of segmentations and of probability maps: overlap, lesions, surfaces, calibration.

Every function takes the prediction first and the target second, and gives one float64 for each
item of the leading axes. 0/0 is the best score: two empty masks agree.
"""

from .calibration import (
    Reliability,
    adaptive_calibration_error,
    brier_score,
    calibration_error,
    entropy,
    entropy_error,
    reliability_curve,
)
from .overlap import (
    ThresholdSearch,
    composite_score,
    dice,
    precision,
    recall,
    search_threshold,
    volume_difference,
)
from .structures import LesionRates, lesion_rates, surface_dice

__all__ = [
    "LesionRates",
    "Reliability",
    "ThresholdSearch",
    "adaptive_calibration_error",
    "brier_score",
    "calibration_error",
    "composite_score",
    "dice",
    "entropy",
    "entropy_error",
    "lesion_rates",
    "precision",
    "recall",
    "reliability_curve",
    "search_threshold",
    "surface_dice",
    "volume_difference",
]
