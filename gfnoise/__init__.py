"""Fresh noisy segmentation labels by Gaussian field deformations, and what theory says of them."""

from .field import GaussianField
from .interpolation import warp_labels
from .thresholding import optimal_segmentation, optimal_threshold, score

__all__ = [
    "GaussianField",
    "optimal_segmentation",
    "optimal_threshold",
    "score",
    "warp_labels",
]
__version__ = "0.1.0"
