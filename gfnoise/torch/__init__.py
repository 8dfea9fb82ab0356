"""gfnoise for torch: noisy labels in a training loop, and losses that take them.

The functions of `gfnoise` take tensors by themselves; this package is imported with the first one.
"""

from . import _noise_operator as _noise_operator  # which registers it
from .item_seeds import item_seed
from .loaders import NoisyLabelLoader, NoisyLabels
from .losses import AdaptiveWingLoss, NormReLU, SoftDiceLoss
from .noise import LabelNoise
from .softlabels import svls_cross_entropy

__all__ = [
    "AdaptiveWingLoss",
    "LabelNoise",
    "NoisyLabelLoader",
    "NoisyLabels",
    "NormReLU",
    "SoftDiceLoss",
    "item_seed",
    "svls_cross_entropy",
]
