"""Metrics of segmentations, of sets of them and of probability maps.

Overlap, lesions, surfaces, calibration, the distance of samples to raters. Functions of
two arrays take the prediction first and the target second; most give one float64 for each item of
the leading axes. Of overlaps, 0/0
is the best score: two empty masks agree; means over no voxels are NaN.

They run on the CPU and have no gradients: an array on a GPU, or a tensor that requires grad, raises
NotImplementedError.
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
from .energy import energy_distance
from .overlap import (
    ThresholdSearch,
    composite_score,
    dice,
    iou,
    precision,
    recall,
    search_threshold,
    volume_difference,
)
from .structures import LesionRates, lesion_rates
from .surfaces import average_surface_distance, hausdorff_distance, surface_dice

__all__ = [
    "LesionRates",
    "Reliability",
    "ThresholdSearch",
    "adaptive_calibration_error",
    "average_surface_distance",
    "brier_score",
    "calibration_error",
    "composite_score",
    "dice",
    "energy_distance",
    "entropy",
    "entropy_error",
    "hausdorff_distance",
    "iou",
    "lesion_rates",
    "precision",
    "recall",
    "reliability_curve",
    "search_threshold",
    "surface_dice",
    "volume_difference",
]
