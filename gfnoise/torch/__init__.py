"""gfnoise for torch: noisy labels in a training loop, and losses that take them.

The functions of `gfnoise` take tensors by themselves; this package is imported with the first one.
"""

from .noise import LabelNoise
from .streams import item_seed

__all__ = ["LabelNoise", "item_seed"]
