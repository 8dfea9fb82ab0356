"""The score of a mask, from what it shares with a map; `thresholding.cu` has it for a device."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def score_of(
    metric: str, weight: float, inside: Any, mass: Any, size: Any, voxels: int
) -> NDArray[np.float64]:
    """The score of masks of `size` voxels with `inside` of the `mass` of their maps; 0/0 is 1."""
    if metric == "accuracy":
        top, bottom = voxels - size - mass + 2 * inside, np.full_like(size, voxels)
    elif metric == "iou":
        top, bottom = inside, size + mass - inside
    else:
        top, bottom = (1 + weight) * inside, size + weight * mass
    empty = bottom == 0
    scores: NDArray[np.float64] = np.where(empty, 1.0, top / np.where(empty, 1.0, bottom))
    return scores
