"""Fresh noisy segmentation labels by Gaussian field deformations, and what theory says of them."""

from ._values import check_values
from ._warm_up import warm_up
from .expectation import ExpectedScore, expected_score
from .field import GaussianField
from .filters import gaussian_filter
from .interpolation import map_coordinates, warp_labels
from .raters import FieldFit, Staple, fit_field, fuse_raters, staple
from .softlabels import smooth_labels, svls
from .thresholding import optimal_segmentation, optimal_threshold, score
from .volumes import (
    VolumeBounds,
    VolumeCurves,
    VolumeRange,
    volume_bounds,
    volume_curves,
    volume_range,
)

__all__ = [
    "ExpectedScore",
    "FieldFit",
    "GaussianField",
    "Staple",
    "VolumeBounds",
    "VolumeCurves",
    "VolumeRange",
    "check_values",
    "expected_score",
    "fit_field",
    "fuse_raters",
    "gaussian_filter",
    "map_coordinates",
    "optimal_segmentation",
    "optimal_threshold",
    "score",
    "smooth_labels",
    "staple",
    "svls",
    "volume_bounds",
    "volume_curves",
    "volume_range",
    "warm_up",
    "warp_labels",
]
__version__ = "0.1.0"
