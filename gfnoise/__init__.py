"""Fresh noisy segmentation labels by Gaussian field deformations, and what theory says of them."""

from ._array import check_values
from ._warm_up import warm_up
from .field import GaussianField
from .filters import gaussian_filter
from .interpolation import map_coordinates, warp_labels
from .thresholding import optimal_segmentation, optimal_threshold, score

__all__ = [
    "GaussianField",
    "check_values",
    "gaussian_filter",
    "map_coordinates",
    "optimal_segmentation",
    "optimal_threshold",
    "score",
    "warm_up",
    "warp_labels",
]
__version__ = "0.1.0"
